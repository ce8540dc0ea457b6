"""Metrics against scikit-learn, intervals against explicit formulas, brute force and a small simulation."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from lhdlib import evaluate

Z = stats.norm.ppf(0.975)


def draw(seed: int, n: int = 60, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels with both classes, and probabilities that tell them apart in part."""
    rng = np.random.default_rng([seed, n])
    labels = np.r_[0, 0, 1, 1, rng.integers(0, 2, n - 4)]
    scores = 1 / (1 + np.exp(-rng.normal(labels - 0.5, 1.0)))
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_values_equal_scikit_learn(threshold, ties):
    for seed in range(50):
        labels, scores = draw(seed, 20 + seed, ties)
        called = scores >= threshold
        found = evaluate.binary_metrics(labels, scores, threshold)
        assert list(found) == ["ACC", "TPR", "TNR", "AUC"]
        assert found["ACC"].value == pytest.approx(metrics.accuracy_score(labels, called))
        assert found["TPR"].value == pytest.approx(metrics.recall_score(labels, called))
        assert found["TNR"].value == pytest.approx(metrics.recall_score(labels, called, pos_label=0))
        assert found["AUC"].value == pytest.approx(metrics.roc_auc_score(labels, scores))
        for estimate in found.values():
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
            assert estimate.low < estimate.high


def test_hand_made_example():
    """Eq. 21-23 by counting; a score at the threshold is a positive call."""
    labels, scores = np.array([1, 1, 1, 0, 0]), np.array([0.9, 0.5, 0.1, 0.4, 0.6])
    found = evaluate.binary_metrics(labels, scores)
    assert found["ACC"].value == pytest.approx(3 / 5)
    assert found["TPR"].value == pytest.approx(2 / 3)
    assert found["TNR"].value == pytest.approx(1 / 2)
    assert found["AUC"].value == pytest.approx(3 / 6)  # of six pairs, three in order


@pytest.mark.parametrize("hits, n", [(0, 5), (5, 5), (3, 7), (223, 256), (1, 1), (446, 512)])
def test_wilson_interval_equals_the_formula(hits, n):
    found = evaluate.wilson(np.arange(n) < hits)
    p = hits / n
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    assert found.value == pytest.approx(p)
    assert found.low == pytest.approx(middle - half, abs=1e-9)
    assert found.high == pytest.approx(middle + half, abs=1e-9)


def test_intervals_belong_to_their_own_denominators():
    """Sensitivity counts positives, specificity negatives, accuracy all."""
    labels = np.r_[np.ones(10, int), np.zeros(90, int)]
    scores = np.r_[np.full(8, 0.9), np.full(2, 0.1), np.full(72, 0.1), np.full(18, 0.9)]
    found = evaluate.binary_metrics(labels, scores)
    assert {name: found[name].value for name in ("ACC", "TPR", "TNR")} == pytest.approx(
        dict.fromkeys(("ACC", "TPR", "TNR"), 0.8)
    )
    for name, n in (("ACC", 100), ("TPR", 10), ("TNR", 90)):
        expected = evaluate.wilson(np.arange(n) < 0.8 * n)
        assert (found[name].low, found[name].high) == pytest.approx((expected.low, expected.high))


