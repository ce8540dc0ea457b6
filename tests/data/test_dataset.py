"""The dataset rules on a hand-made tree with hand-made notes, and on tables; each against what a person would say."""

import json
import re
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import openpyxl
import pandas as pd
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, generate_uid

from lhdlib import files
from lhdlib import profile as profiles
from lhdlib.data import dataset, dicom, splits
from lhdlib.data.store import SPARE
from lhdlib.errors import UserError
from tests.data import trees
from tests.data.test_resampling import by_integration

pytestmark = pytest.mark.slow  # all of them need what is written once for this file

LEVELS = ["L5-S1", "L4-L5", "L3-L4", "L2-L3", "L1-L2", "T12-L1"]  # from the lowest upwards
PARTS = {1: 0, 2: 0, 3: 1, 4: 2, 5: 1, 6: 1}  # samples of a disc with so many slices
SIZE, HELD_OUT = 16, 7
PROFILE = profiles.load("smoke").replace(
    data={
        "image_size": SIZE,
        "field_of_view_mm": 0.0,
        "pretrain_validation": HELD_OUT,
        "test_per_class": 2,
        "validation_per_class": 1,
    }
)
SMALL = PROFILE.replace(data={"test_per_class": 1})
# patient: slices of each slab from the lowest upwards, positive levels, note
PATIENTS = {
    "0001": ([5, 4, 4], {"L4-L5"}, "Diffuse disc bulge is seen at L4-L5 level."),
    "0002": ([5, 5, 5, 5, 5, 5], {"L5-S1", "L3-L4"}, "Disc protrusion at L5-S1. Mild disc bulge at L3-L4."),
    "0003": ([4, 3, 6], set(), "Normal lumbar spine study."),
    "0004": ([4, 4, 4], {"L4-L5", "L5-S1"}, "Disc bulges at L4-L5 and L5-S1 levels."),
    "0005": ([4, 2, 1], {"L5-S1"}, "Disc extrusion at L5-S1."),
    "0006": ([4, 4, 4], None, ""),  # no note
    "0007": ([4, 4, 4], None, "Disc bulge at L4-L5."),  # and a second, other note
    "0008": ([4, 4, 4], None, "Disc bulge at L4-L5."),  # two studies
    "0009": ([5, 5, 5], {"L4-L5"}, "Disc bulge at L4-L5."),  # one slice of L3-L4 has unreadable pixels
    "0010": ([4, 4, 4], None, "No change since the previous examination."),
}
SHAPES = {"0003": (40, 56), "0005": (320, 310)}


def write_notes(path, rows):
    book = openpyxl.Workbook()
    book.active.title = "Sheet1"
    for row in [("Patient ID", "Clinician's Notes"), *rows]:
        book.active.append(row)
    book.save(path)


def write_archive(folder):
    """The tree of `PATIENTS`, with T1, copies, a localizer and foreign files; the paths of its T2 discs."""
    discs = {}
    for patient, (counts, _, _) in PATIENTS.items():
        studies = [trees.STUDY, trees.STUDY[:-15] + "093129_240000"] if patient == "0008" else [trees.STUDY]
        for number, study in enumerate(studies):
            place = folder / "01_MRI_Data" / patient / study
            for level, count in enumerate(counts):
                seed = 100 * int(patient) + 10 * number + level
                size = SHAPES.get(patient, (48, 48))
                values = {"PixelSpacing": [0.5, 0.8]} if patient == "0004" else {}
                files = trees.write_slab(
                    place / f"T2_{level}", (0, 0, 34 * level), count, seed=seed, size=size, **values
                )
                discs[patient, study, LEVELS[level]] = [str(file.relative_to(folder)) for file in files]
                if patient == "0002" and level < 2:
                    trees.write_slab(place / f"T1_{level}", (0, 0, 34 * level), 4, seed=seed + 7, size=size, **trees.T1)
    first = folder / "01_MRI_Data" / "0001" / trees.STUDY
    for file in sorted((first / "T2_0").iterdir()):
        image = trees.pydicom.dcmread(file)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        trees.save(image, first / "T2_again" / file.name)
    trees.write_slab(first / "LOCALIZER_0001", (0, 0, 0), 2, seed=9999, SeriesDescription="localizer")
    (first / "readme.txt").write_text("not an image")
    unreadable = folder / discs["0009", trees.STUDY, "L3-L4"][4]
    image = trees.pydicom.dcmread(unreadable)
    image.PixelData = encapsulate([b"\xff\x4f\xff\x51no pixels follow"])
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    trees.save(image, unreadable)
    rows = [(int(patient), note) for patient, (_, _, note) in PATIENTS.items()]
    write_notes(folder / dataset.NOTES_NAME, [*rows, (7, "Disc bulge at L5-S1."), (1, PATIENTS["0001"][2]), (11, "")])
    return discs


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    return SimpleNamespace(folder=folder, discs=write_archive(folder))


