"""ROC band, operating points chosen on validation discs, and calibration."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special
from sklearn.metrics import brier_score_loss, roc_curve
from statsmodels.stats.proportion import proportion_confint

from lhdlib.evaluate import DRAWS, LEVEL, TAILS, Estimate, normal_limits, over_seeds, patient_weights, weighted_metrics

BINS = 8  #: of the calibration curve, of equal numbers of discs
AIM = 0.9  #: sensitivity or specificity at an operating point
#: What the operating points aim at, on the validation discs.
POINTS = {
    "TPR": f"sensitivity {100 * AIM:.0f} %",
    "TNR": f"specificity {100 * AIM:.0f} %",
    "balanced": "sensitivity = specificity",
}
GRID = np.linspace(0, 1, 201)  #: of 1 - specificity, for the band around an ROC curve


def roc_band(
    labels: np.ndarray, logits: np.ndarray, patients: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> pd.DataFrame:
    """Mean ROC curve of the seeds, with the band that resampling patients gives at each specificity.

    Returns
    -------
    pd.DataFrame
        ``fpr`` (1 - specificity, `GRID`), ``tpr``, ``low``, ``high``.
    """
    curves = [
        np.mean([_weighted_roc(labels, row, weights) for row in logits], axis=0)
        for weights in (np.ones((1, len(labels))), patient_weights(patients, draws=draws, seed=seed))
    ]
    low, high = np.nanquantile(curves[1], TAILS, axis=0)
    return pd.DataFrame({"fpr": GRID, "tpr": curves[0][0], "low": low, "high": high})


def _weighted_roc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sensitivity at each 1 - specificity of `GRID`, shape (draws, len(GRID)); nan where a draw lacks a class."""
    truth = np.asarray(labels).astype(bool)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of equal scores
    with np.errstate(invalid="ignore"):
        tpr, fpr = (
            (total := np.cumsum((weights * kind)[:, order], axis=1)[:, last]) / total[:, -1:]
            for kind in (truth, ~truth)
        )
    return np.stack([np.interp(GRID, [0, *x], [0, *y]) for x, y in zip(fpr, tpr, strict=True)])


def thresholds(labels: np.ndarray, logits: np.ndarray, aim: str) -> np.ndarray:
    """Each seed's threshold at which the other of the two is largest while `aim` reaches `AIM`, or both are alike.

    Parameters
    ----------
    labels : np.ndarray, shape (n,)
        Those of the validation discs: on the test discs the choice would flatter itself.
    logits : np.ndarray, shape (seeds, n)
    aim : {"TPR", "TNR", "balanced"}

    Returns
    -------
    np.ndarray, shape (seeds,)
        A disc is positive at the threshold or above.
    """
    chosen = []
    for row in logits:
        fpr, tpr, cuts = roc_curve(labels, row, drop_intermediate=False)
        place = {
            "TPR": np.argmax(tpr >= AIM - 1e-9),  # the first that reaches it
            "TNR": np.flatnonzero(1 - fpr >= AIM - 1e-9)[-1],
            "balanced": np.argmin(np.abs(tpr - (1 - fpr))),
        }[aim]
        cut = cuts[place]
        chosen.append(cut if np.isfinite(cut) else np.nextafter(row.max(), np.inf))
    return np.array(chosen)


def operating_points(result: dict[str, np.ndarray], patients: np.ndarray) -> dict[str, dict]:
    """Test metrics at thresholds chosen on the validation discs.

    Parameters
    ----------
    result : dict
        As from `finetune.classify`.
    patients : np.ndarray, shape (n,)
        Those of the test discs.

    Returns
    -------
    dict
        Aim of `POINTS` -> ``thresholds`` (logits, one per seed), ``validation`` (metric -> mean
        over the seeds) and ``test`` (`over_seeds`).
    """
    points = {}
    for aim in POINTS:
        cuts = thresholds(result["validation_labels"], result["validation_logits"], aim)
        shifted = {part: result[f"{part}_logits"] - cuts[:, None] for part in ("validation", "test")}
        once = np.ones((1, len(result["validation_labels"])))
        reached = weighted_metrics(result["validation_labels"], shifted["validation"], once)
        points[aim] = {
            "thresholds": cuts.tolist(),
            "validation": {name: float(value) for name, (value,) in reached.items()},
            "test": over_seeds(result["test_labels"], shifted["test"], patients),
        }
    return points


class Calibration(NamedTuple):
    """How well probabilities agree with the share of positives."""

    curve: pd.DataFrame  #: a row per bin: ``predicted``, ``observed``, ``low``, ``high``, ``discs`` (of all seeds)
    brier: Estimate  #: mean squared error of the probabilities
    ece: Estimate  #: expected calibration error: mean distance of observed from predicted over the bins
    ece_by_chance: float  #: mean expected calibration error of labels drawn from the probabilities themselves


def measure_calibration(labels: np.ndarray, logits: np.ndarray, patients: np.ndarray) -> Calibration:
    """Predicted against observed, Brier score and expected calibration error, the seeds pooled.

    The bins hold equal numbers of probabilities. A finite number of discs leaves a perfect classifier an error too,
    which ``ece_by_chance`` states (Bröcker and Smith 2007; doi:10.1175/WAF993.1); resampling adds as much again, so the
    interval of the error is centred (basic bootstrap) and cut off at 0.

    Parameters
    ----------
    labels : np.ndarray, shape (n,)
    logits : np.ndarray, shape (seeds, n)
    patients : np.ndarray, shape (n,)
    """
    seeds = len(logits)
    chances, truth = special.expit(np.ravel(logits)), np.tile(np.asarray(labels, float), seeds)
    weights = np.tile(patient_weights(patients), (1, seeds))
    bins = pd.qcut(chances, BINS, labels=False, duplicates="drop")
    member = (bins[:, None] == np.unique(bins)).astype(float)  # (n, bins)

    def shares(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return (weights * values) @ member / (weights @ member)

    def error(truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.nansum((weights @ member) * np.abs(shares(truth - chances, weights)), axis=1) / weights.sum(1)

    once = np.ones((1, len(truth)))
    observed, counts = shares(truth, once)[0], member.sum(0).astype(int)
    low, high = np.nanquantile(shares(truth, weights), TAILS, axis=0)
    for place in np.flatnonzero((observed == 0) | (observed == 1)):  # the same in every draw, yet not certain
        people = len(np.unique(np.tile(patients, seeds)[member[:, place] > 0]))
        low[place], high[place] = proportion_confint(observed[place] * people, people, 1 - LEVEL, method="wilson")
    curve = {"predicted": shares(chances, once)[0], "observed": observed, "low": low, "high": high}
    squares = weights @ (chances - truth) ** 2 / weights.sum(1)
    score = float(brier_score_loss(truth, chances))
    brier = Estimate(score, *normal_limits(score, squares).tolist())
    found = float(error(truth, once)[0])
    low, high = np.nanquantile(error(truth, weights), TAILS).tolist()
    ece = Estimate(found, min(found, max(0.0, 2 * found - high)), max(found, 2 * found - low))
    uniform = np.random.default_rng([0, 61]).random((DRAWS, len(labels)))
    drawn = np.tile(uniform, (1, seeds)) < chances  # a disc's luck is the same for all seeds
    by_chance = float(error(drawn, np.ones_like(weights)).mean())
    return Calibration(pd.DataFrame(curve | {"discs": counts}), brier, ece, by_chance)
