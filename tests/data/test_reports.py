"""Labels and flags of notes: our own, of every kind, and the hand-made labels of real ones."""

import random
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhdlib.data.grammar import doubts
from lhdlib.data.grammar.levels import LUMBAR_LEVELS
from lhdlib.data.reports import disc_labels, label_table, note_flags, read_notes


@pytest.mark.parametrize(
    ("note", "reasons"),
    [
        ("Bulge at L4-L5", []),
        ("No herniation.", []),
        ("Multilevel dehydration. Bulge at L4-L5", []),
        ("Multilevel bulges (L3-L4, L4-L5)", []),
        ("MRI of the C. spine\nmultilevel bulges\nLSS MRI\nbulge at L4-L5", []),
        ("Right protrusion compressing the sac", [doubts.NO_LEVEL]),
        ("Bulge at L4 level", [doubts.NO_LEVEL, doubts.BARE]),
        ("Multilevel bulges, mainly at L4-L5", [doubts.MULTILEVEL]),
        ("Lower lumbar discs are bulging", [doubts.MULTILEVEL]),
        ("Bulge at L4-L5. No significant change since the last study", [doubts.NO_CHANGE]),
        ("No Modic changes. Bulge at L4-L5", []),
        ("Bulge at L5-L5", [doubts.ODD_LEVEL]),
        ("L6-S1 bulge", [doubts.ODD_LEVEL]),
        ("Bulge at L4-L5 with xyzzy", [doubts.UNKNOWN]),
        ("Possible bulge at L4-L5", [doubts.SUSPECTED]),
        ("Previous bulge at L4-L5", [doubts.PAST]),
        ("Abnormal L4-L5 disc. Bulge at L5-S1", [doubts.BARE, doubts.UNCLEAR]),
        ("Discs. Bulge at L5-S1", [doubts.BARE_DISC]),
        ("L4-L5 is normal. Bulge at L4-L5", [doubts.CONTRADICTION]),
        ("Bulge at L4-L5. Hernie", [doubts.LANGUAGE]),
        ("Normal knee", [doubts.NOT_LUMBAR]),
        ("Bulge at L4-L5 without", [doubts.IDLE]),
    ],
)
def test_flags(note: str, reasons: list[str]):
    """Each says why, and quotes words of the note."""
    flags = note_flags(note)
    assert sorted({flag.split(': "')[0] for flag in flags}) == sorted(reasons)
    for flag in flags:
        quoted = re.sub(r"\s+", " ", flag.split(': "')[1][:-1])
        assert all(piece in re.sub(r"\s+", " ", note).lower() for piece in quoted.lower().split(", "))


OUR_NOTES = pd.read_csv(Path(__file__).with_name("notes.csv"), keep_default_na=False)


@pytest.mark.parametrize(("kind", "note", "right"), list(OUR_NOTES.itertuples(index=False)))
def test_a_note_decides_only_what_it_says(kind: str, note: str, right: str):
    """`right`: positive levels, all decided; or that a level, or each that is not positive, is flagged."""
    table = label_table(pd.DataFrame({"patient": ["0001"], "note": [note]}))
    positive = ";".join(table.level[table.label])
    if right == "flag":
        assert (table.flag != "").any()
    elif right == "not positive":
        assert positive == "" or (table.flag != "").any()
    elif right == "not decided":
        assert not ((table.flag == "") & ~table.label).any()
    else:
        assert (positive, set(table.flag)) == (right, {""})


def test_there_are_ten_notes_of_each_kind():
    assert OUR_NOTES.kind.value_counts().min() >= 10


def test_label_table_flags_only_what_is_open():
    notes = pd.DataFrame(
        {"patient": ["0001", "0002", "0003"], "note": ["Multilevel bulges, mainly at L4-L5", "", None]}
    )
    table = label_table(notes)
    assert table["level"].tolist() == list(LUMBAR_LEVELS)
    assert table.loc[table["label"], "level"].tolist() == ["L4-L5"]
    assert (table["flag"] == "").tolist() == table["label"].tolist()


def test_two_notes_that_disagree_are_flagged_where_they_do():
    notes = pd.DataFrame({"patient": ["0001", "0001"], "note": ["Bulge at L4-L5", "Bulge at L4-L5 and L5-S1"]})
    table = label_table(notes)
    assert table.level[table.flag != ""].tolist() == ["L5-S1"] and len(table) == 5