@pytest.fixture(scope="module")
def built(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "01"
    data = dataset.build_dataset(archive.folder, folder, PROFILE, 0)
    text = {"patient": str, "study": str}
    tables = {name: pd.read_csv(folder / f"{name}.csv", dtype=text) for name in ("rejected", "set_aside")}
    return SimpleNamespace(folder=folder, data=data, **tables)


@pytest.fixture(scope="module")
def small(archive, tmp_path_factory):
    """Half of the patients and their dataset: for tests that build again."""
    place = tmp_path_factory.mktemp("small")
    shutil.copytree(archive.folder, place / "archive")
    for patient in PATIENTS.keys() - {"0001", "0003", "0004", "0005", "0009"}:
        shutil.rmtree(place / "archive" / "01_MRI_Data" / patient)
    data = dataset.build_dataset(place / "archive", place / "01", SMALL, 0)
    return SimpleNamespace(archive=place / "archive", folder=place / "01", data=data)


@pytest.fixture
def copy(small, tmp_path):
    """A copy of the small archive and its dataset that a test may change."""
    places = SimpleNamespace(archive=tmp_path / "archive", folder=tmp_path / "01")
    shutil.copytree(small.archive, places.archive)
    shutil.copytree(small.folder, places.folder)
    return places


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def expected_samples(archive):
    """(patient, level, part) -> (label, the three paths), by the paper's rule."""
    wanted = {}
    for (patient, _, level), paths in archive.discs.items():
        positive = PATIENTS[patient][1]
        if positive is None or level == "T12-L1":
            continue
        if (patient, level) == ("0009", "L3-L4"):
            continue  # its fifth slice cannot be read: that four are left is for a person to judge
        starts = {3: [0], 4: [0, 1], 5: [1], 6: [2]}.get(len(paths), [])
        for part, start in enumerate(starts):
            wanted[patient, level, part] = int(level in positive), paths[start : start + 3]
    return wanted


# --- the build ------------------------------------------------------------------------------------------------------


def test_samples_and_labels_are_those_of_the_notes(built, archive):
    wanted, paths, found = expected_samples(archive), built.data.slices.path, {}
    for row in built.data.samples.itertuples():
        found[row.patient, row.level, row.part] = row.label, [paths[r] for r in (row.slice_1, row.slice_2, row.slice_3)]
        assert row.note == PATIENTS[row.patient][2]
    assert found == wanted
    assert len(found) == len(built.data.samples) and {label for label, _ in found.values()} == {0, 1}


def test_every_file_is_a_slice_or_rejected_with_its_reason(built, archive):
    files = {str(p.relative_to(archive.folder)) for p in archive.folder.rglob("*") if p.is_file()}
    usable = built.data.slices[built.data.slices.pretrain.isin(["train", "validation"])]
    assert sorted([*usable.path, *built.rejected.path]) == sorted(files)
    kinds = Counter(reason.split(":")[0] for reason in built.rejected.reason)
    assert kinds["duplicate"] == 5 and kinds["localizer"] == 2 and kinds["pixels unreadable"] == 1
    assert kinds["not DICOM"] == 2 and sum(kinds.values()) == 10  # a text file and the workbook


def test_every_t2_disc_gives_samples_or_is_set_aside(built, archive):
    used = {(s.patient, s.study, s.level) for s in built.data.samples.itertuples()}
    aside = {(s.patient, s.study, s.level): s.reason for s in built.set_aside.itertuples()}
    assert len(aside) == len(built.set_aside) and not used & set(aside)
    assert used | set(aside) == set(archive.discs)
    reasons = {
        "0002": "not lumbar",
        "0005": "fewer than three slices",
        "0006": "no note for this patient",
        "0007": "several notes for this patient",
        "0008": "to be reviewed: several studies of this patient",
        "0009": "to be reviewed: a slice cannot be read",
        "0010": "note undecided: ",
    }
    for (patient, _, level), reason in aside.items():
        assert reason.startswith(reasons[patient]), (patient, level, reason)
    assert Counter(patient for patient, *_ in aside) == {
        "0002": 1,
        "0005": 2,
        "0006": 3,
        "0007": 3,
        "0008": 6,
        "0009": 1,
        "0010": 3,
    }


def test_counts_add_up(built, archive):
    counts, samples = built.data.info["counts"], expected_samples(archive)
    axial = sum(len(paths) for paths in archive.discs.values()) + 2 * 4 - 1  # with T1, without the unreadable one
    assert counts["patients"] == len(PATIENTS)
    assert counts["images"] == sum(p.is_file() for p in archive.folder.rglob("*")) - 2  # a text file and the workbook
    assert counts["axial images"] == axial
    assert counts["pre-training validation images"] == HELD_OUT
    assert counts["pre-training images"] == axial - HELD_OUT
    assert counts["disc samples"] == len(samples)
    assert counts["positive samples"] == sum(label for label, _ in samples.values())
    assert counts["positive samples"] + counts["negative samples"] == len(samples)
    assert counts["test samples"] == 4 and counts["validation samples"] == 2
    assert counts["training samples"] == len(samples) - 6


def test_the_store_holds_each_slice_resampled_and_scaled(built, archive):
    """320 x 310, 40 x 56 and pixels of 0.5 x 0.8 mm among them."""
    slices = built.data.slices
    assert built.data.images.shape == (len(slices), SIZE, SIZE) and built.data.images.dtype == np.float16
    for row in slices[slices.pretrain.notna()].itertuples():
        image = trees.pydicom.dcmread(archive.folder / row.path)
        pixels = np.frombuffer(image.PixelData, np.uint16).reshape(image.Rows, image.Columns).astype(float)
        spacing = [float(value) for value in image.PixelSpacing]
        reference = by_integration(pixels, spacing, SIZE, max(np.array(pixels.shape) * spacing))
        reference /= np.quantile(reference, 0.995)
        assert np.allclose(built.data.images[row.Index], reference, atol=2e-3), row.path


def test_rows_for_pretraining(built):
    train, validation = built.data.pretrain_rows("train"), built.data.pretrain_rows("validation")
    assert len(validation) == HELD_OUT and not set(train) & set(validation)
    left = set(range(len(built.data.slices))) - set(train) - set(validation)
    reasons = built.rejected.set_index("path").reason
    assert [reasons[built.data.slices.path[row]].split(":")[0] for row in left] == ["pixels unreadable"]
    part = built.data.part("train", "paper")
    rows, labels = part.rows, part.labels
    assert rows.shape == (len(labels), 3) and set(rows.ravel()) <= set(train) | set(validation)
    patients = built.data.patients()
    assert all(len(set(patients[triple])) == 1 for triple in rows)


def test_another_seed_splits_the_same_slices_otherwise(copy, small):
    other = dataset.build_dataset(copy.archive, copy.folder, SMALL, 1)
    assert other.info["fingerprint"] != small.data.info["fingerprint"]
    assert np.array_equal(other.images, small.data.images)
    assert not other.samples.split_paper.equals(small.data.samples.split_paper)


# --- when it is built anew ------------------------------------------------------------------------------------------


@pytest.fixture
def builds(monkeypatch):
    """How often a tree was indexed."""
    calls, index_tree = [], dicom.index_tree
    monkeypatch.setattr(dicom, "index_tree", lambda *a, **k: calls.append(1) or index_tree(*a, **k))
    return calls


def test_an_unchanged_archive_is_not_read_again(copy, builds, small):
    again = dataset.build_dataset(copy.archive, copy.folder, SMALL, 0)
    assert not builds and again.info == small.data.info


def change_pixels(place):
    path = next(iter(sorted((place.archive / "01_MRI_Data" / "0001" / trees.STUDY / "T2_0").iterdir())))
    image = trees.pydicom.dcmread(path)
    image.PixelData = bytes(len(image.PixelData))
    trees.save(image, path)


def change_note(place):
    rows = [(int(patient), note) for patient, (_, _, note) in PATIENTS.items()]
    rows[0] = (1, "Disc bulge at L3-L4.")
    write_notes(place.archive / dataset.NOTES_NAME, rows)


@pytest.mark.parametrize(
    "change",
    [
        change_pixels,
        change_note,
        lambda place: shutil.rmtree(place.archive / "01_MRI_Data" / "0003"),
        lambda place: (place.archive / "new.txt").write_text("new"),
        lambda place: (place.archive / "link").symlink_to(place.archive / "nowhere"),
        lambda place: (place.folder / "dataset.json").write_text("{"),
        lambda place: (place.folder / "dataset.json").write_text("[]"),
        lambda place: (place.folder / "dataset.json").unlink(),
    ],
    ids="pixels note patient file dangling-link damaged no-mapping absent".split(),
)
def test_what_changes_is_built_again(change, copy, builds):
    change(copy)
    dataset.build_dataset(copy.archive, copy.folder, SMALL, 0)
    assert len(builds) == 1
    dataset.build_dataset(copy.archive, copy.folder, SMALL, 0)
    assert len(builds) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "01_MRI_Data" / "late.ima").write_bytes(b"unpacked after the index was made"),
        lambda tree: shutil.rmtree(tree / "01_MRI_Data" / "0003"),
        change_note,
    ],
    ids="more less note".split(),
)
def test_an_archive_that_changes_while_it_is_read_is_refused(change, copy, tmp_path, monkeypatch):
    index, place = dataset.index_slices, tmp_path / "meanwhile"

    def meanwhile(archive, *rest):
        found = index(archive, *rest)
        change(copy if change is change_note else archive)
        return found

    monkeypatch.setattr(dataset, "index_slices", meanwhile)
    with pytest.raises(UserError, match="changed while it was read: start again"):
        dataset.build_dataset(copy.archive, place, SMALL, 0)
    assert not any((place / name).exists() for name in ("dataset.json", "samples.csv", "store.npy"))
    monkeypatch.undo()
    assert len(dataset.build_dataset(copy.archive, place, SMALL, 0).samples)


