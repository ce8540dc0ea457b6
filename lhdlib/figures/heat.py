"""Drawings, tables and sentences on where heatmaps point and whether they are faithful (`localise`, `faithfulness`)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from lhdlib.evidence.faithfulness import CHANGED
from lhdlib.evidence.localise import DRAWN_TWICE, MEASURES, OTHER
from lhdlib.figures.style import (
    BLUE,
    GREEN,
    GREY,
    HEAT,
    MM,
    ORANGE,
    PAGE,
    VERMILION,
    described,
    frame_seen,
    show,
    span,
    styled,
)
from lhdlib.figures.words import Interval, Note, difference_text, interval_text, number, place_of, signed

SCORES = ("pointing", "side")  #: by which the findings compare the maps
#: Of each pre-training, in its table; the claims take more (`localise.between_pretrainings`).
OF_PRETRAININGS = (
    "pointing, paper",
    "pointing, fixed",
    "pointing, random",
    "pointing, classic",
    "side, paper",
    "side, classic",
    "slice rank, paper",
)
#: Readable name and line of each kind of heatmap, in the order of the table.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("paper (Eq. 16–20)", {"color": BLUE, "lw": 1.8, "marker": "o", "ms": 3.5}),
    "classic": ("classic Grad-CAM", {"color": ORANGE, "marker": "s", "ms": 3.5}),
    "plain": ("plain mean of the channels", {"color": "0.2", "lw": 0.8, "marker": "d", "ms": 3.5}),
    "random": ("random", {"color": GREY, "marker": "x", "ms": 4}),
    "centre": ("centre hill", {"color": GREEN, "ls": "--", "marker": "^", "ms": 3.5}),
    "fixed": ("fixed (mean, normal discs)", {"color": VERMILION, "ls": "--"}),
    "ceiling": ("ceiling (lesion in cells)", {"color": "0.2", "ls": ":"}),
    "best_point": ("best fixed point, chosen with the answers", {"color": "0.2", "ls": "-", "lw": 0.7}),
}


def _kinds(cells: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """`KINDS`, and those that are drawn twice as the placement draws them that the run does not use."""
    drawn = other_placement(cells)
    return KINDS | {
        f"{OTHER}{kind}": (f"{KINDS[kind][0]}, {drawn}", KINDS[kind][1] | {"ls": "-.", "lw": 0.9, "marker": ""})
        for kind in DRAWN_TWICE
    }


def other_placement(cells: str) -> str:
    """How the placement other than `cells` draws maps, in words."""
    return "as published" if cells == "aligned" else "aligned"


@styled
def heatmaps_and_lesions(
    *,
    cover: np.ndarray,
    abnormal: np.ndarray,
    normal: np.ndarray,
    located: Mapping[str, Any],
    seen: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Mean lesion, mean heatmaps with and without a lesion, and the pointing game by tolerance.

    Parameters
    ----------
    cover : np.ndarray, shape (n, 3, W, W)
        Lesions of the true positives (`localise.lesion_cover`).
    abnormal, normal : np.ndarray, shape (k, 3, W, W)
        Heatmaps of the true positives and of normal discs.
    located : mapping
        As `localise.measure` gives it.
    seen
        What the network sees of a side (`augment.seen_side`); framed where it is not all.
    """
    fig = Figure(figsize=(PAGE * MM, 112 * MM), layout="constrained")
    axes = fig.subplot_mosaic("abc;dde", height_ratios=(1, 1.1))
    where = cover.mean(axis=(0, 1))
    maps = {
        "where lesions lie": where / (where.max() or 1),
        "heat, abnormal": abnormal.mean(axis=(0, 1)),
        "heat, normal": normal.mean(axis=(0, 1)),
    }
    edged = [withStroke(linewidth=2, foreground="black")]  # to be seen on dark and bright places
    for letter, (title, image) in zip("abc", maps.items(), strict=True):
        show(axes[letter], image, cmap=HEAT)
        if where.max() > 0:
            middles = np.arange(len(where)) + 0.5
            line = axes[letter].contour(middles, middles, where, [where.max() / 4], colors="white", linewidths=0.8)
            line.set_path_effects(edged)
        frame_seen(axes[letter], len(where), seen)
        axes[letter].set_title(f"({letter}) {title}", loc="left")
    bar = fig.colorbar(axes["a"].images[0], ax=[axes[letter] for letter in "abc"], shrink=0.9, pad=0.02)
    bar.set_label("(a) share of the largest,\n(b, c) mean heat")
    shown = [*KINDS, f"{OTHER}paper"]
    kinds = {kind: named for kind, named in _kinds(located["cells"]).items() if kind in shown}
    for kind, (label, line) in kinds.items():
        axes["d"].plot(located["tolerances_mm"], located["tolerance"][kind], label=label, **line)
    tolerance = f"tolerance of the table, {located['tolerance_mm']:g} mm"
    axes["d"].axvline(located["tolerance_mm"], color="0.75", lw=2.5, alpha=0.5, zorder=0, label=tolerance)
    axes["d"].set(xlabel="tolerance (mm)", ylabel="share near the lesion", ylim=(-0.02, 1.02))
    axes["d"].set_title("(d) pointing game", loc="left")
    axes["e"].legend(*axes["d"].get_legend_handles_labels(), loc="center left", borderpad=0)
    axes["e"].axis("off")
    lesions, warm, cool = (place_of(image) for image in maps.values())
    scores = [f"{label} {located['pointing'][kind]['value']:.2f}" for kind, (label, _) in kinds.items()]
    return described(
        fig,
        f"Three mean images: lesions, most often {lesions}; heat of abnormal discs, hottest {warm}; "
        f"heat of normal discs, hottest {cool}. Below, the share of slices whose hottest point lies near the "
        f"lesion, against the tolerance; at {located['tolerance_mm']:g} mm: {', '.join(scores)}.",
    )


