"""Numbers become text, once: for tables, captions, claims and pages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lhdlib.profile import Profile

METRICS = {"ACC": "Accuracy", "TPR": "Sensitivity", "TNR": "Specificity", "AUC": "AUC"}

Interval = Mapping[str, Any]  # value, low, high: `evaluate.Estimate` as a mapping; p where there is a test
Summary = Mapping[str, float]  # mean, low, high (patients resampled), sd of several seeds: `evaluate.over_seeds`


class Note(NamedTuple):
    """Words on a figure or table, computed from its numbers."""

    follows: str  #: a sentence of the caption
    details: str  #: folded below it


# Numbers


def number(value: float, form: str) -> str:
    """A number in a format of Python's, minus as such."""
    return f"{value:{form}}".replace("-", "−")


def signed(value: float, *, form: str = ".2f") -> str:
    """A number with its sign."""
    return number(value, f"+{form}")


def interval_text(found: Interval | Summary | None, *, form: str = ".3f", spread: str = "") -> str:
    """``value [low, high]``, with `spread` behind the value; "–" for None."""
    if found is None:
        return "–"
    value, low, high = (number(found[key], form) for key in ("mean" if "mean" in found else "value", "low", "high"))
    return f"{value}{spread} [{low}, {high}]"


def summary_text(found: Summary | None) -> str:
    """``mean ± sd [low, high]``; without sd where there was one seed, or it is none in three digits."""
    spread = f" ± {found['sd']:.3f}" if found and "sd" in found else ""
    return interval_text(found, spread="" if spread == " ± 0.000" else spread)


def difference_text(found: Interval | None, *, test: str = "") -> str:
    """``+0.040 [−0.010, +0.090], test p = 0.12``; without p where there is none."""
    text = interval_text(found, form="+.3f")
    return f"{text}, {f'{test} p'.strip()} = {found['p']:.2g}" if found and "p" in found else text


def repeats_text(encoders: int, seeds: int) -> str:
    """Name of what a mean and its spread are over: pre-trainings, seeds of fine-tuning, or both."""
    if encoders == 1:
        return f"{seeds} fine-tuning seeds" if seeds > 1 else "one training"
    return f"{encoders} pre-trainings" + (f" with {seeds} fine-tuning seeds each" if seeds > 1 else "")


# Names and lists


def setting_text(setting: Any) -> str:
    """A regularisation setting (w, dr) with its symbols (`profile.setting_key` names its files); others as they are."""
    return "w = {:g}, dr = {:g}".format(*setting) if isinstance(setting, tuple) else str(setting)


def shape_text(shape: Sequence[int]) -> str:
    """``height×width×channels``."""
    return "×".join(str(side) for side in shape)


def layer_text(name: str) -> str:
    """Keras' name of a layer in words; the number that it appends depends on what was built before."""
    plain = re.sub(r"_\d+$", "", name)
    return {"conv2d": "convolution", "conv2d_transpose": "transposed conv."}.get(plain, plain)


def listed(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)


# Colours and places


def scale_ends(low: float, high: float) -> str:
    """Meaning of both ends of the colour scale `style.FEATURES`."""
    return f"{number(low, '.2g')} (dark) to {number(high, '.2g')} (bright)"


def signed_ends(limit: float) -> str:
    """Meaning of both ends of the colour scale `style.SIGNED`."""
    return f"{signed(-limit, form='.2g')} (orange) to {signed(limit, form='.2g')} (purple)"


def cells_text(profile: Profile) -> str:
    """How heatmaps lie on slices, where that is not as published; empty where it is."""
    sentences = []
    if profile.heatmaps.cells == "aligned":
        sentences.append("Each cell lies at its receptive field's centre.")
    if profile.finetune.test_crop == "central":
        sentences.append("The network sees the framed square alone; outside it there is no heat.")
    return " ".join(sentences)


def place_of(heatmap: np.ndarray) -> str:
    """Place of a map's hottest cell."""
    row, column = np.unravel_index(np.argmax(heatmap), np.shape(heatmap))
    rows, columns = np.shape(heatmap)
    return f"{(column + 0.5) / columns:.0%} from the left and {(row + 0.5) / rows:.0%} from the top"
