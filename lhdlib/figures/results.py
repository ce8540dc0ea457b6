"""The paper's results as figures: Figs 8 to 10, and what stands beside them. See `method` for the rules."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.metrics import roc_curve

from lhdlib import paper
from lhdlib.data.marks import Marks
from lhdlib.figures.style import (
    BLUE,
    GREEN,
    HEAT,
    MIDDLE,
    MM,
    ORANGE,
    PAGE,
    VERMILION,
    Canvas,
    described,
    expect,
    mark,
    overlay,
    show,
    span,
    styled,
)
from lhdlib.figures.words import METRICS, Note, Summary, interval_text, listed, place_of, setting_text, signed

#: Colour and line of the curves in Fig. 8.
CURVES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (ORANGE, ":"))
SUPERVISED = "supervised ResNet"  #: the paper's "supv": trained from scratch with all labels


@styled
def fig08_roc(
    *, scores: Mapping[tuple[float, float], tuple[np.ndarray, np.ndarray]], auc: Mapping[tuple[float, float], Summary]
) -> Figure:
    """Fig. 8: ROC curves at four regularisation settings, each the mean over seeds; and their AUC beside the paper's.

    Parameters
    ----------
    scores : mapping of (w, dr) -> (labels (n,), scores (seeds, n))
    auc : mapping of (w, dr) -> Summary
        As in Table 3 (`evaluate.over_seeds`).
    """
    fig = Figure(figsize=(MIDDLE * MM, 112 * MM), layout="constrained")
    ax, table = fig.subplots(2, 1, height_ratios=(4, 1))
    grid, notes, rows = np.linspace(0, 1, 501), [], []
    for (setting, (labels, several)), (color, line) in zip(scores.items(), CURVES, strict=True):
        curves = []
        for row in np.atleast_2d(several):
            fpr, tpr, _ = roc_curve(labels, row, drop_intermediate=False)
            curves.append(np.interp(grid, fpr, tpr))
        name = setting_text(setting)
        ax.plot([0, *grid], [0, *np.mean(curves, axis=0)], color=color, ls=line, lw=1.6, label=name)
        published = paper.TABLE3.get(setting, {}).get("AUC")
        rows.append((name, interval_text(auc[setting]), f"{published:.4f}" if published else "–"))
        notes.append(f"{name}: AUC {rows[-1][1]}" + (f", paper {rows[-1][2]}" if published else ""))
    ax.plot([0, 1], [0, 1], color="0.5", lw=0.8, ls=(0, (1, 3)), label="chance")
    ticks = np.linspace(0, 1, 6)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xticks=ticks, yticks=ticks)
    ax.set(xlabel="1 − specificity", ylabel="sensitivity")
    ax.legend(loc="lower right", handlelength=3)
    table.axis("off")
    for x, column in zip(
        (0.06, 0.44, 0.84), zip(("setting", "AUC, this run", "AUC, paper"), *rows, strict=True), strict=True
    ):
        for y, text in enumerate(column):
            table.text(x, 0.95 - 0.21 * y, text, va="top", weight="bold" if y == 0 else None, transform=table.transAxes)
    return described(
        fig,
        "ROC curves, sensitivity against 1 − specificity, of four settings, each the mean over seeds; below, their AUC "
        f"with 95 % intervals beside the paper's. {'; '.join(notes)}.",
    )


@styled
def fig09_labels(results: pd.DataFrame) -> Figure:
    """Fig. 9: accuracy and AUC against the number of labels, and of the supervised baseline.

    Parameters
    ----------
    results : pd.DataFrame
        A row per point: ``labels`` (count), ``model`` ("semi" or "supv"), ``metric`` ("ACC" or "AUC"), ``mean`` over
        seeds, ``low``, ``high`` (95 % interval). The paper's counts are stated beside this run's, in ascending order,
        where there are as many.
    """
    fig = Figure(figsize=(PAGE * MM, 72 * MM), layout="constrained")
    counts = sorted(results.labels[results.model == "semi"].unique())
    known = paper.LABEL_COUNTS if len(counts) == len(paper.LABEL_COUNTS) else (None,) * len(counts)
    ticks = [_count_label(c, p, counts[-1]) for c, p in zip(counts, known, strict=True)]
    names = [*ticks, _count_label("ResNet", known[-1], None)]
    seen = []
    for letter, metric, ax in zip("ab", ("ACC", "AUC"), fig.subplots(1, 2, sharey=True), strict=True):
        table = results[results.metric == metric]
        for model, color, marker in (("semi", BLUE, "o"), ("supv", VERMILION, "s")):
            rows = table[table.model == model].sort_values("labels")
            places = [counts.index(c) if model == "semi" else len(counts) for c in rows.labels]
            bars = span(rows["mean"], rows.low, rows.high)
            ax.errorbar(places, rows["mean"], bars, fmt=f"{marker}-", color=color, ms=4.5, capsize=2.5, zorder=3)
            ends = [f"{row['mean']:.3f} with {row['labels']}" for _, row in rows.iterrows()]
            named = "semi-supervised" if model == "semi" else SUPERVISED
            seen.append(f"{METRICS[metric]}, {named}: {' to '.join(dict.fromkeys([ends[0], ends[-1]]))} labels")
            if model == "supv":
                for level in rows["mean"]:
                    ax.axhline(level, color=color, lw=0.8, ls=":")
        ax.set_xticks(range(len(names)), names)
        ax.set(xlim=(-0.5, len(names) - 0.5), ylabel=METRICS[metric])
        ax.set_title(f"({letter}) {METRICS[metric]}", loc="left")
        ax.set_xlabel("number of labels: this run, paper, share")
        ax.tick_params(labelleft=True)
        ax.grid(axis="y", lw=0.4, color="0.9")
    handles = [
        Line2D([], [], color=BLUE, marker="o", ms=4.5),
        Line2D([], [], color=VERMILION, marker="s", ms=4.5),
    ]
    names = ["semi-supervised, mean over seeds and 95 % interval", f"{SUPERVISED}, all labels (the paper's supv)"]
    fig.legend(handles, names, loc="outside upper center", ncols=2)
    return described(
        fig,
        f"Two panels, accuracy and AUC with intervals, against {len(counts)} numbers of labels and for the "
        f"{SUPERVISED} with all of them. {'; '.join(seen)}.",
    )


def _count_label(count: Any, published: int | None, full: int | None) -> str:
    lines = [f"{count}", f"{published}" if published else "–"]
    return "\n".join([*lines, f"{count / full:.0%}" if full else "100%"])


@styled
def fig10_heatmaps(
    *,
    slices: np.ndarray,
    heatmaps: np.ndarray,
    slice_weights: np.ndarray,
    names: Sequence[str],
    probabilities: Sequence[float],
    marks: Sequence[Sequence[Marks]],
    seen: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Fig. 10: discs called abnormal; odd rows the slices, even rows the same under their heatmaps.

    Parameters
    ----------
    slices, heatmaps : np.ndarray, shape (k, 3, W, W)
        Of k discs; heatmaps in [0, 1]; the paper shows k = 3.
    slice_weights : np.ndarray, shape (k, 3)
    names : sequence of str
        Such as "patient 0012, L4-L5".
    marks : k sequences of 3
        Of the slices.
    seen
        What the network sees of a side (`augment.seen_side`); framed where it is not all.
    """
    slices, heatmaps = expect("slices", slices, 4), expect("heatmaps", heatmaps, 4, first=len(slices))
    size, gap, left = 28, 1.5, 25
    pair, width = 2 * (size + gap) + 6, 3 * (size + gap)
    page = Canvas(MIDDLE, 5 + pair * len(slices))
    order = ("upper", "middle", "lower")
    said = []
    for k, name in enumerate(names):
        y = 5 + pair * k
        beside = f"{name.replace(', ', chr(10))}\nprobability {probabilities[k]:.2f}"
        page.text(left - 2, y + size + 2, beside, ha="right")
        for i in range(3):
            x = left + (size + gap) * i
            above = page.picture(slices[k, i], x, y, size, title=f"{order[i]} slice" if k == 0 else "")
            below = page.axes(x, y + size + 5, size, size)
            overlay(below, slices[k, i], heatmaps[k, i], seen=seen)
            below.set_title(f"slice weight {slice_weights[k][i]:.0%}", pad=3)
            mark(above, marks[k][i])
            mark(below, marks[k][i]._replace(number=0, mm=0))
        most = int(np.argmax(slice_weights[k]))
        said.append(
            f"{name[:1].upper()}{name[1:]}, probability {probabilities[k]:.2f}: most weight, "
            f"{slice_weights[k][most]:.0%}, on the {order[most]} slice, hottest {place_of(heatmaps[k, most])}."
        )
    bar = page.axes(left + width + 1, 5, 3, pair * len(slices) - 11)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), HEAT)
    page.fig.colorbar(scale, cax=bar, label="heat, each slice's largest is 1")
    return described(
        page.fig,
        f"{len(slices)} discs called abnormal, each with its three slices and, below, the same slices under the heat. "
        + " ".join(said),
    )