def localisation(located: Mapping[str, Any]) -> pd.DataFrame:
    """Scores of `localise.measure`: a row per kind of heatmap, then the paper's minus each of the others.

    Rows of maps that are drawn in the other placement end in its name.
    """
    keys = {name: name.replace(" ", "_") for name in MEASURES}
    drawn, kinds = other_placement(located["cells"]), _kinds(located["cells"])
    rows = [
        {"map": label} | {name: interval_text(located[key].get(kind)) for name, key in keys.items()}
        for kind, (label, _) in kinds.items()
    ]
    names = {kind: f"paper − {kind.replace('_', ' ')}" for kind in KINDS}
    names |= {f"{OTHER}{kind}": f"{names[kind]}, both {drawn}" for kind in DRAWN_TWICE}
    names[f"{OTHER}paper"] = f"paper − the same {drawn}"
    rows += [
        {"map": names[kind]}
        | {name: difference_text(located["differences"][key].get(kind)) for name, key in keys.items()}
        for kind in kinds
        if kind != "paper"
    ]
    return pd.DataFrame(rows)


def spread_table(found: pd.DataFrame) -> pd.DataFrame:
    """Scores of each pre-training's maps (`localise.over_pretrainings`), then their mean and standard deviation."""
    found = found[["discs", *OF_PRETRAININGS]]
    scores = found.drop(columns="discs")
    rows = [
        {"pre-training": str(number)} | row for number, row in enumerate(found.round(3).to_dict("records"), start=1)
    ]
    mean, sd = scores.mean(), scores.std()
    both = {name: f"{mean[name]:.3f} ± {sd[name]:.3f}" for name in scores} if len(found) > 1 else {}
    return pd.DataFrame(rows + ([{"pre-training": "mean ± standard deviation", "discs": "–"} | both] if both else []))


