"""Findings, denials and causes, each rule in words of our own, and hostile text."""

import random
import re
import sys

import pytest

from lhdlib.data.grammar.words import known_word
from lhdlib.data.reports import disc_labels, note_flags, parse_report

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


@pytest.mark.parametrize(("note", "levels"), ATTACHMENT_RULES + NEGATION_RULES + CAUSE_RULES)
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


# --- hostile text -----------------------------------------------------------------------------------------------------

PIECES = (
    "no not L4-L5 L3 S1 / - , . : ; & \n disc bulge tear press root sac lower two both these other multilevel 5 mm ("
)


@pytest.mark.parametrize(
    "note", [None, float("nan"), 7, "", " ", "\x00\x01\x1b", "²³ L² L٤-L٥", "İ" * 99, "L99-L0 bulge"]
)
def test_odd_cells_have_no_labels(note):
    assert disc_labels(note) == {} and isinstance(note_flags(note), list)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["L4-L5 disc bulge, ", "mainly L4-L5 bulge ", "L4", "no ", "multilevel ", "x", "\n", "( "]
)
def test_effort_is_linear(piece: str):
    """Calls made for a note four times as long: fourfold, with room for what is done once; 16 where it is quadratic."""

    def calls(length: int) -> int:
        note, count = (piece * length)[:length], 0

        def tally(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        known_word.cache_clear()
        sys.setprofile(tally)
        try:
            parse_report(note)
        finally:
            sys.setprofile(None)
        return count

    assert calls(32_000) < 6 * max(calls(8_000), 2_000)
