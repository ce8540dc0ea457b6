"""One study read by a model: hand-made DICOM trees and a small random network; and the smoke run on its own phantom."""

import dataclasses
import html
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from scipy.special import expit

from lhdlib import augment, gradcam
from lhdlib.data import dataset, dicom, resampling
from lhdlib.errors import UserError
from lhdlib.model import encoder
from lhdlib.run import workspace
from lhdlib.show import reader, study
from lhdlib.show.disc import caption, facts, from_workspace
from tests.data import trees
from tests.show.test_study import (  # noqa: F401  (a fixture among them)
    DISCS,
    PERSON,
    PHANTOM,
    PROFILE,
    SHORT_STUDY,
    SIZE,
    UID,
    command,
    key_of,
    study_folder,
    tree,
    write_study,
)


@pytest.fixture(scope="module")
def model() -> reader.Model:
    """Random weights of a run that says it was trained on a phantom."""
    rng = np.random.default_rng(0)
    extractor = encoder.extractor(encoder.build_encoder(PROFILE.data.image_size, PROFILE.encoder, 0, seed=0))
    weights = rng.normal(0, 3, (3, PROFILE.encoder.dim)).astype(np.float32)
    stamp = {"profile": "smoke", "seed": 0, "data": PHANTOM, "commit": "0123abc"}
    run = study.FinishedRun(Path("results"), PROFILE, stamp)
    return reader.Model(run, extractor, weights, 0.1, frozenset())


def read(folder: Path, model: reader.Model, **options) -> reader.Study:
    return reader.read_study(study.find_study(folder, **options), model)


def trained_on(model: reader.Model, data: str) -> reader.Model:
    run = dataclasses.replace(model.run, stamp=model.run.stamp | {"data": data})
    return dataclasses.replace(model, run=run)


@pytest.mark.slow
def test_every_disc_is_one_row_from_cranial_to_caudal(tree, model):  # noqa: F811
    found = read(study_folder(tree), model)
    assert list(found.table.level) == ["L3-L4", "L4-L5", "L5-S1"]
    assert list(found.table.slices) == [4, 5, 3] and (found.table.flag == "").all()
    assert list(found.table.read_1) == ["1-3", "2-4", "1-3"] and list(found.table.read_2) == ["2-4", "", ""]
    assert found.rejected.to_dict() == {"localizer": 1, "not DICOM": 1}
    assert list(found.reading.discs.level) == ["L3-L4", "L3-L4", "L4-L5", "L5-S1"]
    assert set(found.reading.discs.patient) == {"0007"} and found.reading.discs.label.isna().all()
    called = np.where(found.table.probability >= 0.5, "abnormal", "normal")
    assert list(found.table.called) == list(called)
    assert np.allclose(found.reading.slice_weight.sum(axis=1), 1)


@pytest.mark.slow
def test_a_disc_of_four_slices_has_both_readings_and_their_mean_and_says_why(tree, model):  # noqa: F811
    found = read(study_folder(tree), model)
    four, five, _ = found.table.itertuples()
    assert [four.probability_1, four.probability_2] == list(found.reading.discs.probability[:2])
    assert four.probability == pytest.approx((four.probability_1 + four.probability_2) / 2)
    assert four.probability_1 != four.probability_2
    assert "4 slices" in four.remark and "1-3 and as 2-4" in four.remark and "mean" in four.remark
    assert five.remark == "" and np.isnan(five.probability_2) and five.probability == five.probability_1
    captions = [caption(facts(found.reading, row)) for row in range(4)]
    for text, slices in zip(captions, ("1-3 of 4", "2-4 of 4", "2-4 of 5", "1-3 of 3"), strict=True):
        assert f"Slices {slices}, cranial to caudal." in text
    assert all(f"mean counts ({four.probability:.3f})" in text for text in captions[:2])
    assert not any("mean" in text for text in captions[2:])


