"""Figures and tables beyond the paper's: how sure the numbers are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lhdlib.evaluate import Estimate
from lhdlib.evidence import audit
from lhdlib.evidence.operating import POINTS, Calibration
from lhdlib.figures.style import (
    BLUE,
    COLUMN,
    GREEN,
    MIDDLE,
    MM,
    ORANGE,
    PAGE,
    VERMILION,
    described,
    span,
    styled,
)
from lhdlib.figures.words import (
    METRICS,
    Interval,
    Note,
    Summary,
    difference_text,
    interval_text,
    listed,
    summary_text,
)

POINT_STYLES = {"TPR": ("o", ORANGE), "TNR": ("s", GREEN), "balanced": ("^", VERMILION)}
#: Columns of the AUCs that leave out what the level tells (`evaluate.level_aucs`).
PARTS = {"lowest": "AUC, three lowest levels", "within": "AUC within levels"}
#: Classifiers that get the same labels (`same_labels.compare_ways`): name, line with marker, colour.
WAYS = {
    "frozen": ("frozen extractor, linear classifier (the paper's)", "o-", BLUE),
    "scratch": ("ResNet from scratch", "s--", VERMILION),
    "tuned": ("pre-trained, tuned whole (an addition)", "^-.", GREEN),
}


@styled
def roc_band(*, curve: pd.DataFrame, auc: Summary, points: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The ROC curve with its band, and the operating points with intervals in both directions.

    Parameters
    ----------
    curve : pd.DataFrame
        As `operating.roc_band` gives it.
    points : mapping
        As `operating.operating_points` gives them.
    """
    fig = Figure(figsize=(COLUMN * MM, 86 * MM), layout="constrained")
    ax = fig.subplots()
    ax.fill_between(curve.fpr, curve.low, curve.high, color=BLUE, alpha=0.2, lw=0, label="95 %, patients resampled")
    label = f"AUC {interval_text(auc)}"
    ax.plot(curve.fpr, curve.tpr, color=BLUE, lw=1.8, label=label)
    ax.plot([0, 1], [0, 1], color="0.5", lw=0.8, ls=":", label="chance")
    seen = []
    for aim, (marker, color) in POINT_STYLES.items():
        tpr, tnr = (points[aim]["test"][name] for name in ("TPR", "TNR"))
        name = f"{POINTS[aim]} in validation"
        ax.errorbar(
            1 - tnr["mean"],
            tpr["mean"],
            xerr=span(1 - tnr["mean"], 1 - tnr["high"], 1 - tnr["low"]),
            yerr=span(tpr["mean"], tpr["low"], tpr["high"]),
            fmt=marker,
            color=color,
            ms=5,
            capsize=2,
            lw=0.9,
            label=name,
        )
        seen.append(f"{name}: sensitivity {tpr['mean']:.3f}, specificity {tnr['mean']:.3f}")
    ticks = np.linspace(0, 1, 6)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=ticks, yticks=ticks)
    ax.set(xlabel="1 − specificity", ylabel="sensitivity")
    ax.legend(loc="lower right")
    return described(
        fig, f"ROC curve with its 95 % band, {label}, and three operating points. {'; '.join(seen).capitalize()}."
    )


@styled
def calibration_curve(calibration: Calibration) -> Figure:
    """Observed share of abnormal discs against the predicted probability."""
    curve = calibration.curve
    fig = Figure(figsize=(COLUMN * MM, 88 * MM), layout="constrained")
    ax = fig.subplots()
    ax.plot([0, 1], [0, 1], color="0.5", lw=0.8, ls=":", label="perfect")
    bars = span(curve.observed, curve.low, curve.high)
    ax.errorbar(curve.predicted, curve.observed, bars, fmt="o-", color=BLUE, ms=4.5, capsize=2.5, lw=1, label="found")
    brier, ece = (interval_text(estimate._asdict()) for estimate in (calibration.brier, calibration.ece))
    text = (
        f"Brier score {brier}\nexpected calibration error {ece},\n"
        f"of a perfect classifier on as many discs {calibration.ece_by_chance:.3f}"
    )
    ax.set_title(text, loc="left")
    ticks = np.linspace(0, 1, 6)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=ticks, yticks=ticks)
    ax.set(xlabel="predicted probability of abnormal", ylabel="share abnormal")
    ax.legend(loc="upper left")
    below = int((curve.observed < curve.predicted).sum())
    worst = curve.loc[(curve.observed - curve.predicted).abs().idxmax()]
    return described(
        fig,
        f"Share of abnormal discs against the predicted probability in {len(curve)} bins, {below} of them below the "
        f"diagonal, where the probability is too high; the farthest from it predicts {worst.predicted:.2f} where "
        f"{worst.observed:.2f} are abnormal. {' '.join(text.split())}.",
    )