def class_dependence_table(found: Mapping[str, Any], sanity: Mapping[str, Any]) -> pd.DataFrame:
    """Class dependence of the heatmaps and what they are made of, with `faithfulness.sanity` of the same maps."""

    def checked(check: str) -> list[str]:
        return [interval_text(sanity[kind].get(check)) for kind in ("paper", "classic")]

    def plain_number(name: str) -> list[str]:
        return [number(found[name][kind], ".3f") for kind in ("paper", "classic")]

    effective = interval_text(found["effective"], form=".1f")
    plain = [interval_text(found["plain"][kind]) for kind in ("paper", "classic")]
    rows = {
        f"channels that share the weight equally (exp of w's entropy), of {found['channels']}": [effective, "–"],
        "likeness to the plain mean of the channels": plain,
        "likeness to classic Grad-CAM": [interval_text(found["classic"]), "–"],
        "likeness to the map of a randomised extractor": checked("random extractor"),
        "likeness to the map after training on shuffled labels": checked("random labels"),
        "likeness to another patient's map": checked("another disc"),
        "likeness of a disc's maps for abnormal and for normal": plain_number("opposite"),
        "largest difference between these two, of 1": plain_number("most_changed"),
    }
    return pd.DataFrame([(name, *cells) for name, cells in rows.items()], columns=["property", "paper", "classic"])


def findings_table(
    made_of: Mapping[str, Any], shared: Mapping[str, Any], located: Mapping[str, Any] | None
) -> pd.DataFrame:
    """How channels are weighted, how much of the maps all discs share, and where the maps point.

    Parameters
    ----------
    made_of, shared
        From `faithfulness.class_dependence` and `faithfulness.shared`, which has ``plain`` too.
    located
        From `localise.measure`; None where there are no lesion masks.
    """
    weights = {
        "paper": f"positive, {interval_text(made_of['effective'], form='.1f')} of {made_of['channels']} channels",
        "classic": "signed",
        "plain": f"positive and equal, {made_of['channels']} channels",
    }
    scores = located or {"pointing": {}, "side": {}}
    rows = [
        (KINDS[kind][0], how, *(interval_text(s.get(kind)) for s in (shared["likeness"], *map(scores.get, SCORES))))
        for kind, how in weights.items()
    ]
    return pd.DataFrame(rows, columns=["map", "weights", "likeness to another patient's map", *SCORES])


def findings_note(shared: Mapping[str, Any], located: Mapping[str, Any] | None) -> Note:
    """Say what weights of one sign and the softmax do to the maps, as far as this run shows it."""
    words = {"more": "larger", "less": "smaller", "no": "not clearly different"}
    alike = {"more": "more alike than", "less": "less alike than", "no": "not clearly more or less alike than"}
    sides = [f"{alike[_direction(gap)]} those of {KINDS[kind][0]}" for kind, gap in shared["difference"].items()]
    likeness = "Likeness to another patient's map, the paper's minus {}: {} ({})."
    sentences = [
        likeness.format(KINDS[kind][0], difference_text(gap), words[_direction(gap)])
        for kind, gap in shared["difference"].items()
    ]
    differences = located["differences"] if located else {}
    for name in SCORES if located else ():
        gaps = {kind: differences[name][kind] for kind in shared["difference"]}
        said = [f"{KINDS[kind][0]} {difference_text(gap)} ({_WORDS[_direction(gap)]})" for kind, gap in gaps.items()]
        sentences.append(f"{name.capitalize()}, the paper's minus {' and '.join(said)}.")
    return Note(f"The paper's maps of two patients are {' and '.join(sides)}.", " ".join(sentences))


def places_table(places: pd.DataFrame) -> pd.DataFrame:
    """`fields.cell_places` in words, mm."""
    names = {
        "drawn": "drawn as published (mm)",
        "centre": "centre of the field (mm)",
        "drawn - centre": "drawn − centre (mm)",
        "centroid": "centroid of its part on the slice (mm)",
        "drawn - centroid": "drawn − centroid (mm)",
    }
    written = {
        names[name]: [(signed if "-" in name else number)(value, form=".1f") for value in places[name]]
        for name in names
    }
    return pd.DataFrame({"cell": places.cell} | written)