def brute_force_delong(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """AUC and its standard error from all pairs of a positive and a negative."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    m, n = len(positive), len(negative)
    wins = [[1.0 if x > y else 0.5 if x == y else 0.0 for y in negative] for x in positive]
    auc = sum(map(sum, wins)) / (m * n)
    rows = [sum(row) / n for row in wins]
    cols = [sum(row[j] for row in wins) / m for j in range(n)]
    variance = sum((v - auc) ** 2 for v in rows) / (m - 1) / m + sum((v - auc) ** 2 for v in cols) / (n - 1) / n
    return auc, np.sqrt(variance)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_delong_equals_brute_force(seed, ties):
    labels, scores = draw(seed, 25 + 5 * seed, ties)
    auc, error = brute_force_delong(labels, scores)
    found = evaluate.delong(labels, scores)
    assert found.value == pytest.approx(auc)
    logit, width = np.log(auc / (1 - auc)), Z * error / (auc * (1 - auc))
    assert found.low == pytest.approx(1 / (1 + np.exp(-logit + width)))
    assert found.high == pytest.approx(1 / (1 + np.exp(-logit - width)))


def test_auc_depends_on_the_order_of_scores_alone():
    labels, scores = draw(1)
    for other in (np.log(scores / (1 - scores)), 1e6 * scores, scores**3):
        assert evaluate.delong(labels, other) == pytest.approx(evaluate.delong(labels, scores))
    mirrored = evaluate.delong(1 - labels, scores)
    found = evaluate.delong(labels, scores)
    assert (1 - mirrored.value, 1 - mirrored.high, 1 - mirrored.low) == pytest.approx(tuple(found))


@pytest.mark.parametrize("shift", [0.0, 1.2, 2.3])
def test_auc_interval_covers_the_truth(shift):
    """500 draws of 40 + 40 normal scores whose true AUC is known."""
    rng = np.random.default_rng(2)
    truth = stats.norm.cdf(shift / np.sqrt(2))
    labels = np.repeat([1, 0], 40)
    intervals = [evaluate.delong(labels, rng.normal(shift * labels, 1.0)) for _ in range(500)]
    covered = np.mean([e.low <= truth <= e.high for e in intervals])
    assert 0.90 <= covered <= 0.99


def test_accuracy_interval_covers_the_truth():
    rng = np.random.default_rng(3)
    intervals = [evaluate.wilson(rng.random(60) < 0.85) for _ in range(500)]
    covered = np.mean([e.low <= 0.85 <= e.high for e in intervals])
    assert 0.90 <= covered <= 0.99


@pytest.mark.parametrize("n", [2, 10, 80])
def test_perfect_separation_is_not_certainty(n):
    labels = np.repeat([0, 1], n)
    right = evaluate.binary_metrics(labels, labels * 0.8 + 0.1)
    wrong = evaluate.binary_metrics(labels, 0.9 - labels * 0.8)
    for name in right:
        assert right[name].value == 1 and right[name].high == 1 and right[name].low < 1
        assert wrong[name].value == 0 and wrong[name].low == 0 and wrong[name].high > 0
    assert right["AUC"].low == pytest.approx(1 / (1 + Z**2 / n))  # Wilson's at n of n


def test_a_single_positive_has_a_wide_interval():
    found = evaluate.binary_metrics(np.array([1, 0, 0, 0, 0]), np.array([0.6, 0.1, 0.2, 0.7, 0.3]))
    assert np.isfinite([tuple(e) for e in found.values()]).all()
    assert found["AUC"].value == 0.75 and found["AUC"].high - found["AUC"].low > 0.5


def test_equal_scores_tell_nothing():
    found = evaluate.binary_metrics(np.array([0, 1] * 10), np.full(20, 0.5))
    assert found["AUC"].value == 0.5
    assert np.isfinite(found["AUC"]).all() and found["AUC"].low <= 0.5 <= found["AUC"].high


@pytest.mark.parametrize(
    "labels, scores, message",
    [
        ([1, 1, 1], [0.1, 0.2, 0.3], "both classes"),
        ([0, 0], [0.1, 0.2], "both classes"),
        ([], [], "both classes"),
        ([0, 1], [0.1, 0.2, 0.3], "one length"),
        ([[0, 1]], [[0.1, 0.2]], "one length"),
        ([0, 1], [0.1, np.nan], "finite"),
        ([0, 1], [np.inf, 0.2], "finite"),
    ],
)
def test_errors(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        evaluate.binary_metrics(np.array(labels), np.array(scores))


def test_over_seeds_averages_runs_read_at_logit_zero():
    labels, _ = draw(4)
    logits = np.random.default_rng(5).normal(labels - 0.5, 1.0, (3, len(labels)))
    found = evaluate.over_seeds(labels, logits)
    runs = [evaluate.binary_metrics(labels, 1 / (1 + np.exp(-row))) for row in logits]
    for name, summary in found.items():
        values = [run[name].value for run in runs]
        assert summary["mean"] == pytest.approx(sum(values) / 3)
        assert summary["sd"] == pytest.approx(np.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2))
        assert summary["low"] == pytest.approx(np.mean([run[name].low for run in runs]))
        assert summary["high"] == pytest.approx(np.mean([run[name].high for run in runs]))
    assert evaluate.over_seeds(labels, logits[:1])["AUC"]["sd"] == 0
