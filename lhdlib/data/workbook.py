"""The radiologists' workbook, row by row: no row disappears, and what cannot be read is named."""

import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import openpyxl
import pandas as pd
from openpyxl.utils import column_index_from_string

from lhdlib.data.grammar.words import MAX_NOTE
from lhdlib.errors import UserError

# bounds on hostile workbooks
MAX_ROWS = 100_000
MAX_UNPACKED = 200_000_000  # bytes

_DOWNLOAD = "download the radiologists' notes (doi 10.17632/s6bgczr8s2) again"
_COLUMNS = "the columns 'Patient ID' and \"Clinician's Notes\""
_HEADINGS = ("patientid", "cliniciansnotes")
_OLD_FORMAT = b"\xd0\xcf\x11\xe0"
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def read_notes(path: str | Path) -> pd.DataFrame:
    """The radiologists' workbook as a table.

    A row without a number continues the note above it; a cell that is merged over several rows counts for each.

    Parameters
    ----------
    path
        A workbook with the columns ``Patient ID`` and ``Clinician's Notes`` in one sheet.

    Returns
    -------
    DataFrame
        ``patient`` (a number as four digits, else as it is written) and ``note``, empty where there is none; a patient
        may have several rows.

    Raises
    ------
    UserError
        The workbook is missing, unreadable, has other columns, or an unreadable number.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"No workbook of notes at {path}: {_DOWNLOAD}, or correct the path.")
    sheets, merged = _read_sheets(path)
    name, rows = _sheet_of_notes(path, sheets)
    header = _header(rows[0])
    columns = tuple(header.index(heading) for heading in _HEADINGS)
    for heading, written in zip(_HEADINGS, ("Patient ID", "Clinician's Notes"), strict=True):
        if header.count(heading) > 1:
            raise UserError(f'{path} has the column "{written}" twice on sheet {name!r}: put all of it in one column.')
    patient, first = columns
    end = next(
        (c for c in range(first + 1, len(header)) if header[c]), None
    )  # of unnamed columns into which notes spill
    cells = [(row[patient] if patient < len(row) else None, _joined(row[first:end])) for row in rows]
    for first, last, column in merged.get(name, ()):
        for at in range(first, min(last, len(cells))):
            if column == columns[1] and cells[at][1] is None:
                cells[at] = (cells[at][0], cells[first - 1][1])
    return pd.DataFrame(_patients(path, cells[1:]), columns=["patient", "note"])


def _read_sheets(path: Path) -> tuple[dict[str, list[tuple[Any, ...]]], dict[str, list[tuple[int, int, int]]]]:
    """Rows of each sheet, and its merged cells as first row, last row (from 1) and column (from 0)."""
    with path.open("rb") as file:
        start = file.read(4)
    if start == _OLD_FORMAT:
        raise UserError(f"{path} has an old Excel format or a password: save it as an Excel workbook (.xlsx) without.")
    if not is_zipfile(path) and not start.startswith(b"PK"):
        raise UserError(f"{path} is no Excel workbook (.xlsx) but perhaps text (CSV): save it as .xlsx.")
    sheets: dict[str, list[tuple[Any, ...]]] = {}
    merged: dict[str, list[tuple[int, int, int]]] = {}
    try:
        with ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
                raise ValueError("it unpacks to an absurd size")
            if "content.xml" in archive.namelist() or "xl/workbook.bin" in archive.namelist():
                raise UserError(f"{path} is a spreadsheet of another format: save it as an Excel workbook (.xlsx).")
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            try:
                for sheet in book.worksheets:
                    sheet.reset_dimensions()  # the file's own statement of its size is not to be trusted
                    rows = sheet.iter_rows(max_row=MAX_ROWS + 1, max_col=50, values_only=True)
                    sheets[sheet.title] = list(rows)
                    merged[sheet.title] = _merged_cells(archive.read(sheet._worksheet_path.lstrip("/")))
            finally:
                book.close()
    except UserError:
        raise
    except Exception as error:  # a damaged archive or damaged XML fails in any of the libraries beneath
        raise UserError(
            f"{path} cannot be read as an Excel workbook ({type(error).__name__}): save it as one again or, if this is "
            f"the archive's own file, {_DOWNLOAD}."
        ) from error
    return sheets, merged


def _merged_cells(sheet: bytes) -> list[tuple[int, int, int]]:
    """Merged cells of a sheet's XML; the library names them only where it loads all cells at once."""
    found = re.findall(rb'<mergeCell ref="([A-Z]{1,3})(\d{1,7}):[A-Z]{1,3}(\d{1,7})"', sheet)
    columns = (column_index_from_string(column.decode()) - 1 for column, _, _ in found)
    return [(int(first), int(last), column) for (_, first, last), column in zip(found, columns, strict=True)]


