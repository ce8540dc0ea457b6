"""Notes tell the truth, and the workbook has the archive's layout."""

import re

import numpy as np
import openpyxl
import pytest

from lhdlib.phantom import anatomy, truth
from lhdlib.phantom.notes import compose_note
from tests.phantom.studies import PATIENTS


def stated_levels(note: str) -> set[str]:
    """Independent reading of a note: levels in sentences that name a lesion without denying it."""
    order = [level.split("-") for level in reversed(anatomy.LEVELS)]
    upper, lower = [a for a, _ in order], [b for _, b in order]
    found = set()
    for line in note.split("\n"):
        if re.match(r"no\b", line, re.I) or not re.search(r"bulge|protrusion|extrusion|tear|fissure", line):
            continue
        for first, last in re.findall(r"([TLS]\d+)[-/]([TLS]?\d+)", line):
            last = last if last[0] in "LS" else f"L{last}"
            found |= {"-".join(pair) for pair in order[upper.index(first) : lower.index(last) + 1]}
    return found


def test_notes_tell_the_truth(anatomies):
    notes = []
    for number, patient in enumerate(anatomies):
        discs = patient.imaged
        notes.append(compose_note(np.random.default_rng(number), discs))
        assert stated_levels(notes[-1]) == {disc.level for disc in discs if disc.lesion}, notes[-1]
    text = "\n".join(notes)
    for style in ("Normal study", "dehydration", "L4/L5", "L4-5", "L3-L5", "tear", "caudal migration", "Lt "):
        assert style in text


@pytest.mark.slow
def test_workbook(written):
    discs, _ = truth.load_truth(written)
    book = openpyxl.load_workbook(written / "archive" / "Radiologists Report.xlsx")
    assert book.sheetnames == ["Sheet1"]
    header, *rows = book["Sheet1"].iter_rows(values_only=True)
    assert header == ("Patient ID", "Clinician's Notes")
    assert len(rows) == PATIENTS + 1
    notes = {f"{number:04d}": note for number, note in rows}
    assert {patient for patient, note in notes.items() if note} == set(discs.patient)
    for patient, group in discs.groupby("patient"):
        assert stated_levels(notes[patient]) == set(group.level[group.label == 1])
