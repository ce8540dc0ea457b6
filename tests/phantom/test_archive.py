"""The phantom as a whole: same seed, same bytes; whole or not at all."""

import hashlib
import shutil
from pathlib import Path

import pytest

from lhdlib.data import dicom, discs
from lhdlib.errors import UserError
from lhdlib.phantom import archive
from tests.phantom.studies import PATIENTS, SEED


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_bytes_depend_on_the_seed_alone(written, tmp_path):
    archive.write_phantom(tmp_path / "one", PATIENTS, seed=SEED, workers=1)
    first, second = digests(written), digests(tmp_path / "one")
    assert first == second
    archive.write_phantom(tmp_path / "one", 1, seed=SEED + 1, workers=1)  # replaces a phantom of other parameters
    assert not set(digests(tmp_path / "one").values()) & set(first.values())


@pytest.mark.slow
def test_complete_folder_is_reused_and_foreign_one_is_left_alone(written, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    archive.write_phantom(written, PATIENTS, seed=SEED)
    assert before == {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not a phantom"):
        archive.write_phantom(tmp_path, 1)
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.slow
def test_the_same_phantom_that_another_run_has_written_meanwhile_is_kept(tmp_path, monkeypatch):
    folder, write = tmp_path / "phantom", archive._write_all

    def overtaken(*task):
        write(*task)
        monkeypatch.setattr(archive, "_write_all", write)
        archive.write_phantom(folder, 1, workers=1)
        (folder / "in use").touch()

    monkeypatch.setattr(archive, "_write_all", overtaken)
    assert archive.write_phantom(folder, 1, workers=1).is_dir()
    assert (folder / "in use").exists() and list(tmp_path.iterdir()) == [folder]


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*task):
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "write_patient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        archive.write_phantom(tmp_path / "phantom", 1, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("patients", [0, 9001])
def test_number_of_patients_has_four_digits(tmp_path, patients):
    with pytest.raises(ValueError, match="patients"):
        archive.write_phantom(tmp_path / "none", patients)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("patients", [1, 5, 40, 240])
@pytest.mark.parametrize("seed", [0, 7])
def test_every_number_has_a_study_or_an_empty_row(patients, seed):
    numbers, empty = archive.number_patients(patients, seed)
    assert len(numbers) == patients and empty
    assert sorted(numbers + empty) == list(range(1, len(numbers) + len(empty) + 1))
    assert numbers[0] == 1 and (numbers, empty) == archive.number_patients(patients, seed)


def test_a_phantom_of_many_leaves_three_questions_and_a_small_one_none():
    asked = archive.open_questions(list(range(1, 161)), 0)
    assert sorted(asked.values()) == sorted(archive.LEFT_OPEN)
    assert asked == archive.open_questions(list(range(1, 161)), 0) != archive.open_questions(list(range(1, 161)), 1)
    assert archive.open_questions(list(range(1, archive.MANY)), 0) == {}


@pytest.mark.slow
def test_what_is_left_open_waits_for_a_person(tmp_path):
    for number, question in enumerate(["slab", "note"], start=1):
        archive.write_patient(tmp_path, SEED, number, question)
    slices, _ = dicom.index_tree(tmp_path)
    slabs = discs.group_discs(slices).query("weighting == 'T2'").set_index("patient")
    assert slabs.flag["0001"].tolist()[:-1] == [""] * (len(slabs.loc["0001"]) - 1)
    assert "gap between slabs" in slabs.flag["0001"].iloc[-1] and not slabs.flag["0002"].any()


def test_too_small_a_disk_is_an_error(tmp_path, monkeypatch):
    full = shutil._ntuple_diskusage(10**9, 9 * 10**8, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(UserError, match="0.1 GB free"):
        archive.write_phantom(tmp_path / "phantom", 100)
    assert list(tmp_path.iterdir()) == []
