"""How far denials and doubts reach: the words that each marks."""

import pytest

from lhdlib.data.grammar.levels import find_groups
from lhdlib.data.grammar.reach import find_reach
from lhdlib.data.grammar.words import read_words

REACHES = [
    # sentence, lesions denied, lesions doubted, operators that reach nothing
    ("No bulge at L4-L5", "bulge", "", ""),
    ("No bulge, protrusion or tear", "bulge protrusion tear", "", ""),
    ("Bulge at L4-L5 is not seen", "bulge", "", ""),
    ("Bulge at L4-L5: absent", "bulge", "", ""),
    ("Bulge at L4-L5: none", "bulge", "", ""),
    ("Bulge at L4-L5 could not be identified", "bulge", "", ""),
    ("Bulge at L4-L5 is unlikely", "bulge", "", ""),
    ("Unlikely bulge at L4-L5", "bulge", "", ""),
    ("No bulge at L3-L4, bulge at L4-L5", "bulge", "", ""),
    ("No bulge at L3-L4 whereas tear at L4-L5", "bulge", "", ""),
    ("No change of the bulge", "", "", ""),
    ("No oedema, bulge at L4-L5", "", "", ""),
    ("L4-L5 bulge without tear", "tear", "", ""),
    ("Non-extruded disc", "extruded", "", ""),
    ("Possible bulge at L4-L5", "", "bulge", ""),
    ("Bulge at L4-L5?", "", "bulge", ""),
    ("Bulge cannot be excluded", "", "bulge", ""),
    ("Bulge at L4-L5, possible tear", "", "tear", ""),
    ("Bulge is suspected, tear at L5-S1", "", "bulge", ""),
    ("A free fragment, extruded", "", "", ""),
    ("L4-L5 bulge without", "", "", "without"),
    ("No", "", "", "no"),
    ("L4-L5 herniation has not resolved", "", "", "not resolved"),
]


@pytest.mark.parametrize(("text", "denied", "doubted", "idle"), REACHES)
def test_reach(text: str, denied: str, doubted: str, idle: str):
    words = read_words(text)
    reach = find_reach(words, find_groups(words))
    lesions = {"bulge", "protrusion", "extrusion", "annular tear"}
    named = lambda marks: [w.word for w, mark in zip(words, marks, strict=True) if mark and w.tag in lesions]  # noqa: E731
    assert (named(reach.denied)[:3], named(reach.doubted)) == (denied.split(), doubted.split())
    assert [words[i].word for i in reach.idle] == idle.split()