@pytest.mark.parametrize(
    "values", [{"image_size": 17}, {"field_of_view_mm": 20.0}, {"pretrain_validation": 8}, {"test_per_class": 2}]
)
def test_a_changed_profile_is_built_again(values, copy, builds):
    changed = SMALL.replace(data=values)
    data = dataset.build_dataset(copy.archive, copy.folder, changed, 0)
    assert len(builds) == 1 and data.images.shape[1] == changed.data.image_size
    assert (data.slices.pretrain == "validation").sum() == changed.data.pretrain_validation
    assert data.info["counts"]["test samples"] == 2 * changed.data.test_per_class


# --- what fails leaves the earlier dataset as it was ----------------------------------------------------------------


@pytest.mark.parametrize("where", ["pretrain_split", "assign_split", "fingerprint"])
def test_a_build_that_stops_leaves_the_earlier_dataset(where, copy, monkeypatch):
    before = contents(copy.folder)
    change_pixels(copy)

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dataset, where, stop)
        with pytest.raises(KeyboardInterrupt):
            dataset.build_dataset(copy.archive, copy.folder, SMALL, 0)
    assert contents(copy.folder) == before


@pytest.mark.parametrize("when", range(3))
def test_a_build_that_stops_while_it_replaces_tables_is_not_taken_for_whole(when, copy, monkeypatch):
    """A new store beside old tables, or the other way round, would be wrong without a sign of it."""
    change_pixels(copy)
    written, write_table = [], files.write_table

    def stop(path, table):
        if len(written) == when:
            raise KeyboardInterrupt
        written.append(path)
        write_table(path, table)

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "write_table", stop)
        with pytest.raises(KeyboardInterrupt):
            dataset.build_dataset(copy.archive, copy.folder, SMALL, 0)
    with pytest.raises(UserError):
        dataset.load_dataset(copy.folder)
    data = dataset.build_dataset(copy.archive, copy.folder, SMALL, 0)
    row = data.slices.index[data.slices.path.str.contains("0001/.*/T2_0/")][0]
    assert (data.images[row] == 0).all()