def places_note(places: pd.DataFrame) -> Note:
    """Say how far apart drawing and looking are in `fields.cell_places`."""
    gap = [signed(value, form=".1f") for value in places["drawn - centre"]]
    cut = [signed(value, form=".1f") for value in places["drawn - centroid"]]
    middle = len(places) // 2
    width = places.centre.diff().mean()
    return Note(
        f"A cell, {width:.1f} mm wide, is drawn {gap[0]} mm from the centre of its receptive field at the upper left "
        f"(plus: further right and down), {gap[middle - 1]} to {gap[middle]} mm in the middle, {gap[-1]} mm at the "
        "lower right.",
        "A field that reaches beyond the slice sees zeros there: from the centroid of its part on the slice the cell "
        f"is {cut[0]}, {cut[middle - 1]} to {cut[middle]} and {cut[-1]} mm away.",
    )


@styled
def faithfulness(*, curves: Mapping[str, Any], sanity: Mapping[str, Any]) -> Figure:
    """Deletion and insertion curves, and the rank correlation of the heatmaps in the sanity checks.

    Parameters
    ----------
    curves : mapping
        As `faithfulness.faithfulness` gives them.
    sanity : mapping
        As `faithfulness.sanity` gives it.
    """
    fig = Figure(figsize=(PAGE * MM, 80 * MM), layout="constrained")
    left, middle, right = fig.subplots(1, 3, width_ratios=(1, 1, 1.25))
    seen = []
    for letter, ax, name, what in zip(
        "ab", (left, middle), ("deletion", "insertion"), ("deleted", "inserted"), strict=True
    ):
        areas = curves[name]["area"]
        for kind, values in curves[name]["curve"].items():
            label, line = KINDS[kind]
            ax.plot(curves["shares"], values, label=f"{label.split(' (')[0]}: area {areas[kind]['value']:.2f}", **line)
        ax.set(xlabel=f"share {what}, hottest first", ylabel="probability of abnormal", ylim=(0, 1.02))
        ax.set_title(f"({letter}) {name}", loc="left")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22))
        values = ", ".join(f"{kind} {area['value']:.2f}" for kind, area in areas.items())
        seen.append(f"Area under the {name} curve: {values}.")
    _rank_correlations(right, sanity)
    right.set_title("(c) likeness of the maps", loc="left")
    for kind, checks in sanity.items():
        values = ", ".join(f"{check} {estimate['value']:.2f}" for check, estimate in checks.items())
        seen.append(f"Rank correlation of the {kind} maps: {values}.")
    return described(fig, " ".join(["Curves of the probability as pixels are deleted or inserted.", *seen]))


def _rank_correlations(ax: Axes, sanity: Mapping[str, Any]) -> None:
    checks = list(dict.fromkeys(check for found in sanity.values() for check in found))
    for shift, (kind, found) in zip((-0.12, 0.12), sanity.items(), strict=True):
        places = [checks.index(check) + shift for check in found]
        values, low, high = np.array([[e[key] for key in ("value", "low", "high")] for e in found.values()]).T
        bars = span(values, low, high)
        label, line = KINDS[kind]
        ax.errorbar(values, places, xerr=bars, fmt=line["marker"], ms=4, capsize=2, color=line["color"], label=label)
    ax.axvline(CHANGED, color="0.4", lw=0.8, ls=":", label=f"fails at {CHANGED:g} or above")
    ax.axvline(0, color="0.85", lw=0.8, zorder=0)
    ax.set(yticks=range(len(checks)), yticklabels=checks, ylim=(len(checks) - 0.5, -0.5), xlim=(-0.2, 1.02))
    ax.set_xlabel("rank correlation")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22))


# Words that are computed


