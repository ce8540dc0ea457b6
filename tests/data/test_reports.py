"""The notes' grammar: each rule in words of our own, the hand-made labels of real notes, and hostile text."""

import random
import re
import time

import openpyxl
import pandas as pd
import pytest

from lhdlib.data import reports
from lhdlib.data.grammar.levels import LUMBAR_LEVELS
from lhdlib.data.reports import disc_labels, label_table, note_flags, parse_report, read_notes
from lhdlib.errors import UserError

LEVEL_RULES = [
    # one level, however it is written
    ("Bulge at L4-L5.", "L4-L5"),
    ("bulge L4/5", "L4-L5"),
    ("bulging disc at L4,5 level", "L4-L5"),
    ("protrusion at L5S1", "L5-S1"),
    ("L-4/L-5 bulge", "L4-L5"),
    ("L5/SI disc bulge", "L5-S1"),
    ("L4/15 disc bulge", "L4-L5"),
    ("bulge at L23-L3", "L2-L3"),
    ("discbulge atL4-L5level", "L4-L5"),
    ("disc bulge between L4 and L5", "L4-L5"),
    ("D12-L1 bulge", "T12-L1"),
    ("T12/L1 disc prolapse", "T12-L1"),
    ("Bulge at C5-C6; bulge at L3-L4", "L3-L4"),
    # lists and ranges
    ("Bulges at L2 to L5.", "L2-L3 L3-L4 L4-L5"),
    ("Disc bulging from L3-S1.", "L3-L4 L4-L5 L5-S1"),
    ("Bulges from L2-L3 down to L5-S1", "L2-L3 L3-L4 L4-L5 L5-S1"),
    ("Bulges of L4 - L5 & L5 - S1", "L4-L5 L5-S1"),
    ("Bulges of L4-L5 & S1", "L4-L5 L5-S1"),
    ("Bulges L3-L4-L5", "L3-L4 L4-L5"),
    ("Bulges L3,4,5", "L3-L4 L4-L5"),
    ("Bulges L1-L2/L4-L5", "L1-L2 L4-L5"),
    ("L3-L4, 5 mm disc protrusion", "L3-L4"),
    ("L3 and L4 hemangiomas, L5-S1 bulge", "L5-S1"),
    # levels in words
    ("bulging of the last two discs", "L4-L5 L5-S1"),
    ("both lower discs show bulge", "L4-L5 L5-S1"),
    ("The lowest disc is extruded", "L5-S1"),
    ("bulges at the lower three lumbar levels", "L3-L4 L4-L5 L5-S1"),
    ("All lumbar discs are bulging", "L1-L2 L2-L3 L3-L4 L4-L5 L5-S1"),
    ("The lumbar discs are bulging", "L1-L2 L2-L3 L3-L4 L4-L5 L5-S1"),
    ("Bulge of L4-L5; the remaining discs have annular tears", "L1-L2 L2-L3 L3-L4 L4-L5 L5-S1"),
    ("Dehydrated discs at L3-L4 and L4-L5. Bulges at these levels.", "L3-L4 L4-L5"),
    ("Lower lumbar discs are bulging", ""),
    ("Multilevel bulges, worst at L2-L3", "L2-L3"),
    ("Multilevel bulges squeeze nothing, compressing the sac, largest at L4-L5", "L4-L5"),
]
ATTACHMENT_RULES = [
    ("Bulge at L4-L5 and protrusion at L5-S1", "L4-L5 L5-S1"),
    ("L4-L5: normal, L5-S1: bulge", "L5-S1"),
    ("Bulge at L4-L5 with annular tear and dehydrated disc at L5-S1", "L4-L5"),
    ("Dehydration of L3-L4 and L4-L5 with bulge at L5-S1", "L5-S1"),
    ("Bulge at L4-L5 compressing the S1 nerve root", "L4-L5"),
    ("Bulge at L5-S1 compressing L4-L5 nerve roots", "L5-S1"),
    ("L3-L4, L4-L5:\nBulges noted, more at L4-L5", "L3-L4 L4-L5"),
    ("Narrow space at L4-L5.\nCompressing the thecal sac.", "L4-L5"),
    ("L4 over L5 listhesis with bulge", "L4-L5"),
]
NEGATION_RULES = [
    ("No bulge, protrusion or herniation at L4-L5", ""),
    ("No evidence of\ndisc herniation at L4-L5", ""),
    ("Bulge is not seen at L4-L5", ""),
    ("Non-herniated L4-L5 disc", ""),
    ("L4-L5 bulge without root compression", "L4-L5"),
    ("No sac compression, mild bulge at L3-L4", "L3-L4"),
    ("No herniation except a mild bulge at L4-L5", "L4-L5"),
    ("Protrusion at L4-L5, no protrusion at L5-S1", "L4-L5"),
    ("L4-L5 shows no bulge and L5-S1 shows a bulge", "L5-S1"),
    ("L4-L5 bulge, the rest of the discs are normal", "L4-L5"),
    ("L4-L5 bulge; the other discs are unremarkable", "L4-L5"),
]
CAUSE_RULES = [
    ("L4-L5: narrowing of both neural foramina", "L4-L5"),
    ("L4-L5: thecal sac indented", "L4-L5"),
    ("L5-S1: degenerated disc compressing the thecal sac", "L5-S1"),
    ("L4-L5: facet hypertrophy compressing the roots", ""),
    ("Foraminal narrowing at L5-S1 due to facet hypertrophy", ""),
    ("Listhesis of L5 over S1 compressing the thecal sac", ""),
    ("Fracture of L1, retropulsed, compressing the sac at T12-L1", ""),
    ("L4-L5: bulge and osteophytes compressing the sac", "L4-L5"),
    ("L4-L5: dehydration, osteophytes, facet hypertrophy, narrowed disc space", ""),
    ("L2-L3: Schmorl herniation into the plate", ""),
    ("L4-L5: spinal canal stenosis", ""),
    ("Thecal sac is adequate, narrow disc space at L4-L5", ""),
    ("L4-L5: extruded, free fragment sequestrated", "L4-L5"),
    ("Old L4-L5 compression fracture", ""),
]


