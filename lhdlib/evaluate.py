"""Metrics with 95 % intervals (section "Model evaluation methods", Eq. 21-23)."""

from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95


class Estimate(NamedTuple):
    """A value with the limits of its 95 % interval."""

    value: float
    low: float
    high: float


def binary_metrics(labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> dict[str, Estimate]:
    """Accuracy, sensitivity, specificity (Eq. 21-23) with Wilson intervals, and AUC with DeLong's.

    Parameters
    ----------
    labels : np.ndarray, shape (n,)
        0 or 1, both present.
    scores : np.ndarray, shape (n,)
        Probabilities; a sample is called positive at `threshold` or above.
    threshold : float

    Returns
    -------
    dict
        ``ACC``, ``TPR``, ``TNR``, ``AUC``, each an `Estimate`.

    Raises
    ------
    ValueError
        When shapes differ, a label is neither 0 nor 1, only one class is present, or a score is not finite.
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
    auc = float(roc_auc_score(labels, scores))
    positive, negative = scores[labels], scores[~labels]
    m, n = len(positive), len(negative)
    if auc in (0.0, 1.0) or min(m, n) < 2:
        low, high = proportion_confint(auc * min(m, n), min(m, n), alpha=1 - LEVEL, method="wilson")
        return Estimate(auc, min(float(low), auc), max(float(high), auc))
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    above_negatives = (ranks[:m] - stats.rankdata(positive)) / n
    below_positives = 1 - (ranks[m:] - stats.rankdata(negative)) / m
    error = np.sqrt(above_negatives.var(ddof=1) / m + below_positives.var(ddof=1) / n)
    logit, width = np.log(auc / (1 - auc)), stats.norm.ppf((1 + LEVEL) / 2) * error / (auc * (1 - auc))
    low, high = 1 / (1 + np.exp(-(logit + np.array([-width, width]))))
    return Estimate(auc, float(low), float(high))


def over_seeds(labels: np.ndarray, logits: np.ndarray) -> dict[str, dict[str, float]]:
    """Metrics of several training seeds on the same discs.

    Parameters
    ----------
    labels : np.ndarray, shape (n,)
    logits : np.ndarray, shape (seeds, n)
        Before the sigmoid: the threshold 0.5 on probabilities is 0 here.

    Returns
    -------
    dict
        For ``ACC``, ``TPR``, ``TNR``, ``AUC``: ``mean`` and ``sd`` over the seeds (sd is 0 for one seed), and
        ``low`` and ``high``, the mean limits of the seeds' 95 % intervals.
    """
    runs = [binary_metrics(labels, row, threshold=0.0) for row in logits]
    summary = {}
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        spread = float(values[:, 0].std(ddof=1)) if len(runs) > 1 else 0.0
        mean, low, high = values.mean(axis=0).tolist()
        summary[name] = {"mean": mean, "sd": spread, "low": low, "high": high}
    return summary