# --- properties ------------------------------------------------------------------------------------------------------

SENTENCES = st.sampled_from(
    [
        "Diffuse disc bulge noted at L4-L5 level, compressing the thecal sac",
        "L5/S1: left paracentral protrusion with annular tear",
        "No disc herniation at L3-L4",
        "Mild bulges at L2-L3 and L3-L4",
        "Adequate spinal canal",
        "Features of muscle spasm",
        "Dehydrated disc at L1-L2",
        "L1-L2 extrusion, no root compression",
        "Multilevel dehydration",
    ]
)


def labels_and_reasons(note: str) -> tuple[dict[str, bool], set[str]]:
    return disc_labels(note), {flag.split(":")[0] for flag in note_flags(note)}


@pytest.mark.slow
@given(st.lists(SENTENCES, min_size=1, max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None, derandomize=True)
def test_case_spaces_and_order_change_no_label(sentences: list[str], rng: random.Random):
    note = ". ".join(sentences)
    expected = labels_and_reasons(note)
    cased = "".join(rng.choice((letter.upper(), letter.lower())) for letter in note)
    spaced = re.sub(" ", lambda _: rng.choice((" ", "  ", "\t", "\u00a0 ")), f" {note} ")
    shuffled = ". ".join(rng.sample(sentences, len(sentences)))
    for variant in (cased, spaced, shuffled):
        assert labels_and_reasons(variant) == expected, variant


# --- real notes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gold(real_dir):
    """Notes and hand-made labels, a row per patient."""
    labels = pd.read_csv(real_dir / "gold_dev.csv", dtype=str, keep_default_na=False)
    labels["patient"] = labels["patient_id"].str.zfill(4)
    return labels.merge(read_notes(real_dir / "reports_dev.xlsx"), on="patient", validate="one_to_one")


def _disc_f1(gold: pd.DataFrame, notes: pd.Series) -> tuple[float, float, float]:
    """F1, precision and recall over discs; undecidable discs do not count. Prints disagreements."""
    hits = false = missed = 0
    for row, note in zip(gold.itertuples(), notes, strict=True):
        undecided = set(row.uncertain.split(";"))
        want, got = set(filter(None, row.positive.split(";"))) - undecided, set(disc_labels(note)) - undecided
        hits, false, missed = hits + len(want & got), false + len(got - want), missed + len(want - got)
        if want != got:
            print(f"extra {sorted(got - want)}, missed {sorted(want - got)}: {note!r}")
    print(f"{hits} agree, {false} extra, {missed} missed")
    return 2 * hits / (2 * hits + false + missed), hits / (hits + false), hits / (hits + missed)


@pytest.mark.slow
def test_real_notes(gold):
    assert len(gold) > 200
    f1, precision, recall = _disc_f1(gold, gold["note"])
    print(f"F1 {f1:.4f}, precision {precision:.4f}, recall {recall:.4f}")
    assert f1 >= 0.97


@pytest.mark.slow
def test_real_notes_without_a_level_are_flagged(gold):
    reasons = (doubts.NO_LEVEL, doubts.MULTILEVEL)
    flagged = [any(flag.startswith(reasons) for flag in note_flags(note)) for note in gold["note"]]
    agree = pd.Series(flagged) == (gold["unlocalised"] == "1")
    print(gold.loc[~agree.to_numpy(), "note"].tolist())
    assert agree.mean() >= 0.98


@pytest.mark.slow
def test_real_notes_with_more_typos(gold):
    """One letter dropped, doubled, swapped or replaced in every fourth long word."""
    rng = random.Random(0)

    def misspell(match: re.Match) -> str:
        word, i = match.group(), rng.randrange(len(match.group()) - 1)
        if rng.random() > 0.25:
            return word
        return rng.choice(
            (
                word[:i] + word[i + 1 :],
                word[: i + 1] + word[i:],
                word[:i] + word[i + 1] + word[i] + word[i + 2 :],
                word[:i] + rng.choice("aeinorst") + word[i + 1 :],
            )
        )

    misspelt = gold["note"].map(lambda note: re.sub(r"[A-Za-z]{6,}", misspell, note))
    assert (misspelt != gold["note"]).mean() > 0.8
    assert _disc_f1(gold, misspelt)[0] >= 0.97
