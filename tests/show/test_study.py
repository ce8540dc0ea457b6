"""One study read by a run: hand-made DICOM trees and a small random network; and the smoke run on its own phantom."""

import argparse
import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from scipy.special import expit

from lhdlib import cache, gradcam, profile
from lhdlib.data import dataset, dicom, resampling
from lhdlib.errors import UserError
from lhdlib.model import encoder
from lhdlib.run import stale, workspace
from lhdlib.show import study
from lhdlib.show.disc import from_workspace
from tests.data import trees

PROFILE = profile.load("smoke")
PHANTOM = "phantom (synthetic images, no evidence about patients)"
PERSON = "DOE_JOHN_19600101"
SIZE = (64, 64)
DISCS = (("L3-L4", 74.0, 4), ("L4-L5", 37.0, 5), ("L5-S1", 0.0, 3))  # height (mm) and number of slices


@pytest.fixture(scope="module")
def run() -> study.Run:
    """A run with random weights that says it was trained on a phantom."""
    rng = np.random.default_rng(0)
    model = encoder.extractor(encoder.build_encoder(PROFILE.data.image_size, PROFILE.encoder, 0, seed=0))
    weights = rng.normal(0, 3, (3, PROFILE.encoder.dim)).astype(np.float32)
    stamp = {"profile": "smoke", "seed": 0, "data": PHANTOM, "commit": "0123abc"}
    return study.Run(Path("results"), PROFILE, model, weights, 0.1, stamp, frozenset())


def write_study(folder: Path, discs=DISCS, **tags) -> Path:
    """A study of one slab a disc, each tilted another way."""
    for number, (_, height, count) in enumerate(discs):
        place = {"center": (0, 0, height), "count": count, "tilt": 5.0 * number, "first": 1 + 10 * number}
        trees.write_slab(folder / "T2_TSE_TRA_384_0004", **place, seed=number, size=SIZE, **tags)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """An archive of one patient with one study; the headers name a person."""
    archive = tmp_path_factory.mktemp("archive")
    folder = write_study(archive / "01_MRI_Data" / "0007" / trees.STUDY, PatientName=PERSON, InstitutionName=PERSON)
    trees.save(trees.make_slice(size=SIZE, ImageType=["ORIGINAL", "LOCALIZER"]), folder / "LOCALIZER_0001" / "a.ima")
    (folder / "notes.txt").write_text("no image")
    return archive


def study_folder(tree: Path) -> Path:
    return tree / "01_MRI_Data" / "0007" / trees.STUDY


def test_every_disc_is_read_from_cranial_to_caudal(tree, run):
    found = study.read_study(study_folder(tree), run)
    assert list(found.table.level) == ["L3-L4", "L3-L4", "L4-L5", "L5-S1"]
    assert list(found.table.slices) == ["1-3 of 4", "2-4 of 4", "2-4 of 5", "1-3 of 3"]
    assert (found.table.flag == "").all() and found.table.probability.between(0, 1).all()
    assert found.rejected.to_dict() == {"localizer": 1, "not DICOM": 1}
    assert set(found.reading.discs.patient) == {"0007"} and found.reading.discs.label.isna().all()
    called = np.where(found.table.probability >= 0.5, "abnormal", "normal")
    assert list(found.table.called) == list(called)
    assert np.allclose(found.table[study.WEIGHTS].sum(axis=1), 1)


def test_the_probability_is_the_linear_unit_on_three_preprocessed_slices(tree, run):
    """Computed from the files by hand: the L4-L5 slab's second to fourth slice."""
    found = study.read_study(study_folder(tree), run)
    data = PROFILE.data
    paths = [study_folder(tree) / "T2_TSE_TRA_384_0004" / f"T2_TSE_TRA__{n:04d}_001.ima" for n in (12, 13, 14)]
    slices = [
        resampling.preprocess(dicom.read_pixels(path), (0.6875, 0.6875), data.image_size, data.field_of_view_mm)
        for path in paths
    ]
    features = run.extractor(np.float32(np.float16(slices))[..., None], training=False)[0].numpy()
    wanted = expit((features * run.weights).sum() + run.bias)
    assert found.table.probability[2] == pytest.approx(wanted, abs=1e-5)
    assert not np.isclose(found.table.probability, wanted, atol=1e-5)[[0, 1, 3]].any()


@pytest.mark.parametrize("above", [0, 1, 2, 3])
def test_any_folder_that_holds_one_study_will_do(tree, run, above):
    folder = (study_folder(tree), *study_folder(tree).parents)[above]
    found = study.read_study(folder, run)
    pd.testing.assert_frame_equal(found.table, study.read_study(study_folder(tree), run).table)
    assert set(found.reading.discs.patient) == {"0007"}