@styled
def tiles(samples: np.ndarray, titles: Sequence[str]) -> Figure:
    """Disc samples (k, 3, W, W) with their titles as rows of slices, two samples beside each other."""
    rows = -(-len(samples) // 2)
    fig = Figure(figsize=(PAGE * MM, rows * 33 * MM), layout="constrained")
    grid = fig.add_gridspec(rows, 7, width_ratios=(1, 1, 1, 0.2, 1, 1, 1))
    for number, (sample, title) in enumerate(zip(samples, titles, strict=True)):
        for place, image in enumerate(sample):
            ax = fig.add_subplot(grid[number // 2, number % 2 * 4 + place])
            show(ax, np.asarray(image, np.float32))
            ax.set_title("" if place else title, loc="left")
    kinds = [f"{number} {title}" for title, number in Counter(titles).items()]
    return described(fig, f"{len(samples)} samples of three slices, cranial to caudal, each: {listed(kinds)}.")


@styled
def pretraining_curves(history: pd.DataFrame, *, views: Sequence[int], kept: float) -> Figure:
    """Loss and contrastive accuracy at every validation check of the pre-training.

    Parameters
    ----------
    history : pd.DataFrame
        ``steps``, ``loss`` (per view, above log(2n - 1)), ``accuracy``, ``validation_accuracy``.
    views : (int, int)
        Views among which a partner is looked for: in a training batch, and of the held-out slices.
    kept : float
        Accuracy of the network that is kept on as many training slices as are held out.
    """
    fig = Figure(figsize=(MIDDLE * MM, 64 * MM), layout="constrained")
    left, right = fig.subplots(1, 2)
    left.plot(history.steps, history.loss, color=BLUE, marker="o", ms=3)
    left.axhline(0, color="0.5", lw=0.8, ls=":", label="views cannot be told apart")
    left.set(xlabel="optimisation steps", ylabel="loss per view − log(2n − 1)")
    batch, held_out = (f"1 of {count - 1:,}" for count in views)
    right.plot(history.steps, history.accuracy, color=BLUE, marker="o", ms=3, label=f"training batch, {batch}")
    line = {"color": VERMILION, "marker": "s", "ms": 3, "ls": "--"}
    right.plot(history.steps, history.validation_accuracy, label=f"held-out slices, {held_out}", **line)
    best = history.loc[history.validation_accuracy.idxmax()]
    right.plot(best.steps, kept, "*", color=BLUE, ms=9, label=f"training slices, {held_out}, network kept")
    right.set(xlabel="optimisation steps", ylabel="contrastive accuracy", ylim=(0, 1))
    for side, ax in (("left", left), ("right", right)):
        fig.legend(*ax.get_legend_handles_labels(), loc=f"outside upper {side}", ncols=1)
    first, last = history.iloc[0], history.iloc[-1]
    return described(
        fig,
        f"Two curves over {last.steps:.0f} optimisation steps. Loss per view above log(2n − 1): from "
        f"{signed(first.loss)} to {signed(last.loss)}. Contrastive accuracy: from {first.accuracy:.2f} to "
        f"{last.accuracy:.2f} in training batches, from {first.validation_accuracy:.2f} to "
        f"{last.validation_accuracy:.2f} on held-out slices; of the network kept, with as many candidates, {kept:.2f} "
        f"on training slices and {best.validation_accuracy:.2f} on held-out ones.",
    )


# Sentences of the captions


def orders_note(published: Mapping[str, Mapping[Any, float]], ours: Mapping[str, Mapping[Any, Summary]]) -> Note:
    """Say in which metrics an ordering of the paper appears in this run: metric -> setting -> value."""
    told = [f"{'' if _agreeing(published[name], ours[name]) else 'not '}in {name}" for name in published]
    details = " ".join(ordering_note(published[name], ours[name], name) for name in published)
    return Note(f"The paper's order appears {listed(told)} (means of this run).", details)


def _pairs(paper_values: Mapping[Any, float]) -> list[tuple[Any, Any]]:
    """Settings that the paper ranks, the better one first; those that tie are left out."""
    ranked = [sorted(p, key=lambda name: paper_values[name], reverse=True) for p in combinations(paper_values, 2)]
    return [(a, b) for a, b in ranked if paper_values[a] != paper_values[b]]


def _agreeing(paper_values: Mapping[Any, float], our_values: Mapping[Any, Summary]) -> bool:
    return all(our_values[a]["mean"] > our_values[b]["mean"] for a, b in _pairs(paper_values))


def ordering_note(paper_values: Mapping[Any, float], our_values: Mapping[Any, Summary], name: str) -> str:
    """Say whether an ordering of the paper appears in this run.

    Every pair that the paper ranks is compared; a pair counts as clear when its two intervals do not overlap.

    Parameters
    ----------
    paper_values : mapping of setting -> number
        Only their order counts; settings that tie are not compared.
    name : str
        Of the values, such as "AUC".

    Raises
    ------
    ValueError
        When the settings differ.
    """
    if set(paper_values) != set(our_values):
        raise ValueError("paper_values and our_values must have the same settings.")
    pairs = _pairs(paper_values)
    if not pairs:
        return f"The paper does not rank these {name}."
    agree = [(a, b) for a, b in pairs if our_values[a]["mean"] > our_values[b]["mean"]]
    clear = [(a, b) for a, b in agree if our_values[a]["low"] > our_values[b]["high"]]
    against = [(a, b) for a, b in pairs if our_values[b]["low"] > our_values[a]["high"]]
    overlap = f"in {len(clear)} of {len(pairs)} pairs it is clear (95 % intervals apart)"
    if len(agree) == len(pairs):
        verdict = f"The paper's order of {name} appears in the means of this run; {overlap}."
    else:
        verdict = (
            f"The paper's order of {name} does not appear in the means of this run: {len(agree)} of "
            f"{len(pairs)} pairs agree in direction, and {overlap}."
        )
    if against:
        turned = "; ".join(f"{setting_text(b)} above {setting_text(a)}" for a, b in against)
        verdict += f" Clearly reversed: {turned}."
    return verdict


def labels_note(results: pd.DataFrame) -> Note:
    """Say of Fig. 9 whether a third of the labels matches ``supv``, and whether more labels are better."""
    notes, compared = [], []
    for metric in ("ACC", "AUC"):
        table = results[results.metric == metric]
        semi = table[table.model == "semi"].sort_values("labels")
        values = {row["labels"]: row for _, row in semi.iterrows()}
        rank = {count: count for count in paper.LABEL_COUNTS}
        fewer, more = paper.LABELS_ALIKE[metric]
        rank[more] = rank[fewer]
        notes.append(ordering_note(dict(zip(values, rank.values(), strict=True)), values, metric))
        few, supv = semi.iloc[0], table[table.model == "supv"].iloc[0]
        side = "reaches" if few["mean"] >= supv["mean"] else "stays below"
        apart = few.high < supv.low or few.low > supv.high
        compared.append(
            f"{side} it in {metric} ({few['mean']:.3f} against {supv['mean']:.3f}; intervals "
            f"{'apart' if apart else 'overlap'})"
        )
    follows = f"Beside the supervised baseline the classifier with {few.labels} labels {listed(compared)}."
    return Note(follows, " ".join(notes))
