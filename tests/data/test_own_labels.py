"""Labels of one's own: strict parsing, what gives no label is listed, and a dataset that is made from them."""

import shutil

import numpy as np
import pandas as pd
import pytest

from lhdlib.data import dataset, labels, own_labels
from lhdlib.errors import UserError
from lhdlib.show import note, review
from tests.data import trees
from tests.data.test_dataset import SMALL, write_notes


def written(folder, text: str):
    path = folder / own_labels.NAME
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_in_many_spellings_is_read(tmp_path):
    head = "\ufeffLevel, Patient ,label,kind"
    text = f"{head}\r\nL4-L5,0007,abnormal,protrusion\r\nl5/s1,7,0,\r\nL4_L5,P9,1.0,\r\n,,,\r\nL3–L4,P9,,\r\n"
    table = own_labels.read_table(written(tmp_path, text))
    rows = table[["patient", "level", "label", "flag"]].fillna("none").values.tolist()
    assert rows == [
        ["0007", "L4-L5", True, ""],
        ["7", "L5-S1", False, ""],
        ["P9", "L4-L5", True, ""],
        ["P9", "L3-L4", "none", own_labels.NO_LABEL],
    ]
    assert table.note[0] == "labels.csv\nL4-L5: abnormal, protrusion"
    assert table.note[2] == "labels.csv\nL3-L4: undecided\nL4-L5: abnormal"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks the column 'patient'"),
        ("patient,level\n1,L4-L5\n", "lacks the column 'label'"),
        ("patient;level;label\n1;L4-L5;1\n", "lacks the column 'patient'"),
        ("patient,level,label,side\n1,L4-L5,1,left\n", "unknown column 'side'"),
        ("patient,level,label,label\n1,L4-L5,1,0\n", "a column twice"),
        ("patient,level,label\n", "has no row"),
        ("patient,level,label\n1,L4-L5,1\n1,L6-S1,1\n", "Line 3 of"),
        ("patient,level,label\n1,L5-L6,1\n", "'L5-L6'"),
        ("patient,level,label\n1,T12-L1,1\n", "'T12-L1'"),
        ("patient,level,label\n1,L4-L5,2\n", "the label '2'"),
        ("patient,level,label\n1,L4-L5,maybe\n", "'maybe'"),
        ("patient,level,label\n1,L4-L5,1,0\n", "4 fields instead of 3"),
        ("patient,level,label\n1,L4-L5\n", "2 fields instead of 3"),
        ("patient,level,label\n,L4-L5,1\n", "names no patient"),
        ('patient,level,label\n"1,L4-L5,1\n', "cannot be read as a table"),
        ("patient,level,label,kind\n1,L4-L5,1,bul\x07ge\n", "a kind that is longer"),
        (f"patient,level,label,reader\n1,L4-L5,1,{'x' * 201}\n", "a reader that is longer"),
    ],
)
def test_what_is_no_label_is_one_sentence(text, words, tmp_path):
    with pytest.raises(UserError) as error:
        own_labels.read_table(written(tmp_path, text))
    assert words in str(error.value).replace(str(tmp_path), "TMP")
    assert trees.is_sentence(error)


def test_a_table_that_is_no_text_or_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        own_labels.read_table(tmp_path / own_labels.NAME)
    (tmp_path / own_labels.NAME).write_bytes(b"patient,level,label\n\xff,L4-L5,1\n")
    with pytest.raises(UserError, match="UTF-8"):
        own_labels.read_table(tmp_path / own_labels.NAME)


def test_equal_rows_are_one_and_those_that_disagree_are_left_open(tmp_path):
    rows = "1,L4-L5,1,A\n1,L4-L5,1,B\n1,L5-S1,1,A\n1,L5-S1,normal,B\n1,L3-L4,,A\n1,L3-L4,0,B\n2,L4-L5,0,\n2,L4-L5,0,\n"
    table = own_labels.read_table(written(tmp_path, f"patient,level,label,reader\n{rows}")).set_index(
        ["patient", "level"]
    )
    assert table.label.to_dict() == {
        ("1", "L4-L5"): True,
        ("1", "L5-S1"): None,
        ("1", "L3-L4"): False,
        ("2", "L4-L5"): False,
    }
    assert table.flag["1", "L5-S1"] == "labels disagree: abnormal (A); normal (B)"
    assert (table.flag != "").sum() == 1 and own_labels.origin(table) == "labels of labels.csv, by A, B"


def test_random_tables_give_each_disc_what_its_rows_say(tmp_path):
    rng, levels = np.random.default_rng(0), list(own_labels.LUMBAR_LEVELS)
    for _ in range(6):
        rows = [(f"{rng.integers(4)}", levels[rng.integers(5)], ["0", "1", ""][rng.integers(3)]) for _ in range(12)]
        text = "patient,level,label\n" + "".join(f"{','.join(row)}\n" for row in rows)
        table = own_labels.read_table(written(tmp_path, text))
        assert len(table) == len({row[:2] for row in rows})
        for disc in table.itertuples():
            said = {value for *place, value in rows if place == [disc.patient, disc.level]} - {""}
            assert (disc.flag == "") == (len(said) == 1)
            assert disc.label is ({"1": True, "0": False}[said.pop()] if len(said) == 1 else None)