def test_bad_input_ends_in_one_sentence_and_never_in_a_mixture(copy, small):
    before = contents(copy.folder)
    (copy.archive.parent / "empty").mkdir()
    scouts = copy.archive.parent / "scouts"
    trees.write_slab(scouts / "0001" / "study" / "series", (0, 0, 0), SeriesDescription="localizer")
    shutil.copy(copy.archive / dataset.NOTES_NAME, scouts)
    broken = copy.archive.parent / "broken"
    shutil.copytree(scouts, broken)
    (broken / dataset.NOTES_NAME).write_text("no workbook")
    greedy = SMALL.replace(data={"test_per_class": 100})
    hungry = SMALL.replace(data={"pretrain_validation": 10_000})
    cases = [
        (copy.archive / "nowhere", SMALL, "--data DIR", ""),
        (copy.archive.parent / "empty", SMALL, "10.17632/s6bgczr8s2", ""),
        (broken, SMALL, "no Excel workbook", ""),
        (scouts, SMALL, "No axial T2 slice", "rejected slices"),
        (copy.archive, greedy, "lower test_per_class", "discs rejected set_aside slices"),
        (copy.archive, hungry, "too few to hold out", "discs rejected set_aside slices"),
    ]
    for folder, settings, words, tables in cases:
        with pytest.raises(UserError, match=re.escape(words)) as error:
            dataset.build_dataset(folder, copy.folder, settings, 0)
        assert trees.is_sentence(error), str(error.value)
        if not tables:
            assert contents(copy.folder) == before, words
            continue
        with pytest.raises(UserError):  # tables of a build that stopped beside an older store are no dataset
            dataset.load_dataset(copy.folder)
        assert all((copy.folder / f"{table}.csv").is_file() for table in tables.split())
    assert dataset.build_dataset(copy.archive, copy.folder, SMALL, 0).info == small.data.info


