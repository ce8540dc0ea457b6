"""Metrics against scikit-learn, intervals against explicit formulas, brute force and simulations."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn import metrics

from lhdlib import evaluate

Z = stats.norm.ppf(0.975)
MISSED = Z**2 / (10 + Z**2)  # Wilson's upper limit for none of ten


def draw(seed: int, n: int = 60, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels with both classes, and probabilities that tell them apart in part."""
    rng = np.random.default_rng([seed, n])
    labels = np.r_[0, 0, 1, 1, rng.integers(0, 2, n - 4)]
    scores = 1 / (1 + np.exp(-rng.normal(labels - 0.5, 1.0)))
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 1.2, 2.3])
def test_auc_interval_covers_the_truth(shift):
    """2,000 draws of 40 + 40 normal scores whose true AUC is known."""
    rng = np.random.default_rng(2)
    truth = stats.norm.cdf(shift / np.sqrt(2))
    labels = np.repeat([1, 0], 40)
    intervals = [evaluate.delong(labels, rng.normal(shift * labels, 1.0)) for _ in range(2000)]
    covered = np.mean([e.low <= truth <= e.high for e in intervals])
    assert 0.93 <= covered <= 0.97


@pytest.mark.slow
def test_accuracy_interval_covers_the_truth():
    """2,000 draws, each with a truth of its own: at a single one coverage depends on how it falls between counts."""
    rng = np.random.default_rng(3)
    truths = rng.uniform(0.6, 0.95, 2000)
    intervals = [evaluate.wilson(rng.random(80) < truth) for truth in truths]
    covered = np.mean([e.low <= truth <= e.high for e, truth in zip(intervals, truths, strict=True)])
    assert 0.93 <= covered <= 0.97


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
    found = evaluate.over_seeds(labels, logits, np.arange(len(labels)))
    runs = [evaluate.binary_metrics(labels, 1 / (1 + np.exp(-row))) for row in logits]
    for name, summary in found.items():
        values = [run[name].value for run in runs]
        assert summary["mean"] == pytest.approx(sum(values) / 3)
        assert summary["sd"] == pytest.approx(np.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2))
        assert summary["plain_low"] == pytest.approx(np.mean([run[name].low for run in runs]))
        assert summary["plain_high"] == pytest.approx(np.mean([run[name].high for run in runs]))
    assert "sd" not in evaluate.over_seeds(labels, logits[:1], np.arange(len(labels)))["AUC"]  # one seed has no spread


SAMPLES = st.lists(st.tuples(st.booleans(), st.integers(-20, 20)), min_size=4, max_size=60).filter(
    lambda samples: len({label for label, _ in samples}) == 2
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True)
@given(SAMPLES, st.integers(-20, 20))
def test_swapped_labels_and_negated_scores_swap_sensitivity_and_specificity(samples, cut):
    """The AUC and the accuracy stay. A score at the threshold is a positive call, so the mirror calls above it."""
    labels, scores = (np.array(column) for column in zip(*samples, strict=True))
    found = evaluate.binary_metrics(labels, scores / 4.0, threshold=cut / 4)
    mirrored = evaluate.binary_metrics(~labels, -scores / 4.0, threshold=np.nextafter(-cut / 4, np.inf))
    assert mirrored["TPR"] == found["TNR"] and mirrored["TNR"] == found["TPR"] and mirrored["ACC"] == found["ACC"]
    assert mirrored["AUC"] == pytest.approx(found["AUC"])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(SAMPLES)
def test_all_that_holds_of_any_metric(samples):
    labels, scores = (np.array(column) for column in zip(*samples, strict=True))
    for estimate in evaluate.binary_metrics(labels, scores, threshold=0).values():
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1 and estimate.low < estimate.high


# Resampling patients


