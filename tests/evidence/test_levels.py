"""The level alone as a classifier, against counting."""

import numpy as np
import pytest

from lhdlib.data.grammar.levels import LUMBAR_LEVELS
from lhdlib.evidence import levels


def test_log_odds_are_those_of_the_training_discs():
    known, labels = np.array(["L5-S1"] * 4 + ["L3-L4"] * 3), np.array([1, 1, 1, 0, 0, 0, 0])
    found = levels.level_logits(known, labels, np.array(["L3-L4", "L5-S1", "L1-L2", "L5-S1"]))
    assert found.shape == (1, 4)
    assert found[0] == pytest.approx(np.log([0.5 / 3.5, 3.5 / 1.5, 1.0, 3.5 / 1.5]))


def test_the_lowest_levels_are_the_lowest():
    assert set(levels.LOWEST) <= set(LUMBAR_LEVELS) and list(levels.LOWEST) == sorted(LUMBAR_LEVELS)[-3:]
