"""The label of each sample: a reviewer's, else what the patient's note, or a table of one's own, says of its level."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from lhdlib.data import own_labels, reports
from lhdlib.data.dicom_file.rules import NO_FOLDER
from lhdlib.data.grammar.levels import LUMBAR_LEVELS


def read_source(path: Path) -> pd.DataFrame:
    """The table that labels come from: of the workbook (`reports.read_notes`) or of one's own labels.

    See `own_labels.read_table` for the columns of the latter. Both have ``patient`` and ``note``.
    """
    return own_labels.read_table(path) if own_labels.is_own(path) else reports.read_notes(path)


def note_labels(places: pd.DataFrame, notes: pd.DataFrame, *, everyone: Iterable[str] = ()) -> pd.DataFrame:
    """Labels of discs as the notes give them.

    Parameters
    ----------
    places : pd.DataFrame
        ``patient, level``.
    notes : pd.DataFrame
        The table of `read_source`.
    everyone : iterable of str, optional
        All patients' folders: a note may be meant for one that has no disc here.

    Returns
    -------
    pd.DataFrame, rows and index of `places`
        ``label`` (True or False; NaN where unknown), ``note``, and ``reason``: empty, or why the label of a lumbar disc
        is not known for certain.
    """
    given = notes if "label" in notes else None
    what = "note" if given is None else "label"
    notes = _said(notes)
    owner, unclear = match_notes({*places.patient, *everyone}, notes.patient, what=what)
    several = notes.patient[notes.patient.duplicated()]  # which of them is about these images, no one can tell
    notes = notes[~notes.patient.isin(several)]
    labels = reports.label_table(notes) if given is None else given[["patient", "level", "label", "flag"]]
    noted = pd.DataFrame({"patient": places.patient.map(owner).astype(object), "level": places.level})
    merged = noted.merge(labels, on=["patient", "level"], how="left")
    merged = merged.merge(notes, on="patient", how="left").set_index(places.index)
    reason = pd.Series("", merged.index)
    reason[merged.label.isna() & merged.patient.notna()] = f"no {what} for this disc"
    reason[merged.patient.isna()] = f"no {what} for this patient"
    reason[merged.patient.isin(several)] = f"several {what}s for this patient"
    reason = places.patient.map(unclear).astype(object).fillna(reason)
    undecided = merged.flag.fillna("") != ""
    reason[undecided] = f"{what} undecided: " + merged.flag[undecided].astype(str)
    reason = reason.where(merged.level.isin(LUMBAR_LEVELS), "")
    return merged[["label"]].assign(note=merged.note.fillna(""), reason=reason)


def _said(notes: pd.DataFrame) -> pd.DataFrame:
    """Each different note once."""
    return notes.loc[notes.note != "", ["patient", "note"]].drop_duplicates()


def match_notes(
    folders: Iterable[str], numbers: Iterable[str], *, what: str = "note"
) -> tuple[dict[str, str], dict[str, str]]:
    """Match each patient's folder with the note of the same name or number, where it can be no other.

    "37", "0037" and "P0037" may all be patient 37, "P37" and "Q37" never are one. Where two folders or notes could be
    meant, there is no note.

    Returns
    -------
    owner : dict of str to str
        Folder to the patient ID of its note.
    unclear : dict of str to str
        Folder to the reason why its note is unclear.
    """
    folders, numbers = sorted(set(folders) - {NO_FOLDER}), sorted(set(numbers))
    keys = pd.DataFrame([(name, *_key(name)) for name in numbers], columns=["name", "prefix", "number"])
    by_number = {number: list(zip(rows.name, rows.prefix, strict=True)) for number, rows in keys.groupby("number")}
    meant = {}
    for folder in folders:
        prefix, number = _key(folder)
        meant[folder] = [name for name, other in by_number.get(number, []) if prefix == other or not (prefix and other)]
    claims = Counter(name for names in meant.values() for name in names)
    owner, unclear = {}, {}
    for folder, names in meant.items():
        if len(names) > 1:
            unclear[folder] = f"several {what}s could be meant: " + ", ".join(names)
        elif names and claims[names[0]] > 1:
            rivals = ", ".join(other for other in folders if names[0] in meant[other])
            unclear[folder] = f"several folders could be meant by {what} {names[0]}: {rivals}"
        elif names:
            owner[folder] = names[0]
    return owner, unclear


def _key(name: str) -> tuple[str, str]:
    """Letters and number of a patient's name, without zeros in front; a name of another form is its own number."""
    parts = re.fullmatch(r"\W*([^\W\d_]*)[\W_]*([0-9]+)\W*", name)
    if not parts:
        return "", name.casefold()
    prefix = parts[1].casefold()
    return "" if prefix in _SAYS_PATIENT else prefix, parts[2].lstrip("0") or "0"


_SAYS_PATIENT = {"patient", "pat", "pt", "no", "nr", "id", "case", "subject", "sub"}


def notes_by_patient(everyone: Iterable[str], notes: pd.DataFrame) -> pd.Series:
    """All that the notes say of each patient's folder, joined; a folder whose note is unclear or absent is left out."""
    notes = _said(notes)
    owner, _ = match_notes(everyone, notes.patient)
    texts = notes.groupby("patient").note.agg("\n".join)
    return pd.Series({folder: texts[name] for folder, name in owner.items()}, dtype=object)


def without_study(notes: pd.DataFrame, everyone: Iterable[str]) -> list[str]:
    """Patients whose notes or labels belong to no folder."""
    owner, _ = match_notes(everyone, notes.patient)
    return sorted(set(notes.patient) - set(owner.values()))


def label_samples(
    samples: pd.DataFrame,
    notes: pd.DataFrame,
    *,
    judged: Mapping[str, int] | None = None,
    everyone: Iterable[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give each sample the label that a reviewer gave it, else that its patient's note gives its level.

    Parameters
    ----------
    samples : pd.DataFrame
        The table of `discs.disc_samples`.
    notes : pd.DataFrame
        The table of `read_source`.
    judged : mapping, optional
        Label of each slice whose disc a reviewer has judged (`overrides.judged_labels`).
    everyone : iterable of str, optional
        As in `note_labels`.

    Returns
    -------
    samples : pd.DataFrame
        With ``label`` (0 or 1) and ``note``.
    set_aside : pd.DataFrame
        ``patient, study, level, reason`` of discs without note or verdict.
    """
    noted = note_labels(samples, notes, everyone=everyone)
    verdict = samples.paths.str[0].map(judged or {})
    reason = noted.reason.where(verdict.isna(), "")
    label = noted.label.where(verdict.isna(), verdict)
    aside = samples.assign(reason=reason)[reason != ""][["patient", "study", "level", "reason"]].drop_duplicates()
    kept = samples.assign(label=label, note=noted.note)[reason == ""].astype({"label": int}).reset_index(drop=True)
    return kept, aside
