"""The workbook of notes: every row is read, joined or named; what is no such workbook gets a sentence that fits."""

import contextlib
import random
from zipfile import ZipFile

import openpyxl
import pytest

from lhdlib.data import workbook
from lhdlib.data.workbook import read_notes
from lhdlib.errors import UserError

HEADER = ["Patient ID", "Clinician's Notes"]


def book(path, rows, title="Sheet1", merge=(), second=None):
    made = openpyxl.Workbook()
    made.active.title = title
    for row in rows:
        made.active.append(row)
    for cells in merge:
        made.active.merge_cells(cells)
    if second:
        sheet = made.create_sheet("Other")
        for row in second:
            sheet.append(row)
    made.save(path)
    return path


def zipped(path, name):
    with ZipFile(path, "w") as archive:
        archive.writestr(name, "<x/>")


def test_columns_are_found_by_name_and_numbers_get_four_digits(tmp_path):
    rows = [[" patient  ID", None, "CLINICIAN'S NOTES "], [1, None, "Bulge"], [25.0, None, None]]
    table = read_notes(book(tmp_path / "notes.xlsx", rows, title="Other"))
    assert table.to_dict("list") == {"patient": ["0001", "0025"], "note": ["Bulge", ""]}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (7, "0007"),
        (7.0, "0007"),
        ("7", "0007"),
        (" 0007 ", "0007"),
        ("#7", "0007"),
        ("Patient 7", "0007"),
        ("patient no. 7", "0007"),
        ("ID: 7", "0007"),
        ("\u200e7", "0007"),
        ("7\u00a0", "0007"),
        ("00012", "00012"),
        (12345, "12345"),
        ("P001", "P001"),
        ("HOSP-0017", "HOSP-0017"),
        ("a7b", "a7b"),
        ("\uff17", "0007"),
    ],
)
def test_numbers_however_they_are_written(tmp_path, written, read):
    assert read_notes(book(tmp_path / "notes.xlsx", [HEADER, [written, "Bulge"]])).patient.tolist() == [read]


@pytest.mark.parametrize("written", ["7, 8", "7 and 8", "7/8", "7 8", "7-8", 1.5, "#REF!", "?", "see above", None])
def test_rows_that_name_no_one_patient_are_named(tmp_path, written):
    path = book(
        tmp_path / "notes.xlsx", [HEADER, [written, "Bulge"], [1, "Bulge"], [written, "" if written else "Tear"]]
    )
    with pytest.raises(UserError, match=r"in row 2: "):
        read_notes(path)


def test_a_row_without_a_number_goes_on_with_the_note_above(tmp_path):
    rows = [HEADER, [1, "Bulge at L4-L5."], [None, "Tear at L5-S1."], [None, None], [2, None], [" ", "Normal discs."]]
    table = read_notes(book(tmp_path / "notes.xlsx", rows))
    assert table.to_dict("list") == {
        "patient": ["0001", "0002"],
        "note": ["Bulge at L4-L5.\nTear at L5-S1.", "Normal discs."],
    }


def test_merged_cells_count_for_each_of_their_rows(tmp_path):
    rows = [HEADER, [1, "Bulge."], [None, "Tear."], [2, "Normal discs."], [3, None], [4, None]]
    table = read_notes(book(tmp_path / "notes.xlsx", rows, merge=["A2:A3", "B4:B5"]))
    assert table.patient.tolist() == ["0001", "0002", "0003", "0004"]
    assert table.note.tolist() == ["Bulge.\nTear.", "Normal discs.", "Normal discs.", ""]


def test_a_note_that_spills_into_unnamed_columns_is_whole(tmp_path):
    rows = [[*HEADER, None, None, "Remarks"], [1, "Bulge at L4-L5", "tear at L5-S1", None, "x"], [2, None, "Bulge"]]
    table = read_notes(book(tmp_path / "notes.xlsx", rows))
    assert table.note.tolist() == ["Bulge at L4-L5, tear at L5-S1", "Bulge"]


@pytest.mark.parametrize("name", HEADER)
def test_two_columns_of_one_name_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=f'column "{name}" twice on sheet'):
        read_notes(book(tmp_path / "notes.xlsx", [[*HEADER, name.upper()], [1, "Bulge", "Tear"]]))


def test_several_rows_of_one_patient_stay_several(tmp_path):
    table = read_notes(book(tmp_path / "notes.xlsx", [HEADER, [1, "Bulge."], [2, "Tear."], ["0001", "Normal."]]))
    assert table.patient.tolist() == ["0001", "0002", "0001"]


@pytest.mark.slow
def test_random_tables_lose_no_note(tmp_path):
    rng = random.Random(3)
    for _ in range(30):
        rows = [[rng.choice([rng.randrange(1, 30), None, f"P{rng.randrange(9)}"]), f"note{n}"] for n in range(12)]
        rows[0][0] = 1
        said = "\n".join(read_notes(book(tmp_path / "notes.xlsx", [HEADER, *rows])).note).split("\n")
        assert sorted(said) == sorted(note for _, note in rows)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "No workbook of notes at .* or correct the path"),
        (lambda path: path.write_text("Patient ID,Clinician's Notes\n1,Bulge\n"), r"text \(CSV\): save it as .xlsx"),
        (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)), "old Excel format"),
        (lambda path: book(path, [["a", "b"], [1, 2]]), "lacks the columns"),
        (lambda path: book(path, []), "lacks the columns"),
        (lambda path: book(path, [["Notes of 2016"], [], HEADER, [1, "Bulge"]]), "in row 3 of sheet 'Sheet1': delete"),
        (lambda path: book(path, [HEADER], second=[HEADER, [1, "Bulge"]]), r"several sheets \('Sheet1', 'Other'\)"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(99)), "download the radiologists' notes"),
        (lambda path: zipped(path, "content.xml"), "spreadsheet of another format: save it"),
        (lambda path: zipped(path, "xl/workbook.bin"), "spreadsheet of another format: save it"),
    ],
)
def test_what_is_no_such_workbook_gets_a_sentence_that_fits(tmp_path, make, sentence):
    path = tmp_path / "notes.xlsx"
    make(path)
    with pytest.raises(UserError, match=sentence) as caught:
        read_notes(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_notes_on_the_second_sheet_alone_are_read(tmp_path):
    path = book(tmp_path / "notes.xlsx", [["Contents"]], second=[HEADER, [1, "Bulge"]])
    assert read_notes(path).note.tolist() == ["Bulge"]


def test_too_large_a_workbook_is_refused(tmp_path, monkeypatch):
    path = book(tmp_path / "notes.xlsx", [HEADER, [1, "x" * 9000], [2, "Bulge"]])
    assert len(read_notes(path)) == 2
    monkeypatch.setattr(workbook, "MAX_ROWS", 2)
    with pytest.raises(UserError, match="more than 2 rows"):
        read_notes(path)
    monkeypatch.setattr(workbook, "MAX_UNPACKED", 9000)
    with pytest.raises(UserError, match="download"):
        read_notes(path)


@pytest.mark.slow
def test_damaged_workbooks_are_read_or_refused(tmp_path):
    whole = book(tmp_path / "notes.xlsx", [HEADER, [1, "Bulge at L4-L5"]]).read_bytes()
    rng = random.Random(2)
    damaged = tmp_path / "damaged.xlsx"
    for _ in range(150):
        data = bytearray(whole[: rng.choice((len(whole), rng.randrange(1, len(whole))))])
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        damaged.write_bytes(data)
        with contextlib.suppress(UserError):
            read_notes(damaged)
