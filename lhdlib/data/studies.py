"""Which slices belong to one study, and studies to one patient.

A study is a StudyInstanceUID; folders name it. A patient is a folder. Where UIDs and folders contradict each other,
slices are kept apart and carry a remark.
"""

import re

import pandas as pd

from lhdlib.data.dicom_file.rules import NO_FOLDER

OTHER_PATIENT = "study under another patient too"
SEVERAL_PLACES = "patient's folder in several places"


def name_studies(slices: pd.DataFrame) -> pd.DataFrame:
    """Tell studies apart: ``study`` becomes a name that no other study of the patient has, ``remark`` says doubts.

    A UID is not believed where one image number of one series recurs in several study folders. There, and without UID,
    each folder is a study.

    Parameters
    ----------
    slices
        ``path, patient, study`` (folder, or empty), ``study_key, series, instance_number, weighting, remark``, sorted
        by path, without copies.

    Returns
    -------
    pd.DataFrame
        With other ``patient`` (where the series' folders are the tree's uppermost), ``study`` and ``remark``.
    """
    if slices.empty:
        return slices
    slices = slices.assign(patient=_patients(slices))
    place = slices.path.map(study_folder)
    believed = ~slices.study_key.isin(_recurring(slices, place)) & (slices.study_key != "")
    group = pd.Series(zip(slices.patient, slices.study_key, place.mask(believed, ""), strict=True), slices.index)
    of_several = slices.study_key.map(slices[believed].groupby("study_key").patient.nunique()) > 1
    doubts = {OTHER_PATIENT: believed & of_several, SEVERAL_PLACES: slices.patient.isin(_scattered(slices))}
    remark = slices.remark
    for doubt, concerned in doubts.items():
        remark = remark.mask(concerned, (remark + f"; {doubt}").str.removeprefix("; "))
    return slices.assign(study=_names(slices, group), remark=remark)


def study_folder(path: str) -> str:
    """Path of a file's study folder: above the series', or the patient's where there are only two."""
    folders = path.split("/")[:-1]
    return "/".join(folders[:-1] if len(folders) > 2 else folders[:1])


def with_patients(rejected: pd.DataFrame, slices: pd.DataFrame) -> pd.DataFrame:
    """Give files the patient in whose folder they lie, however deep, where slices tell that it is one."""
    places = {_patient_folder(path): patient for path, patient in zip(slices.path, slices.patient, strict=True)}

    def patient(path: str, by_depth: str) -> str:
        folders = path.split("/")[:-1]
        above = ("/".join(folders[:depth]) for depth in range(len(folders), 0, -1))
        return next((places[folder] for folder in above if folder in places), by_depth)

    return rejected.assign(patient=list(map(patient, rejected.path, rejected.patient)))


def _patient_folder(path: str) -> str:
    folders = path.split("/")[:-1]
    return "/".join(folders[:-2] if len(folders) > 2 else folders[:1])


def _patients(slices: pd.DataFrame) -> pd.Series:
    """The patient, `NO_FOLDER` where a study's series lie uppermost in the tree: their folders are no patients.

    They are series' folders if they are named for weightings, or share none.
    """
    patients = slices.patient
    upper = slices[(slices.path.str.count("/") < 2) & (slices.study_key != "")]
    for _, study in upper.groupby("study_key"):
        folders = study.groupby("patient").weighting.agg(set)
        named = all(re.search(r"t[12]", name, re.IGNORECASE) for name in folders.index)
        if len(folders) > 1 and (named or sum(map(len, folders)) == len(set.union(*folders))):
            patients = patients.mask(slices.index.isin(study.index), NO_FOLDER)
    return patients


def _recurring(slices: pd.DataFrame, place: pd.Series) -> set[str]:
    """Keys of UIDs that different images share: programs that remove names may give one UID to all studies."""
    images = slices.assign(place=place)[slices.instance_number != 0]
    places = images.groupby(["study_key", "series", "instance_number"]).place.nunique()
    return set(map(str, places.index[places > 1].get_level_values("study_key")))


def _scattered(slices: pd.DataFrame) -> set[str]:
    """Patients whose name several folders have that share no study: they may be several people."""
    scattered: set[str] = set()
    for patient, rows in slices.assign(above=slices.path.map(_patient_folder)).groupby("patient"):
        folders = rows.above.nunique()
        if folders > 1 and patient != NO_FOLDER:
            known = rows[rows.study_key != ""]
            if not (known.groupby("study_key").above.nunique() == folders).any():
                scattered.add(str(patient))
    return scattered


def _names(slices: pd.DataFrame, group: pd.Series) -> pd.Series:
    """A name for each study: its first folder's, with its key, and a number, where others of the patient have it."""
    studies = slices.assign(group=group).drop_duplicates("group")[["group", "patient", "study", "study_key"]]
    name = studies.study.where(studies.study != "", studies.study_key).replace("", "study")
    for addition in (" " + studies.study_key.str[:6], " " + (studies.groupby("patient").cumcount() + 1).astype(str)):
        clash = pd.DataFrame({"p": studies.patient, "n": name}).duplicated(keep=False)
        name = name.where(~clash, name + addition).str.strip()
    return group.map(dict(zip(studies.group, name, strict=True)))
