"""Share of the heat in each tissue of made-up label masks, good and bad."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lhdlib.errors import UserError
from lhdlib.evidence import tissues
from tests.evidence.made_up import SETTINGS, slice_table


@pytest.fixture
def labelled(tmp_path):
    """A data folder with label masks of two discs: left half disc, a quarter thecal sac."""
    folder = tmp_path / "05_Final_Ground_Truth_Data" / "Label_Images"
    folder.mkdir(parents=True)
    labels = np.zeros((40, 36), np.uint8)
    labels[:, :18], labels[:20, 18:] = 50, 150
    for name in ("L1_0007_D3.png", "L1_0008_D5.png", "notes.png", "L1_0009_D2.png"):
        Image.fromarray(labels).save(folder / name)
    (tmp_path / "L1_0001_D3.png").write_bytes(b"")  # not in the folder of label images
    return tmp_path


def test_label_files_are_found_by_patient_and_level(labelled):
    found = tissues.label_files(labelled)
    assert found.keys() == {("0007", "L3-L4"), ("0008", "L5-S1")}
    assert tissues.label_files(labelled / "absent") == {}


def test_heat_per_tissue(labelled):
    files = list(tissues.label_files(labelled).values())
    slices = slice_table(40, 36, 0.5, 2)
    heat = np.zeros((2, 16, 16), np.float32)
    heat[0, :, :8] = 1  # all on the disc
    heat[1] = 0.3  # nothing said: the tissue's area
    table, unusable = tissues.tissue_heat(heat, np.array([0, 1]), slices, files, SETTINGS, np.array(["7", "8"]))
    assert unusable == [] and table.discs.tolist() == [2] * 5
    table = table.set_index("tissue")
    assert table.area["disc"] == pytest.approx(0.5, abs=1e-3) and table.area["thecal sac"] == pytest.approx(
        0.25, abs=1e-3
    )
    assert table.heat["disc"] == pytest.approx((1 + 0.5) / 2, abs=1e-3)
    assert table.heat["thecal sac"] == pytest.approx((0 + 0.25) / 2, abs=1e-3)
    assert table.heat[["posterior element", "area between", "other"]].sum() == 0


def test_a_bad_label_mask_is_left_out_and_named(labelled):
    files = list(tissues.label_files(labelled).values())
    files[0].write_bytes(b"\x89PNG\r\n\x1a\n broken")
    arguments = np.ones((2, 16, 16), np.float32), np.array([0, 1]), slice_table(40, 36, 0.5, 2)
    table, unusable = tissues.tissue_heat(*arguments, files, SETTINGS, np.array(["7", "8"]))
    assert len(unusable) == 1 and str(files[0]) in unusable[0] and table.discs.tolist() == [1] * 5
    files[1].write_bytes(b"")
    table, unusable = tissues.tissue_heat(*arguments, files, SETTINGS, np.array(["7", "8"]))
    assert len(unusable) == 2 and table.empty and list(table)[0] == "tissue"


def test_hostile_label_masks_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "L1_0001_D3.png"
    cases = {
        "too large": np.zeros((4, tissues.MAX_LABEL_SIDE + 1), np.uint8),
        "its slice": np.zeros((40, 40), np.uint8),
        "unknown grey value 49": np.full((40, 36), 49, np.uint8),
    }
    for reason, pixels in cases.items():
        Image.fromarray(pixels).save(path)
        with pytest.raises(UserError, match=reason):
            tissues.read_labels(path, (40, 36))
    Image.fromarray(np.full((40, 36), 50, np.uint8)).save(path, "BMP")
    with pytest.raises(UserError, match="not a usable"):
        tissues.read_labels(path, (40, 36))
    Image.fromarray(np.full((40, 36), 50, np.uint8)).save(path)
    assert tissues.read_labels(path, (40, 36)).shape == (40, 36)
    with path.open("ab") as stream:
        stream.truncate(tissues.MAX_LABEL_BYTES + 1)
    with pytest.raises(UserError, match="too large"):
        tissues.read_labels(path, (40, 36))


def test_the_labelled_slice_is_the_discs_third():
    """Four slices give 1-3 and 2-4, five give 2-4: the third is the third, the second, the second."""
    samples = pd.DataFrame(
        [("1", "s", "L4-L5", 0), ("1", "s", "L4-L5", 1), ("1", "s", "L5-S1", 0), ("2", "t", "L4-L5", 0)],
        columns=["patient", "study", "level", "part"],
    )
    assert tissues.labelled_slice(samples).tolist() == [2, 1, 1, 1]
