"""Where pre-training pays: made-up maps with a known answer."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lhdlib.evidence import worth
from lhdlib.model.label_map import NONE, Cell

CURVE = pd.Series({25: 0.6, 50: 0.7, 100: 0.8})


@pytest.mark.parametrize(
    "auc, labels", [(0.6, 25), (0.65, np.sqrt(25 * 50)), (0.7, 50), (0.8, 100), (0.81, np.inf), (0.59, 0)]
)
def test_labels_that_scratch_needs(auc, labels):
    assert worth.equal_labels(CURVE, auc) == pytest.approx(labels)
    assert worth.equal_labels(CURVE[::-1], auc) == pytest.approx(labels)  # in any order


def test_a_dip_of_the_curve_does_not_count():
    """More labels are at least as good: 0.72 lies between 50 (0.7) and 200, 100 being no better than 50."""
    curve = pd.Series({25: 0.6, 50: 0.7, 100: 0.65, 200: 0.8})
    assert worth.equal_labels(curve, 0.72) == pytest.approx(100 * 2**0.2)
    assert worth.equal_labels(curve, 0.7) == pytest.approx(50)


@pytest.mark.parametrize(
    "low, high, each, found",
    [
        (0.01, 0.1, [0.02, 0.05], worth.ABOVE),
        (0.01, 0.1, [0.12, -0.01], worth.APART),  # one draw says otherwise
        (-0.01, 0.1, [0.02, 0.05], worth.APART),
        (-0.2, -0.1, [-0.1, -0.2], worth.BELOW),
        (-0.2, -0.1, [-0.1, 0.2], worth.APART),
    ],
)
def test_a_verdict_needs_interval_and_draws(low, high, each, found):
    assert worth.verdict(low, high, np.array(each)) == found


@pytest.mark.slow
def test_the_map_is_measured_against_scratch_with_the_same_labels():
    rng = np.random.default_rng(0)
    labels, patients = np.repeat([0, 1], 60), np.arange(120) // 2
    noise = {"scratch": 2.0, "frozen": 0.4, "tuned": 6.0}

    def logits(way: str) -> np.ndarray:
        return labels + rng.normal(0, noise[way], (3, 120))

    found = {
        Cell(name, way, count, share): logits(way)
        for share in (0.0, 0.2)
        for count in (25, 50)
        for name, way in ((NONE, "scratch"), ("vicreg", "frozen"), ("vicreg", "tuned"))
    }
    table = worth.measure(labels, found, patients)
    assert len(table) == len(found)
    for row in table.itertuples():
        own = found[Cell(row.objective, row.way, row.labels, row.wrong)]
        assert row.auc == pytest.approx(np.mean([roc_auc_score(labels, one) for one in own]))
        assert row.low < row.auc < row.high
        if row.way == "scratch":
            assert np.isnan(row.gain) and np.isnan(row.scratch_labels)
            continue
        beside = table[(table.way == "scratch") & (table.labels == row.labels) & (table.wrong == row.wrong)]
        assert row.gain == pytest.approx(row.auc - beside.auc.item())
    assert set(table[table.way == "frozen"].verdict) == {worth.ABOVE}
    assert np.isinf(table[table.way == "frozen"].scratch_labels).all()