def pointing_note(located: Mapping[str, Any]) -> Note:
    """Say how the maps point, against random maps, classic Grad-CAM, fixed pictures, the resolution, and the side."""
    pointing, against = located["pointing"], located["differences"]["pointing"]
    margin, random = located["margin"], against["random"]
    gained = (
        "is at least" if random["low"] >= margin else "is below" if random["high"] < margin else "may or may not be"
    )
    fixed, classic = against["fixed"], against["classic"]
    meaning = {
        "more": "so the map says more than where discs usually lie",
        "less": "so the map shows where discs usually lie, not where this lesion is",
        "no": "so it cannot be told from a map that shows where discs usually lie",
    }[_direction(fixed)]
    drawn = other_placement(located["cells"])
    ceiling = pointing["ceiling"]["value"] - pointing["random"]["value"]
    first, *others = (
        f"On {located['discs']} {located['of']} of {located['patients']} patients the paper's hottest point lies "
        f"within {located['tolerance_mm']:g} mm of the lesion in {interval_text(pointing['paper'])} of the slices that "
        f"show it, a random map's in {interval_text(pointing['random'])}: the difference, {difference_text(random)}, "
        f"{gained} {margin:g}.",
        f"Against classic Grad-CAM it is {difference_text(classic)} ({_WORDS[_direction(classic)]}).",
        f"One fixed picture for all discs, the mean map of normal ones, reaches {interval_text(pointing['fixed'])}, a "
        f"difference of {difference_text(fixed)} ({_WORDS[_direction(fixed)]}), {meaning}.",
        f"The best fixed point for all slices, chosen with the answers, would reach "
        f"{interval_text(pointing['best_point'])}. With the cells {drawn} the paper's map reaches "
        f"{interval_text(pointing[f'{OTHER}paper'])}, a random one {interval_text(pointing[f'{OTHER}random'])}.",
        f"Side test, on the {located['one_sided']} of {located['slices']} slices whose mask shares at most half of "
        f"itself with its mirror image: the mask holds more heat than the mirror image in "
        f"{interval_text(located['side']['paper'])} (classic Grad-CAM {interval_text(located['side']['classic'])}; "
        "chance 0.5).",
        f"The cells of the map allow about {interval_text(pointing['ceiling'])}: the resolution "
        f"{'allows' if ceiling >= margin else 'does not allow'} a difference of {margin:g} from random.",
    )
    return Note(first, " ".join(others))


_WORDS = {"more": "better", "less": "worse", "no": "undecided"}


def _direction(difference: Interval) -> str:
    return "more" if difference["low"] > 0 else "less" if difference["high"] < 0 else "no"


def faithfulness_note(curves: Mapping[str, Any], sanity: Mapping[str, Any]) -> Note:
    """Say how the maps do in deletion and insertion, and which sanity checks they pass.

    A faithful map deletes fast (small area), inserts fast (large area), and changes with what it should depend on.
    """
    failed = [check for check, found in sanity["paper"].items() if found.get("verdict") == "fails"]
    changes = (
        f"hardly changes with {' and '.join(failed)}: no faithful picture of what the classifier learned"
        if failed
        else "changes in every check"
    )
    return Note(
        f"The paper's map is {_better(curves, 'paper')}, and {changes}.", f"{_curves(curves)} {_checks(sanity)}"
    )


def _better(curves: Mapping[str, Any], kind: str) -> str:
    """In how many of deletion and insertion a kind of map is better than a random one, in words."""
    deletion, insertion = (curves[name]["difference"][kind] for name in ("deletion", "insertion"))
    good = (_direction(deletion) == "less") + (_direction(insertion) == "more")
    return f"better than a random one in {('neither', 'one', 'both')[good]} of deletion and insertion"


def _curves(curves: Mapping[str, Any]) -> str:
    sentences = [f"The {curves['discs']} discs with the highest probability."]
    for kind in curves["deletion"]["difference"]:
        deletion, insertion = (curves[name]["difference"][kind] for name in ("deletion", "insertion"))
        sentences.append(
            f"{KINDS[kind][0]}: area minus a random map's {difference_text(deletion)} for deletion (less is better), "
            f"{difference_text(insertion)} for insertion (more is better): {_better(curves, kind)}."
        )
    return " ".join(sentences)


def _checks(sanity: Mapping[str, Any]) -> str:
    sentences = [
        f"Rank correlation of the maps before and after (a check fails when it stays at {CHANGED:g} or above)."
    ]
    for kind, found in sanity.items():
        checks = "; ".join(f"{name} {interval_text(e)}, {e['verdict']}" for name, e in found.items() if "verdict" in e)
        other = interval_text(found["another disc"])
        sentences.append(f"{KINDS[kind][0]}: {checks}; for comparison, maps of two different patients' discs {other}.")
    return " ".join(sentences)
