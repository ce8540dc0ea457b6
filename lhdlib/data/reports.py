"""Radiologists' notes -> findings per disc level -> labels by the paper's rule.

A small hand-written grammar reads a note in four steps: words (with the typos of dictated notes), level expressions
(``L4-5``, ``L3 to S1``, "last two discs"), concepts (findings and what else may press on a nerve), and attachment
(which level a concept belongs to, and whether it is denied). Nothing is guessed: what the note leaves open is flagged.
"""

import re
from bisect import bisect_right

import pandas as pd

from lhdlib.data.grammar.doubts import Doubt, find_doubts
from lhdlib.data.grammar.findings import POSITIVE_KINDS, Finding, read_findings, read_statements
from lhdlib.data.grammar.levels import LUMBAR_LEVELS, PLACE
from lhdlib.data.workbook import read_notes

__all__ = ["disc_labels", "label_table", "note_flags", "parse_report", "read_notes"]

DISAGREE = "two notes of this patient disagree"


def parse_report(text: str) -> list[Finding]:
    """Findings of a radiologist's note, one per disc level, in reading order.

    Parameters
    ----------
    text : str
        The note, of which the first 200,000 characters count; what is not a string (an empty cell) has no findings.

    Returns
    -------
    list of Finding
        Denied findings and findings that do not make a disc positive are among them.
    """
    return [finding for finding, _ in read_findings(text)]


# --- labels -----------------------------------------------------------------------------------------------------------

_NECK = re.compile(
    r"\b[cdt]\b\W{0,3}spine\b|\bcervical\b|\b(?:dorsal|thoracic) spine\b|\b(?:brain|knee|shoulder|ankle|hip) mri\b"
    r"|\bmri (?:of )?(?:the )?(?:brain|knee|shoulder|ankle|hip)\b",
    re.IGNORECASE,
)
_BACK = re.compile(r"\blss\b|\blumb|\bl\b\W{0,3}spine\b|\bL[1-5]\b", re.IGNORECASE)


def _neck_edges(text: str) -> list[int]:
    """Edges, in turn first and last, of the parts of a note under a line about the cervical spine alone."""
    edges: list[int] = []
    position = 0
    for line in text.splitlines(keepends=True):
        inside = len(edges) % 2 == 1
        if (inside and _BACK.search(line)) or (not inside and _NECK.search(line) and not _BACK.search(line)):
            edges.append(position)
        position += len(line)
    return edges


def _is_positive(finding: Finding) -> bool:
    return finding.kind in POSITIVE_KINDS and not (finding.negated or finding.doubted)


def disc_labels(text: str) -> dict[str, bool]:
    """Disc levels that a note makes positive, by the paper's rule; levels that are absent are negative.

    A level is positive when bulging, protrusion, herniation, extrusion, sequestration, an annular tear, or compression
    of the thecal sac, a nerve root or a foramen by the disc (or by nothing that is named) is noted there.

    Returns
    -------
    dict of str to bool
        Level, such as ``"L4-L5"``, to True; thoracic levels may be among them, cervical ones never.
    """
    levels = {f.level for f in parse_report(text) if f.level and f.level[0] != "C" and _is_positive(f)}
    return dict.fromkeys(sorted(levels, key=lambda level: PLACE[level.split("-")[0]]), True)


def _note_doubts(text: str) -> list[Doubt]:
    """What a note leaves open of lumbar discs; what stands under a line about the neck alone counts for nothing."""
    if not isinstance(text, str):
        return []
    neck = _neck_edges(text)
    statements = [s for s in read_statements(text) if bisect_right(neck, s.sentence[0].start) % 2 == 0]
    return find_doubts(text, statements)


def note_flags(text: str) -> list[str]:
    """Why a person should look at a note: what it leaves open, with the words. Empty when it can be decided.

    Returns
    -------
    list of str
        Reasons of `lhdlib.data.grammar.doubts`, such as ``only suspected, or asked for: "possible bulge at L4-L5"``.
    """
    return list(dict.fromkeys(_flag(doubt) for doubt in _note_doubts(text)))


def _flag(doubt: Doubt) -> str:
    return f'{doubt.reason}: "{doubt.words}"'


def label_table(notes: pd.DataFrame) -> pd.DataFrame:
    """Labels of the five lumbar discs of every patient who has a note.

    Parameters
    ----------
    notes : DataFrame
        Columns ``patient`` and ``note``, as from `read_notes`; empty notes say nothing and give no rows.

    Returns
    -------
    DataFrame
        Columns ``patient, level, label, flag``. A label is decided where ``flag`` is empty.
    """
    said = notes["note"].map(lambda note: isinstance(note, str) and note.strip() != "")
    notes = notes[said.astype(bool)].drop_duplicates()
    rows = []
    for patient, texts in notes.groupby("patient", sort=False)["note"]:
        decisions = [_decisions(text) for text in texts]
        for level in LUMBAR_LEVELS:
            labels = [decision[level][0] for decision in decisions]
            flags = [flag for decision in decisions for flag in decision[level][1]]
            flags += [DISAGREE] if len(set(labels)) > 1 else []
            rows.append((patient, level, any(labels), "; ".join(dict.fromkeys(flags))))
    return pd.DataFrame(rows, columns=["patient", "level", "label", "flag"])


def _decisions(note: str) -> dict[str, tuple[bool, list[str]]]:
    """For each lumbar level whether the note makes it positive, and why that is undecided."""
    labels, doubts = disc_labels(note), _note_doubts(note)
    out = {}
    for level in LUMBAR_LEVELS:
        positive = level in labels
        here = [doubt for doubt in doubts if level in (doubt.levels or (level,)) and (doubt.spoils or not positive)]
        out[level] = positive, [_flag(doubt) for doubt in here]
    return out
