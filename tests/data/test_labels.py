"""A note belongs to exactly its patient or to nobody."""

import random

import pandas as pd
import pytest

from lhdlib.data.labels import label_samples, match_notes, note_labels, notes_by_patient


@pytest.mark.parametrize("folder", ["37", "0037", "00037", "P0037", "p37", "Patient 37", "patient_037", "#37"])
def test_one_number_however_it_is_written(folder: str):
    assert match_notes([folder, "0004"], ["0037", "0004"])[0] == {folder: "0037", "0004": "0004"}


@pytest.mark.parametrize(
    ("folder", "note"), [("37", "0370"), ("P37", "Q37"), ("A-12-34", "1234"), ("37a", "0037"), ("Smith", "Smithson")]
)
def test_other_patients_never_match(folder: str, note: str):
    assert match_notes([folder], [note]) == ({}, {})


def test_codes_of_a_hospital_match_themselves():
    assert match_notes(["HOSP-0017", "smith", "A-12-34"], ["hosp-0017", "Smith", "A-12-34"])[0] == {
        "HOSP-0017": "hosp-0017",
        "smith": "Smith",
        "A-12-34": "A-12-34",
    }


def test_two_folders_or_two_notes_that_could_be_meant_are_unclear():
    owner, unclear = match_notes(["37", "P0037", "0004"], ["0037", "0004"])
    assert owner == {"0004": "0004"}
    assert unclear == dict.fromkeys(["37", "P0037"], "several folders could be meant by note 0037: 37, P0037")
    owner, unclear = match_notes(["0037"], ["0037", "00037"])
    assert owner == {} and unclear == {"0037": "several notes could be meant: 00037, 0037"}


@pytest.mark.slow
def test_names_drawn_from_two_patients_never_exchange_notes():
    """2,000 random pairs of names: each form of one number goes to its note, or to none; never to the other's."""
    rng = random.Random(0)
    forms = ["{}", "{:03d}", "{:04d}", "{:05d}", "P{}", "P{:04d}", "patient_{}", "X-{:04d}"]
    for _ in range(2000):
        numbers = rng.sample(range(1, 200), 2)
        folders = [rng.choice(forms).format(number) for number in numbers]
        notes = [rng.choice(forms).format(number) for number in numbers]
        owner, _ = match_notes(folders, notes)
        assert all(owner.get(folder, note) == note for folder, note in zip(folders, notes, strict=True))


def test_labels_say_why_a_note_is_not_used():
    places = pd.DataFrame({"patient": ["37", "0037", "5", "6", "7"], "level": "L4-L5"}, index=[3, 1, 4, 2, 9])
    notes = pd.DataFrame(
        {"patient": ["0037", "0005", "0006", "0006"], "note": ["Bulge at L4-L5"] * 3 + ["Normal discs"]}
    )
    noted = note_labels(places, notes)
    assert noted.index.tolist() == places.index.tolist()
    assert noted.reason.str.split(" by").str[0].tolist() == [
        "several folders could be meant",
        "several folders could be meant",
        "",
        "several notes for this patient",
        "no note for this patient",
    ]
    assert noted.label.tolist()[2] is True and noted.note.tolist()[2] == "Bulge at L4-L5"


def test_a_note_that_a_patient_without_discs_may_have_is_nobodys():
    """Folder 37 has no disc here, but the note may be about it as well as about P37."""
    samples = pd.DataFrame({"patient": ["P37"], "study": "s", "level": "L4-L5", "part": 0, "paths": [()]})
    notes = pd.DataFrame({"patient": ["0037"], "note": ["Bulge at L4-L5"]})
    assert note_labels(samples, notes).reason.tolist() == [""]
    assert note_labels(samples, notes, everyone={"8"}).reason.tolist() == [""]
    reason = "several folders could be meant by note 0037: 37, P37"
    assert note_labels(samples, notes, everyone={"37", "P37"}).reason.tolist() == [reason]
    kept, aside = label_samples(samples, notes, everyone={"37"})
    assert kept.empty and aside.reason.tolist() == [reason]


def test_images_in_no_patients_folder_have_no_note():
    assert match_notes(["unknown", "7"], ["unknown", "0007"]) == ({"7": "0007"}, {})


def test_notes_are_shown_by_folder_and_an_unclear_one_is_not():
    rows = [("0005", "One."), ("0005", "Two."), ("0005", "One."), ("0006", ""), ("0037", "Three."), ("0008", "Other")]
    notes = pd.DataFrame(rows, columns=["patient", "note"])
    assert notes_by_patient({"P5", "6", "37", "P37"}, notes).to_dict() == {"P5": "One.\nTwo."}
    assert notes_by_patient(set(), notes).empty


def test_repeated_notes_of_one_patient_do_not_multiply_samples():
    samples = pd.DataFrame({"patient": ["0001", "0002"], "study": "s", "level": "L4-L5", "part": 0, "paths": [(), ()]})
    note = "Disc bulge at L4-L5."
    notes = pd.DataFrame([("0001", note), ("0001", note), ("0001", ""), ("0002", note), ("0002", "Normal.")])
    notes.columns = ["patient", "note"]
    kept, aside = label_samples(samples, notes)
    assert kept[["patient", "label"]].values.tolist() == [["0001", 1]]
    assert aside[["patient", "reason"]].values.tolist() == [["0002", "several notes for this patient"]]