@pytest.mark.slow
def test_with_the_upper_triple_alone_a_disc_of_four_slices_has_one_reading(tree, model):  # noqa: F811
    profile = PROFILE.replace(data={"four_slices": "upper"})
    upper = dataclasses.replace(model, run=dataclasses.replace(model.run, profile=profile))
    found = read(study_folder(tree), upper)
    assert list(found.table.read_1) == ["1-3", "2-4", "1-3"] and (found.table.read_2 == "").all()
    assert (found.table.remark == "").all() and len(found.reading.discs) == 3


@pytest.mark.slow
def test_the_probability_is_the_linear_classifier_on_three_preprocessed_slices(tree, model, tmp_path):  # noqa: F811
    """Computed from the files by hand: the L4-L5 slab's second to fourth slice."""
    found = read(study_folder(tree), model)
    data = PROFILE.data
    paths = [study_folder(tree) / "T2_TSE_TRA_384_0004" / f"T2_TSE_TRA__{n:04d}_001.ima" for n in (12, 13, 14)]
    slices = [
        resampling.preprocess(dicom.read_pixels(path), (0.6875, 0.6875), data.image_size, data.field_of_view_mm)
        for path in paths
    ]
    seen = augment.seen(np.float16(slices), PROFILE.finetune.test_crop)[np.arange(3)]
    features = model.extractor(np.float32(seen)[..., None], training=False)[0].numpy()
    wanted = expit((features * model.weights).sum() + model.bias)
    assert found.table.probability[1] == pytest.approx(wanted, abs=1e-5)
    assert not np.isclose(found.table.probability, wanted, atol=1e-5)[[0, 2]].any()
    assert found.reading.where == gradcam.cells(PROFILE, found.reading.maps.shape[-1])
    page, _ = reader.save_study(found, tmp_path / "out")
    assert found.reading.drawn and html.escape(found.reading.drawn) in page.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("above", [1, 3])
def test_a_folder_above_gives_the_same_numbers(tree, model, above):  # noqa: F811
    folder = (study_folder(tree), *study_folder(tree).parents)[above]
    pd.testing.assert_frame_equal(read(folder, model).table, read(study_folder(tree), model).table)


@pytest.mark.slow
def test_discs_that_are_not_read_are_listed_with_the_reason(model, tmp_path):
    discs = (("L4-L5", 37.0, 2), ("L5-S1", 0.0, 3))
    found = read(write_study(tmp_path / "0001" / "study", discs), model)
    assert list(found.table.level) == ["L4-L5", "L5-S1"]
    assert found.table.called[0] == reader.NOT_READ and np.isnan(found.table.probability[0])
    assert found.table.flag[0] == "fewer than three slices" and found.table.flag[1] == ""
    assert len(found.reading.discs) == 1


def test_a_study_of_flagged_discs_alone_still_gives_page_and_table(model, tmp_path):
    found = read(write_study(tmp_path / "0001" / "study", (("L5-S1", 0.0, 2),)), model)
    assert list(found.table.called) == [reader.NOT_READ] and len(found.reading.discs) == 0
    page, table = reader.save_study(found, tmp_path / "out")
    assert "fewer than three slices" in page.read_text(encoding="utf-8")
    assert list(pd.read_csv(table).flag) == ["fewer than three slices"]


@pytest.mark.slow
def test_unreadable_pixels_are_counted_and_their_disc_shrinks(tree, model, tmp_path):  # noqa: F811
    copy = shutil.copytree(study_folder(tree), tmp_path / "0007" / "study")
    broken = copy / "T2_TSE_TRA_384_0004" / "T2_TSE_TRA__0021_001.ima"
    header = pydicom.dcmread(broken)
    header.RescaleSlope = "1e38"  # beyond what a float holds
    trees.save(header, broken)
    found = read(copy, model)
    assert found.rejected["pixels unreadable"] == 1
    assert found.table.flag.iloc[-1] == "fewer than three slices"


@pytest.mark.slow
def test_discs_that_trained_the_classifier_say_so(tree, model):  # noqa: F811
    slices, _ = dicom.index_tree(study_folder(tree))
    seen = slices.sop_key[slices.path.str.endswith("__0001_001.ima")]  # the first slice of the first disc
    found = read(study_folder(tree), dataclasses.replace(model, training=frozenset(seen)))
    assert list(found.table.flag) == [reader.TRAINED, "", ""]
    assert list(found.reading.discs.flag) == [reader.TRAINED, "", "", ""]
    assert "trained the classifier" in reader.shown_table(found).to_string()


