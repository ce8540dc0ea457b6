"""Who is who: two people are never one patient's study, and one study is one wherever its files lie."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lhdlib import profile as profiles
from lhdlib.data import dataset, dicom, labels, studies
from lhdlib.data.dicom_file import rules
from tests.data import foreign


def table(*rows: tuple) -> pd.DataFrame:
    """Slices from (path, study UID, series UID, instance number) and, if told, the weighting."""
    records = []
    for path, uid, series, number, *weighting in rows:
        patient, study = rules.folders_of(path)
        records.append((path, patient, study, rules.key_of(uid), series, number, *(weighting or ["T2"]), ""))
    columns = ["path", "patient", "study", "study_key", "series", "instance_number", "weighting", "remark"]
    return pd.DataFrame(records, columns=columns).sort_values("path", ignore_index=True)


def named(*rows: tuple) -> dict[str, tuple[str, str, str]]:
    """Patient, study and remark of each path."""
    found = studies.name_studies(table(*rows))
    return dict(zip(found.path, zip(found.patient, found.study, found.remark, strict=True), strict=True))


def test_two_uids_in_one_folder_are_two_studies():
    found = named(("7/MRI/T2/a", "1.1", "s", 1), ("7/MRI/T2/b", "1.2", "t", 1))
    (one, other) = found.values()
    assert one[0] == other[0] == "7" and one[1] != other[1] and one[2] == other[2] == ""
    assert one[1] == f"MRI {rules.key_of('1.1')[:6]}"


def test_one_uid_in_several_folders_or_disks_is_one_study():
    found = named(
        ("disk1/7/MRI/T2/a", "1.1", "s", 1),
        ("disk2/7/MRI/T2/b", "1.1", "s", 2),
        ("disk2/7/more/T1/c", "1.1", "t", 1, "T1"),
    )
    assert set(found.values()) == {("7", "MRI", "")}


def test_one_uid_under_two_patients_is_kept_apart_and_remarked():
    found = named(("7/MRI/T2/a", "1.1", "s", 1), ("8/MRI/T2/b", "1.1", "s", 2))
    assert set(found.values()) == {("7", "MRI", studies.OTHER_PATIENT), ("8", "MRI", studies.OTHER_PATIENT)}


def test_a_uid_that_all_have_tells_nothing_and_folders_do():
    found = named(
        *((f"{patient}/{study}/T2/{n}", "1.1", "s", n) for patient in "78" for study in "AB" for n in (1, 2)),
    )
    assert {row[:2] for row in found.values()} == {(p, s + add) for p in "78" for s, add in (("A", ""), ("B", ""))}
    assert {row[2] for row in found.values()} == {""}


def test_without_uid_each_folder_is_a_study_and_one_name_in_two_places_is_remarked():
    found = named(("a/7/MRI/T2/a", "", "", 1), ("b/7/MRI/T2/b", "", "", 2), ("a/8/MRI/T2/b", "", "", 3))
    assert found["a/7/MRI/T2/a"][1] != found["b/7/MRI/T2/b"][1]
    assert found["a/7/MRI/T2/a"][2] == found["b/7/MRI/T2/b"][2] == studies.SEVERAL_PLACES
    assert found["a/8/MRI/T2/b"] == ("8", "MRI", "")


def test_a_patients_two_studies_have_their_folders_names():
    found = named(("a/7/M1/T2/a", "1.1", "s", 1), ("a/7/M2/T2/b", "1.2", "t", 1))
    assert list(found.values()) == [("7", "M1", ""), ("7", "M2", "")]


@pytest.mark.parametrize("folders", [("T1_0004", "T2_0005"), ("SE1", "SE2")])
def test_series_uppermost_in_the_tree_are_no_patients(folders):
    found = named((f"{folders[0]}/a", "1.1", "s", 1, "T1"), (f"{folders[1]}/a", "1.1", "t", 1, "T2"))
    assert {row[0] for row in found.values()} == {"unknown"} and len({row[1] for row in found.values()}) == 1


def test_people_uppermost_in_the_tree_stay_people():
    found = named(("37/a", "1.1", "s", 1), ("38/a", "1.1", "t", 1))
    assert [row[0] for row in found.values()] == ["37", "38"]
    assert {row[2] for row in found.values()} == {studies.OTHER_PATIENT}


def test_other_files_belong_to_the_patient_in_whose_folder_they_lie():
    slices = table(("x/0007/MRI/T2/a", "1.1", "s", 1))
    paths = ["x/0007/readme", "x/0007/MRI/readme", "x/0007/MRI/T2/deep/er/b", "x/0008/MRI/T2/a", "y"]
    rejected = pd.DataFrame({"path": paths, "patient": [rules.patient_of(path) for path in paths]})
    assert list(studies.with_patients(rejected, slices).patient) == ["0007", "0007", "0007", "0008", "unknown"]


# --- whole builds -----------------------------------------------------------------------------------------------------

TREES = 16
PROFILE = profiles.load("smoke").replace(
    data={
        "image_size": 8,
        "field_of_view_mm": 0.0,
        "pretrain_validation": 1,
        "test_per_class": 0,
        "validation_per_class": 0,
    }
)


def confusions(folder: Path, seed: int) -> tuple[list[str], bool]:
    """Where the build of a random tree takes one person for another; and whether the two people have samples at all."""
    truth = foreign.write_tree(folder / "archive", np.random.default_rng([17, seed]))
    data = dataset.build_dataset(folder / "archive", folder / "01", PROFILE, 0)
    who = data.slices.path.map(truth.people)
    studies_of = who.groupby([data.slices.patient, data.slices.study]).agg(set)
    people, found = {}, []
    for sample in data.samples.itertuples():
        place, seen = (sample.patient, sample.study), set(who.loc[[sample.slice_1, sample.slice_2, sample.slice_3]])
        found += [f"a sample of {seen}"] * (len(seen) > 1)
        found += [f"a study of {studies_of[place]}"] * (len(studies_of[place]) > 1)  # its levels were counted together
        found += [f"the note of {truth.notes[sample.note]} for {seen}"] * ({truth.notes[sample.note]} != seen)
        people.setdefault(sample.patient, set()).update(seen)
    found += [f"a patient of {several}" for several in people.values() if len(several) > 1]
    found += ["the ordinary patient is lost"] * (list(data.samples.patient).count(foreign.ORDINARY) != 2)
    return found, len(people) > 1


def confused(folder: Path, trees: Iterable[int]) -> tuple[dict[int, list[str]], float]:
    """Confusions by the tree's seed, and the share of trees in which one of the two people has samples."""
    confusion, used = {}, []
    for seed in trees:
        found, has_samples = confusions(folder / str(seed), seed)
        confusion |= {seed: found} if found else {}
        used.append(has_samples)
        shutil.rmtree(folder / str(seed))
    return confusion, float(np.mean(used))