def clustered(rng: np.random.Generator, patients: int = 40, size: int = 4, seeds: int = 1, shift: float = 1.5):
    """Labels, logits (seeds, n) and patients: a patient's discs share the label and most of what is random."""
    names = np.repeat(np.arange(patients), size)
    labels = np.repeat(rng.permutation(patients) % 2, size)
    shared = np.repeat(rng.normal(size=(seeds, patients)), size, axis=1)
    logits = shift * labels + np.sqrt(0.6) * shared + np.sqrt(0.4) * rng.normal(size=(seeds, len(labels)))
    return labels, logits, names


def test_a_patient_is_drawn_with_all_discs():
    patients = np.array(["b", "a", "b", "c", "b"])
    weights = evaluate.patient_weights(patients, draws=3000)
    assert weights.shape == (3000, 5) and (weights == weights.round()).all()
    assert (weights[:, [0, 0]] == weights[:, [2, 4]]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()  # as many patients as there are
    assert weights.mean(0) == pytest.approx(1, abs=0.05)
    assert (weights == evaluate.patient_weights(patients, draws=3000)).all()
    assert (weights != evaluate.patient_weights(patients, draws=3000, seed=1)).any()


@pytest.mark.slow
def test_a_weight_counts_as_so_many_copies():
    for seed in range(30):
        rng = np.random.default_rng([seed, 7])
        labels, _ = draw(seed, 30)
        logits = np.round(rng.normal(labels - 0.5, 1, (2, 30)), seed % 2)  # every other time with ties
        weights = rng.integers(0, 3, (1, 30))
        copies = np.repeat(np.arange(30), weights[0])
        found = evaluate.weighted_metrics(labels, logits, weights)
        for name in found:
            runs = [evaluate.binary_metrics(labels[copies], row[copies], threshold=0)[name].value for row in logits]
            assert found[name] == pytest.approx([np.mean(runs)])


def test_draws_without_a_class_are_left_out():
    labels, logits, patients = np.array([1, 1, 0]), np.array([[2.0, -1.0, 0.5]]), np.array([0, 1, 2])
    found = evaluate.weighted_metrics(labels, logits, np.array([[1, 0, 0], [1, 1, 1]]))
    assert np.isnan([found["TNR"][0], found["AUC"][0]]).all() and found["AUC"][1] == 0.5
    for estimate in evaluate.by_patient(labels, logits, patients).values():
        assert np.isfinite(estimate).all() and estimate.low <= estimate.value <= estimate.high


@pytest.mark.slow
def test_the_spread_is_that_of_a_plain_bootstrap_over_patients():
    labels, logits, patients = clustered(np.random.default_rng(8), seeds=2)
    others = clustered(np.random.default_rng(9), seeds=2)[1] - 0.5

    def statistic(names, runs):
        rows = np.concatenate([np.flatnonzero(patients == name) for name in names])
        truth = labels[rows] == 1
        return np.mean(runs[:, rows[truth], None] > runs[:, None, rows[~truth]])

    reference = [
        stats.bootstrap((np.unique(patients),), f, vectorized=False, n_resamples=1000, rng=np.random.default_rng(1))
        for f in (lambda n: statistic(n, logits), lambda n: statistic(n, logits) - statistic(n, 2 * logits - others))
    ]
    found = evaluate.by_patient(labels, logits, patients)["AUC"]
    width = special.logit(found.high) - special.logit(found.low)
    error = width / (2 * Z) * found.value * (1 - found.value)
    assert error == pytest.approx(reference[0].standard_error, rel=0.1)
    paired = evaluate.compare(labels, logits, 2 * logits - others, patients)["AUC"]
    assert (paired["high"] - paired["low"]) / (2 * Z) == pytest.approx(reference[1].standard_error, rel=0.1)


@pytest.mark.slow
def test_plain_interval_covers_in_2000_draws():
    rng, labels = np.random.default_rng(10), np.repeat([1, 0], 80)
    truth = stats.norm.cdf(1.5 / np.sqrt(2))
    intervals = [evaluate.delong(labels, rng.normal(1.5 * labels, 1.0)) for _ in range(2000)]
    assert 0.93 <= np.mean([e.low <= truth <= e.high for e in intervals]) <= 0.97


@pytest.mark.slow
def test_patients_cover_in_2000_draws_where_discs_do_not():
    rng, hits = np.random.default_rng(11), []
    truth = stats.norm.cdf(1.5 / np.sqrt(2))
    for _ in range(2000):
        labels, logits, patients = clustered(rng, 40, 3)
        found = [evaluate.by_patient(labels, logits, patients, draws=100)["AUC"], evaluate.delong(labels, logits[0])]
        hits.append([estimate.low <= truth <= estimate.high for estimate in found])
    covered, plain = np.mean(hits, axis=0)
    assert 0.93 <= covered <= 0.97
    assert plain < 0.87


@pytest.mark.slow
def test_differences_cover_in_2000_draws(monkeypatch):
    monkeypatch.setattr(evaluate, "patient_weights", functools.partial(evaluate.patient_weights, draws=100))
    rng, hits = np.random.default_rng(12), []
    truth = stats.norm.cdf(1.5 / np.sqrt(2)) - stats.norm.cdf(1.0 / np.sqrt(2))
    for _ in range(2000):
        labels, (one, noise), patients = clustered(rng, 40, 3, seeds=2)
        other = (one + noise - 3 * labels) / np.sqrt(2) + labels  # half of what is random is shared with `one`
        found = evaluate.contrast(labels, (one[None], other[None]), (1, -1), patients)["AUC"]
        hits.append([found["low"] <= truth <= found["high"], found["delong_low"] <= truth <= found["delong_high"]])
    covered, plain = np.mean(hits, axis=0)
    assert 0.93 <= covered <= 0.97
    assert plain < 0.87


def test_all_right_is_not_certain_with_patients_either():
    labels, _, patients = clustered(np.random.default_rng(14))
    found = evaluate.by_patient(labels, 2.0 * labels[None] - 1, patients)
    for name, groups in {"ACC": 40, "TPR": 20, "TNR": 20, "AUC": 20}.items():
        assert (found[name].value, found[name].high) == (1, 1)
        assert found[name].low == pytest.approx(1 / (1 + Z**2 / groups))  # Wilson's at all of so many patients


def test_over_seeds_has_the_limits_of_resampled_patients():
    labels, logits, patients = clustered(np.random.default_rng(15), seeds=3)
    found = evaluate.over_seeds(labels, logits, patients)
    limits = evaluate.by_patient(labels, logits, patients)
    for name, summary in found.items():
        assert summary["mean"] == pytest.approx(limits[name].value)
        assert (summary["low"], summary["high"]) == limits[name][1:]
    assert found["AUC"]["high"] - found["AUC"]["low"] > found["AUC"]["plain_high"] - found["AUC"]["plain_low"]


def test_the_mean_of_equal_samples_has_the_interval_of_one():
    """Ten equal samples of each patient are no more evidence than one."""
    values = np.random.default_rng(2).random(40)
    one = evaluate.patient_mean(values, np.arange(40))
    ten = evaluate.patient_mean(np.repeat(values, 10), np.repeat(np.arange(40), 10))
    np.testing.assert_allclose(ten, one, atol=1e-12)
    naive = evaluate.patient_mean(np.repeat(values, 10), np.arange(400))
    assert naive.high - naive.low < 0.5 * (ten.high - ten.low)
    width = 2 * Z * values.std() / np.sqrt(40)
    assert one.value == pytest.approx(values.mean()) and one.high - one.low == pytest.approx(width, rel=0.1)


@pytest.mark.slow
def test_the_mean_of_clustered_values_is_covered_in_2000_draws():
    rng, held = np.random.default_rng(3), 0
    for _ in range(2000):
        patients = rng.integers(0, 70, 160)
        values = rng.normal(0, 1, 70)[patients] + rng.normal(0, 0.5, 160)
        found = evaluate.patient_mean(values, patients, draws=300)
        held += found.low <= 0 <= found.high
    assert 0.93 <= held / 2000 <= 0.97


def test_undefined_values_are_left_out_of_a_mean():
    values, patients = np.array([1.0, np.nan, 3.0, np.nan]), np.array(list("abcd"))
    assert evaluate.patient_mean(values, patients).value == 2
    alone = evaluate.patient_mean(values[:2], patients[:2])
    assert alone.value == 1 and np.isnan(alone.low)
    assert np.isnan(evaluate.patient_mean(values[1:2], patients[1:2])).all()


@pytest.mark.parametrize(
    "value, low, high", [(1.0, 1 - MISSED, 1.0), (0.0, 0.0, MISSED), (0.5, 0.5 - MISSED, 0.5 + MISSED)]
)
def test_a_mean_that_is_the_same_in_every_draw_is_not_certain(value, low, high):
    found = evaluate.patient_mean(np.full(20, value), np.repeat(np.arange(10), 2), reach=(0.0, 1.0))
    assert tuple(found) == pytest.approx((value, low, high))
    difference = evaluate.patient_mean(np.zeros(20), np.repeat(np.arange(10), 2))
    assert tuple(difference) == pytest.approx((0, -2 * MISSED, 2 * MISSED))


def test_balance_is_sensitivity_minus_specificity():
    labels, logits, patients = clustered(np.random.default_rng(16), seeds=2)
    found = evaluate.by_patient(labels, logits, patients)
    balance = evaluate.balance(labels, logits, patients)
    assert balance.value == pytest.approx(found["TPR"].value - found["TNR"].value)
    assert balance.low < balance.value < balance.high


# Comparisons


def brute_force_variance(labels, runs, coefficients) -> float:
    """DeLong's variance of a combination of AUCs, from all pairs and the covariances of their components."""
    rows, columns = [], []
    for row in runs:
        positive, negative = row[labels == 1], row[labels == 0]
        wins = np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in negative] for x in positive])
        rows.append(wins.mean(1))
        columns.append(wins.mean(0))
    total = 0.0
    for part in (rows, columns):
        n = len(part[0])
        for a, x in zip(coefficients, part, strict=True):
            for b, y in zip(coefficients, part, strict=True):
                total += a * b * sum((x - x.mean()) * (y - y.mean())) / (n - 1) / n
    return total