def test_labels_say_why_one_is_missing(tmp_path):
    table = own_labels.read_table(written(tmp_path, "patient,level,label\n37,L4-L5,1\n37,L5-S1,\n5,L4-L5,0\n"))
    places = pd.DataFrame(
        [("0037", "L4-L5"), ("0037", "L5-S1"), ("0037", "L3-L4"), ("8", "L4-L5"), ("5", "L4-L5"), ("P5", "L4-L5")],
        columns=["patient", "level"],
    )
    noted = labels.note_labels(places, table)
    assert noted.reason.tolist() == [
        "",
        "label undecided: no label given",
        "no label for this disc",
        "no label for this patient",
        *["several folders could be meant by label 5: 5, P5"] * 2,
    ]
    assert noted.label[0] is True and noted.note[0].startswith("labels.csv\n")
    assert labels.without_study(table, ["0037", "8"]) == ["5"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Six patients with two discs each, and a workbook that calls all of them normal."""
    folder = tmp_path_factory.mktemp("own")
    for patient in range(1, 7):
        for disc in range(2):
            place = folder / "01_MRI_Data" / f"{patient:04d}" / trees.STUDY / f"T2_{disc}"
            trees.write_slab(place, (0, 0, 34 * disc), 3, seed=10 * patient + disc, size=(24, 24))
    write_notes(folder / dataset.NOTES_NAME, [(patient, "Normal lumbar spine study.") for patient in range(1, 7)])
    return folder


TABLE = "patient,level,label,kind,reader\n" + "".join(
    f"{patient},L4-L5,{patient % 2},{'bulge' * (patient % 2)},A\n{patient},L5-S1,{(patient + 1) % 2},,A\n"
    for patient in range(1, 6)
)


@pytest.mark.slow
def test_a_dataset_of_ones_own_labels_says_so(archive, tmp_path, capsys):
    shutil.copytree(archive, tmp_path / "archive")
    place = tmp_path / "archive"
    with pytest.raises(UserError):  # all are normal by the notes
        dataset.build_dataset(place, tmp_path / "01", SMALL.replace(data={"pretrain_validation": 4}), 0)
    (place / own_labels.NAME).write_text(TABLE + "6,L4-L5,,,A\n6,L5-S1,1,,A\n6,L5-S1,0,,B\n77,L4-L5,1,,A\n")
    profile = SMALL.replace(data={"pretrain_validation": 4})
    data = dataset.build_dataset(place, tmp_path / "01", profile, 0)
    assert {(r.patient, r.level): r.label for r in data.samples.itertuples()} == {
        (f"{patient:04d}", level): (patient + low) % 2
        for patient in range(1, 6)
        for low, level in enumerate(("L4-L5", "L5-S1"))
    }
    assert data.info["data_label"] == "DICOM archive, 6 patients; labels of labels.csv, by A, B"
    assert data.info["labels"] == {
        "discs": 13,
        "patients": 7,
        "undecided": ["6 L4-L5", "6 L5-S1"],
        "patients without a study": ["77"],
    }
    said = "Labels come from labels.csv, not from notes: 13 discs of 7 patients, 2 undecided (6 L4-L5, 6 L5-S1), 1 "
    assert said + "patients without a study (77)." in capsys.readouterr().out
    asked = review.Review(tmp_path / "01", place)
    reasons = [asked.doubts[row] for row in asked.pending()]
    assert reasons == [
        "label undecided: labels disagree: abnormal (A); normal (B)",
        "label undecided: no label given",
    ]
    assert asked.note(asked.pending()[0]).startswith("labels.csv\nL4-L5: undecided (A)")
    asked.judge(asked.pending()[0], "abnormal", "L5-S1", "me")
    again = dataset.build_dataset(place, tmp_path / "01", profile, 0)
    judged = again.samples.set_index(["patient", "level"]).label
    assert judged["0006", "L5-S1"] == 1 and (place / "overrides.csv").is_file() and len(again.samples) == 11
    (place / own_labels.NAME).write_text(TABLE)  # other labels, another dataset
    assert len(dataset.build_dataset(place, tmp_path / "01", profile, 0).samples) == 11  # the verdict holds


def test_where_labels_are_found(archive, tmp_path):
    place = tmp_path / "data"
    (place / "x").mkdir(parents=True)
    written(tmp_path, TABLE)  # somebody's file above the data folder is not meant
    with pytest.raises(UserError, match=r"or your own labels\.csv"):
        dataset.find_labels(place)
    shutil.copy(archive / dataset.NOTES_NAME, place / "x")
    assert dataset.find_labels(place) == place / "x" / dataset.NOTES_NAME
    assert dataset.inputs(place) == {"notes": place / "x" / dataset.NOTES_NAME}
    own = written(place / "x", TABLE)  # beside the workbook
    assert dataset.find_labels(place) == own and dataset.inputs(place) == {"labels": own}
    written(place, TABLE)
    with pytest.raises(UserError) as error:
        dataset.find_labels(place)
    assert trees.is_sentence(error) and "two places" in str(error.value)
    own.unlink()
    assert dataset.find_labels(place) == place / own_labels.NAME


def test_rows_are_marked_like_a_note(tmp_path):
    text = own_labels.read_table(written(tmp_path, TABLE)).note[0]
    pieces = note.runs(text, "L4-L5")
    assert "".join(piece for piece, *_ in pieces) == text
    assert pieces[1:] == [("L4-L5: abnormal, bulge\n", 2, False), ("L5-S1: normal", 1, False)]
    assert pieces[0] == ("labels.csv, by A\n", 0, False)
    assert not own_labels.is_text("Disc bulge at L4-L5.")
