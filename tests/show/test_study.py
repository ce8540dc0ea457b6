"""The study that a folder holds, whose it is, and every kind of wrong input: all before TensorFlow is loaded."""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lhdlib import cache, profile
from lhdlib.errors import UserError
from lhdlib.run import stale
from lhdlib.run.workspace import ROOT
from lhdlib.show import study
from tests.data import trees

PROFILE = profile.load("smoke")
PHANTOM = "phantom (synthetic images, no evidence about patients)"
PERSON = "DOE_JOHN_19600101"
SIZE = (64, 64)
UID = "1.2.3"  # of `trees.make_slice`
DISCS = (("L3-L4", 74.0, 4), ("L4-L5", 37.0, 5), ("L5-S1", 0.0, 3))  # height (mm) and number of slices
SHORT_STUDY = (("L5-S1", 0.0, 3),)


def write_study(folder: Path, discs=DISCS, series: str = "T2_TSE_TRA_384_0004", **tags) -> Path:
    """A study of one slab a disc, each tilted another way."""
    for number, (_, height, count) in enumerate(discs):
        place = {"center": (0, 0, height), "count": count, "tilt": 5.0 * number, "first": 1 + 10 * number}
        trees.write_slab(folder / series, **place, seed=number, size=SIZE, **tags)
    return folder


def write_files(folder: Path, count: int, **tags) -> Path:
    """Slices far apart, that show no disc."""
    for number in range(count):
        image = trees.make_slice((0, 0, 30.0 * number), size=SIZE, seed=number, InstanceNumber=number + 1, **tags)
        trees.save(image, folder / f"{number:03d}.ima")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """An archive of one patient with one study; the headers name a person."""
    archive = tmp_path_factory.mktemp("archive")
    named = {"PatientName": PERSON, "InstitutionName": PERSON, "PatientBirthDate": "19600101", "PatientID": PERSON}
    folder = write_study(archive / "01_MRI_Data" / "0007" / trees.STUDY, StudyDate="20160309", **named)
    trees.save(trees.make_slice(size=SIZE, ImageType=["ORIGINAL", "LOCALIZER"]), folder / "LOCALIZER_0001" / "a.ima")
    (folder / "notes.txt").write_text("no image")
    return archive


def study_folder(tree: Path) -> Path:
    return tree / "01_MRI_Data" / "0007" / trees.STUDY