def test_a_series_folder_and_a_folder_of_files_will_do(tree, run, tmp_path):
    wanted = study.read_study(study_folder(tree), run).table
    series = study_folder(tree) / "T2_TSE_TRA_384_0004"
    pd.testing.assert_frame_equal(study.read_study(series, run).table, wanted)
    found = study.read_study(shutil.copytree(series, tmp_path / PERSON / PERSON), run)
    pd.testing.assert_frame_equal(found.table, wanted)
    assert set(found.reading.discs.patient) == {study.UNNUMBERED}


def test_discs_that_are_not_read_are_listed_with_the_reason(run, tmp_path):
    discs = (("L4-L5", 37.0, 2), ("L5-S1", 0.0, 3))
    found = study.read_study(write_study(tmp_path / "0001" / "study", discs), run)
    assert list(found.table.level) == ["L4-L5", "L5-S1"]
    assert list(found.table.called)[0] == study.NOT_READ and np.isnan(found.table.probability[0])
    assert found.table.flag[0] == "fewer than three slices" and found.table.flag[1] == ""
    assert len(found.reading.discs) == 1


def test_a_study_of_flagged_discs_alone_still_gives_page_and_table(run, tmp_path):
    found = study.read_study(write_study(tmp_path / "0001" / "study", (("L5-S1", 0.0, 2),)), run)
    assert list(found.table.called) == [study.NOT_READ] and len(found.reading.discs) == 0
    page, table = study.save_study(found, tmp_path / "out")
    assert "fewer than three slices" in page.read_text(encoding="utf-8")
    assert list(pd.read_csv(table).flag) == ["fewer than three slices"]


def test_unreadable_pixels_are_counted_and_their_disc_shrinks(tree, run, tmp_path):
    copy = shutil.copytree(study_folder(tree), tmp_path / "0007" / "study")
    broken = copy / "T2_TSE_TRA_384_0004" / "T2_TSE_TRA__0021_001.ima"
    header = pydicom.dcmread(broken)
    header.RescaleSlope = "1e38"  # beyond what a float holds
    trees.save(header, broken)
    found = study.read_study(copy, run)
    assert found.rejected["pixels unreadable"] == 1
    assert found.table.flag.iloc[-1] == "fewer than three slices"


def test_discs_that_trained_the_classifier_say_so(tree, run):
    slices, _ = dicom.index_tree(study_folder(tree))
    seen = slices.sop_uid[slices.path.str.endswith("__0001_001.ima")]  # the first slice of the first disc
    found = study.read_study(study_folder(tree), dataclasses.replace(run, training=frozenset(seen)))
    assert list(found.table.flag) == [study.TRAINED, "", "", ""]
    assert "trained the classifier" in study.shown_table(found).to_string()


def test_no_name_of_a_person_is_written(tree, run, tmp_path):
    folder = shutil.copytree(study_folder(tree), tmp_path / PERSON / f"{PERSON}<img src=x onerror=alert(1)>")
    found = study.read_study(folder, run)
    for path in study.save_study(found, tmp_path / "out"):
        text = path.read_text(encoding="utf-8")
        assert "DOE" not in text and "onerror" not in text and str(tmp_path) not in text


@pytest.mark.parametrize(
    "trained_on, manufacturer, nothing",
    [
        (PHANTOM, "SIEMENS", True),
        (PHANTOM, "phantom", False),
        ("DICOM archive, 515 patients", "SIEMENS", False),
        ("DICOM archive, 515 patients", "phantom", True),
    ],
)
def test_what_trained_the_model_stands_above_everything(run, tmp_path, trained_on, manufacturer, nothing):
    discs = (("L5-S1", 0.0, 3),)
    folder = write_study(tmp_path / "0001" / "study", discs, Manufacturer=manufacturer)
    found = study.read_study(folder, dataclasses.replace(run, stamp=run.stamp | {"data": trained_on}))
    assert found.warning.startswith(f"Model trained on: {trained_on}.")
    assert ("do not interpret" in found.warning) == nothing
    page, table = study.save_study(found, tmp_path / "out")
    assert f'<p class="warning">{found.warning}</p>' in page.read_text(encoding="utf-8")
    assert set(pd.read_csv(table).trained_on) == {trained_on}
    text = page.read_text(encoding="utf-8")
    assert "true positive" not in text and "false negative" not in text


def test_several_studies_are_named(tree, run, tmp_path):
    for number in range(1, 8):
        write_study(tmp_path / f"{number:04d}" / f"STUDY_{number}\x1b[31m", (("L5-S1", 0.0, 3),))
    with pytest.raises(UserError) as error:
        study.read_study(tmp_path, run)
    said = str(error.value)
    assert "holds 7 studies" in said and "0001/STUDY_1" in said and "and 2 more" in said and "\x1b" not in said


