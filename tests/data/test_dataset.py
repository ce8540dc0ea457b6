"""The dataset rules on a hand-made tree with hand-made notes, and on tables; each against what a person would say."""

import functools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import openpyxl
import pandas as pd
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, generate_uid

from lhdlib import files
from lhdlib import profile as profiles
from lhdlib.data import dataset, dicom, resampling, splits, store
from lhdlib.data.labels import label_samples
from lhdlib.data.store import SPARE, fingerprint, write_store
from lhdlib.errors import UserError
from tests.data import trees

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


class InProcess:
    """Stands for a pool of processes, whose start takes longer than these small builds."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def map(self, function, tasks, chunksize=1):
        return map(function, tasks)

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(store, "ProcessPoolExecutor", InProcess)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    return SimpleNamespace(folder=folder, discs=write_archive(folder))


@pytest.fixture(scope="module")
def built(archive, tmp_path_factory):
    """Built once, with a pool of processes as users do."""
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "ProcessPoolExecutor", InProcess)
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


def is_sentence(error):
    return re.fullmatch(r"[A-Z0-9/](?:[^.]|\.(?! ))*\.", str(error.value)) is not None


def expected_samples(archive):
    """(patient, level, part) -> (label, the three paths), by the paper's rule."""
    wanted = {}
    for (patient, _, level), paths in archive.discs.items():
        positive = PATIENTS[patient][1]
        if positive is None or level == "T12-L1":
            continue
        if (patient, level) == ("0009", "L3-L4"):
            paths = paths[:4]  # the fifth slice cannot be read: four are left
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
        "0010": 3,
    }


def test_counts_add_up(built, archive):
    counts, samples = built.data.info["counts"], expected_samples(archive)
    axial = sum(len(paths) for paths in archive.discs.values()) + 2 * 4 - 1  # with T1, without the unreadable one
    assert counts["patients"] == len(PATIENTS)
    assert counts["images"] == sum(p.is_file() for p in archive.folder.rglob("*"))
    assert counts["axial images"] == axial
    assert counts["pre-training validation images"] == HELD_OUT
    assert counts["pre-training images"] == axial - HELD_OUT
    assert counts["disc samples"] == len(samples)
    assert counts["positive samples"] == sum(label for label, _ in samples.values())
    assert counts["positive samples"] + counts["negative samples"] == len(samples)
    assert counts["test samples"] == 4 and counts["validation samples"] == 2
    assert counts["training samples"] == len(samples) - 6


def by_integration(pixels, spacing, size, side):
    """Area resampling as differences of the integral image: no table of weights."""
    for axis in (0, 1):
        pixels = np.moveaxis(pixels, axis, 0)
        integral = np.vstack([np.zeros_like(pixels[:1]), np.cumsum(pixels, axis=0)]).astype(float)
        length = pixels.shape[0] * spacing[axis]
        at = np.linspace((length - side) / 2, (length + side) / 2, size + 1) / spacing[axis]
        known = np.arange(len(integral))
        upto = np.stack([np.interp(at, known, column) for column in integral.T], axis=1)
        pixels = np.moveaxis(np.diff(upto, axis=0) * size * spacing[axis] / side, 0, axis)
    return pixels


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


def test_the_pool_changes_nothing(built, archive, in_process, tmp_path):
    again = dataset.build_dataset(archive.folder, tmp_path / "01", PROFILE, 0)
    assert again.info == built.data.info and np.array_equal(again.images, built.data.images)


def test_another_seed_splits_the_same_slices_otherwise(copy, in_process, small):
    other = dataset.build_dataset(copy.archive, copy.folder, SMALL, 1)
    assert other.info["fingerprint"] != small.data.info["fingerprint"]
    assert np.array_equal(other.images, small.data.images)
    assert not other.samples.split_paper.equals(small.data.samples.split_paper)


# --- when it is built anew ------------------------------------------------------------------------------------------


@pytest.fixture
def builds(in_process, monkeypatch):
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
    "values", [{"image_size": 17}, {"field_of_view_mm": 20.0}, {"pretrain_validation": 8}, {"test_per_class": 2}]
)
def test_a_changed_profile_is_built_again(values, copy, builds):
    changed = SMALL.replace(data=values)
    data = dataset.build_dataset(copy.archive, copy.folder, changed, 0)
    assert len(builds) == 1 and data.images.shape[1] == changed.data.image_size
    assert (data.slices.pretrain == "validation").sum() == changed.data.pretrain_validation
    assert data.info["counts"]["test samples"] == 2 * changed.data.test_per_class


def test_one_process_writes_the_store_that_several_write(built, archive, tmp_path):
    failed = write_store(archive.folder, built.data.slices, tmp_path / "store.npy", PROFILE.data, workers=1)
    np.testing.assert_array_equal(np.load(tmp_path / "store.npy"), built.data.images)
    assert len(failed) == 1 and failed.reason[0].startswith("pixels unreadable")