def test_too_little_disk(copy, small, monkeypatch):
    before = contents(copy.folder)
    needed = small.data.images.nbytes + SPARE
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(UserError, match="make room.*--results") as error:
        dataset.build_dataset(copy.archive, copy.folder, SMALL, 1)
    assert trees.is_sentence(error) and contents(copy.folder) == before
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    dataset.build_dataset(copy.archive, copy.folder, SMALL, 1)


@pytest.mark.parametrize("name", ["dataset.json", "slices.csv", "samples.csv", "store.npy"])
@pytest.mark.parametrize("damage", ["absent", "empty"])
def test_a_damaged_dataset_is_named(name, damage, copy):
    (copy.folder / name).unlink()
    if damage == "empty":
        (copy.folder / name).touch()
    with pytest.raises(UserError, match=re.escape(name)) as error:
        dataset.load_dataset(copy.folder)
    assert trees.is_sentence(error)


def test_keys_of_digits_are_no_numbers_and_missing_ones_are_empty(copy):
    table = pd.read_csv(copy.folder / "slices.csv", dtype=str)
    keys = {"study_key": "000000000012", "series": "0012e3456789", "sop_key": ""}
    table.assign(**keys).to_csv(copy.folder / "slices.csv", index=False)
    slices = dataset.load_dataset(copy.folder).slices
    assert {name: set(slices[name]) for name in keys} == {name: {key} for name, key in keys.items()}


