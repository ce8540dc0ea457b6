"""Marks in a note: on the words of the findings, and on nothing else."""

import re

from lhdlib.show.note import MARKS, marked_note, runs, telling


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


def test_the_most_telling_note_has_the_most_kinds_of_marks():
    notes = ["Disc bulge of L4-5 level.", "Disc bulge of L4-5 level. No disc herniation.", "Normal study."]
    assert telling(notes, ["L4-L5"] * 3) == 1 and telling(notes[::2], ["L4-L5"] * 2) == 0


def test_pieces_put_together_are_the_note():
    text = "Disc bulge of L4-5 level.\nNo disc herniation."
    assert "".join(piece for piece, *_ in runs(text, "L4-L5")) == text
