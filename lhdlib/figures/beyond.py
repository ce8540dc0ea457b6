"""Figures and tables of notebook 09, which asks more than the paper: when pre-training pays, and which kind of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lhdlib.evidence.worth import ABOVE, APART, BELOW
from lhdlib.figures.style import MM, PAGE, SIGNED, SMALL, described, styled
from lhdlib.figures.words import difference_text, listed, signed, summary_text
from lhdlib.model import losses
from lhdlib.model.label_map import NONE
from lhdlib.model.objectives import SOURCES

NAMES = {  #: objective -> name in figures and tables
    "inner-product": "inner product",
    "nt-xent": "NT-Xent",
    "vicreg": "VICReg",
    "barlow-twins": "Barlow Twins",
    "supcon": "SupCon",
}
WAYS = ("frozen", "tuned")
LOCATED = ("pointing, paper", "side, paper", "pointing, classic", "side, classic")  #: of `localise.over_pretrainings`
SIGNS = {ABOVE: "▲", BELOW: "▼"}


def kind(objective: str, way: str) -> str:
    """Name of a kind of classifier."""
    if objective == NONE:
        return "from scratch"
    papers = " (the paper's)" if (objective, way) == (losses.PAPERS, "frozen") else ""
    return f"{NAMES[objective]}, {way}{papers}"


@styled
def label_map(table: pd.DataFrame) -> Figure:
    """Gain of AUC over the network from scratch with the same labels, of each kind of pre-training.

    Parameters
    ----------
    table : pd.DataFrame
        From `worth.measure`.
    """
    shares, counts = sorted(table.wrong.unique()), sorted(table.labels.unique())
    kinds = list(dict.fromkeys(zip(table.objective, table.way, strict=True)))
    kinds = [one for way in WAYS for one in ((name, way) for name in NAMES) if one in kinds]
    limit = float(np.nanmax(np.abs(table.gain))) or 1.0
    fig = Figure(figsize=(PAGE * MM, (24 + 7 * len(kinds)) * MM), layout="constrained")
    axes, image, seen = np.atleast_1d(fig.subplots(1, len(shares), sharey=True)), None, []
    for share, ax in zip(shares, axes, strict=True):
        part = table[table.wrong == share].set_index(["objective", "way", "labels"])
        gain = np.array([[part.gain.get((*one, count), np.nan) for count in counts] for one in kinds])
        image = ax.imshow(gain, cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        for (row, column), value in np.ndenumerate(gain):
            if np.isnan(value):
                continue
            sign = SIGNS.get(part.verdict[*kinds[row], counts[column]], "")
            text = signed(value).replace("0.", ".") + f"\n{sign}" * bool(sign)
            color = "white" if abs(value) > 0.6 * limit else "black"
            ax.text(column, row, text, ha="center", va="center", fontsize=SMALL, color=color)
        scratch = [part.auc[NONE, "scratch", count] for count in counts]
        ticks = [f"{count}\n{auc:.2f}" for count, auc in zip(counts, scratch, strict=True)]
        ax.set_xticks(range(len(counts)), ticks, fontsize=SMALL)
        ax.set_yticks(range(len(kinds)), [f"{NAMES[name]}, {way}" for name, way in kinds])
        ax.set_title(f"{share:.0%} of the labels wrong", loc="left")
        ax.set_facecolor("0.93")  # where nothing was trained
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        reached = listed([f"{auc:.3f} with {count}" for count, auc in zip(counts, scratch, strict=True)])
        seen.append(f"from scratch, {share:.0%} wrong: {reached}")
    fig.supxlabel("number of labels; below it the AUC of the network from scratch", fontsize=7.5)
    fig.colorbar(image, ax=list(axes), label="AUC minus from scratch", fraction=0.03, pad=0.01)
    return described(
        fig,
        f"{len(shares)} maps of the gain in AUC over a network from scratch, {len(kinds)} kinds of pre-training by "
        f"{len(counts)} numbers of labels, from {signed(np.nanmin(table.gain))} to {signed(np.nanmax(table.gain))}. "
        f"AUC {'; '.join(seen)}.",
    )


def map_table(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers of `label_map`, a row per place."""
    rows = []
    for row in table.sort_values(["wrong", "labels"], kind="stable").to_dict("records"):
        gained = row["way"] != "scratch"
        rows.append(
            {
                "wrong": f"{row['wrong']:.0%}",
                "labels": f"{row['labels']:,}",
                "classifier": kind(row["objective"], row["way"]),
                "AUC": summary_text({"mean": row["auc"], **{key: row[key] for key in ("sd", "low", "high")}}),
                "AUC minus from scratch": _gain_text(row if gained else None),
                "beside from scratch": row["verdict"] if gained else "–",
                "labels from scratch needs": needed_text(row["scratch_labels"], table) if gained else "–",
            }
        )
    return pd.DataFrame(rows)