@pytest.mark.parametrize("seed", range(10))
def test_paired_delong_equals_brute_force(seed):
    rng = np.random.default_rng([seed, 17])
    labels, _ = draw(seed, 40)
    runs = np.round(rng.normal(labels * 1.2, 1.0, (2, 40)) + rng.normal(size=40), 1 + seed % 3)
    found = evaluate.compare(labels, runs[:1], runs[1:], np.arange(40))["AUC"]
    aucs = [metrics.roc_auc_score(labels, row) for row in runs]
    error = np.sqrt(brute_force_variance(labels, runs, (1, -1)))
    assert found["value"] == pytest.approx(aucs[0] - aucs[1], abs=1e-6)
    assert (found["delong_low"], found["delong_high"]) == pytest.approx(
        (found["value"] - Z * error, found["value"] + Z * error), abs=1e-6
    )
    assert found["p"] == pytest.approx(2 * stats.norm.sf(abs(found["value"]) / error), abs=1e-6)


def test_seeds_are_averaged_within_delongs_components():
    """Mean of two seeds minus a third classifier is the combination (1/2, 1/2, -1) of three AUCs."""
    rng = np.random.default_rng(18)
    labels, _ = draw(3, 50)
    runs = rng.normal(labels, 1.0, (3, 50))
    found = evaluate.compare(labels, runs[:2], runs[2:], np.arange(50))["AUC"]
    error = np.sqrt(brute_force_variance(labels, runs, (0.5, 0.5, -1)))
    assert found["delong_high"] - found["value"] == pytest.approx(Z * error, abs=1e-6)