def test_no_table_has_a_uid(archive, built):
    headers = [trees.pydicom.dcmread(path) for path in sorted(archive.folder.rglob("*.ima"))[::7]]
    uids = {str(header[name].value) for header in headers for name in ("SOPInstanceUID", "SeriesInstanceUID")}
    assert len(uids) > len(headers)
    for table in built.folder.glob("*.csv"):
        cells = set(re.split("[,\n]", table.read_text(encoding="utf-8")))
        assert not cells & uids


def test_tables_of_an_earlier_version_are_refused(copy):
    table = pd.read_csv(copy.folder / "slices.csv", dtype=str)
    table.rename(columns={"sop_key": "sop_uid"}).to_csv(copy.folder / "slices.csv", index=False)
    with pytest.raises(UserError, match="earlier version") as error:
        dataset.load_dataset(copy.folder)
    assert trees.is_sentence(error)


def test_a_truncated_or_pickled_store_is_refused(copy):
    whole = (copy.folder / "store.npy").read_bytes()
    (copy.folder / "store.npy").write_bytes(whole[:-100])
    with pytest.raises(UserError, match="damaged"):
        dataset.load_dataset(copy.folder)
    np.save(copy.folder / "store.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="damaged"):
        dataset.load_dataset(copy.folder)


# --- names ---


def test_what_a_dataset_calls_itself():
    table = pd.DataFrame({"patient": ["0001", "0001", "0002"], "manufacturer": ["SIEMENS", "", None]})
    assert dataset.data_label(table) == "DICOM archive, 2 patients"
    mixed = dataset.data_label(table.assign(manufacturer=["SIEMENS", "lhdlib Phantom", None]))
    assert "mixture" in mixed and "no evidence about patients" in mixed
    synthetic = dataset.data_label(table.assign(manufacturer="lhdlib phantom (synthetic)"))
    assert synthetic.startswith("phantom") and "no evidence about patients" in synthetic


def test_the_fingerprints_see_no_words_and_pre_training_no_labels(copy, small):
    notes = pd.read_excel(copy.archive / dataset.NOTES_NAME, dtype=str)
    column = "Clinician's Notes"
    changed = notes[column].str.replace("L5-S1", "L5/S1", regex=False) + " "
    notes.assign(**{column: changed}).to_excel(copy.archive / dataset.NOTES_NAME, index=False)
    assert (
        dataset.build_dataset(copy.archive, copy.folder, SMALL, 0).info["fingerprint"] == small.data.info["fingerprint"]
    )
    notes.assign(**{column: "LSS MRI. Disc bulge at L5-S1."}).to_excel(copy.archive / dataset.NOTES_NAME, index=False)
    info = dataset.build_dataset(copy.archive, copy.folder, SMALL, 0).info
    assert info["fingerprint"] != small.data.info["fingerprint"]
    assert info["pretrain_fingerprint"] == small.data.info["pretrain_fingerprint"]


def test_the_description_is_json_with_the_counts(built):
    info = json.loads((built.folder / "dataset.json").read_text())
    assert info == built.data.info and set(info["splits"]) == set(splits.SPLITS)
    assert info["set_aside"]["no note for this patient"] == 3 and info["rejected"]["duplicate"] == 5


# --- when no sample is left, or too few -------------------------------------------------------------------------------

GOOD = {f"{n:04d}": ("Disc bulges at L4-L5 and L5-S1." if n % 2 else "Normal discs.") for n in range(1, 7)}
UNDECIDED = "No change since the previous examination."
CAUSES = {  # notes, how a study is written, words of the error, reasons in set_aside.csv
    "other names": ({f"P9{n}": note for n, note in GOOD.items()}, {}, "of 18 T2 discs 18 without", {"no note": 18}),
    "numbers beyond": ({str(int(n) + 500): note for n, note in GOOD.items()}, {}, "18 without a note", {"no note": 18}),
    "empty notes": (dict.fromkeys(GOOD, ""), {}, "18 without a note", {"no note": 18}),
    "undecided": (dict.fromkeys(GOOD, UNDECIDED), {}, "18 with an undecided note", {"note undecided": 18}),
    "half of them": ({n: GOOD[n] for n in list(GOOD)[:3]}, {}, "9 without a note", {"no note": 9}),
    "some each": ({**dict.fromkeys(list(GOOD)[:2], UNDECIDED), "0003": GOOD["0003"]}, {},
                  "9 without a note, 6 with an undecided note", {"no note": 9, "note undecided": 6}),
    "blocks": (GOOD, {"blocks": True}, "6 flagged: contiguous block over several discs", {"to be reviewed": 6}),
    "repeated": (GOOD, {"twice": True}, "36 flagged: ", {"to be reviewed": 36}),
    "few slices": (GOOD, {"count": 2}, "18 fewer than three slices", {"fewer than three slices": 18}),
    "one slice": (GOOD, {"count": 1}, "18 fewer than three slices", {"fewer than three slices": 18}),
    "one class": (dict.fromkeys(GOOD, "Normal discs."), {}, "0 positive and 18 negative", {}),
}  # fmt: skip


def write_causes(archive, notes, count=3, twice=False, blocks=False):
    for n in range(1, 7):
        for level in range(1 if blocks else 3):
            for series in range(1 + twice):
                place = archive / f"{n:04d}" / trees.STUDY / f"T2_{level}_{series}"
                slices, seed = (14 if blocks else count), 100 * n + 10 * level + series
                tags = {"SeriesInstanceUID": f"1.2.{series}", "StudyInstanceUID": f"1.3.{n}"}
                trees.write_slab(place, (0, 0, 34 * level + 3 * series), slices, seed=seed, size=(16, 16), **tags)
    write_notes(archive / dataset.NOTES_NAME, list(notes.items()))


@pytest.mark.parametrize("cause", CAUSES)
def test_too_few_samples_say_what_became_of_the_discs(cause, tmp_path):
    notes, written, words, reasons = CAUSES[cause]
    archive, folder = tmp_path / "archive", tmp_path / "01"
    write_causes(archive, notes, **written)
    with pytest.raises(UserError, match="too few for") as error:
        dataset.build_dataset(archive, folder, PROFILE, 0)
    assert words in str(error.value) and str(folder) in str(error.value) and trees.is_sentence(error)
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in ("slices", "discs", "rejected", "set_aside")}
    kinds = Counter(str(reason).split(":")[0] for reason in tables["set_aside"].reason)
    assert {kind: sum(n for k, n in kinds.items() if k.startswith(kind)) for kind in reasons} == reasons
    assert len(tables["rejected"]) == 1 and not (folder / "dataset.json").exists()
    with pytest.raises(UserError):
        dataset.load_dataset(folder)


def test_files_that_are_no_images_are_not_counted_as_images(copy, small):
    for name in (".DS_Store", "Thumbs.db", "readme.txt"):
        (copy.archive / "01_MRI_Data" / "0001" / name).write_bytes(b"\0\1" + name.encode())
    (copy.archive / "empty.ima").touch()
    data = dataset.build_dataset(copy.archive, copy.folder, SMALL, 0)
    assert data.info["counts"]["images"] == small.data.info["counts"]["images"]
    assert data.info["rejected"]["not DICOM"] == small.data.info["rejected"]["not DICOM"] + 3
