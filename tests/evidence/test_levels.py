"""The level alone as a classifier, against counting."""

import numpy as np
import pytest

from lhdlib import evaluate
from lhdlib.data.grammar.levels import LUMBAR_LEVELS
from lhdlib.evidence import levels
from lhdlib.model import controls
from lhdlib.phantom import facts


def test_log_odds_are_those_of_the_training_discs():
    known, labels = np.array(["L5-S1"] * 4 + ["L3-L4"] * 3), np.array([1, 1, 1, 0, 0, 0, 0])
    found = levels.level_logits(known, labels, np.array(["L3-L4", "L5-S1", "L1-L2", "L5-S1"]))
    assert found.shape == (1, 4)
    assert found[0] == pytest.approx(np.log([0.5 / 3.5, 3.5 / 1.5, 1.0, 3.5 / 1.5]))


def test_the_lowest_levels_are_the_lowest():
    assert set(levels.LOWEST) <= set(LUMBAR_LEVELS) and list(levels.LOWEST) == sorted(LUMBAR_LEVELS)[-3:]


@pytest.mark.parametrize("which, auc, accuracy", [(levels.LOWEST, 0.70, 0.67), (LUMBAR_LEVELS, 0.84, 0.79)])
def test_on_the_real_notes_the_level_alone_reaches_what_was_measured(which, auc, accuracy):
    """451 patients, their discs counted from the shares that the notes call abnormal."""
    level = np.repeat(np.array(which), 451)
    labels = np.concatenate([np.arange(451) < round(451 * facts.ABNORMAL[name]) for name in which]).astype(int)
    found = evaluate.binary_metrics(labels, levels.level_logits(level, labels, level)[0], threshold=0.0)
    assert found["AUC"].value == pytest.approx(auc, abs=0.01) and found["ACC"].value == pytest.approx(
        accuracy, abs=0.01
    )


def test_the_level_stands_beside_every_slices_features():
    rng = np.random.default_rng(0)
    features = {"train": rng.normal(size=(2, 4, 3, 5)), "validation": rng.normal(size=(2, 3, 5))}
    features |= {"test": rng.normal(size=(3, 3, 5)), "train_labels": np.array([0, 1, 0, 1])}
    own = {"train": ["L5-S1", "L4-L5", "L4-L5", "L3-L4"], "validation": ["L3-L4", "L5-S1"]}
    own = {part: np.array(names) for part, names in {**own, "test": ["L4-L5", "L1-L2", "L3-L4"]}.items()}
    found = levels.with_level(features, own)
    assert found["train"].shape == (2, 4, 3, 8)
    for crop in range(2):
        for disc in range(4):
            wanted = [float(name == own["train"][disc]) for name in ("L3-L4", "L4-L5", "L5-S1")]
            for k in range(3):
                np.testing.assert_array_equal(found["train"][crop][disc, k, :5], features["train"][crop, disc, k])
                np.testing.assert_array_equal(found["train"][crop][disc, k, 5:], wanted)
    np.testing.assert_array_equal(found["test"][..., :5], features["test"])
    assert found["test"][:, 0, 5:].tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert (found["train_labels"] == features["train_labels"]).all()
    each = controls.standardised(found)  # as notebook 08 does
    assert each["train"][1].shape == (4, 3, 8) and each["test"].shape == (3, 3, 8)
