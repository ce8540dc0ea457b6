"""Which lesion? Table, figure and words about `evidence.kinds`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lhdlib.evidence.kinds import DISPLACED, FEWEST
from lhdlib.figures.style import BLUE, FEATURES, MM, ORANGE, PAGE, described, span, styled
from lhdlib.figures.words import Note, interval_text, listed

TEAR = "annular tear"
UNKNOWN = "not in the truth"
Judged = Mapping[str, Mapping[str, Any]]  # of `evidence.kinds.measure`


def kinds_table(judged: Mapping[str, Judged]) -> pd.DataFrame:
    """AUC of each kind by each judge: a number only where enough patients have the kind.

    Parameters
    ----------
    judged : mapping of judge -> `evidence.kinds.measure`
    """
    rows = []
    for judge, found in judged.items():
        for kind, one in found.items():
            row = {
                "judged by": judge,
                "kind": kind,
                "test discs with it": "–" if one["discs"] is None else one["discs"],
            }
            rows.append(row | {"AUC, all discs": _said(one, "all"), "AUC, discs with a kind": _said(one, "abnormal")})
    return pd.DataFrame(rows)


def _said(one: Mapping[str, Any], part: str) -> str:
    if one["discs"] is None:
        return UNKNOWN
    return interval_text(one[part]) if one[part] else f"too few (under {FEWEST} patients with or without it)"


@styled
def kinds_figure(judged: Mapping[str, Judged], *, confusion: np.ndarray) -> Figure:
    """AUC of each kind among all discs, and which kind is taken for which.

    Parameters
    ----------
    judged : mapping of judge -> `evidence.kinds.measure`
        The first two are drawn.
    confusion : shape (3, 3)
        `evidence.kinds.confusion`.
    """
    fig = Figure(figsize=(PAGE * MM, 68 * MM), layout="constrained")
    left, right = fig.subplots(1, 2, width_ratios=(1, 1))
    names = list(next(iter(judged.values())))
    places, seen = np.arange(len(names))[::-1], []
    looks = (("o", BLUE, 0.13), ("s", ORANGE, -0.13))
    for (judge, found), (marker, color, shift) in zip(judged.items(), looks, strict=False):
        drawn = [(place, found[name]["all"]) for place, name in zip(places, names, strict=True) if found[name]["all"]]
        value, low, high = (np.array([auc[key] for _, auc in drawn]) for key in ("value", "low", "high"))
        at = np.array([place for place, _ in drawn]) + shift
        bars = span(value, low, high)
        left.errorbar(value, at, xerr=bars, fmt=marker, color=color, ms=4.5, capsize=2.5, lw=1.2, label=judge)
        seen += [f"{name} by {judge} {_said(found[name], 'all')}" for name in names]
    left.axvline(0.5, color="0.5", lw=0.8, ls=":", label="chance")
    left.set_yticks(places, [name.replace(" or ", "\nor ") for name in names])
    left.set(xlabel="AUC among all test discs", ylim=(-0.6, len(names) - 0.4))
    left.set_title("(a) each kind", loc="left")
    left.grid(axis="x", lw=0.4, color="0.9")
    total = confusion.sum(axis=1, keepdims=True)
    share = np.divide(confusion, total, out=np.zeros(confusion.shape), where=total > 0)
    right.imshow(share, vmin=0, vmax=1, cmap=FEATURES, aspect="auto")  # so that names fit
    for (row, column), count in np.ndenumerate(confusion):
        color = "k" if share[row, column] > 0.5 else "w"
        right.text(column, row, str(count), ha="center", va="center", color=color)
    short = [name.replace(" or ", "\nor ") for name in DISPLACED]
    right.set_xticks(range(len(short)), short)
    right.set_yticks(range(len(short)), short)
    right.set(xlabel="called", ylabel="is")
    right.set_title("(b) number of discs", loc="left")
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return described(fig, f"AUC of each kind of lesion: {'; '.join(seen)}. {_confused(confusion)}")


def _confused(confusion: np.ndarray) -> str:
    right, total = np.diag(confusion), confusion.sum(axis=1)
    said = [f"{right[i]} of {total[i]} with {name}" for i, name in enumerate(DISPLACED) if total[i]]
    return f"Called by their own kind: {listed(said) or 'none'}."


def kinds_note(judged: Mapping[str, Judged], confusion: np.ndarray, *, pixel_mm: float) -> Note:
    """Say which kinds are told apart, and what the numbers say of tears on pixels of this size."""
    _, found = next(iter(judged.items()))
    sure = [kind for kind, one in found.items() if one["abnormal"] and one["abnormal"]["low"] > 0.5]
    verb = "are" if len(sure) > 1 else "is"
    follows = f"Among discs with a kind, {listed(sure) or 'no kind'} {verb} told from the others above chance."
    tear = found[TEAR]
    if tear["abnormal"] is None:
        seen = f"too few test discs have one ({tear['discs']}) to say whether it is seen"
    else:
        word = "above" if tear["abnormal"]["low"] > 0.5 else "not told from"
        seen = f"among discs with a kind its AUC is {interval_text(tear['abnormal'])}, {word} chance"
    return Note(follows, f"{_confused(confusion)} An annular tear on pixels of {pixel_mm:.1f} mm: {seen}.")