def test_mcnemar_looks_at_the_discs_that_one_alone_gets_right():
    labels = np.repeat([0, 1], 10)
    one = np.where(labels == 1, 1.0, -1.0)
    other = one * np.where(np.arange(20) < 7, -1, 1)  # wrong about 7
    one = one * np.where(np.arange(20) == 19, -1, 1)  # wrong about 1 other
    found = evaluate.compare(labels, one[None], other[None], np.arange(20))["ACC"]
    assert found["value"] == pytest.approx(6 / 20)
    assert found["p"] == pytest.approx(stats.binomtest(1, 8).pvalue)


def test_equal_classifiers_do_not_differ_yet_nobody_is_certain():
    labels, logits, patients = clustered(np.random.default_rng(19))
    found = evaluate.compare(labels, logits, logits, patients)
    for name, groups in {"ACC": 40, "TPR": 20, "TNR": 20, "AUC": 20}.items():
        missed = Z**2 / (groups + Z**2)  # Wilson's limit for none of so many patients
        assert [found[name][key] for key in ("value", "low", "high")] == pytest.approx([0, -missed, missed])
    assert found["AUC"]["p"] == found["ACC"]["p"] == 1


def test_calls_that_are_all_equal_leave_the_balance_open_on_one_side():
    labels, logits, patients = clustered(np.random.default_rng(28))
    found = evaluate.balance(labels, np.abs(logits), patients)
    assert found.value == found.high == 1 and found.low == pytest.approx(1 - Z**2 / (20 + Z**2))