def needed_text(value: float, table: pd.DataFrame) -> str:
    """A number of labels that the network from scratch needs, where it lies within what was measured."""
    if np.isinf(value):
        return f"more than {table.labels.max():,}"
    return f"{value:,.0f}" if value else f"fewer than {table.labels.min():,}"


def pays(table: pd.DataFrame, objective: str, way: str) -> str:
    """Say where in the map a kind of pre-training is better or worse than the network from scratch."""
    part = table[(table.objective == objective) & (table.way == way)]
    said = []
    for sign, word in ((ABOVE, "better"), (BELOW, "worse")):
        places = [
            f"{listed([f'{count:,}' for count in sorted(own.labels)])} labels ({_wrong(share)})"
            for share, own in part[part.verdict == sign].groupby("wrong")
        ]
        said += [f"{word} with {listed(places)}"] if places else []
    if rest := (part.verdict == APART).sum():
        said.append(f"not told apart at {'the other' if said else 'any of the'} {rest} places")
    return f"{kind(objective, way)}, beside the network from scratch: {'; '.join(said)}."


def worth_text(table: pd.DataFrame, objective: str, way: str) -> str:
    """Say how many labels a kind of pre-training is worth where it beats the network from scratch."""
    part = table[(table.objective == objective) & (table.way == way) & (table.verdict == ABOVE)]
    places = [
        f"{needed_text(row.scratch_labels, table)} in place of {row.labels:,} ({_wrong(row.wrong)})"
        for row in part.sort_values(["wrong", "labels"]).itertuples()
    ]
    if not places:
        return ""
    return f"{kind(objective, way)}: to reach its AUC, the network from scratch needs {listed(places)}."


def _wrong(share: float) -> str:
    return f"{share:.0%} wrong" if share else "none wrong"


def verdicts(table: pd.DataFrame) -> list[str]:
    """The map in words: the paper's claim (frozen), then tuning, then the other objectives, then what each is worth."""
    others = [name for name in NAMES if name != losses.PAPERS and (table.objective == name).any()]
    kinds = [(name, way) for name in (losses.PAPERS, *others) for way in WAYS]
    worth = [worth_text(table, *one) for one in kinds]
    return [*(pays(table, *one) for one in kinds), *filter(None, worth)]


def methods_table(found: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Methods of pre-training side by side.

    Parameters
    ----------
    found : mapping of objective -> mapping
        ``values`` (its hyper-parameters), ``metrics`` (`evaluate.over_seeds`), ``beside`` (`worth.gained` over the
        paper's; None for that), ``contrastive`` (accuracy of each pre-training on held-out slices), ``located``
        (`localise.over_pretrainings`, None without lesions) and ``seconds`` of one pre-training.
    """
    rows = []
    for name, one in found.items():
        row = {"objective": NAMES[name], "published": SOURCES[name], "values": _values(one["values"])}
        row |= {"AUC": summary_text(one["metrics"]["AUC"]), "accuracy": summary_text(one["metrics"]["ACC"])}
        row["AUC minus the paper's"] = _gain_text(one["beside"])
        row["contrastive accuracy"] = spread_text(one["contrastive"])
        if one["located"] is not None:
            row |= {measure: spread_text(one["located"][measure]) for measure in LOCATED}
        rows.append(row | {"seconds": f"{one['seconds']:.0f}"})
    return pd.DataFrame(rows)


def methods_text(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Say which objectives are told apart from the paper's; `found` as in `methods_table`."""
    beside = {NAMES[name]: one["beside"]["verdict"] for name, one in found.items() if one["beside"]}
    said = [
        f"{word} {listed([name for name, own in beside.items() if own == verdict]) or 'none'}"
        for verdict, word in ((ABOVE, "better"), (BELOW, "worse"), (APART, "not told apart"))
    ]
    return f"Beside the paper's objective, where the interval and all pre-trainings agree: {'; '.join(said)}."


def spread_text(values: Sequence[float]) -> str:
    """Mean ± standard deviation over pre-trainings."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def _gain_text(row: Mapping[str, Any] | None) -> str:
    return difference_text(row and {"value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]})


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {'/'.join(f'{one:g}' for one in np.atleast_1d(value))}" for key, value in values.items())
