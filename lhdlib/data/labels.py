"""The label of each sample: a reviewer's, else what the patient's note says of its level."""

from collections.abc import Mapping

import pandas as pd

from lhdlib.data import reports
from lhdlib.data.grammar.levels import LUMBAR_LEVELS


def note_labels(places: pd.DataFrame, notes: pd.DataFrame) -> pd.DataFrame:
    """Labels of discs as the notes give them.

    Parameters
    ----------
    places : pd.DataFrame
        ``patient, level``.
    notes : pd.DataFrame
        The table of `reports.read_notes`.

    Returns
    -------
    pd.DataFrame, rows and index of `places`
        ``label`` (True or False; NaN where unknown), ``note``, and ``reason``: empty, or why the label of a lumbar disc
        is not known for certain.
    """
    notes = notes[notes.note != ""].drop_duplicates()
    several = notes.patient[notes.patient.duplicated()]  # which of them is about these images, no one can tell
    notes = notes[~notes.patient.isin(several)]
    labels = reports.label_table(notes)
    merged = places[["patient", "level"]].merge(labels, on=["patient", "level"], how="left")
    merged = merged.merge(notes, on="patient", how="left").set_index(places.index)
    reason = pd.Series("", merged.index)
    reason[merged.label.isna()] = "no note for this patient"
    reason[merged.patient.isin(several)] = "several notes for this patient"
    undecided = merged.flag.fillna("") != ""
    reason[undecided] = "note undecided: " + merged.flag[undecided].astype(str)
    reason = reason.where(merged.level.isin(LUMBAR_LEVELS), "")
    return merged[["label"]].assign(note=merged.note.fillna(""), reason=reason)


def label_samples(
    samples: pd.DataFrame, notes: pd.DataFrame, *, judged: Mapping[str, int] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give each sample the label that a reviewer gave it, else that its patient's note gives its level.

    Parameters
    ----------
    samples : pd.DataFrame
        The table of `discs.disc_samples`.
    notes : pd.DataFrame
        The table of `reports.read_notes`.
    judged : mapping, optional
        Label of each slice whose disc a reviewer has judged (`overrides.judged_labels`).

    Returns
    -------
    samples : pd.DataFrame
        With ``label`` (0 or 1) and ``note``.
    set_aside : pd.DataFrame
        ``patient, study, level, reason`` of discs without a usable note or verdict.
    """
    noted = note_labels(samples, notes)
    verdict = samples.paths.str[0].map(judged or {})
    reason = noted.reason.where(verdict.isna(), "")
    label = noted.label.where(verdict.isna(), verdict)
    aside = samples.assign(reason=reason)[reason != ""][["patient", "study", "level", "reason"]].drop_duplicates()
    kept = samples.assign(label=label, note=noted.note)[reason == ""].astype({"label": int}).reset_index(drop=True)
    return kept, aside