@styled
def forest(metrics: Mapping[str, Mapping[str, Summary]], *, published: float | None = None) -> Figure:
    """AUC of several classifiers with both intervals, one below the other.

    Parameters
    ----------
    metrics : mapping of classifier -> mapping with "AUC" (`evaluate.over_seeds`)
    published : float, optional
        The paper's AUC.
    """
    aucs = [found["AUC"] for found in metrics.values()]
    mean, low, high, plain_low, plain_high = (
        np.array([auc[key] for auc in aucs]) for key in ("mean", "low", "high", "plain_low", "plain_high")
    )
    places = np.arange(len(aucs))[::-1]
    fig = Figure(figsize=(MIDDLE * MM, (18 + 7 * len(aucs)) * MM), layout="constrained")
    ax = fig.subplots()
    plain = {"color": ORANGE, "lw": 0.8, "capsize": 1.5, "fmt": "none", "label": "discs independent"}
    thick = {"color": BLUE, "lw": 1.8, "capsize": 2.5, "fmt": "none", "label": "patients resampled"}
    ax.errorbar(mean, places + 0.14, xerr=span(mean, plain_low, plain_high), **plain)
    ax.errorbar(mean, places - 0.14, xerr=span(mean, low, high), **thick)
    ax.plot(mean, places, "o", color="0.15", ms=4)
    ax.axvline(0.5, color="0.5", lw=0.8, ls=":", label="chance")
    if published is not None:
        ax.axvline(published, color="0.3", lw=0.8, ls="--", label=f"paper {published:.4f}")
    ax.set_yticks(places, list(metrics))
    ax.set(xlabel="AUC and 95 % interval", ylim=(-0.6, len(aucs) - 0.4))
    ax.set_xlim(right=ax.get_xlim()[1] + 0.01)
    ax.grid(axis="x", lw=0.4, color="0.9")
    fig.legend(loc="outside upper center", ncols=4)
    seen = [f"{name} {interval_text(found['AUC'])}" for name, found in metrics.items()]
    beside = f"; the paper's is {published:.4f}" if published is not None else ""
    return described(fig, f"AUC of {len(aucs)} classifiers with two 95 % intervals each: {'; '.join(seen)}{beside}.")


@styled
def labels_same(metrics: Mapping[tuple[str, int], Mapping[str, Summary]]) -> Figure:
    """Accuracy and AUC of three classifiers against the number of labels, which are the same for all three.

    Parameters
    ----------
    metrics : mapping of (a name in `WAYS`, number of labels) -> metrics (`evaluate.over_seeds`)
    """
    fig = Figure(figsize=(PAGE * MM, 72 * MM), layout="constrained")
    counts = sorted({count for _, count in metrics})
    seen = []
    for letter, metric, ax in zip("ab", ("ACC", "AUC"), fig.subplots(1, 2, sharey=True), strict=True):
        for shift, (way, (name, line, color)) in zip((-0.07, 0, 0.07), WAYS.items(), strict=True):
            found = [metrics[way, count][metric] for count in counts]
            mean, low, high = (np.array([summary[key] for summary in found]) for key in ("mean", "low", "high"))
            places = np.array(counts) * 2.0**shift  # side by side, so that intervals can be told apart
            bars = span(mean, low, high)
            ax.errorbar(places, mean, bars, fmt=line, color=color, ms=4.5, capsize=2.5, label=name)
            shown = listed([f"{value:.3f} with {count}" for value, count in zip(mean, counts, strict=True)])
            seen.append(f"{METRICS[metric]}, {name}: {shown}")
        ax.set_xscale("log", base=2)
        ax.set_xticks(counts, [str(count) for count in counts], minor=False)
        ax.set(xlabel="number of labels, the same for all", ylabel=METRICS[metric])
        ax.set_title(f"({letter}) {METRICS[metric]}", loc="left")
        ax.tick_params(labelleft=True)
        ax.grid(axis="y", lw=0.4, color="0.9")
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return described(
        fig,
        f"Two panels, accuracy and AUC with intervals, three curves against {len(counts)} numbers of labels. "
        f"{'; '.join(seen)}.",
    )


