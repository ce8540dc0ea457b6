"""Truth: labels and masks agree with each other and with the files."""

import numpy as np
import pytest

from lhdlib.errors import UserError
from lhdlib.phantom import truth
from lhdlib.phantom.reading import read_patient
from tests.phantom.studies import axial_headers


@pytest.mark.slow
def test_truth_labels_and_masks_agree(headers, written):
    discs, masks = truth.load_truth(written)
    numbered = axial_headers(headers, "T2")
    assert set(masks) == {str(ds.SOPInstanceUID) for ds in numbered.ds}
    assert discs.label.nunique() == 2
    assert ((discs.severity > 0) == discs.label).all() and ((discs.lesion != "none") == discs.label).all()
    assert (discs.depth_mm[discs.label == 1] >= 2).all() and (discs.depth_mm[discs.label == 0] > 0).any()
    for row in discs.itertuples():
        slab = range(row.first_slice, row.first_slice + row.slices)
        mine = [ds for ds in numbered[numbered.patient == row.patient].ds if ds.InstanceNumber in slab]
        sizes = {int(ds.InstanceNumber): masks[ds.SOPInstanceUID].sum() for ds in mine}
        assert all(masks[ds.SOPInstanceUID].shape == ds.pixel_array.shape for ds in mine)
        if row.label:
            assert sizes[row.central_slice] * mine[0].PixelSpacing[0] ** 2 > 4  # mm²
        else:
            assert not any(sizes.values())


def test_truth_of_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no phantom truth"):
        truth.load_truth(tmp_path)


def test_masks_come_back_as_they_were(tmp_path):
    rng = np.random.default_rng(2)
    masks = {f"1.2.{i}": rng.random(rng.integers(1, 40, 2)) < rng.random() for i in range(30)}
    rows = [{"patient": "0001", "level": "L5-S1"}]
    truth.write_truth(tmp_path, rows, {uid: truth.PackedMask.of(mask) for uid, mask in masks.items()})
    discs, again = truth.load_truth(tmp_path)
    assert discs.to_dict("records") == rows and list(again) == list(masks) and len(again) == 30
    for uid, mask in masks.items():
        assert again[uid].dtype == bool
        np.testing.assert_array_equal(again[uid], mask)


def test_rows_tell_truth_and_both_readings_and_where_the_slices_are(anatomies):
    for patient in anatomies[:40]:
        reading = read_patient(11, patient)
        masks = [[np.full((4, 4), i == 1) for i in range(len(slab.offsets))] for slab in patient.slabs]
        first = 1
        for slab, row in zip(patient.slabs, truth.truth_rows(patient, reading, masks), strict=True):
            disc = patient.discs[slab.disc]
            place = [one.level for one in reading.discs].index(disc.level)
            assert (row["patient"], row["level"]) == (f"{patient.number:04d}", disc.level)
            assert (row["noted"], row["second_reader"]) == (reading.noted[place], reading.second[place])
            assert row["label"] == (disc.severity > 0) == (row["severity"] > 0)
            assert row["lesion"] == (disc.displacement.kind if disc.severity > 0 else "none")
            assert row["depth_mm"] == pytest.approx(disc.displacement.depth, abs=0.006)
            assert (row["first_slice"], row["slices"], row["lesion_slices"]) == (first, len(slab.offsets), 1)
            assert abs(slab.offsets[row["central_slice"] - first]) == min(map(abs, slab.offsets))
            first += row["slices"]
