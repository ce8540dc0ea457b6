"""Who is who: two people are never one patient's study, and one study is one wherever its files lie."""

import numpy as np
import pandas as pd
import pytest

from lhdlib.data import studies
from lhdlib.data.dicom_file import rules


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


@pytest.mark.slow
def test_random_trees_never_mix_two_people():
    """Folders, UIDs and names of two people at random; the truth is who was scanned."""
    rng = np.random.default_rng(17)
    flagged = 0
    for _ in range(2000):
        codes = [("0037", "0038"), ("37", "38"), ("P0037", "P0038"), ("2015", "2016"), ("A 1", "B 2")][rng.integers(5)]
        above = ["", "01_MRI_Data/", "2016/", "0004/x/"][rng.integers(4)]
        shared = rng.random() < 0.3  # one UID for both
        constant = shared and rng.random() < 0.5  # and for their series
        rows, person = [], {}
        for who, code in enumerate(codes):
            for study in range(rng.integers(1, 3)):
                name = ["MRI", "0004", "2016", f"L-SPINE_{study}"][rng.integers(4)]
                disk = ["", "disk1/", "disk2/"][rng.integers(3)] * bool(rng.random() < 0.2)
                for series in range(rng.integers(1, 3)):
                    folder = f"{disk}{above}{code}/{name}/" + ["0004", "T2", f"SE{series}"][rng.integers(3)]
                    uid = "1" if shared else f"1.{who}.{study}"
                    for number in range(1, 4):
                        path = f"{folder}/{who}{study}{series}{number}"
                        rows.append((path, uid, "s" if constant else f"{who}.{study}.{series}", number))
                        person[path] = who
        order = rng.permutation(len(rows))
        slices = table(*(rows[place] for place in order))
        found = studies.name_studies(slices)
        people = found.assign(who=found.path.map(person)).groupby(["patient", "study"]).who.nunique()
        assert (people == 1).all()
        assert (found.patient == found.path.map(person).map(dict(enumerate(codes)))).all()
        assert (found.study != "").all()
        flagged += (found.remark != "").any()
    assert 100 < flagged < 1200