def labels_same_note(differences: Mapping[tuple[str, int], Mapping[str, Interval]]) -> str:
    """Say in a caption with how many labels pre-training pays, and with how many it does not.

    Parameters
    ----------
    differences : mapping of ("frozen" or "tuned", number of labels) -> metrics minus those of "scratch"
        On the same discs (`evaluate.compare`).
    """
    notes = []
    for way in dict.fromkeys(way for way, _ in differences):
        sides: dict[str, list[str]] = {"above": [], "below": [], "not told apart from": []}
        for count in sorted(count for other, count in differences if other == way):
            auc = differences[way, count]["AUC"]
            side = "above" if auc["low"] > 0 else "below" if auc["high"] < 0 else "not told apart from"
            sides[side].append(f"{count:,}")
        said = [f"{side} it with {listed(counts)} labels" for side, counts in sides.items() if counts]
        notes.append(f"{WAYS[way][0]}: {listed(said)}")
    return f"AUC beside the ResNet from scratch with the same labels (paired 95 % intervals): {'; '.join(notes)}."


# Tables


def labels_same_table(
    metrics: Mapping[tuple[str, int], Mapping[str, Summary]],
    differences: Mapping[tuple[str, int], Mapping[str, Interval]],
    draws: Mapping[int, int],
) -> pd.DataFrame:
    """The numbers of `labels_same`, a row per point, with its difference from "scratch" where there is one.

    Parameters
    ----------
    draws : mapping of number of labels -> times that they were drawn
    """
    rows = []
    for count, times in draws.items():
        for way, (name, *_) in WAYS.items():
            row = {"labels": f"{count:,}", "draws": times, "classifier": name}
            row |= {METRICS[metric]: summary_text(metrics[way, count][metric]) for metric in ("ACC", "AUC")}
            found = differences.get((way, count))
            rows.append(row | {"AUC minus from scratch": difference_text(found["AUC"] if found else None)})
    return pd.DataFrame(rows)


def label_counts_table(metrics: Mapping[tuple[str, int], Mapping[str, Summary]]) -> pd.DataFrame:
    """The numbers of Fig. 9: a row per classifier ("semi", "supv") and number of labels."""
    rows = [
        {"classifier": name, "labels": count}
        | {METRICS[metric]: interval_text(found[metric]) for metric in ("ACC", "AUC")}
        for (name, count), found in metrics.items()
    ]
    return pd.DataFrame(rows)


def interval_table(metrics: Mapping[str, Summary], extra: Mapping[str, Estimate]) -> pd.DataFrame:
    """Each metric with its plain interval and the one that resamples patients; `extra` has the latter alone."""
    rows = []
    for name, label in METRICS.items():
        plain = "DeLong" if name == "AUC" else "Wilson"
        summary = metrics[name]
        cells = "{plain_low:.3f} to {plain_high:.3f} ({plain})", "{low:.3f} to {high:.3f}"
        rows.append((label, f"{summary['mean']:.3f}", *(cell.format(**summary, plain=plain) for cell in cells)))
    rows += [(name, f"{e.value:.3f}", "–", f"{e.low:.3f} to {e.high:.3f}") for name, e in extra.items()]
    return pd.DataFrame(rows, columns=["test metric", "mean over seeds", "discs independent", "patients resampled"])