@pytest.mark.slow
def test_page_and_table_say_whose_they_are_and_name_nobody(tree, model, tmp_path):  # noqa: F811
    folder = shutil.copytree(study_folder(tree), tmp_path / PERSON / "MRI<img src=x onerror=alert(1)>")
    found = read(folder, model)
    page, table = reader.save_study(found, tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    for words in (key_of(UID), "2016-03-09", "MRI&lt;img src=x"):
        assert words in text.split('<script type="application/json"')[0]
    assert "<img src=x" not in re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL)
    assert text.count(key_of(UID)) >= 2 + len(found.reading.discs)  # every caption
    rows = pd.read_csv(table, dtype=str)
    assert set(rows.study) == {key_of(UID)} and set(rows.study_date) == {"2016-03-09"}
    assert set(rows.folder) == {folder.name} and set(rows.trained_on) == {PHANTOM}
    words = re.sub(r"[A-Za-z0-9+/=]{200,}", "", text)  # of which pictures hold any by chance
    for written in (words, table.read_text(encoding="utf-8"), reader.summary(found)):
        assert [secret for secret in ("DOE", "19600101", "1960-01", str(tmp_path), UID) if secret in written] == []


@pytest.mark.parametrize(
    "data, manufacturer, nothing",
    [
        (PHANTOM, "SIEMENS", True),
        (PHANTOM, "phantom", False),
        ("DICOM archive, 515 patients", "SIEMENS", False),
        ("DICOM archive, 515 patients", "phantom", True),
    ],
)
def test_what_trained_the_model_stands_above_everything(model, tmp_path, data, manufacturer, nothing):
    folder = write_study(tmp_path / "0001" / "study", SHORT_STUDY, Manufacturer=manufacturer)
    found = read(folder, trained_on(model, data))
    assert found.warning.startswith(f"Model trained on: {data}.")
    assert ("do not interpret" in found.warning) == nothing
    page, table = reader.save_study(found, tmp_path / "out")
    assert f'<p class="warning">{found.warning}</p>' in page.read_text(encoding="utf-8")
    assert set(pd.read_csv(table).trained_on) == {data}
    text = page.read_text(encoding="utf-8")
    assert "true positive" not in text and "false negative" not in text


def test_the_readme_says_it_in_the_same_words():
    readme = " ".join((workspace.ROOT / "README.md").read_text(encoding="utf-8").split())
    assert reader.warning(PHANTOM, "one DICOM study").rpartition(": ")[2] in readme


def test_the_sentence_about_files_set_aside_counts_each_kind(tree, model):  # noqa: F811
    found = read(study_folder(tree), model)
    said = reader.set_aside_line(found)
    assert said.startswith("2 files were set aside: ") and "1 localizer" in said
    assert "1 file that is not DICOM" in said and said.endswith(".")
    assert reader.set_aside_line(dataclasses.replace(found, rejected=found.rejected[:0])) == "No file was set aside."


# The angled study of another hospital

ANGLED = "angled_study_axial_T2.csv"


def write_angled(folder: Path, table: pd.DataFrame, size: int = 64) -> Path:
    """The geometry of `real/headers/angled_study_axial_T2.csv` with pixels of its own, and a minimal header."""
    for number, row in enumerate(table.itertuples()):
        image = trees.make_slice(
            (row.x, row.y, row.z),
            [row.row_x, row.row_y, row.row_z, row.column_x, row.column_y, row.column_z],
            (size, size),
            seed=number,
            InstanceNumber=row.instance_number,
            PixelSpacing=[row.pixel * row.rows / size] * 2,
            SliceThickness=row.thickness,
            SeriesDescription="T2",
            **dict.fromkeys(["EchoTime", "RepetitionTime", "Modality", "BodyPartExamined", "SeriesNumber"]),
        )
        trees.save(image, folder / "T2" / f"{number:03d}.dcm")
    return folder


