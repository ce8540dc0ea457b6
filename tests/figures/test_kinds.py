"""Table, figure and words on the kinds of lesion, from made-up numbers."""

import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lhdlib.figures import kinds
from lhdlib.model.kinds import KINDS


def judged(value: float = 0.8, tear: dict | None = None) -> dict:
    def auc(value: float) -> dict:
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    by_truth = {name: {"discs": 20, "all": auc(value), "abnormal": auc(value - 0.1)} for name in KINDS}
    by_truth["annular tear"] = tear or {"discs": 3, "all": None, "abnormal": None}
    unknown = {"nerve root or sac compression": {"discs": None, "all": None, "abnormal": None}}
    return {"truth": by_truth | unknown, "notes": {name: by_truth["bulge"] for name in KINDS}}


CONFUSION = np.array([[9, 3, 0], [2, 4, 1], [0, 0, 0]])


def test_the_table_has_a_number_only_where_enough_patients_have_the_kind():
    table = kinds.kinds_table(judged())
    assert table.kind.tolist() == [*KINDS, *KINDS] and table["judged by"].tolist() == ["truth"] * 5 + ["notes"] * 5
    assert table["AUC, all discs"][0] == "0.800 [0.700, 0.900]"
    assert table["AUC, discs with a kind"][0] == "0.700 [0.600, 0.800]"
    assert table["AUC, all discs"][3].startswith("too few") and table["test discs with it"][3] == 3
    assert table["AUC, all discs"][4] == kinds.UNKNOWN and table["test discs with it"][4] == "–"


@pytest.mark.slow
def test_the_figure_draws_the_kinds_that_have_a_number_and_the_counts():
    fig = kinds.kinds_figure(judged(), confusion=CONFUSION)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(fig).draw()
    left, right = fig.axes
    assert [len(bars.lines[0].get_xdata()) for bars in left.containers] == [3, 5]
    assert [text.get_text() for text in right.texts] == [str(count) for count in CONFUSION.ravel()]
    assert "bulge by truth 0.800 [0.700, 0.900]" in fig.get_label()
    assert "9 of 12 with bulge and 4 of 7 with protrusion" in fig.get_label()


def test_the_note_says_which_kinds_are_told_apart_and_what_of_tears():
    note = kinds.kinds_note(judged(), CONFUSION, pixel_mm=1.333)
    assert "bulge, protrusion and extrusion or sequestration are told" in note.follows
    assert "pixels of 1.3 mm: too few test discs have one (3)" in note.details
    auc = {"value": 0.52, "low": 0.4, "high": 0.64}
    tear = {"discs": 12, "all": auc, "abnormal": auc}
    assert (
        "0.520 [0.400, 0.640], not told from chance"
        in kinds.kinds_note(judged(tear=tear), CONFUSION, pixel_mm=1.3).details
    )
    assert "no kind is told" in kinds.kinds_note(judged(0.5), CONFUSION, pixel_mm=1.3).follows