@pytest.mark.parametrize(("note", "levels"), LEVEL_RULES + ATTACHMENT_RULES + NEGATION_RULES + CAUSE_RULES)
def test_rule(note: str, levels: str):
    assert " ".join(disc_labels(note)) == levels
    assert all(disc_labels(note).values())


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("buldge", "bulge"),
        ("protusion", "protrusion"),
        ("hernaition", "herniation"),
        ("extrution", "extrusion"),
        ("sequestrted fragment", "sequestration"),
        ("annular tear", "annular tear"),
        ("abuting the thecal sac", "thecal sac compression"),
        ("comprssing the nerve root", "nerve root compression"),
        ("encraoching on the exit canal", "foraminal narrowing"),
        ("desicated disc", "dehydration"),
        ("spondylolistesis", "listhesis"),
        ("osteophites", "osteophyte"),
    ],
)
def test_kind_and_typo(words: str, kind: str):
    found = parse_report(f"L4-L5: {words}")
    assert [(f.level, f.kind, f.negated) for f in found] == [("L4-L5", kind, False)]


def test_words_that_resemble_findings_are_none():
    assert parse_report("L4-L5: bulky muscle, bone marrow oedema, normal neural arch, years of pain") == []


def test_finding_marks_its_words_and_side():
    note = "Left paracentral protrusion at L4-L5, compressing the right S1 root. No annular tear."
    found = parse_report(note)
    assert [note[f.start : f.end] for f in found] == ["protrusion", "compressing the right S1 root", "tear"]
    assert [f.side for f in found] == ["left", "right", ""]
    assert [f.negated for f in found] == [False, False, True]


@pytest.mark.parametrize(
    ("note", "flags"),
    [
        ("Bulge at L4-L5", []),
        ("No herniation.", []),
        ("Multilevel dehydration. Bulge at L4-L5", []),
        ("Multilevel bulges (L3-L4, L4-L5)", []),
        ("MRI of the C. spine\nmultilevel bulges\nLSS MRI\nbulge at L4-L5", []),
        ("Right protrusion compressing the sac", [reports.NO_LEVEL]),
        ("Bulge at L4 level", [reports.NO_LEVEL]),
        ("Multilevel bulges, mainly at L4-L5", [reports.MULTILEVEL]),
        ("Lower lumbar discs are bulging", [reports.MULTILEVEL]),
        ("No significant change since the last study", [reports.NO_CHANGE]),
        ("No Modic changes", []),
        ("Bulge at L5-L5", [reports.ODD_LEVEL]),
        ("L6-S1 bulge", [reports.ODD_LEVEL]),
    ],
)
def test_flags(note: str, flags: list[str]):
    assert note_flags(note) == flags


def test_label_table_flags_only_what_is_open():
    notes = pd.DataFrame(
        {"patient": ["0001", "0002", "0003"], "note": ["Multilevel bulges, mainly at L4-L5", "", None]}
    )
    table = label_table(notes)
    assert table["level"].tolist() == list(LUMBAR_LEVELS)
    assert table.loc[table["label"], "level"].tolist() == ["L4-L5"]
    assert (table["flag"] == "").tolist() == table["label"].tolist()


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