@pytest.mark.slow
def test_an_angled_study_gives_a_page_with_five_rows(real_dir, model, tmp_path):
    table = pd.read_csv(real_dir / "headers" / ANGLED)
    found = read(write_angled(tmp_path / "hospital" / "37" / "LUMBAR", table), model)
    assert list(found.table.level) == ["L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1"]
    assert list(found.table.slices) == list(table.groupby("slab_level", sort=False).size())
    assert found.table.probability.between(0, 1).all() and (found.table.called != reader.NOT_READ).all()
    for disc in found.table.itertuples():  # the middle of each reading is at most one slice from the slab's
        for words in filter(None, (disc.read_1, disc.read_2)):
            first, last = map(int, words.split("-"))
            assert last == first + 2 and abs((first + last) / 2 - (disc.slices + 1) / 2) <= 1
        assert disc.read_2 == "" and f"{disc.slices} slices, from above: the sample has" in disc.remark
    page, path = reader.save_study(found, tmp_path / "out")
    body = page.read_text(encoding="utf-8").split("<tbody>")[1].split("</tbody>")[0]
    assert body.count("<tr>") == 5 == len(pd.read_csv(path))


# A finished run


@pytest.mark.slow
def test_the_run_s_own_test_discs_get_the_probabilities_of_notebook_07(smoke):
    """Test discs of the smoke run, read again from their study's folder."""
    model = reader.load_model(study.finished_run(smoke.results))
    space = workspace.open_workspace("smoke", results=str(smoke.results))
    test = dataset.load_dataset(smoke.results / "01").part("test", PROFILE.data.split).table.copy()
    with np.load(smoke.results / "07" / "heatmaps.npz", allow_pickle=False) as stored:
        test["wanted"] = stored["probability"]
        wanted_maps, wanted_weights = gradcam.normalise(stored["raw"]), stored["slice_weight"]
    sagittal = from_workspace(space).sagittal
    compared = 0
    for (patient, name), discs in list(test.groupby(["patient", "study"]))[:2]:
        found = read(space.data_dir / "01_MRI_Data" / patient / name, model)
        for row, disc in discs.iterrows():
            same = np.flatnonzero(found.reading.discs.level == disc.level)[disc.part]
            assert found.reading.discs.probability[same] == pytest.approx(disc.wanted, abs=1e-5)
            assert np.allclose(found.reading.maps[same], wanted_maps[row], atol=1e-4)
            assert np.allclose(found.reading.slice_weight[same], wanted_weights[row], atol=1e-5)
            assert found.reading.sagittal(same).draw().tobytes() == sagittal(row).draw().tobytes()
            compared += 1
    assert compared >= 2


@pytest.mark.slow
def test_the_command_prints_the_table_and_overwrites_no_other_study(smoke, tmp_path, capsys):
    space = workspace.open_workspace("smoke", results=str(smoke.results))
    written = {}
    for patient in ("0001", "0002"):
        folder = shutil.copytree(
            next((space.data_dir / "01_MRI_Data" / patient).iterdir()), tmp_path / patient / "LSPINE"
        )
        for _ in range(2):  # the same study again takes its own place
            assert command(folder, "--run", smoke.results, "--out", tmp_path / "out") == 0
        said = capsys.readouterr().out
        page, path = map(Path, said.strip().split("\n")[-2:])
        written[patient] = page, page.read_bytes()
        table = pd.read_csv(path, dtype={"study": str})
        assert f"Model trained on: {PHANTOM}" in said and "not for clinical use" in said
        for disc in table.itertuples():
            assert re.search(rf"{disc.level} +{disc.slices} +{disc.probability:.3f}", said)
        assert page.stat().st_size < 2e6 and page.parent.name == f"LSPINE_{table.study[0]}"
    assert len(list((tmp_path / "out").iterdir())) == 2
    for page, content in written.values():
        assert page.read_bytes() == content
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        command(folder, "--run", smoke.results, "--out", tmp_path / "file")
