"""Metrics with 95 % intervals (section "Model evaluation methods", Eq. 21-23).

Two kinds of interval stand side by side. The plain ones (Wilson, DeLong) take the discs as independent. Several discs
of one patient are not: the others resample patients with all their discs. Both are about other patients like these, for
the classifiers as trained; neither knows what another pre-training would have given.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
DRAWS = 2000  #: resamples of the patients


class Estimate(NamedTuple):
    """A value with the limits of its 95 % interval."""

    value: float
    low: float
    high: float


def binary_metrics(labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> dict[str, Estimate]:
    """Accuracy, sensitivity, specificity (Eq. 21-23) with Wilson intervals, and AUC with DeLong's.

    Parameters
    ----------
    labels : shape (n,)
        0 or 1, both present.
    scores : shape (n,)
        Probabilities; a sample is called positive at `threshold` or above.

    Returns
    -------
    dict
        ``ACC``, ``TPR``, ``TNR``, ``AUC``, each an `Estimate`.

    Raises
    ------
    ValueError
        For labels other than these, other shapes, or a score that is not finite.

    Examples
    --------
    >>> metrics = binary_metrics(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9]))
    >>> metrics["ACC"].value, metrics["AUC"].value
    (0.5, 0.75)
    """
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("Labels must be 0 or 1.")
    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores, float)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must be of one length.")
    if labels.all() or not labels.any():
        raise ValueError("Metrics need both classes among the labels.")
    if not np.isfinite(scores).all():
        raise ValueError("Scores must be finite.")
    correct = (scores >= threshold) == labels
    parts = {"ACC": correct, "TPR": correct[labels], "TNR": correct[~labels]}
    return {name: wilson(hits) for name, hits in parts.items()} | {"AUC": delong(labels, scores)}


def wilson(hits: np.ndarray) -> Estimate:
    """Share of true values with Wilson's interval."""
    low, high = proportion_confint(hits.sum(), len(hits), alpha=1 - LEVEL, method="wilson")
    share = float(hits.mean())
    return Estimate(share, min(float(low), share), max(float(high), share))  # rounding must not part value and limit


def delong(labels: np.ndarray, scores: np.ndarray) -> Estimate:
    """AUC with DeLong's interval on the logit scale (DeLong et al. 1988; doi:10.2307/2531595).

    At an AUC of 0 or 1 DeLong's variance is zero; the far limit is then Wilson's for the size of the smaller class.
    """
    labels = np.asarray(labels).astype(bool)
    above, below = placements(labels, scores)
    auc, m, n = float(above.mean()), len(above), len(below)
    if auc in (0.0, 1.0) or min(m, n) < 2:
        low, high = proportion_confint(auc * min(m, n), min(m, n), alpha=1 - LEVEL, method="wilson")
        return Estimate(auc, min(float(low), auc), max(float(high), auc))
    width = stats.norm.ppf(TAILS[1]) * _delong_error(above, below) / (auc * (1 - auc))
    low, high = special.expit(special.logit(auc) + np.array([-width, width]))
    return Estimate(auc, float(low), float(high))


def placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's components of the AUC: the mean of either is the AUC.

    Returns
    -------
    above : np.ndarray, shape (positives,)
        Share of the negatives that each positive is above; a tie counts half.
    below : np.ndarray, shape (negatives,)
        Share of the positives that each negative is below.
    """
    labels = np.asarray(labels).astype(bool)
    positive, negative = scores[labels], scores[~labels]
    m, n = len(positive), len(negative)
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    return (ranks[:m] - stats.rankdata(positive)) / n, 1 - (ranks[m:] - stats.rankdata(negative)) / m


def _delong_error(above: np.ndarray, below: np.ndarray) -> float:
    return float(np.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)))


# Several training seeds on the same discs


def over_seeds(labels: np.ndarray, logits: np.ndarray, patients: np.ndarray) -> dict[str, dict[str, float]]:
    """Metrics of several training seeds on the same discs.

    Parameters
    ----------
    labels : np.ndarray, shape (n,)
    logits : np.ndarray, shape (seeds, n)
        Before the sigmoid: the threshold 0.5 on probabilities is 0 here.
    patients : np.ndarray, shape (n,)
        Each disc's patient.

    Returns
    -------
    dict
        For ``ACC``, ``TPR``, ``TNR``, ``AUC``: ``mean`` over the seeds; ``low`` and ``high``, its limits when patients
        are resampled (`by_patient`); ``plain_low`` and ``plain_high``, the mean limits of the seeds' plain 95 %
        intervals; and, of more than one seed, ``sd``.
    """
    runs = [binary_metrics(labels, row, threshold=0.0) for row in logits]
    resampled = by_patient(labels, logits, patients)
    summary = {}
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        mean, low, high = values.mean(axis=0).tolist()
        limits = {"low": resampled[name].low, "high": resampled[name].high, "plain_low": low, "plain_high": high}
        spread = {"sd": float(values[:, 0].std(ddof=1))} if len(runs) > 1 else {}
        summary[name] = {"mean": mean, **spread, **limits}
    return summary


# Resampling patients


def patient_weights(patients: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each disc counts when patients are drawn with replacement, each with all their discs.

    Parameters
    ----------
    patients : np.ndarray, shape (n,)

    Returns
    -------
    np.ndarray, shape (draws, n), float
    """
    names, codes = np.unique(patients, return_inverse=True)
    share = np.full(len(names), 1 / len(names))
    return np.random.default_rng([seed, 60]).multinomial(len(names), share, draws)[:, codes].astype(float)


