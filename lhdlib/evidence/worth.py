"""Gains of one kind of pre-training over another or over none, and how many labels they are worth."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lhdlib import evaluate
from lhdlib.model.label_map import NONE, Cell

ABOVE, BELOW, APART = "above", "below", "not told apart"


def measure(labels: np.ndarray, logits: Mapping[Cell, np.ndarray], patients: np.ndarray) -> pd.DataFrame:
    """AUC of every place, beside that of the network from scratch with the same labels.

    Parameters
    ----------
    labels, patients : shape (n,)
        Of the test discs.
    logits : mapping of Cell -> np.ndarray, shape (draws, n)
        With "scratch" for every number of labels and share.

    Returns
    -------
    pd.DataFrame
        `Cell`'s columns; ``auc`` (mean over the draws), ``low``, ``high`` (patients resampled), ``sd`` of the draws;
        ``gain``, ``gain_low``, ``gain_high`` over scratch, ``verdict``, and ``scratch_labels`` (`equal_labels`).
    """
    rows = []
    for cell, found in sorted(logits.items()):
        auc = evaluate.over_seeds(labels, found, patients)["AUC"]
        row = cell._asdict() | {"auc": auc["mean"], **{name: auc.get(name, 0.0) for name in ("low", "high", "sd")}}
        if cell.objective != NONE:
            scratch = logits[Cell(NONE, "scratch", cell.labels, cell.wrong)]
            row |= gained(labels, found, scratch, patients)
        rows.append(row)
    table = pd.DataFrame(rows)
    curves = {share: part.set_index("labels").auc for share, part in table[table.way == "scratch"].groupby("wrong")}
    table["scratch_labels"] = [
        np.nan if one.way == "scratch" else equal_labels(curves[one.wrong], one.auc) for one in table.itertuples()
    ]
    return table


def gained(labels: np.ndarray, found: np.ndarray, other: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    """AUC of classifiers minus that of others, draw by draw, on the same discs.

    Parameters
    ----------
    labels, patients : shape (n,)
    found, other : shape (draws, n)
        Logits; draws of the same number belong together.

    Returns
    -------
    dict
        ``gain`` (of the means), ``gain_low``, ``gain_high`` (patients resampled) and ``verdict``.
    """
    gain = evaluate.compare(labels, found, other, patients)["AUC"]
    each = [_auc(labels, one) - _auc(labels, its) for one, its in zip(found, other, strict=True)]
    said = verdict(gain["low"], gain["high"], np.array(each))
    return {"gain": gain["value"], "gain_low": gain["low"], "gain_high": gain["high"], "verdict": said}


def verdict(low: float, high: float, each: np.ndarray) -> str:
    """`ABOVE` or `BELOW` where the interval over patients and every draw agree, else `APART`.

    The interval knows what other discs would have given; the draws, what other labels and pre-trainings would have.
    """
    if low > 0 and (each > 0).all():
        return ABOVE
    return BELOW if high < 0 and (each < 0).all() else APART


def equal_labels(curve: pd.Series, auc: float) -> float:
    """Number of labels with which the network from scratch reaches an AUC, between its measured numbers on a log scale.

    Parameters
    ----------
    curve : pd.Series
        Its AUC by number of labels. A number counts as at least as good as each smaller one.

    Returns
    -------
    float
        0 where the smallest number has a higher AUC already, infinite where none has it.
    """
    best = np.maximum.accumulate(curve.sort_index().to_numpy())
    counts = np.log2(np.sort(curve.index.to_numpy(float)))
    if auc < best[0]:
        return 0.0
    if auc > best[-1]:
        return np.inf
    first = int(np.argmax(best >= auc))
    if first == 0:
        return float(2 ** counts[0])
    share = (auc - best[first - 1]) / (best[first] - best[first - 1])
    return float(2 ** (counts[first - 1] + share * (counts[first] - counts[first - 1])))


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    return evaluate.delong(labels, scores).value