# --- what fails leaves the earlier dataset as it was ----------------------------------------------------------------


@pytest.mark.parametrize("where", ["pretrain_split", "assign_split", "fingerprint"])
def test_a_build_that_stops_leaves_the_earlier_dataset(where, copy, in_process, monkeypatch):
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
def test_a_build_that_stops_while_it_replaces_tables_is_not_taken_for_whole(when, copy, in_process, monkeypatch):
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


def test_bad_input_ends_in_one_sentence_and_changes_nothing(copy, in_process, monkeypatch):
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
        (copy.archive / "nowhere", SMALL, "--data DIR"),
        (copy.archive.parent / "empty", SMALL, "10.17632/s6bgczr8s2"),
        (scouts, SMALL, "No axial T2 slice"),
        (broken, SMALL, "download"),
        (copy.archive, greedy, "lower test_per_class"),
        (copy.archive, hungry, "too few to hold out"),
    ]
    for folder, settings, words in cases:
        with pytest.raises(UserError, match=re.escape(words)) as error:
            dataset.build_dataset(folder, copy.folder, settings, 0)
        assert is_sentence(error), str(error.value)
        assert contents(copy.folder) == before, words


def test_too_little_disk(copy, in_process, small, monkeypatch):
    before = contents(copy.folder)
    needed = small.data.images.nbytes + SPARE
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(UserError, match="make room.*--results") as error:
        dataset.build_dataset(copy.archive, copy.folder, SMALL, 1)
    assert is_sentence(error) and contents(copy.folder) == before
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
    assert is_sentence(error)


def test_a_truncated_or_pickled_store_is_refused(copy):
    whole = (copy.folder / "store.npy").read_bytes()
    (copy.folder / "store.npy").write_bytes(whole[:-100])
    with pytest.raises(UserError, match="damaged"):
        dataset.load_dataset(copy.folder)
    np.save(copy.folder / "store.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="damaged"):
        dataset.load_dataset(copy.folder)


# --- resampling and scaling -----------------------------------------------------------------------------------------


def test_area_weights_share_out_each_pixel_once():
    rng = np.random.default_rng(0)
    for _ in range(300):
        length, size = (int(n) for n in rng.integers(1, 40, 2))
        start = rng.uniform(-10, length - 0.5)
        stop = start + rng.uniform(0.5, 2 * length)
        weights = resampling.area_weights(length, start, stop, size)
        pixel = (stop - start) / size
        edges = np.linspace(start, stop, size + 1)
        inside = np.clip(np.minimum(edges[1:], length) - np.maximum(edges[:-1], 0), 0, None) / pixel
        assert np.allclose(weights.sum(1), inside, atol=1e-4)
        covered = np.clip(np.minimum(np.arange(length) + 1, stop) - np.maximum(np.arange(length), start), 0, None)
        assert np.allclose(weights.sum(0), covered / pixel, atol=1e-4)


def test_area_resampling_against_loops():
    rng = np.random.default_rng(1)
    for _ in range(10):
        rows, columns, size = (int(n) for n in rng.integers(2, 9, 3))
        spacing, side = rng.uniform(0.4, 1.2, 2), rng.uniform(2, 8)
        pixels = rng.uniform(0, 9, (rows, columns))
        wanted = np.zeros((size, size))
        for i, j, k, m in np.ndindex(size, size, rows, columns):
            overlap = 1.0
            for new, old, length, step in ((i, k, rows, spacing[0]), (j, m, columns, spacing[1])):
                low = (length * step - side) / 2 + new * side / size
                overlap *= max(0, min(low + side / size, (old + 1) * step) - max(low, old * step)) * size / side
            wanted[i, j] += overlap * pixels[k, m]
        found = resampling.resample(pixels, tuple(spacing), size, side)
        assert np.allclose(found, wanted, atol=1e-4)
        assert np.allclose(by_integration(pixels, spacing, size, side), wanted, atol=1e-9)


def test_resampling_is_the_product_with_the_weights():
    rng = np.random.default_rng(4)
    for _ in range(100):
        shape, size, side = rng.integers(2, 60, 2), int(rng.integers(1, 40)), rng.uniform(2, 60)
        pixels, spacing = rng.uniform(0, 9, shape), rng.uniform(0.4, 1.2, 2)
        edges = [(n / 2 - side / 2 / step, n / 2 + side / 2 / step) for n, step in zip(shape, spacing, strict=True)]
        rows, columns = (resampling.area_weights(int(n), *e, size) for n, e in zip(shape, edges, strict=True))
        found = resampling.resample(pixels, tuple(spacing), size, side)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, rows.astype(float) @ pixels @ columns.T.astype(float), rtol=1e-5, atol=1e-5)