def weighted_metrics(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, sensitivity, specificity and AUC of weighted discs, each the mean over the seeds.

    Parameters
    ----------
    labels : np.ndarray, shape (n,)
    logits : np.ndarray, shape (seeds, n)
    weights : np.ndarray, shape (draws, n)
        Ones give the metrics themselves.

    Returns
    -------
    dict
        ``ACC``, ``TPR``, ``TNR``, ``AUC``, each of shape (draws,); nan where a draw lacks a class.
    """
    truth = np.asarray(labels).astype(bool)
    hits = ((logits >= 0) == truth).mean(axis=0)  # share of the seeds that are right about each disc
    upper, lower = logits[:, truth, None], logits[:, None, ~truth]
    order = (upper > lower).mean(axis=0) + (upper == lower).mean(axis=0) / 2
    positive, negative = weights[:, truth], weights[:, ~truth]
    with np.errstate(invalid="ignore"):
        return {
            "ACC": weights @ hits / weights.sum(1),
            "TPR": positive @ hits[truth] / positive.sum(1),
            "TNR": negative @ hits[~truth] / negative.sum(1),
            "AUC": ((positive @ order) * negative).sum(1) / (positive.sum(1) * negative.sum(1)),
        }


def by_patient(
    labels: np.ndarray, logits: np.ndarray, patients: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Estimate]:
    """The metrics of `weighted_metrics` with intervals that resample patients.

    A metric of 0 or 1 is the same in every draw; its far limit is then Wilson's for the number of its patients.
    """
    resampled = weighted_metrics(labels, logits, patient_weights(patients, draws=draws, seed=seed))
    values = weighted_metrics(labels, logits, np.ones((1, len(labels))))
    groups, estimates = _groups(labels, patients), {}
    for name, (value,) in values.items():
        if value in (0.0, 1.0):
            low, high = proportion_confint(value * groups[name], groups[name], alpha=1 - LEVEL, method="wilson")
        else:  # on the logit scale it covers with few patients too, where percentiles fall short
            slope = value * (1 - value)
            low, high = special.expit(normal_limits(special.logit(value), resampled[name] / slope))
        estimates[name] = Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)))
    return estimates


def level_aucs(
    labels: np.ndarray, logits: np.ndarray, patients: np.ndarray, levels: np.ndarray, *, lowest: Sequence[str]
) -> dict[str, Estimate]:
    """AUC of some levels alone, and within levels: lower discs are abnormal more often, so the level itself tells.

    Parameters
    ----------
    labels, patients : shape (n,)
    logits : shape (seeds, n)
    levels : shape (n,)
        Of each disc.
    lowest
        The levels of the first AUC.

    Returns
    -------
    dict
        ``lowest``: pairs of discs of these levels; ``within``: pairs of discs of one level, all levels together. Limits
        resample patients; nan where no such pair exists.
    """
    truth = np.asarray(labels).astype(bool)
    upper, lower = logits[:, truth, None], logits[:, None, ~truth]
    order = (upper > lower).mean(axis=0) + (upper == lower).mean(axis=0) / 2
    same = levels[truth, None] == levels[None, ~truth]
    low = np.isin(levels[truth], lowest)[:, None] & np.isin(levels[~truth], lowest)
    weights = np.concatenate([np.ones((1, len(truth))), patient_weights(patients)])
    found = {}
    for name, pairs in (("lowest", low), ("within", same)):
        positive, negative = weights[:, truth], weights[:, ~truth]
        with np.errstate(invalid="ignore", divide="ignore"):
            total = ((positive @ pairs) * negative).sum(1)
            value, *draws = ((positive @ (order * pairs)) * negative).sum(1) / total
        limits = normal_limits(value, np.array(draws)) if np.isfinite(value) else (np.nan, np.nan)
        found[name] = Estimate(float(value), *(float(np.clip(limit, 0, 1)) for limit in limits))
    return found


def patient_mean(
    values: np.ndarray,
    patients: np.ndarray,
    *,
    reach: tuple[float, float] = (-1.0, 1.0),
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Mean over discs with a percentile interval that resamples patients.

    Parameters
    ----------
    values : np.ndarray, shape (n,)
        nan where undefined: left out.
    patients : np.ndarray, shape (n,)
    reach : (float, float)
        The least and the largest value possible.

    Returns
    -------
    Estimate
        All nan without values; no limits (nan) with fewer than two patients. A mean that is the same in every draw is
        not certain: as in `_difference`, the limits say what so many patients may have missed.
    """
    known = ~np.isnan(values)
    values, patients = values[known], np.asarray(patients)[known]
    people = len(np.unique(patients))
    if people < 2:
        return Estimate(float(values.mean()) if len(values) else np.nan, np.nan, np.nan)
    weights = patient_weights(patients, draws=draws, seed=seed)
    low, high = np.quantile(weights @ values / weights.sum(axis=1), TAILS)
    if high - low < 1e-9:
        missed = (reach[1] - reach[0]) * _missed(people)
        low, high = max(low - missed, reach[0]), min(high + missed, reach[1])
    return Estimate(float(values.mean()), float(low), float(high))


def _missed(groups: int) -> float:
    """Wilson's upper limit for a share of which none of so many patients showed anything."""
    return float(proportion_confint(0, groups, alpha=1 - LEVEL, method="wilson")[1])


def _groups(labels: np.ndarray, patients: np.ndarray) -> dict[str, int]:
    """How many patients each metric has; for the AUC those of the rarer class."""
    truth = np.asarray(labels).astype(bool)
    counted = {"ACC": np.ones_like(truth), "TPR": truth, "TNR": ~truth}
    groups = {name: len(np.unique(patients[discs])) for name, discs in counted.items()}
    return groups | {"AUC": min(groups["TPR"], groups["TNR"])}


def normal_limits(value: float, draws: np.ndarray) -> np.ndarray:
    """Normal limits with the spread of the draws; those without a value are left out."""
    return value + stats.norm.ppf(TAILS) * np.nanstd(draws, ddof=1)


def weighted_kappa(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of weighted discs on which two readers agree, and Cohen's kappa, for each row of weights.

    Returns
    -------
    agreement, kappa : np.ndarray, shape (draws,)
        Kappa is nan where chance alone would agree everywhere.
    """
    share = weights / weights.sum(1, keepdims=True)
    agree, first, second = share @ (one == other), share @ one, share @ other
    by_chance = first * second + (1 - first) * (1 - second)
    with np.errstate(invalid="ignore", divide="ignore"):
        return agree, np.where(by_chance < 1 - 1e-9, (agree - by_chance) / (1 - by_chance), np.nan)


def agreement(one: np.ndarray, other: np.ndarray, patients: np.ndarray) -> tuple[Estimate, Estimate]:
    """Agreement of two readers and Cohen's kappa, with intervals that resample patients.

    Where they always or never agree, every draw is alike: the agreement's far limit is then Wilson's for the number of
    patients, and kappa has none (nan).
    """
    agree, kappa = (float(value) for (value,) in weighted_kappa(one, other, np.ones((1, len(one)))))
    draws = weighted_kappa(one, other, patient_weights(patients))
    if len(np.unique(np.equal(one, other))) == 1:
        groups = len(np.unique(patients))
        limits = proportion_confint(round(agree) * groups, groups, alpha=1 - LEVEL, method="wilson")
        return Estimate(agree, *map(float, limits)), Estimate(kappa, np.nan, np.nan)
    shares, kappas = np.clip(normal_limits(agree, draws[0]), 0, 1), np.clip(normal_limits(kappa, draws[1]), -1, 1)
    return Estimate(agree, *shares), Estimate(kappa, *kappas)


def balance(labels: np.ndarray, logits: np.ndarray, patients: np.ndarray) -> Estimate:
    """Sensitivity minus specificity, with an interval that resamples patients."""
    once, draws = (weighted_metrics(labels, logits, w) for w in (np.ones((1, len(labels))), patient_weights(patients)))
    groups = _groups(labels, patients)["AUC"]
    return Estimate(**_difference(once["TPR"][0] - once["TNR"][0], draws["TPR"] - draws["TNR"], groups))


# Comparisons


def contrast(
    labels: np.ndarray, runs: Sequence[np.ndarray], coefficients: Sequence[float], patients: np.ndarray
) -> dict[str, dict[str, float]]:
    """A linear combination of several classifiers' metrics on the same discs.

    Parameters
    ----------
    labels : shape (n,)
    runs : sequence of np.ndarray, shape (seeds, n)
        Logits of each classifier; they may differ in their number of seeds.
    coefficients
        (1, -1) give a difference, those of a regression line a slope.
    patients : shape (n,)

    Returns
    -------
    dict
        For ``ACC``, ``TPR``, ``TNR``, ``AUC``: ``value``, ``low``, ``high`` when patients are resampled. For ``AUC``
        also ``delong_low``, ``delong_high`` and two-sided ``p`` of DeLong's test for correlated curves.
    """
    once, weights = np.ones((1, len(labels))), patient_weights(patients)
    values, draws = ([weighted_metrics(labels, run, w) for run in runs] for w in (once, weights))
    found, groups, reach = {}, _groups(labels, patients), np.abs(coefficients).sum() / 2
    for name in values[0]:
        value, spread = (
            sum(c * metrics[name] for c, metrics in zip(coefficients, part, strict=True)) for part in (values, draws)
        )
        found[name] = _difference(value[0], spread, groups[name], reach)
    # The mean of the seeds' AUCs is a U-statistic as each of them is: its components are theirs, averaged.
    parts = [np.mean([np.concatenate(placements(labels, row)) for row in run], axis=0) for run in runs]
    components = np.tensordot(coefficients, parts, 1)
    positives = int(np.sum(labels))
    error = _delong_error(components[:positives], components[positives:])
    return found | {"AUC": found["AUC"] | _normal(found["AUC"]["value"], error)}


def compare(
    labels: np.ndarray, one: np.ndarray, other: np.ndarray, patients: np.ndarray
) -> dict[str, dict[str, float]]:
    """Metrics of `one` minus those of `other` on the same discs (`contrast`).

    ``ACC`` has the ``p`` of McNemar's exact test on the calls by the mean logit of the seeds.
    """
    found = contrast(labels, (one, other), (1, -1), patients)
    right = [(np.mean(run, axis=0) >= 0) == np.asarray(labels).astype(bool) for run in (one, other)]
    table = [[np.sum((right[0] == a) & (right[1] == b)) for b in (True, False)] for a in (True, False)]
    return found | {"ACC": found["ACC"] | {"p": float(mcnemar(table, exact=True).pvalue)}}


def compare_sets(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> dict[str, dict[str, float]]:
    """Metrics on one set of discs minus those on another, such as the test sets of two splits.

    The sets may share patients: whoever is drawn is drawn for both.

    Parameters
    ----------
    one, other : (labels (n,), logits (seeds, n), patients (n,))

    Returns
    -------
    dict
        For ``ACC``, ``TPR``, ``TNR``, ``AUC``: ``value``, ``low``, ``high``. No p: DeLong's test would take the sets as
        independent.
    """
    split = len(one[0])
    weights = patient_weights(np.concatenate([one[2], other[2]]))
    halves = [(one, weights[:, :split]), (other, weights[:, split:])]
    draws = [weighted_metrics(labels, logits, part) for (labels, logits, _), part in halves]
    values = [weighted_metrics(labels, logits, np.ones((1, len(labels)))) for labels, logits, _ in (one, other)]
    groups = [_groups(labels, patients) for labels, _, patients in (one, other)]
    found = {}
    for name in values[0]:
        spread, fewest = draws[0][name] - draws[1][name], min(part[name] for part in groups)
        found[name] = _difference(values[0][name][0] - values[1][name][0], spread, fewest)
    return found


def _difference(value: float, draws: np.ndarray, groups: int, reach: float = 1.0) -> dict[str, float]:
    """Normal limits with the spread of the draws.

    A difference that is the same in every draw is not certain: none of so many patients (`groups`) made one, and
    Wilson's limit for none of them, times the largest difference possible (`reach`), is what may have been missed.
    """
    low, high = normal_limits(value, draws)
    if np.nanmax(draws) - np.nanmin(draws) < 1e-9:
        missed = reach * _missed(groups)
        low, high = np.clip([value - missed, value + missed], -reach, reach)
    return {"value": float(value), "low": float(low), "high": float(high)}


def _normal(value: float, error: float) -> dict[str, float]:
    """Limits and two-sided p of a difference; equal classifiers have an error of 0 and nothing to tell apart."""
    low, high = value + stats.norm.ppf(TAILS) * error
    p = 2 * stats.norm.sf(abs(value) / error) if error > 0 else float(value == 0)
    return {"delong_low": float(low), "delong_high": float(high), "p": float(p)}
