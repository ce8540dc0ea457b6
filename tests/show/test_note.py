"""Marks in a note: on the words of the findings, and on nothing else."""

import re

from lhdlib.show.note import MARKS, marked_note


def test_findings_are_marked_by_level_and_denied_ones_struck():
    note = "Disc bulge of L4-5 level.\nNo disc herniation at L5-S1 level.\nL3/L4 disc protrusion > 5 mm & edema."
    for level, word in (("L4-L5", "bulge"), ("L3-L4", "protrusion")):
        strong = re.findall(rf'<span style="{re.escape(MARKS[2])}">(.*?)</span>', marked_note(note, level))
        assert len(strong) == 1 and word in strong[0]
    marked = marked_note(note, "L1-L2")
    assert MARKS[2] not in marked and MARKS[1] in marked
    assert re.search(r"<s>[^<]*herniation", marked) and not re.search(r"<s>[^<]*(bulge|protrusion)", marked)
    plain = re.sub(r"<br>", "\n", marked)
    assert re.sub(r"<[^>]*>", "", plain).replace("&amp;", "&").replace("&gt;", ">") == note
    assert marked_note("", "L4-L5") == ""