def test_a_slope_is_the_regression_over_metrics():
    labels, logits, patients = clustered(np.random.default_rng(20), seeds=4)
    x = np.array([-1.5, -0.5, 0.5, 1.5])
    runs = [row[None] + step * labels for row, step in zip(logits, x, strict=True)]
    found = evaluate.contrast(labels, runs, x / np.sum(x**2), patients)
    for name in found:
        values = [evaluate.binary_metrics(labels, run[0], threshold=0)[name].value for run in runs]
        assert found[name]["value"] == pytest.approx(np.polyfit(x, values, 1)[0])
    assert found["AUC"]["low"] > 0


def test_other_discs_of_other_patients_are_independent():
    one, other = (clustered(np.random.default_rng(seed), 60, 2) for seed in (21, 22))
    other = (*other[:2], other[2] + 1000)
    found = evaluate.compare_sets(one, other)["AUC"]
    errors = [brute_force_delong(labels, logits[0]) for labels, logits, _ in (one, other)]
    assert found["value"] == pytest.approx(errors[0][0] - errors[1][0])
    assert found.keys() == {"value", "low", "high"}
    spreads = [evaluate.contrast(labels, (x,), (1,), patients)["AUC"] for labels, x, patients in (one, other)]
    expected = np.hypot(*(spread["high"] - spread["value"] for spread in spreads))
    assert found["high"] - found["value"] == pytest.approx(expected, rel=0.1)


def test_patients_in_both_sets_are_drawn_for_both():
    one = clustered(np.random.default_rng(23))
    half = one[0], one[1] / 2 + 1, one[2]  # the same order: the same AUC in every draw
    found = evaluate.compare_sets(one, half)["AUC"]
    assert found["value"] == 0 and found["high"] == pytest.approx(Z**2 / (20 + Z**2))


@pytest.mark.parametrize("seed", range(5))
def test_aucs_of_levels_are_those_of_loops_over_pairs(seed):
    rng = np.random.default_rng([seed, 61])
    n, names = 80, np.array(["L3-L4", "L4-L5", "L5-S1", "L1-L2"])
    labels, levels, patients = rng.integers(0, 2, n), rng.choice(names, n), np.arange(n) // 3
    logits = np.round(rng.normal(labels, 1, (3, n)), 1)  # with ties
    found = evaluate.level_aucs(labels, logits, patients, levels, lowest=names[:3])
    for name in ("lowest", "within"):
        wins = []
        for i in np.flatnonzero(labels == 1):
            for j in np.flatnonzero(labels == 0):
                both = {levels[i], levels[j]}
                if len(both) == 1 if name == "within" else both <= set(names[:3]):
                    wins.append(np.mean((logits[:, i] > logits[:, j]) + (logits[:, i] == logits[:, j]) / 2))
        assert found[name].value == pytest.approx(np.mean(wins))
        assert 0 <= found[name].low < found[name].value < found[name].high <= 1


