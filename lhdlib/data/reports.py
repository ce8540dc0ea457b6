"""Radiologists' notes -> findings per disc level -> labels by the paper's rule.

A small hand-written grammar reads a note in four steps: words (with the typos of dictated notes), level expressions
(``L4-5``, ``L3 to S1``, "last two discs"), concepts (findings and what else may press on a nerve), and attachment
(which level a concept belongs to, and whether it is denied). Nothing is guessed: what the note leaves open is flagged.
"""

import re
from bisect import bisect_right
from pathlib import Path
from zipfile import ZipFile

import openpyxl
import pandas as pd

from lhdlib.data.grammar.doubts import Doubt, find_doubts
from lhdlib.data.grammar.findings import POSITIVE_KINDS, Finding, read_findings, read_statements
from lhdlib.data.grammar.levels import LUMBAR_LEVELS, PLACE
from lhdlib.data.grammar.words import MAX_NOTE
from lhdlib.errors import UserError

# bounds on hostile workbooks
MAX_ROWS = 100_000
MAX_UNPACKED = 200_000_000  # bytes


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
    rows = []
    for patient, note in zip(notes["patient"], notes["note"], strict=True):
        if not isinstance(note, str) or not note.strip():
            continue
        labels, doubts = disc_labels(note), _note_doubts(note)
        for level in LUMBAR_LEVELS:
            label = level in labels
            here = [doubt for doubt in doubts if level in (doubt.levels or (level,)) and (doubt.spoils or not label)]
            rows.append((patient, level, label, "; ".join(dict.fromkeys(map(_flag, here)))))
    return pd.DataFrame(rows, columns=["patient", "level", "label", "flag"])


def read_notes(path: str | Path) -> pd.DataFrame:
    """The radiologists' workbook as a table.

    Parameters
    ----------
    path : str or Path
        ``Radiologists Report.xlsx``: sheet ``Sheet1`` (or the first), columns ``Patient ID`` and ``Clinician's Notes``.

    Returns
    -------
    DataFrame
        Columns ``patient`` (four digits) and ``note``, a row per patient; an empty note is an empty string.

    Raises
    ------
    UserError
        The workbook is missing, unreadable, or has other columns.
    """
    path = Path(path)
    remedy = "download the radiologists' notes (doi 10.17632/s6bgczr8s2) again"
    if not path.is_file():
        raise UserError(f"No workbook of notes at {path}: {remedy}, or correct the path.")
    try:
        with ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
                raise ValueError("it unpacks to an absurd size")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            sheet = book["Sheet1"] if "Sheet1" in book.sheetnames else book.worksheets[0]
            sheet.reset_dimensions()  # the file's own statement of its size is not to be trusted
            rows = list(sheet.iter_rows(max_row=MAX_ROWS, max_col=50, values_only=True))
        finally:
            book.close()
    except Exception as error:  # a damaged archive or damaged XML fails in any of the libraries beneath
        raise UserError(f"{path} cannot be read as an Excel workbook ({type(error).__name__}): {remedy}.") from error
    header = [re.sub(r"[^a-z]", "", str(cell or "").lower()) for cell in rows[0]] if rows else []
    if "patientid" not in header or "cliniciansnotes" not in header:
        raise UserError(f"{path} lacks the columns 'Patient ID' and \"Clinician's Notes\" in its first row: {remedy}.")
    columns = header.index("patientid"), header.index("cliniciansnotes")
    table = []
    for row in rows[1:]:
        cells = [row[c] if c < len(row) else None for c in columns]
        patient = re.fullmatch(r"\s*([0-9]{1,4})(?:\.0)?\s*", str(cells[0]))
        if patient:
            note = "" if cells[1] is None else str(cells[1]).strip()
            table.append((f"{int(patient[1]):04d}", note[:MAX_NOTE]))
    return pd.DataFrame(table, columns=["patient", "note"])