def points_table(points: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Operating points: what was aimed at, what the validation discs gave, what the test discs give."""
    rows = []
    for aim, point in points.items():
        row = {
            "aim on the validation set": POINTS[aim],
            "probability at or above": ", ".join(f"{1 / (1 + np.exp(-cut)):.2f}" for cut in point["thresholds"]),
        }
        for name, label in (("TPR", "sensitivity"), ("TNR", "specificity")):
            row[f"{label}, validation"] = f"{point['validation'][name]:.3f}"
            row[f"{label}, test"] = interval_text(point["test"][name])
        rows.append(row)
    return pd.DataFrame(rows)


def levels_table(found: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """AUCs over all discs, over those of the three lowest levels, and within levels.

    Parameters
    ----------
    found : mapping of classifier -> "all" (a `Summary`), "lowest" and "within" (`evaluate.level_aucs`, as mappings)
    """
    columns = {"all": "AUC, all discs"} | PARTS
    return pd.DataFrame(
        [
            {"classifier": name} | {column: interval_text(aucs[key]) for key, column in columns.items()}
            for name, aucs in found.items()
        ]
    )


def ceiling_table(splits: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Metrics of each scorer against the notes and against the truth (`reach.measure` of each split)."""
    rows = [
        {"split by": split, "judged by": judge, "scored by": name}
        | {METRICS[metric]: interval_text(scored["metrics"][metric]) for metric in METRICS}
        | {column: interval_text(scored[key]) for key, column in PARTS.items()}
        for split, found in splits.items()
        for judge in ("notes", "truth")
        for name, scored in found[judge].items()
    ]
    return pd.DataFrame(rows)


def ceiling_note(splits: Mapping[str, Mapping[str, Any]]) -> Note:
    """Say how far the classifier's AUC is below that of the true severity (`reach.measure` of each split)."""
    gaps = [f"{interval_text(found['missing'])} split by {split}" for split, found in splits.items()]
    parts = []
    for split, found in splits.items():
        ours, best = (found["notes"][name]["metrics"]["AUC"]["mean"] for name in ("this run", "true severity"))
        truth, gap = found["truth"]["this run"]["metrics"]["AUC"]["mean"], interval_text(found["missing"])
        parts.append(
            f"Split by {split}: against the notes the true severity itself has an AUC of {best:.3f} and the classifier "
            f"{ours:.3f}, less by {gap}; against the truth the classifier has {truth:.3f}."
        )
    return Note(f"Against the notes the AUC is below the true severity's by {listed(gaps)}.", " ".join(parts))


def comparison_table(metrics: Mapping[str, Mapping[str, Summary]], comparisons: Mapping[str, Mapping]) -> pd.DataFrame:
    """Classifiers with intervals, and how far another one is above each of them on the same discs.

    Parameters
    ----------
    metrics : mapping of classifier -> metrics (`evaluate.over_seeds`)
    comparisons : mapping of classifier -> differences (`evaluate.compare`)
        The other one minus that classifier; where absent, the table says "–".
    """
    rows = []
    for name, found in metrics.items():
        row = {"classifier": name} | {METRICS[metric]: interval_text(found[metric]) for metric in ("ACC", "AUC")}
        rows.append(row | _differences(comparisons.get(name)))
    return pd.DataFrame(rows)


def difference_table(comparisons: Mapping[str, Mapping]) -> pd.DataFrame:
    """Paired differences in accuracy and AUC, a row per comparison (`evaluate.compare`, `evaluate.contrast`)."""
    return pd.DataFrame([{"comparison": name} | _differences(found) for name, found in comparisons.items()])


def _differences(found: Mapping[str, Interval] | None) -> dict[str, str]:
    tests = {"ACC": "McNemar", "AUC": "DeLong"}
    return {
        f"{METRICS[metric]}, difference": difference_text(found[metric] if found else None, test=test)
        for metric, test in tests.items()
    }


def splits_table(metrics: Mapping[str, Mapping[str, Summary]], gap: Mapping[str, Interval]) -> pd.DataFrame:
    """Metrics under two splits and their difference (`evaluate.compare_sets`), a row per metric."""
    rows = []
    for metric, label in METRICS.items():
        values = {f"split {name!r}": interval_text(found[metric]) for name, found in metrics.items()}
        rows.append({"test metric": label} | values | {"difference": difference_text(gap[metric])})
    return pd.DataFrame(rows)


def leakage_table(leaks: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Number of test samples with each kind of leak, a column per split.

    Parameters
    ----------
    leaks : mapping of split -> table of `audit.leaks`
    """
    rows = [
        {"a test sample is counted when": text}
        | {f"split {split!r}": f"{table[kind].sum():,} of {len(table):,}" for split, table in leaks.items()}
        for kind, text in audit.KINDS.items()
    ]
    return pd.DataFrame(rows)
