"""ROC band, operating points and calibration against scikit-learn, brute force and chance."""

import numpy as np
import pytest
from scipy import special
from sklearn import metrics
from sklearn.calibration import calibration_curve

from lhdlib import evaluate
from lhdlib.evidence import operating
from tests.test_evaluate import clustered, draw


def test_roc_curve_is_scikit_learns_within_its_band():
    labels, logits, patients = clustered(np.random.default_rng(24), seeds=2)
    logits = np.round(logits, 1)  # ties
    band = operating.roc_band(labels, logits, patients, draws=400)
    curves = [metrics.roc_curve(labels, row, drop_intermediate=False)[:2] for row in logits]
    assert band.tpr.to_numpy() == pytest.approx(np.mean([np.interp(band.fpr, *curve) for curve in curves], axis=0))
    assert (band.low <= band.high).all() and (np.diff(band.tpr) >= 0).all()
    inside = (band.low <= band.tpr + 1e-9) & (band.tpr <= band.high + 1e-9)
    assert inside.mean() > 0.95 and (band.high - band.low).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_thresholds_reach_their_aim_and_no_more_than_they_must(seed):
    labels, _ = draw(seed, 30)
    logits = np.round(np.random.default_rng([seed, 25]).normal(labels, 1.0, (2, 30)), 1)
    for aim, other in (("TPR", "TNR"), ("TNR", "TPR")):
        for row, cut in zip(logits, operating.thresholds(labels, logits, aim), strict=True):
            found = evaluate.binary_metrics(labels, row, cut)
            tried = [evaluate.binary_metrics(labels, row, t) for t in (*np.unique(row), row.max() + 1)]
            best = max(m[other].value for m in tried if m[aim].value >= 0.9 - 1e-9)
            assert found[aim].value >= 0.9 - 1e-9 and found[other].value == best


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_no_other_threshold_is_more_balanced(seed):
    labels, _ = draw(seed, 30)
    logits = np.random.default_rng([seed, 26]).normal(labels, 1.0, (2, 30))
    for row, cut in zip(logits, operating.thresholds(labels, logits, "balanced"), strict=True):
        apart = [abs(m["TPR"].value - m["TNR"].value) for m in (evaluate.binary_metrics(labels, row, t) for t in row)]
        found = evaluate.binary_metrics(labels, row, cut)
        assert abs(found["TPR"].value - found["TNR"].value) == pytest.approx(min(apart))


def test_operating_points_are_chosen_without_the_test_discs():
    labels, logits, patients = clustered(np.random.default_rng(26), seeds=2)
    result = {"validation_labels": labels, "validation_logits": logits, "test_labels": labels, "test_logits": logits}
    same = operating.operating_points(result, patients)
    shifted = operating.operating_points(result | {"test_logits": logits + 0.4}, patients)
    for aim, other in (("TPR", "TNR"), ("TNR", "TPR")):
        assert same[aim]["thresholds"] == shifted[aim]["thresholds"]
        assert same[aim]["test"][aim]["mean"] == pytest.approx(same[aim]["validation"][aim], abs=1e-12)
        assert same[aim]["validation"][aim] >= 0.9
        moved = shifted[aim]["test"][other]["mean"] - same[aim]["test"][other]["mean"]
        assert moved < 0 if other == "TNR" else moved > 0


def calibrated(seed: int, n: int = 400):
    rng = np.random.default_rng([seed, 27])
    logits = rng.normal(0, 1.5, n)
    return (rng.random(n) < special.expit(logits)).astype(int), logits[None], np.arange(n) // 2


def test_calibration_equals_scikit_learn():
    labels, logits, patients = calibrated(0)
    found = operating.measure_calibration(labels, logits, patients)
    chances = special.expit(logits[0])
    observed, predicted = calibration_curve(labels, chances, n_bins=operating.BINS, strategy="quantile")
    assert found.curve.observed.to_numpy() == pytest.approx(observed)
    assert found.curve.predicted.to_numpy() == pytest.approx(predicted)
    assert found.curve.discs.tolist() == [400 // operating.BINS] * operating.BINS
    assert found.brier.value == pytest.approx(np.mean((chances - labels) ** 2))
    assert found.ece.value == pytest.approx(np.mean(np.abs(observed - predicted)))  # bins of one size
    assert ((found.curve.low < found.curve.observed) & (found.curve.observed < found.curve.high)).all()


@pytest.mark.slow
def test_overconfidence_is_told_from_chance():
    found = []
    for seed in range(10):
        labels, logits, patients = calibrated(seed)
        honest, loud = (operating.measure_calibration(labels, scale * logits, patients) for scale in (1, 4))
        assert loud.ece.low > loud.ece_by_chance and loud.brier.value > honest.brier.value
        assert 0 <= honest.ece.low <= honest.ece.value <= honest.ece.high
        found.append((honest.ece.low, honest.ece.value, honest.ece_by_chance))
    low, value, chance = np.mean(found, axis=0)
    assert value == pytest.approx(chance, rel=0.2)
    assert low < chance / 4  # a perfect classifier's true error is 0


def test_a_bin_without_exceptions_is_not_certain():
    labels, patients = np.repeat([0, 1], 40), np.arange(80)
    curve = operating.measure_calibration(labels, np.linspace(-9, 9, 80)[None], patients).curve
    assert curve.observed.isin([0, 1]).all()
    assert (curve.high - curve.low).min() > 0.2