def _joined(cells: tuple[Any, ...]) -> Any:
    """A note that programs have split at commas into several cells."""
    filled = [cell for cell in cells if cell is not None and str(cell).strip()]
    return ", ".join(map(str, filled)) if len(filled) > 1 else next(iter(filled), None)


def _header(row: tuple[Any, ...]) -> list[str]:
    return [re.sub(r"[^a-z]", "", str(cell or "").lower()) for cell in row]


def _sheet_of_notes(path: Path, sheets: dict[str, list[tuple[Any, ...]]]) -> tuple[str, list[tuple[Any, ...]]]:
    """The one sheet that has the columns in its first row."""
    fitting = [name for name, rows in sheets.items() if rows and set(_HEADINGS) <= set(_header(rows[0]))]
    if len(fitting) > 1:
        names = ", ".join(f"{name!r}" for name in fitting)
        raise UserError(f"{path} has {_COLUMNS} on several sheets ({names}): put all notes on one sheet.")
    if not fitting:
        for name, rows in sheets.items():
            for number, row in enumerate(rows[:50], 1):
                if set(_HEADINGS) <= set(_header(row)):
                    raise UserError(
                        f"{path} has {_COLUMNS} in row {number} of sheet {name!r}: delete the rows above, so that they "
                        "are in the first."
                    )
        raise UserError(
            f"{path} lacks {_COLUMNS} in its first row: name the columns so, or, if this is the archive's own file, "
            f"{_DOWNLOAD}."
        )
    rows = sheets[fitting[0]]
    if len(rows) > MAX_ROWS:
        raise UserError(f"{path} has more than {MAX_ROWS} rows on sheet {fitting[0]!r}: remove those without notes.")
    return fitting[0], rows


def _patients(path: Path, cells: list[tuple[Any, Any]]) -> list[tuple[str, str]]:
    """Patient and note of each row; a row without a number goes on with the one above."""
    table: list[tuple[str, str]] = []
    odd: list[int] = []
    for row, (written, said) in enumerate(cells, 2):
        note = "" if said is None else str(said).strip()
        text = _INVISIBLE.sub("", "" if written is None else str(written)).strip()
        if not text and not note:
            continue
        patient = _patient(text)
        if not text and table:
            table[-1] = (table[-1][0], f"{table[-1][1]}\n{note}".strip())
        elif patient:
            table.append((patient, note[:MAX_NOTE]))
        elif note:
            odd.append(row)
    if odd:
        named = ", ".join(map(str, odd[:10])) + (" ..." if len(odd) > 10 else "")
        raise UserError(f"{path} has notes whose 'Patient ID' names no one patient, in row {named}: write one there.")
    return table


def _patient(text: str) -> str:
    """Name of a patient as written in a cell: four digits for a number; empty where it names none, or several."""
    number = re.fullmatch(r"(?:(?:patient|pat|pt|no|nr|id|case)\b\W*|#\s*)*(\d{1,4})(?:\.0)?", text, re.IGNORECASE)
    if number:
        return f"{int(number[1]):04d}"
    is_code = re.fullmatch(r"\w[\w.-]{0,63}", text) and not re.fullmatch(r"[0-9]+[.-][0-9]+", text)
    is_name = re.fullmatch(r"[^\W\d_]+[ _-]?[0-9]+", text)
    return text if is_code or is_name else ""