def test_another_processor_makes_the_same_store():
    """OpenBLAS takes other kernels when it is told of another core; matrix products then differ in the last digit."""
    code = """
import hashlib
import numpy as np
from lhdlib.data import resampling
pixels = np.random.default_rng(0).gamma(2, 300, (320, 310))
image = resampling.preprocess(pixels, (0.6875, 0.6875), 64, 110.0)
print(hashlib.sha256(image.tobytes()).hexdigest(), hashlib.sha256((image @ image).tobytes()).hexdigest())
"""
    found = []
    for core in ({}, {"OPENBLAS_CORETYPE": "Nehalem"}):
        environment = os.environ | core
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        found.append(done.stdout.split())
    stores, products = (set(column) for column in zip(*found, strict=True))
    assert len(stores) == 1
    if platform.machine() == "x86_64":
        assert len(products) > 1  # the other core was taken


def test_a_narrow_slice_is_padded_about_its_centre():
    """320 x 310 at 0.6875 mm becomes 300 x 300: five columns of zeros on either side, 4.7 new ones."""
    image = resampling.preprocess(np.full((320, 310), 700), (0.6875, 0.6875), 300, 0)
    assert image.shape == (300, 300)
    assert (image[:, :4] == 0).all() and (image[:, -4:] == 0).all()
    assert np.allclose(image[:, 5:-5], 1, atol=1e-5) and np.allclose(image[:, 4], 0.3125, atol=1e-4)
    assert np.allclose(image, image[:, ::-1], atol=1e-5)


@pytest.mark.parametrize("field_of_view", [0, 110.0])
def test_constant_and_zero_slices(field_of_view):
    ones = resampling.preprocess(np.full((320, 320), 1234), (0.6875, 0.6875), 300, field_of_view)
    assert np.allclose(ones, 1, atol=1e-5)
    zeros = resampling.preprocess(np.zeros((320, 320)), (0.6875, 0.6875), 300, field_of_view)
    assert (zeros == 0).all()


def test_the_scale_is_the_995th_percentile_of_the_new_image():
    pixels = np.random.default_rng(2).gamma(2, 300, (320, 320))
    image = resampling.preprocess(pixels, (0.6875, 0.6875), 64, 110.0)
    assert np.isclose(np.percentile(image, 99.5), 1, atol=1e-5) and (image > 1).sum() == 21  # 0.5 % of 4096
    assert np.allclose(image, resampling.preprocess(17 * pixels, (0.6875, 0.6875), 64, 110.0), rtol=1e-4)


def test_the_percentile_is_that_of_numpy_to_the_bit():
    rng = np.random.default_rng(7)
    draws = (rng.standard_normal, functools.partial(rng.gamma, 2, 300), functools.partial(rng.integers, 0, 9))
    for number in range(600):
        image = draws[number % 3](size=rng.integers(2, 320, 2)).astype(np.float32)
        found, wanted = resampling._percentile(image), np.percentile(image, resampling.SCALE_PERCENTILE)
        assert found == wanted and found.dtype == wanted.dtype
    image[0, 0] = np.nan
    assert np.isnan(resampling._percentile(image))


