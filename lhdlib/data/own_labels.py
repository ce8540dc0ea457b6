"""Labels from a table of one's own, ``labels.csv``, in place of the notes.

A row is a reader's judgement of one disc. Nothing is guessed: a disc without a label, or with several that disagree,
waits for a person like one that a note leaves open, and whatever else is no label stops the build in one sentence.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lhdlib.data.grammar.levels import LUMBAR_LEVELS
from lhdlib.errors import UserError

NAME = "labels.csv"
NEEDED, OPTIONAL = ("patient", "level", "label"), ("kind", "reader")
LABELS = {"1": True, "1.0": True, "abnormal": True, "0": False, "0.0": False, "normal": False, "": None}
LEVELS = {re.sub(r"\W", "", level).lower(): level for level in LUMBAR_LEVELS}
MAX_BYTES, MAX_TEXT = 16 * 2**20, 200  # of the file, and of a kind or reader
NO_LABEL, DISAGREE = "no label given", "labels disagree"
NAMED = 3  # readers, or discs, that a sentence names


def is_own(path: Path) -> bool:
    """Whether a file of labels is a table of one's own, not the workbook of notes."""
    return path.name == NAME


def read_table(path: Path) -> pd.DataFrame:
    """Labels of ``labels.csv``, a row per disc.

    Returns
    -------
    pd.DataFrame
        ``patient, level, label`` (True or False; None where undecided), ``flag`` (empty, or why it is undecided),
        ``reader`` (tuple of all who judged the disc), and ``note``: all that the table says of the patient, as text.

    Raises
    ------
    UserError
        When the file cannot be read, lacks a column or has an unknown one, or a row is no label.
    """
    rows = pd.DataFrame(_rows(path), columns=[*NEEDED, *OPTIONAL]).drop_duplicates()
    discs = []
    for (patient, level), same in rows.groupby(["patient", "level"], sort=False):
        given = {label for label in same.label if label is not None}
        flag = NO_LABEL if not given else "" if len(given) == 1 else f"{DISAGREE}: {'; '.join(map(_said, _each(same)))}"
        readers = tuple(dict.fromkeys(filter(None, same.reader)))
        discs.append((patient, level, None if flag else given.pop(), flag, readers))
    table = pd.DataFrame(discs, columns=["patient", "level", "label", "flag", "reader"]).astype(object)
    return table.assign(note=table.patient.map({patient: _text(own) for patient, own in rows.groupby("patient")}))


def _rows(path: Path) -> list[list]:
    """Rows of the file in the order of the columns, with their label as True, False or None."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): allow reading it.") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"{path} has more than {MAX_BYTES >> 20} MiB, too many for a table of labels: split it.")
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        head = [name.strip().lower() for name in next(lines, [])]
        _check_head(path, head)
        rows = [(lines.line_num, [field.strip() for field in row]) for row in lines if any(map(str.strip, row))]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a table ({error}): save it as CSV in UTF-8.") from error
    if not rows:
        raise UserError(f"{path} has no row: add labels, or move it away so that labels come from the notes.")
    return [_row(path, number, head, row) for number, row in rows]


def _check_head(path: Path, head: list[str]) -> None:
    known = f"the columns are {', '.join(NEEDED)} and, optionally, {' and '.join(OPTIONAL)}, separated by commas"
    missing, odd = [name for name in NEEDED if name not in head], [n for n in head if n not in NEEDED + OPTIONAL]
    if missing or odd or len(set(head)) < len(head):
        fault = (
            f"lacks the column {missing[0]!r}"
            if missing
            else f"has the unknown column {odd[0][:40]!r}"
            if odd
            else "has a column twice"
        )
        raise UserError(f"{path} {fault}: {known}.")


def _row(path: Path, number: int, head: list[str], row: list[str]) -> list:
    """A row's fields in the order of the columns."""
    fields = dict.fromkeys(OPTIONAL, "") | dict(zip(head, row, strict=False))
    level = LEVELS.get(re.sub(r"[\s_/–-]", "", fields.get("level", "")).lower())
    label = fields.get("label", "").lower()
    fault = ""
    if len(row) != len(head):
        fault = f"has {len(row)} fields instead of {len(head)}"
    elif not fields["patient"]:
        fault = "names no patient"
    elif level is None:
        fault = f"has the level {fields['level'][:40]!r}, none of {', '.join(LUMBAR_LEVELS)}"
    elif label not in LABELS:
        fault = f"has the label {label[:40]!r}, neither 1 or abnormal, nor 0 or normal, nor empty (undecided)"
    else:
        long = [n for n in ("patient", *OPTIONAL) if len(fields[n]) > MAX_TEXT or not fields[n].isprintable()]
        fault = f"has a {long[0]} that is longer than {MAX_TEXT} characters or not printable" if long else ""
    if fault:
        raise UserError(f"Line {number} of {path} {fault}: mend or delete it.")
    return [fields["patient"], level, LABELS[label], fields["kind"], fields["reader"]]


def _each(rows: pd.DataFrame) -> Iterable:
    return rows.itertuples(index=False)


def _said(row: Any) -> str:
    """What one row says of its disc."""
    word = "undecided" if row.label is None else "abnormal" if row.label else "normal"
    return word + f", {row.kind}" * bool(row.kind) + f" ({row.reader})" * bool(row.reader)


def _text(rows: pd.DataFrame) -> str:
    """All that the table says of a patient, a line per row."""
    readers = set(rows.reader)
    whose = f", by {readers.pop()}" if len(readers) == 1 and "" not in readers else ""
    rows = rows.assign(reader="") if whose else rows  # said once
    lines = sorted(_each(rows), key=lambda row: LUMBAR_LEVELS.index(row.level))
    return "\n".join([NAME + whose, *(f"{row.level}: {_said(row)}" for row in lines)])


def is_text(note: str) -> bool:
    """Whether what stands in the place of a note is rows of a table of one's own."""
    return note.startswith(NAME)


def origin(table: pd.DataFrame) -> str:
    """Whose labels these are, for the data's label in every figure: ``labels of labels.csv, by A. B.``."""
    readers = list(dict.fromkeys(name for names in table.reader for name in names))
    named = ", ".join(readers) if len(readers) <= NAMED else f"{len(readers)} readers"
    whose = f", by {named}" if readers else ""
    return f"labels of {NAME}{whose}"


def describe(table: pd.DataFrame, without_study: list[str]) -> dict[str, Any]:
    """Numbers of a table of labels, and what of it gives no label, for ``dataset.json``."""
    undecided = table[table.flag != ""]
    return {
        "discs": len(table),
        "patients": int(table.patient.nunique()),
        "undecided": [f"{row.patient} {row.level}" for row in undecided.itertuples()],
        "patients without a study": without_study,
    }


def line(described: Mapping[str, Any]) -> str:
    """Say where labels come from, with the numbers of `describe`."""
    parts = [
        f"Labels come from {NAME}, not from notes: {described['discs']:,} discs of {described['patients']:,} patients"
    ]
    for what in ("undecided", "patients without a study"):
        names = described[what]
        more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        parts.append(f"{len(names):,} {what}" + f" ({', '.join(names[:NAMED])}{more})" * bool(names))
    return ", ".join(parts) + "."
