"""Notes tell what the reader decided, and the workbook has the archive's layout."""

import re

import numpy as np
import openpyxl
import pandas as pd
import pytest

from lhdlib.data.reports import disc_labels, label_table, note_flags, parse_report
from lhdlib.phantom import disease, facts, truth
from lhdlib.phantom.notes import compose_note
from tests.phantom.studies import PATIENTS


def stated_levels(note: str) -> set[str]:
    """Independent reading of a note: levels in sentences that name a lesion without denying it."""
    order = [level.split("-") for level in reversed(disease.LEVELS)]
    upper, lower = [a for a, _ in order], [b for _, b in order]
    found = set()
    for line in note.split("\n"):
        if re.match(r"no\b", line, re.I) or not re.search(r"bulge|protrusion|extrusion|sequestration", line):
            continue
        for first, last in re.findall(r"([TLS]\d+)[-/]([TLS]?\d+)", line):
            last = last if last[0] in "LS" else f"L{last}"
            found |= {"-".join(pair) for pair in order[upper.index(first) : lower.index(last) + 1]}
    return found


@pytest.mark.slow
def test_notes_tell_what_the_reader_decided(anatomies):
    """Two readings of each note, one of them the pipeline's: what the reader calls abnormal, whatever is true."""
    notes = []
    for number, patient in enumerate(anatomies):
        rng = np.random.default_rng(number)
        discs, abnormal = patient.discs[4::-1], rng.random(5) < 0.4
        notes.append(compose_note(rng, discs, abnormal))
        decided = {disc.level for disc, found in zip(discs, abnormal, strict=True) if found}
        assert stated_levels(notes[-1]) == set(disc_labels(notes[-1])) == decided, notes[-1]
        assert not note_flags(notes[-1]), notes[-1]
    text = "\n".join(notes)
    for style in ("Normal study", "dehydration", "L4/L5", "L4-5", "L3-L5", "tear", "caudal migration", "Lt "):
        assert style in text


@pytest.mark.slow
def test_a_hedged_note_leaves_one_disc_open_and_decides_the_others(anatomies):
    for number, patient in enumerate(anatomies[:100]):
        discs, abnormal = patient.discs[4::-1], [False, False, number % 2 == 0, True, number % 3 == 0]
        plain, hedged = (compose_note(np.random.default_rng(number), discs, abnormal, hedged=h) for h in (False, True))
        open_ = "L5-S1" if number % 3 else "L3-L4" if number % 2 else "L2-L3"  # the lowest that is not called abnormal
        notes = pd.DataFrame({"patient": ["plain", "hedged"], "note": [plain, hedged]})
        labels = label_table(notes).set_index(["patient", "level"])
        flagged = labels.index[labels.flag.fillna("") != ""].tolist()
        assert flagged == [("hedged", open_)], hedged
        decided = [disc.level for disc in discs if disc.level != open_]
        assert labels.label["hedged"][decided].equals(labels.label["plain"][decided])


@pytest.mark.slow
def test_a_note_names_the_kind_and_a_tear_only_beside_it(anatomies):
    for number, patient in enumerate(anatomies):
        discs = patient.discs[4::-1]
        note = compose_note(np.random.default_rng(number), discs, [True] * 5)
        found = {(finding.level, finding.kind) for finding in parse_report(note)}
        for disc in discs:
            assert (disc.level, disc.displacement.kind) in found, note
            assert ((disc.level, "annular tear") in found) == (disc.tear is not None), note


@pytest.mark.slow
def test_notes_press_as_often_as_the_archive_s(anatomies):
    kinds = {"thecal sac": "thecal sac compression", "foramen": "foraminal narrowing", "nerve root": "nerve root"}
    discs = [patient.discs[1] for patient in anatomies]
    notes = [compose_note(np.random.default_rng(i), [disc], [True]) for i, disc in enumerate(discs)]
    for name, share in facts.PRESSED.items():
        said = [any(finding.kind.startswith(kinds[name]) for finding in parse_report(note)) for note in notes]
        assert np.mean(said) == pytest.approx(share, abs=0.08), name


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
        assert stated_levels(notes[patient]) & set(group.level) == set(group.level[group.noted == 1])