@pytest.mark.slow
def test_builds_of_random_trees_never_take_one_person_for_another(tmp_path):
    """Folders, UIDs, names, orders and notes of two people at random; the truth is who was scanned."""
    confusion, used = confused(tmp_path, range(TREES))
    assert confusion == {} and used > 0.1


def by_uid(slices: pd.DataFrame) -> pd.DataFrame:
    """A study, and with it its patient, by its UID alone."""
    first = slices[slices.study_key != ""].groupby("study_key").patient.first()
    merged = slices.assign(patient=slices.study_key.map(first).fillna(slices.patient))
    return merged.assign(study=merged.study_key.where(merged.study_key != "", merged.path.map(studies.study_folder)))


def by_four_digits(path: str) -> tuple[str, str]:
    folders = path.split("/")[:-1]
    numbers = [folder for folder in folders if re.fullmatch(r"\d{4}", folder)]
    return (numbers or folders or [rules.NO_FOLDER])[-1], "/".join(folders)


def by_digits(name: str) -> tuple[str, str]:
    return "", "".join(filter(str.isdigit, name)).lstrip("0") or name.casefold()


def by_first_fit(folders: Iterable[str], numbers: Iterable[str], **_: str) -> tuple[dict[str, str], dict[str, str]]:
    fits = {labels._key(name)[1]: name for name in sorted(numbers, reverse=True)}
    return {folder: fits[labels._key(folder)[1]] for folder in folders if labels._key(folder)[1] in fits}, {}


FAULTS = {  # what is replaced by what, and a tree that shows it
    "a UID is one study whoever has it": (dicom, "name_studies", by_uid, 9),
    "the last four digits of a path are the patient": (rules, "folders_of", by_four_digits, 17),
    "digits alone tell whose a note is": (labels, "_key", by_digits, 17),
    "the first note that fits is the patient's": (labels, "match_notes", by_first_fit, 14),
    "who has no sample has no note": (dataset, "patients_of", lambda slices, rejected: set(), 214),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_the_random_trees_show_faults(fault, tmp_path, monkeypatch):
    module, name, planted, seed = FAULTS[fault]
    monkeypatch.setattr(module, name, planted)
    assert confusions(tmp_path, seed)[0] != []
