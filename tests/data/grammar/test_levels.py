"""Level expressions, however they are written, are read as the discs that they name."""

import pytest

from lhdlib.data.grammar.levels import LUMBAR_LEVELS, PLACE, find_groups
from lhdlib.data.grammar.words import read_words
from lhdlib.data.reports import disc_labels

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


@pytest.mark.parametrize(("note", "levels"), LEVEL_RULES)
def test_rule(note: str, levels: str):
    assert " ".join(disc_labels(note)) == levels


@pytest.mark.parametrize("level", LUMBAR_LEVELS)
@pytest.mark.parametrize("form", ["{0}-{1}", "{0}/{1}", "{0} - {1}", "{0}{1}", "{0}_{1}", "{0} to {1}", "{0}-{2}"])
def test_every_level_in_every_form(level: str, form: str):
    upper, lower = level.split("-")
    groups = find_groups(read_words(form.format(upper, lower, lower[1:]) + " level"))
    assert [group.levels for group in groups] == [(level,)]


def test_places_run_down_the_spine():
    places = [PLACE[name] for name in ("C7", "T1", "T12", "L1", "L5", "S1")]
    assert places == sorted(places) and PLACE["D12"] == PLACE["T12"]


@pytest.mark.parametrize("text", ["T1 T2 images", "the L5 root", "L3 and L4 hemangiomas", "5 mm", "S1 body"])
def test_what_names_no_disc(text: str):
    assert [group for group in find_groups(read_words(text)) if group.levels] == []


@pytest.mark.parametrize(
    ("text", "role"), [("multilevel", "multi"), ("the other discs", "other"), ("same level", "same"), ("L6-S1", "odd")]
)
def test_roles(text: str, role: str):
    assert [group.role for group in find_groups(read_words(text))] == [role]
