"""Notebook 09's figures, tables and sentences, of a made-up map."""

import numpy as np
import pandas as pd
import pytest

from lhdlib.figures import beyond
from lhdlib.model import objectives
from tests.figures.drawing import draw, measured_map, patients, texts


def test_every_objective_has_a_name():
    assert tuple(beyond.NAMES) == objectives.OBJECTIVES


def test_the_map_shows_every_gain_and_marks_what_is_told_apart():
    fig, table = draw("label_map"), measured_map()
    shown = texts(fig)
    assert shown.count("▲") == (table.verdict == "above").sum()
    assert shown.count("▼") == (table.verdict == "below").sum()
    panels = [ax for ax in fig.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left").split(" ")[0] for ax in panels] == ["0%", "10%", "20%"]
    drawn = sum(len(ax.texts) for ax in panels)
    assert drawn == table.gain.notna().sum()
    kinds = [label.get_text() for label in panels[0].get_yticklabels()]
    assert kinds == [
        "inner product, frozen",
        "VICReg, frozen",
        "inner product, tuned",
        "VICReg, tuned",
    ]
    gain = panels[2].images[0].get_array()[0]
    own = table[(table.objective == "inner-product") & (table.way == "frozen") & (table.wrong == 0.2)]
    np.testing.assert_allclose(gain, own.sort_values("labels").gain)


def test_the_table_has_a_row_per_place():
    table = measured_map()
    found = beyond.map_table(table)
    assert len(found) == len(table)
    assert found.iloc[0].tolist() == ["0%", "25", "from scratch", "0.600 ± 0.010 [0.600, 0.900]", "–", "–", "–"]
    row = found[(found.classifier == "VICReg, frozen") & (found.wrong == "0%")].set_index("labels")
    assert row.loc["25", "AUC minus from scratch"] == "+0.120 [+0.070, +0.170]"
    assert row["labels from scratch needs"].tolist() == ["fewer than 25", "80", "more than 519", "fewer than 25"]


def test_the_map_in_words():
    said = beyond.verdicts(measured_map())
    assert said[0] == (
        "inner product, frozen (the paper's), beside the network from scratch: better with 25 and 50 labels (none "
        "wrong) and 25 labels (10% wrong); worse with 519 labels (none wrong), 519 labels (10% wrong) and 100 and 519 "
        "labels (20% wrong); not told apart at the other 5 places."
    )
    assert sum("to reach its AUC" in one for one in said) == 4
    silent = beyond.verdicts(measured_map().assign(verdict="not told apart"))
    assert len(silent) == 4 and all(": not told apart at any of the " in one for one in silent)


@pytest.mark.parametrize("lesions", [True, False])
def test_methods_stand_side_by_side(lesions):
    scores = {name: [0.2, 0.4] for name in (*beyond.LOCATED, "slice rank, paper")}
    located = pd.DataFrame({"discs": [3, 3]} | scores)
    one = {
        "metrics": {"AUC": patients(0.8), "ACC": patients(0.7)},
        "contrastive": [0.5, 0.6, 0.7],
        "located": located if lesions else None,
        "seconds": 151.4,
    }
    gained = {"gain": -0.04, "gain_low": -0.07, "gain_high": -0.01, "verdict": "below"}
    methods = {
        "inner-product": one | {"values": {"temperature": 60.0}, "beside": None},
        "vicreg": one | {"values": {"weights": (25, 25, 1)}, "beside": gained},
    }
    table = beyond.methods_table(methods)
    assert table["AUC minus the paper's"].tolist() == ["–", "−0.040 [−0.070, −0.010]"]
    assert beyond.methods_text(methods).endswith("agree: better none; worse VICReg; not told apart none.")
    assert table["values"].tolist() == ["temperature 60", "weights 25/25/1"]
    assert table["contrastive accuracy"].tolist() == ["0.600 ± 0.100"] * 2
    assert table.seconds.tolist() == ["151", "151"]
    assert ("pointing, paper" in table) is lesions and "slice rank, paper" not in table
    assert not lesions or table["pointing, paper"][0] == "0.300 ± 0.141"