def test_what_the_level_alone_tells_is_gone_within_levels():
    labels = np.repeat([0, 1, 0, 1], [30, 10, 10, 30])
    levels = np.repeat(["L3-L4", "L5-S1"], 40)
    logits = np.repeat([[-1.0, 1.0]], 40, axis=1)
    found = evaluate.level_aucs(labels, logits, np.arange(80), levels, lowest=["L3-L4", "L5-S1"])
    assert found["within"].value == 0.5 and found["lowest"].value == pytest.approx(0.75)
    alone = evaluate.level_aucs(labels[:40] * 0, logits[:, :40], np.arange(40), levels[:40], lowest=["L3-L4"])
    assert all(np.isnan(alone["within"]))


# Two readers


def test_readers_who_agree_by_chance_have_no_kappa():
    one, once = np.array([True, True, False, False] * 5), np.ones((1, 20))
    for other, expected in ((one, (1, 1)), (~one, (0, -1)), (np.array([True, False] * 10), (0.5, 0))):
        assert [value[0] for value in evaluate.weighted_kappa(one, other, once)] == pytest.approx(expected)
    assert np.isnan(evaluate.weighted_kappa(one | True, one | True, once)[1][0])  # chance alone agrees everywhere


def test_kappa_of_resampled_patients_is_that_of_the_copied_discs():
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(40), 3)
    one = rng.random(120) < 0.5
    other = one ^ (rng.random(120) < 0.2)
    weights = evaluate.patient_weights(patients, draws=30)
    agree, kappa = evaluate.weighted_kappa(one, other, weights)
    for row, a, k in zip(weights.astype(int), agree, kappa, strict=True):
        copies = np.repeat(np.arange(120), row)
        assert a == pytest.approx((one[copies] == other[copies]).mean())
        assert k == pytest.approx(metrics.cohen_kappa_score(one[copies], other[copies]))
    found = evaluate.agreement(one, other, patients)
    assert found[1].value == pytest.approx(metrics.cohen_kappa_score(one, other))
    spread = evaluate.weighted_kappa(one, other, evaluate.patient_weights(patients))[1].std(ddof=1)
    assert (found[1].high - found[1].low) / 2 == pytest.approx(1.959964 * spread, rel=1e-6)


def test_readers_who_always_agree_have_wilsons_limit_and_no_interval_of_kappa():
    one, patients = np.array([True, False] * 6), np.repeat(np.arange(6), 2)
    agree, kappa = evaluate.agreement(one, one, patients)
    assert agree[:2] == (1, pytest.approx(6 / (6 + Z**2))) and kappa.value == 1 and np.isnan(kappa[1:]).all()
    agree, kappa = evaluate.agreement(one | True, one | True, patients)
    assert agree.value == 1 and np.isnan(kappa).all()


@pytest.mark.slow
def test_the_kappas_interval_covers_with_discs_of_one_patient_alike():
    """60 patients with three discs that share much of their severity: 95 % intervals hold the truth about as often."""
    rng, hits = np.random.default_rng(8), 0
    severity = rng.normal(size=(200_000, 1)) * 0.8
    truth = metrics.cohen_kappa_score(*((severity + rng.normal(size=severity.shape) * 0.6 > 0)[:, 0] for _ in range(2)))
    for _ in range(100):
        common = rng.normal(size=(60, 1)) * 0.8 + np.zeros((60, 3))
        one, other = ((common + rng.normal(size=(60, 3)) * 0.6 > 0).ravel() for _ in range(2))
        kappa = evaluate.agreement(one, other, np.repeat(np.arange(60), 3))[1]
        hits += kappa.low <= truth <= kappa.high
    assert hits >= 88
