"""What a note leaves open: each reason, its words, its levels, and whether it spoils what is found."""

import pytest

from lhdlib.data.grammar import doubts
from lhdlib.data.grammar.doubts import Doubt, find_doubts
from lhdlib.data.grammar.findings import read_statements

CASES = [
    ("Bulge at L4-L5", []),
    ("Bulge", [Doubt(doubts.NO_LEVEL, "Bulge")]),
    ("Multilevel bulges", [Doubt(doubts.MULTILEVEL, "bulges")]),
    ("L4-L5 bulge. Possible tear at L5-S1", [Doubt(doubts.SUSPECTED, "Possible tear at L5-S1", ("L5-S1",))]),
    (
        "L4-L5 bulge. L5-S1 thing",
        [Doubt(doubts.BARE, "L5-S1", ("L5-S1",)), Doubt(doubts.UNKNOWN, "thing", ("L5-S1",), True)],
    ),
    ("L4-L5 bulge and L2", [Doubt(doubts.BARE, "and L2", ("L1-L2", "L2-L3"))]),
    ("Old bulge at L4-L5", [Doubt(doubts.PAST, "Old bulge at L4-L5", ("L4-L5",), True)]),
    ("Old L1 fracture, bulge at L4-L5", []),
    ("Previous surgery. Bulge at L4-L5", []),
    ("Bulge at L4-L5 or L5-S1", [Doubt(doubts.SUSPECTED, "L4-L5 or L5-S1", ("L4-L5", "L5-S1"), True)]),
    ("L4-L5 bulge. No change", [Doubt(doubts.NO_CHANGE, "No change")]),
    ("No change of the L4-L5 bulge", []),
    ("Sacralized L5. L4-L5 bulge", [Doubt(doubts.ODD_LEVEL, "Sacralized L5", (), True)]),
    ("No sacralization. L4-L5 bulge", []),
    ("Kein bulge at L4-L5", [Doubt(doubts.LANGUAGE, "kein", (), True)]),
    ("Normal L4-L5. L4-L5 bulge", [Doubt(doubts.CONTRADICTION, "L4-L5", ("L4-L5",), True)]),
    ("Indication: L5-S1 bulge?\nFindings: L4-L5 bulge", []),
    ("Indication: L5-S1 bulge", [Doubt(doubts.NOT_LUMBAR, "Indication: L5-S1 bulge", (), True)]),
    ("Pending", [Doubt(doubts.NOT_LUMBAR, "Pending", (), True)]),
]


@pytest.mark.parametrize(("note", "expected"), CASES)
def test_doubts(note: str, expected: list[Doubt]):
    assert find_doubts(note, read_statements(note)) == expected