def key_of(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[: study.SHORT]


# Whose it is


def test_a_study_is_named_by_folder_date_and_the_hash_of_its_uid(tree):
    found = study.find_study(study_folder(tree))
    assert found.identity == {"folder": trees.STUDY, "study date": "2016-03-09", "study": key_of(UID)}
    assert all(value in str(found) for value in found.identity.values())
    assert len(found.slices) == 12 and sorted(found.rejected.reason) == ["localizer", "not DICOM"]


@pytest.mark.slow
@pytest.mark.parametrize("above", [0, 1, 2, 3])
def test_any_folder_that_holds_one_study_will_do(tree, above):
    found = study.find_study((study_folder(tree), *study_folder(tree).parents)[above])
    assert found.identity == study.find_study(study_folder(tree)).identity
    assert found.patient == "0007" and len(found.slices) == 12


def test_a_series_folder_and_a_folder_of_files_will_do(tree, tmp_path):
    series = study_folder(tree) / "T2_TSE_TRA_384_0004"
    found = study.find_study(series)
    assert found.folder == series.name and found.key == key_of(UID) and len(found.slices) == 12
    found = study.find_study(shutil.copytree(series, tmp_path / PERSON / "images"))
    assert (found.patient, found.folder) == (study.UNNUMBERED, "images") and len(found.slices) == 12


def test_one_study_on_several_disks_is_one(tmp_path):
    for disk, disc in zip(("DISK1", "DISK2", "DISK3"), DISCS, strict=True):
        place = {"center": (0, 0, disc[1]), "count": disc[2], "size": SIZE}
        number = int(disk[-1])
        trees.write_slab(tmp_path / "0007" / disk / "T2", **place, first=10 * number, seed=number, tilt=5.0 * number)
    found = study.find_study(tmp_path)
    assert len(found.slices) == 12 and found.key == key_of(UID) and found.patient == "0007"
    assert found.folder == tmp_path.name  # of several folders none names it


@pytest.mark.slow
@pytest.mark.parametrize(
    "date, wanted",
    [
        ("20160309", "2016-03-09"),
        ("2016.03.09", "2016-03-09"),
        ("19991231", "1999-12-31"),
        ("20240229", "2024-02-29"),
        ("20230229", ""),
        ("20161301", ""),
        ("2016", ""),
        ("DOE^JOHN", ""),
        ("", ""),
        ("00000000", ""),
        (None, ""),
        ("20160309\\20160310", ""),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_the_date_is_a_date_or_not_stated(tmp_path, date, wanted):
    folder = write_study(tmp_path / "0001" / "study", SHORT_STUDY, StudyDate=date)
    found = study.find_study(folder)
    assert found.date == wanted and found.identity["study date"] == (wanted or "not stated")
    assert "DOE" not in str(found)


def test_studies_of_one_name_have_folders_of_their_own(tmp_path):
    rng, folders = np.random.default_rng(0), set()
    names = ["study", "study ", "st/../udy", "a" * 200, "Übung", "..", "", "x\x1b[31m", "<img src=x>", "C:\\con"]
    for name in names:
        for _ in range(20):
            key = hashlib.sha256(rng.bytes(8)).hexdigest()[: study.SHORT]
            found = study.FoundStudy(Path(), None, None, "", name, "", key)
            folder = study.study_folder(tmp_path, found)
            assert folder.parent == tmp_path and re.fullmatch(r"[\w.-]+", folder.name) and len(folder.name) < 100
            assert folder == study.study_folder(tmp_path, found) and folder.name.endswith(key)
            folders.add(folder)
    assert len(folders) == 20 * len(names)


@pytest.mark.slow
def test_without_a_uid_the_slices_tell_studies_apart(tmp_path):
    keys = set()
    for number in range(3):
        folder = write_study(tmp_path / str(number) / "0001" / "study", SHORT_STUDY, StudyInstanceUID=None)
        keys.add(study.find_study(folder).key)
        assert study.find_study(folder).key in keys
    assert len(keys) == 3 and all(re.fullmatch(rf"[0-9a-f]{{{study.SHORT}}}", key) for key in keys)


# Several studies


def test_several_studies_are_named(tmp_path):
    for number in range(1, 8):
        uid = f"1.2.{number}"
        write_study(tmp_path / f"{number:04d}" / f"STUDY_{number}\x1b[31m", SHORT_STUDY, StudyInstanceUID=uid)
    with pytest.raises(UserError) as error:
        study.find_study(tmp_path)
    said = str(error.value)
    assert "holds 7 studies" in said and "0001/STUDY_1" in said and "and 2 more" in said and "\x1b" not in said


def test_two_people_whose_study_folders_have_one_name_are_two(tmp_path):
    for number in (1, 2):
        write_study(tmp_path / f"000{number}" / "MRI", SHORT_STUDY, StudyInstanceUID=f"1.2.{number}")
    with pytest.raises(UserError, match="holds 2 studies"):
        study.find_study(tmp_path)


@pytest.mark.slow
def test_two_uids_in_one_folder_are_two_and_a_key_chooses(tmp_path):
    folder = tmp_path / "0007" / "L-SPINE"
    for number, count in ((1, 3), (2, 5)):
        uid = f"1.2.{number}"
        series = {"series": f"T2_000{number}", "SeriesInstanceUID": f"{uid}.1", "SeriesNumber": number}
        write_study(folder, (("L5-S1", 0.0, count),), **series, StudyInstanceUID=uid)
    with pytest.raises(UserError, match="holds 2 studies") as error:
        study.find_study(folder)
    for number, count in ((1, 3), (2, 5)):
        key = key_of(f"1.2.{number}")
        assert key in str(error.value)
        found = study.find_study(folder, key=key[:6])
        assert found.key == key and len(found.slices) == count
    with pytest.raises(UserError, match="no study whose key begins with 'zz'"):
        study.find_study(folder, key="zz")


# Wrong input

T1 = {**trees.T1, "SeriesInstanceUID": "1.2.3.9"}
LOCALIZER = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
SAGITTAL = {"orientation": [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]}
NECK = {"BodyPartExamined": "CSPINE", "StudyDescription": "MRI CERVICAL SPINE", "SeriesDescription": "t2_tse_tra"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "contents, said",
    [
        ({"T1": (20, T1), "LOC": (4, LOCALIZER)}, "20 axial T1 slices, 4 localizers"),
        ({"T1": (1, T1), "LOC": (1, LOCALIZER)}, "1 axial T1 slice, 1 localizer"),
        ({"T1": (2, T1), "LOC": (30, LOCALIZER)}, "2 axial T1 slices, 30 localizers"),
        ({"LOC": (4, LOCALIZER)}, "but 4 localizers"),
        ({"SAG": (9, SAGITTAL)}, "but 9 sagittal images"),
        ({"SAG": (3, SAGITTAL), "T1": (5, T1), "LOC": (1, LOCALIZER)}, "5 axial T1 slices, 3 sagittal images, 1 loc"),
        ({"T1": (12, T1), "TXT": (2, None)}, "12 axial T1 slices, 2 files that are not DICOM"),
        ({"TXT": (1, None)}, "but 1 file that is not DICOM"),
        ({"T1": (3, T1), "POS": (2, {"SeriesDescription": "PosDisp: [4] t2_tse_tra"})}, "2 position displays"),
        ({"DER": (2, {"ImageType": ["DERIVED", "SECONDARY"]})}, "but 2 derived images"),
        ({"STIR": (6, {"ScanningSequence": ["SE", "IR"]})}, "but 6 inversion recovery images"),
        ({"PD": (7, {"EchoTime": 15.0, "RepetitionTime": 3000.0})}, "but 7 images neither T1 nor T2"),
        ({"C": (8, {"NumberOfFrames": 2})}, "but 8 files set aside (multi-frame)"),
    ],
)  # fmt: skip
def test_what_a_folder_without_t2_holds_is_said_as_it_is(tmp_path, contents, said):
    for name, (count, tags) in contents.items():
        if tags is None:
            (tmp_path / "0001" / "study" / name).mkdir(parents=True)
            for number in range(count):
                (tmp_path / "0001" / "study" / name / f"{number}.txt").write_text("no image")
        else:
            write_files(tmp_path / "0001" / "study" / name, count, **tags)
    with pytest.raises(UserError, match=re.escape(said)) as error:
        study.find_study(tmp_path / "0001" / "study")
    assert "most" not in str(error.value) and str(error.value).endswith(": name the folder of a lumbar study.")


@pytest.mark.parametrize("content", ["missing", "empty", "file"])
def test_a_folder_without_a_study_is_one_sentence(content, tmp_path):
    folder = tmp_path / "0001"
    if content == "empty":
        folder.mkdir()
    if content == "file":
        folder.write_text("no folder")
    with pytest.raises(UserError) as error:
        study.find_study(folder)
    said = str(error.value)
    expected = {"missing": "There is no folder", "empty": "holds no file", "file": "is a file"}[content]
    assert expected in said and said.count(". ") == 0 and said.endswith(".")


def command(*arguments) -> int:
    """``lhdlib study`` with these arguments."""
    parser = argparse.ArgumentParser()
    study.add_arguments(parser)
    return study.run(parser.parse_args(list(map(str, arguments))))


def finished(folder: Path, **changes) -> Path:
    """What `finished_run` asks of a run."""
    folder.mkdir(exist_ok=True)
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


SLOW = {"tensorflow", "keras", "nbformat", "papermill", "matplotlib", "sklearn", "ipywidgets"}  # to be loaded: seconds


@pytest.mark.slow
def test_nothing_wrong_reaches_tensorflow(tmp_path):
    """In one process, each kind of wrong input: none loads what is slow, and only the sentences are printed."""
    run = finished(tmp_path / "run")
    t1 = write_study(tmp_path / "t1" / "study", SHORT_STUDY, **trees.T1)
    good = write_study(tmp_path / "good" / "study", SHORT_STUDY)
    for number in (1, 2):
        write_study(tmp_path / "two" / f"000{number}" / "study", SHORT_STUDY, StudyInstanceUID=f"1.2.{number}")
    (tmp_path / "file").write_text("")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("no image")
    sagittal = write_files(tmp_path / "sagittal" / "study" / "SAG", 2, **SAGITTAL)
    calls = [
        [t1, "--run", run],
        [tmp_path / "nothing", "--run", run],
        [tmp_path / "text", "--run", run],
        [sagittal, "--run", run],
        [good, "--run", tmp_path / "none"],
        [tmp_path / "gone", "--run", run],
        [tmp_path / "file", "--run", run],
        [tmp_path / "two", "--run", run],
        [good, "--run", run, "--out", tmp_path / "file"],
    ]
    script = (
        "import sys, json\nfrom lhdlib.run import command\n"
        "for call in json.loads(sys.argv[1]):\n"
        "    assert command.main(['study', *call]) == 2\n"
        "    assert not set(sys.argv[2:]) & sys.modules.keys(), (call, set(sys.argv[2:]) & sys.modules.keys())\n"
    )
    arguments = json.dumps([list(map(str, call)) for call in calls])
    done = subprocess.run([sys.executable, "-c", script, arguments, *SLOW], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stderr.strip().split("\n")
    assert len(said) == len(calls) and all(line.startswith("Error: ") and line.endswith(".") for line in said)
    contents = ("axial T1", "holds no file", "1 file that is not DICOM", "2 sagittal images")
    others = ("no finished run", "no folder", "is a file", "2 studies", "cannot be made")
    for line, words in zip(said, contents + others, strict=True):
        assert words in line