def test_real_notes(gold):
    assert len(gold) > 200
    f1, precision, recall = _disc_f1(gold, gold["note"])
    print(f"F1 {f1:.4f}, precision {precision:.4f}, recall {recall:.4f}")
    assert f1 >= 0.97


def test_real_notes_without_a_level_are_flagged(gold):
    flagged = [bool({reports.NO_LEVEL, reports.MULTILEVEL} & set(note_flags(note))) for note in gold["note"]]
    agree = pd.Series(flagged) == (gold["unlocalised"] == "1")
    print(gold.loc[~agree.to_numpy(), "note"].tolist())
    assert agree.mean() >= 0.98


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


# --- hostile text -----------------------------------------------------------------------------------------------------

PIECES = (
    "no not L4-L5 L3 S1 / - , . : ; & \n disc bulge tear press root sac lower two both these other multilevel 5 mm ("
)


@pytest.mark.parametrize(
    "note", [None, float("nan"), 7, "", " ", "\x00\x01\x1b", "²³ L² L٤-L٥", "İ" * 99, "L99-L0 bulge"]
)
def test_odd_cells_have_no_labels(note):
    assert disc_labels(note) == {} and isinstance(note_flags(note), list)


def test_random_text_never_fails():
    rng = random.Random(5)
    for _ in range(1500):
        note = " ".join(rng.choices(PIECES.split(" "), k=rng.randrange(30)))
        if rng.random() < 0.5:
            note += "".join(chr(rng.randrange(0x250)) for _ in range(rng.randrange(40)))
        for finding in parse_report(note):
            assert 0 <= finding.start < finding.end <= len(note)
            assert finding.level is None or re.fullmatch(r"[CTLS]\d+-[CTLS]\d+", finding.level)
        note_flags(note)
        assert all(re.fullmatch(r"[TLS]\d+-[TLS]\d+", level) for level in disc_labels(note))


@pytest.mark.parametrize(
    "piece", ["L4-L5 disc bulge, ", "mainly L4-L5 bulge ", "L4", "no ", "multilevel ", "x", "\n", "( "]
)
def test_time_is_linear(piece: str):
    def seconds(length: int) -> float:
        note = (piece * length)[:length]
        started = time.perf_counter()
        parse_report(note)
        return time.perf_counter() - started

    seconds(1000)
    assert seconds(100_000) < 8 * max(
        seconds(25_000), 0.25
    )  # fourfold, with room for a busy machine; 16 when quadratic


# --- the workbook -----------------------------------------------------------------------------------------------------


def _workbook(path, rows, title="Sheet1"):
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_read_notes(tmp_path):
    rows = [[" patient  ID", None, "CLINICIAN'S NOTES "], [1, None, "Bulge"], [25.0, None, None], [None, None, "lost"]]
    table = read_notes(_workbook(tmp_path / "notes.xlsx", rows, title="Other"))
    assert table.to_dict("list") == {"patient": ["0001", "0025"], "note": ["Bulge", ""]}


def test_unusable_workbook_says_how_to_mend_it(tmp_path):
    text = tmp_path / "text.xlsx"
    text.write_text("not a workbook")
    foreign = _workbook(tmp_path / "foreign.xlsx", [["a", "b"], [1, 2]])
    empty = _workbook(tmp_path / "empty.xlsx", [])
    for path in (tmp_path / "absent.xlsx", text, foreign, empty, tmp_path):
        with pytest.raises(UserError, match="download the radiologists' notes") as caught:
            read_notes(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_absurdly_large_workbook_is_refused(tmp_path, monkeypatch):
    path = _workbook(tmp_path / "notes.xlsx", [["Patient ID", "Clinician's Notes"], [1, "x" * 9000]])
    assert len(read_notes(path)) == 1
    monkeypatch.setattr(reports, "MAX_UNPACKED", 9000)
    with pytest.raises(UserError, match="download"):
        read_notes(path)


def test_damaged_workbooks_are_read_or_refused(tmp_path):
    whole = _workbook(
        tmp_path / "notes.xlsx", [["Patient ID", "Clinician's Notes"], [1, "Bulge at L4-L5"]]
    ).read_bytes()
    rng = random.Random(2)
    damaged = tmp_path / "damaged.xlsx"
    for _ in range(150):
        data = bytearray(whole[: rng.choice((len(whole), rng.randrange(1, len(whole))))])
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        damaged.write_bytes(data)
        try:
            read_notes(damaged)
        except UserError:
            pass
