"""Numbers become text, once: for tables, captions, claims and pages."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd


def shape_text(shape: Sequence[int]) -> str:
    """Sides of an array, such as 3×300×300."""
    return "×".join(str(side) for side in shape)


def scale_ends(low: float, high: float) -> str:
    """What the ends of the colour scale `FEATURES` mean."""
    return f"{low:.2g} (dark) to {high:.2g} (bright)".replace("-", "−")


def signed_ends(limit: float) -> str:
    """What the ends of the colour scale `SIGNED` mean."""
    return f"{signed(-limit, '.2g')} (orange) to {signed(limit, '.2g')} (purple)"


def listed(parts: Sequence[str]) -> str:
    """Parts in one sentence: a, b and c."""
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)


def place_of(heat: np.ndarray) -> str:
    """Where a map is hottest, in words."""
    row, column = np.unravel_index(np.argmax(heat), np.shape(heat))
    rows, columns = np.shape(heat)
    return f"{(column + 0.5) / columns:.0%} from the left and {(row + 0.5) / rows:.0%} from the top"


METRICS = {"ACC": "Accuracy", "TPR": "Sensitivity", "TNR": "Specificity", "AUC": "AUC"}

Summary = Mapping[str, float]  # mean, low, high (patients resampled), sd of several seeds: `evaluate.over_seeds`


def signed(value: float, digits: str = ".2f") -> str:
    """A number with its sign, minus as such."""
    return f"{value:+{digits}}".replace("-", "−")


def setting_text(setting: Any) -> str:
    """A regularisation setting (w, dr) with its symbols; anything else as it is."""
    return f"w = {setting[0]:g}, dr = {setting[1]:g}" if isinstance(setting, tuple) else str(setting)


def summary_text(summary: Summary) -> str:
    """``mean ± sd [low, high]`` with three decimals; without sd where there was one seed."""
    spread = f" ± {summary['sd']:.3f}" if "sd" in summary else ""
    return "{mean:.3f}{spread} [{low:.3f}, {high:.3f}]".format(**summary, spread=spread)


# Words that are computed


def ordering_note(paper_values: Mapping[Any, float], our_values: Mapping[Any, Summary], name: str = "values") -> str:
    """Say whether an ordering of the paper appears in this run, for a caption.

    Every pair that the paper ranks is looked at; a pair counts as clear when its two intervals do not overlap.

    Parameters
    ----------
    paper_values : mapping of setting -> number
        Only their order counts; settings that tie are not compared.
    our_values : mapping of setting -> mapping with mean, low, high
        The same settings (`evaluate.over_seeds`).
    name : str
        What is ordered, such as "AUC".

    Raises
    ------
    ValueError
        When the settings differ.
    """
    if set(paper_values) != set(our_values):
        raise ValueError("paper_values and our_values must have the same settings.")
    ranked = [sorted(p, key=lambda name: paper_values[name], reverse=True) for p in combinations(paper_values, 2)]
    pairs = [(a, b) for a, b in ranked if paper_values[a] != paper_values[b]]
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
        listed = "; ".join(f"{setting_text(b)} above {setting_text(a)}" for a, b in against)
        verdict += f" Clearly reversed: {listed}."
    return verdict


def labels_note(results: pd.DataFrame) -> str:
    """Say whether the paper's two claims about labels appear: more labels are better; a third matches ``supv``.

    Parameters
    ----------
    results : pd.DataFrame
        As in `fig09_labels`.
    """
    notes = []
    for metric in ("ACC", "AUC"):
        table = results[results.metric == metric]
        semi = table[table.model == "semi"].sort_values("labels")
        values = {row["labels"]: row for _, row in semi.iterrows()}
        notes.append(ordering_note({count: count for count in values}, values, metric))
        few, supv = semi.iloc[0], table[table.model == "supv"].iloc[0]
        compared = "reaches" if few["mean"] >= supv["mean"] else "stays below"
        apart = few.high < supv.low or few.low > supv.high
        notes.append(
            f"With {few.labels} labels the classifier {compared} the supervised baseline in {metric} "
            f"({few['mean']:.3f} against {supv['mean']:.3f}; intervals {'apart' if apart else 'overlap'})."
        )
    return " ".join(notes)