@pytest.mark.parametrize("content", ["missing", "empty", "text", "t1"])
def test_a_folder_without_a_study_is_one_sentence(content, run, tmp_path):
    folder = tmp_path / "0001"
    if content != "missing":
        folder.mkdir()
    if content == "text":
        (folder / "a.txt").write_text("no image")
    if content == "t1":
        write_study(folder / "study", (("L5-S1", 0.0, 3),), **trees.T1)
    with pytest.raises(UserError) as error:
        study.read_study(folder, run)
    said = str(error.value)
    expected = {"missing": "There is no folder", "empty": "holds no file"}.get(content, "no axial T2 slice")
    assert expected in said and said.count(". ") == 0 and said.endswith(".")


# A finished run


def command(*arguments) -> int:
    """``lhdlib study`` with these arguments."""
    parser = argparse.ArgumentParser()
    study.add_arguments(parser)
    return study.run(parser.parse_args(list(map(str, arguments))))


def finished(folder: Path, **changes) -> Path:
    """What `open_run` asks of a run before it opens any array."""
    key = changes.get("key", cache.content_key(PROFILE))
    record = {"made from": {stale.PROFILE_VALUES: key}}
    (folder / stale.RECORDS).write_text(json.dumps({n: record for n in changes.get("notebooks", study.NEEDED)}))
    (folder / "stamp.json").write_text(changes.get("stamp", json.dumps({"profile": "smoke", "data": PHANTOM})))
    return folder


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"notebooks": ("01", "03")}, "Notebook 04"),
        ({"notebooks": ()}, "Notebook 01"),
        ({"key": "another"}, "has changed since"),
        ({"stamp": "{"}, "cannot be read"),
        ({"stamp": "[]"}, "is damaged"),
        ({"stamp": "{}"}, "is damaged"),
        ({"stamp": '{"profile": "../x", "data": ""}'}, "There is no profile"),
        ({}, "dataset.json cannot be read"),
    ],
)
def test_an_unfinished_or_damaged_run_is_one_sentence(tmp_path, changes, said):
    finished(tmp_path, **changes)
    with pytest.raises(UserError, match=re.escape(said)) as error:
        command(tmp_path, "--run", tmp_path)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [stale.RECORDS, "stamp.json"]


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="holds no finished run"):
        command(tmp_path, "--run", tmp_path / "none")


def test_the_run_s_own_test_discs_get_the_probabilities_of_notebook_07(smoke):
    """Every test disc of the smoke run, read again from its study's folder."""
    run = study.open_run(smoke.results)
    space = workspace.open_workspace("smoke", results=str(smoke.results))
    samples = dataset.load_dataset(smoke.results / "01").samples
    test = samples[samples[f"split_{PROFILE.data.split}"] == "test"].reset_index(drop=True)
    with np.load(smoke.results / "07" / "heatmaps.npz", allow_pickle=False) as stored:
        test["wanted"] = stored["probability"]
        wanted_maps, wanted_weights = gradcam.normalise(stored["raw"]), stored["slice_weight"]
    sagittal = from_workspace(space).sagittal
    compared = 0
    for (patient, name), discs in list(test.groupby(["patient", "study"]))[:2]:
        found = study.read_study(space.data_dir / "01_MRI_Data" / patient / name, run)
        for row, disc in discs.iterrows():
            same = np.flatnonzero(found.table.level == disc.level)[disc.part]
            assert found.table.probability[same] == pytest.approx(disc.wanted, abs=1e-5)
            assert np.allclose(found.reading.maps[same], wanted_maps[row], atol=1e-4)
            assert np.allclose(found.table.loc[same, study.WEIGHTS].astype(float), wanted_weights[row], atol=1e-5)
            assert found.reading.sagittal(same).tobytes() == sagittal(row).tobytes()
            compared += 1
    assert compared >= 2


def test_the_command_prints_the_table_and_writes_page_and_csv(smoke, tmp_path, capsys):
    space = workspace.open_workspace("smoke", results=str(smoke.results))
    folder = next((space.data_dir / "01_MRI_Data" / "0001").iterdir())
    assert command(folder, "--run", smoke.results, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "study.csv")
    assert f"Model trained on: {PHANTOM}" in said and "not for clinical use" in said
    for disc in table.itertuples():
        assert f"{disc.level} {disc.slices}" in said and f"{disc.probability:.3f}" in said
    assert (tmp_path / "out" / "study.html").stat().st_size < 2e6
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        command(folder, "--run", smoke.results, "--out", tmp_path / "file")