def test_other_scalings():
    pixels = np.random.default_rng(3).gamma(2, 300, (320, 320))
    make = functools.partial(resampling.preprocess, pixels, (0.6875, 0.6875), 64, 110.0)
    assert make("maximum").max() == 1 and make("maximum").min() > 0
    assert np.allclose([make("standard").mean(), make("standard").std()], [0, 1], atol=1e-5)
    for one in ("maximum", "standard"):
        assert np.corrcoef(make(one).ravel(), make().ravel())[0, 1] > 1 - 1e-9
    assert (resampling.preprocess(np.zeros((320, 320)), (0.6875, 0.6875), 64, 110.0, "standard") == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_slice_without_a_finite_scale_is_listed_not_stored(bad, monkeypatch, tmp_path):
    pixels = np.zeros((320, 320), np.float32)
    pixels[100, 100] = bad
    monkeypatch.setattr(resampling.dicom_file, "read_pixels", lambda _: pixels)
    assert str(resampling.load_slice(("a.ima", (0.6875, 0.6875), PROFILE.data))).startswith("pixels un")


# --- labels, splits, names ------------------------------------------------------------------------------------------


def random_samples(rng, patients=60):
    rows = [
        (f"{patient:04d}", int(rng.random() < rng.choice([0.1, 0.8])))
        for patient in range(patients)
        for _ in range(rng.integers(1, 8))
    ]
    return pd.DataFrame(rows, columns=["patient", "label"]).sample(frac=1, random_state=int(rng.integers(99)))


@pytest.mark.parametrize("how", splits.SPLITS)
def test_splits_are_balanced_and_disjoint(how):
    rng = np.random.default_rng(3)
    settings = PROFILE.replace(data={"test_per_class": 13, "validation_per_class": 5}).data
    for seed in range(20):
        samples = random_samples(rng).reset_index(drop=True)
        part = splits.assign_split(samples, settings, seed, how)
        for name, each in (("test", 13), ("validation", 5)):
            assert [((part == name) & (samples.label == label)).sum() for label in (0, 1)] == [each, each]
        assert set(part) <= {"train", "test", "validation", "unused"}
        if how == "patient":
            homes = {name: set(samples.patient[part == name]) for name in ("train", "test", "validation")}
            assert (
                not homes["train"] & (homes["test"] | homes["validation"]) and not homes["test"] & homes["validation"]
            )
            assert set(samples.patient[part == "unused"]) <= homes["test"] | homes["validation"]
        else:
            assert (part == "train").sum() == len(samples) - 36
        assert (part == splits.assign_split(samples, settings, seed, how)).all()
        assert (part != splits.assign_split(samples, settings, seed + 1, how)).any()


def test_the_published_split_draws_every_sample_alike():
    """Each positive sample lands in the test set with the same chance, whatever its place in the table."""
    settings = PROFILE.replace(data={"test_per_class": 4, "validation_per_class": 2}).data
    samples = pd.DataFrame({"patient": [f"{n // 3:04d}" for n in range(30)], "label": [n % 2 for n in range(30)]})
    tests = sum((splits.assign_split(samples, settings, seed, "paper") == "test").astype(int) for seed in range(300))
    assert tests.sum() == 300 * 8 and np.abs(tests - 300 * 4 / 15).max() < 5 * np.sqrt(300 * 4 / 15)


@pytest.mark.parametrize("how", splits.SPLITS)
def test_too_few_samples_of_a_class(how):
    settings = PROFILE.replace(data={"test_per_class": 2, "validation_per_class": 1}).data
    for labels in ([0] * 20, [1] * 20, [0] * 20 + [1] * 2, [0] * 20 + [1] * 3, []):
        samples = pd.DataFrame({"patient": [f"{n:04d}" for n in range(len(labels))], "label": labels})
        with pytest.raises(UserError, match=f"{sum(labels)} positive and {labels.count(0)} negative") as error:
            splits.assign_split(samples, settings, 0, how)
        assert is_sentence(error)


def test_held_out_slices():
    slices = pd.DataFrame({"path": [f"{n}.ima" for n in range(200)]})
    failed = {"3.ima", "77.ima"}
    part = splits.pretrain_split(slices, failed, 50, 0)
    assert Counter(part) == {"train": 148, "validation": 50, "": 2} and part[3] == part[77] == ""
    assert (part == splits.pretrain_split(slices, failed, 50, 0)).all()
    assert (part != splits.pretrain_split(slices, failed, 50, 1)).any()
    with pytest.raises(UserError) as error:
        splits.pretrain_split(slices, failed, 198, 0)
    assert is_sentence(error)


def test_repeated_notes_of_one_patient_do_not_multiply_samples():
    samples = pd.DataFrame({"patient": ["0001", "0002"], "study": "s", "level": "L4-L5", "part": 0, "paths": [(), ()]})
    note = "Disc bulge at L4-L5."
    notes = pd.DataFrame([("0001", note), ("0001", note), ("0001", ""), ("0002", note), ("0002", "Normal.")])
    notes.columns = ["patient", "note"]
    kept, aside = label_samples(samples, notes)
    assert kept[["patient", "label"]].values.tolist() == [["0001", 1]]
    assert aside[["patient", "reason"]].values.tolist() == [["0002", "several notes for this patient"]]


def test_what_a_dataset_calls_itself():
    table = pd.DataFrame({"patient": ["0001", "0001", "0002"], "manufacturer": ["SIEMENS", "", None]})
    assert dataset.data_label(table) == "DICOM archive, 2 patients"
    mixed = dataset.data_label(table.assign(manufacturer=["SIEMENS", "lhdlib Phantom", None]))
    assert "mixture" in mixed and "no evidence about patients" in mixed
    synthetic = dataset.data_label(table.assign(manufacturer="lhdlib phantom (synthetic)"))
    assert synthetic.startswith("phantom") and "no evidence about patients" in synthetic


def test_the_fingerprint_sees_pixels_and_labels():
    store = np.zeros((600, 4, 4), np.float16)
    samples = pd.DataFrame({"patient": ["0001"], "label": [1]})
    first = fingerprint(store, samples)
    assert first == fingerprint(store.copy(), samples.copy())
    store[599, 3, 3] = 1
    assert first != fingerprint(store, samples)
    store[599, 3, 3] = 0
    assert first != fingerprint(store, samples.assign(label=0))


def test_the_fingerprints_see_no_words_and_pre_training_no_labels(copy, in_process, small):
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
