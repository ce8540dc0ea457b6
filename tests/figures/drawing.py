"""Every figure from small made-up arrays, for the tests of this folder."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from lhdlib import evaluate, paper
from lhdlib.data.marks import Marks
from lhdlib.evidence import localise, operating
from lhdlib.evidence.operating import POINTS
from lhdlib.figures import beyond, card, evidence, gallery, heat, kinds, method, results
from lhdlib.figures.heat import KINDS
from lhdlib.model import kinds as lesions
from lhdlib.model.label_map import NONE

#: Beyond the paper's.
FURTHER = (
    "dataset_flow",
    "acquisition",
    "first_look",
    "tiles",
    "pretraining_curves",
    "roc_band",
    "calibration_curve",
    "forest",
    "labels_same",
    "label_map",
    "heatmaps_and_lesions",
    "faithfulness",
    "kinds_figure",
)


every_figure = pytest.mark.parametrize("name", (*gallery.FIGURES, *FURTHER))


W = 24


STAMP = {
    "data": "phantom (synthetic), no evidence about patients",
    "profile": "smoke",
    "seed": 3,
    "commit": "0123456789ab",
    "fingerprint": "f" * 64,
}


def slices(*shape: int) -> np.ndarray:
    y, x = np.mgrid[:W, :W] / W
    count = int(np.prod(shape))
    centers = np.random.default_rng(count).uniform(0.3, 0.7, (count, 2))
    return np.stack([np.exp(-20 * ((x - a) ** 2 + (y - b) ** 2)) for a, b in centers]).reshape(*shape, W, W)


def crops() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "center": [(11.0, 13.0)] * 2 + [(9.0, 12.0)] * 2,
            "angle_deg": [12.0, -9.0, 15.0, 0.0],
            "box": [(5.0, 4.0, 19.0, 20.0), (7.0, 3.0, 21.0, 22.0), (4.0, 4.0, 18.0, 19.0), (0.0, 0.0, W, W)],
            "skipped": [False, False, False, True],
        }
    )


def label_results() -> pd.DataFrame:
    rows = []
    for metric in ("ACC", "AUC"):
        for i, count in enumerate((20, 30, 40, 50, 60)):
            rows.append((count, "semi", metric, 0.7 + 0.02 * i, 0.6 + 0.02 * i, 0.8 + 0.02 * i))
        rows.append((60, "supv", metric, 0.8, 0.7, 0.88))
    return pd.DataFrame(rows, columns=["labels", "model", "metric", "mean", "low", "high"])


def same_labels() -> dict[tuple[str, int], dict[str, dict[str, float]]]:
    """Metrics of three classifiers with the same labels, drawn once where there are all."""
    return {
        (way, count): dict.fromkeys(("ACC", "AUC"), patients(level + 0.03 * i))
        for way, level in (("frozen", 0.8), ("scratch", 0.7), ("tuned", 0.85))
        for i, count in enumerate((25, 50, 100, 973))
    }


def measured_map() -> pd.DataFrame:
    """A map of two objectives, one of them tuned on a part, that gain where labels are few and right."""
    rows = []
    for share in (0.0, 0.1, 0.2):
        for i, count in enumerate((25, 50, 100, 519)):
            place = {"labels": count, "wrong": share, "low": 0.6, "high": 0.9, "sd": 0.01}
            rows.append({"objective": NONE, "way": "scratch", "auc": 0.6 + 0.05 * i, "scratch_labels": np.nan} | place)
            for name in ("inner-product", "vicreg"):
                for way in ("frozen", "tuned"):
                    if way == "tuned" and name == "vicreg" and share == 0.1:
                        continue
                    gain = 0.12 - 0.06 * i - share / 2 + 0.02 * (way == "tuned")
                    side = "above" if gain > 0.05 else "below" if gain < -0.05 else "not told apart"
                    more = {"auc": 0.6 + 0.05 * i + gain, "gain": gain, "gain_low": gain - 0.05, "verdict": side}
                    more |= {"gain_high": gain + 0.05, "scratch_labels": (0.0, 80.0, np.inf)[i % 3]}
                    rows.append({"objective": name, "way": way} | place | more)
    return pd.DataFrame(rows)


def summary(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean": mean, "sd": 0.0214, "low": low, "high": high}


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def patients(mean: float) -> dict[str, float]:
    return summary(mean, mean - 0.05, mean + 0.05) | {"plain_low": mean - 0.04, "plain_high": mean + 0.04}


def draw(name: str):
    """Every figure from small made-up arrays, the same at each call."""
    rng = np.random.default_rng(1)
    three, estimate = slices(3), summary(0.8, 0.75, 0.85)
    gradients = np.broadcast_to(rng.normal(size=16) * 1e-3, (3, 3, 16))
    layers = [(name, 2048) for name in ("Dense", "BatchNormalization", "ReLU", "Dropout")]  # as wide as the paper's
    labels = np.repeat([0, 1], 10)
    stack = [("image", (W, W, 1), 0), ("stem", (6, 6, 8), 400), ("block 1", (32,), 1234)]
    inputs = {
        "fig01_autoencoder": lambda: {
            "slices": three,
            "reconstructions": 0.9 * three,
            "codes": rng.normal(size=(3, 32)),
            "layers": [("image", (W, W, 1)), ("conv", (12, 12, 16)), ("code", (32,)), ("conv", (W, W, 1))],
        },
        "fig02_contrastive": lambda: {"images": three[:2], "views": slices(4)},
        "fig03_gradcam": lambda: {
            "image": three[0],
            "feature_maps": rng.uniform(size=(3, 3, 16)),
            "gradients": gradients,
            "weights": gradients[0, 0],
            "heatmap": three[1],
            "logit": 1.5,
        },
        "fig04_structure": lambda: {
            "disc": three,
            "extractor": stack,
            "head": [("block 2", (32,), 1000)] * 3,
            "classifier": [("linear unit", (1,), 97)],
            "blocks": {"blocks 1 to 3": layers, "block 4": [layer for layer in layers if layer[0] != "ReLU"]},
        },
        "fig05_pretraining": lambda: {
            "images": three[:2],
            "crops": crops(),
            "views": slices(4),
            "features": rng.uniform(size=(4, 32)),
            "probabilities": (1 - np.eye(4)) / 3,
            "loss": 4 * np.log(3),
        },
        "first_look": lambda: {
            "slices": slices(6),
            "titles": ["normal, L4-L5", "abnormal, L5-S1"] * 3,
            "note": [("MRI:\n", 0, False), ("bulge of L4-5", 2, False), (", ", 0, False), ("no tear", 2, True)],
            "level": "L4-L5",
        },
        "fig07_finetuning": lambda: {
            "slices": three,
            "box": (3, 4, 21, 20),
            "crops": slices(3),
            "features": rng.uniform(size=(3, 32)),
            "weights": rng.normal(size=(3, 32)) / 10,
            "bias": 0.1,
            "label": 1,
        },
        "fig08_roc": lambda: {
            "scores": {s: (labels, labels * 0.5 + rng.uniform(size=(3, 20))) for s in paper.TABLE3},
            "auc": dict.fromkeys(paper.TABLE3, estimate),
        },
        "fig09_labels": lambda: {"results": label_results()},
        "fig10_heatmaps": lambda: {
            "slices": slices(3, 3),
            "heatmaps": slices(3, 3),
            "slice_weights": np.full((3, 3), 1 / 3),
            "names": ["patient 0001, L3-L4", "patient 0012, L4-L5", "patient 0575, L5-S1"],
            "probabilities": [0.9, 0.8, 0.7],
            "marks": [[Marks("R", "L", 64.0, number, 5) for number in (2, 3, 4)]] * 3,
            "seen": (0.125, 0.875),
        },
        "dataset_flow": lambda: {"steps": steps(), "split": "patient"},
        "acquisition": lambda: {
            "prevalence": pd.DataFrame(
                {"level": ["L3-L4", "L4-L5", "all"], "samples": [1022, 5, 1027], "share": [0.1, 1.0, 0.2]}
            ).assign(low=[0.05, 0.6, 0.1], high=[0.2, 1.0, 0.3]),
            "distances": {
                "slice thickness": {"T1": np.array([4.0, 4.0, np.nan]), "T2": rng.uniform(3, 5, 900)},
                "distance between neighbouring slices of a slab": {"T2": np.array([4.4, 4.4, 60.0])},
            },
        },
        "tiles": lambda: {"samples": slices(3, 3), "titles": ["normal", "abnormal", "normal"]},
        "pretraining_curves": lambda: {
            "history": pd.DataFrame(
                {"steps": [1, 2, 3], "loss": [0.8, -1.5, -3.8], "accuracy": [0.1, 0.5, 0.7]}
            ).assign(validation_accuracy=[0.0, 0.2, 0.3]),
            "views": (128, 1024),
            "kept": 0.4,
        },
        "roc_band": lambda: {
            "curve": pd.DataFrame({"fpr": [0, 0.2, 1], "low": [0, 0.5, 1], "tpr": [0, 0.7, 1], "high": [0.1, 0.9, 1]}),
            "auc": patients(0.8),
            "points": {aim: {"test": {"TPR": patients(0.9), "TNR": patients(0.6)}} for aim in POINTS},
        },
        "calibration_curve": lambda: {
            "calibration": operating.Calibration(
                pd.DataFrame({"predicted": [0.1, 0.6, 0.9], "observed": [0.05, 0.7, 0.6]}).assign(low=0, high=1),
                evaluate.Estimate(0.164, 0.126, 0.202),
                evaluate.Estimate(0.118, 0.056, 0.161),
                0.04,
            )
        },
        "forest": lambda: {
            "metrics": {name: {"AUC": patients(0.8)} for name in ("this run", "untrained weights, calibrated")},
            "published": 0.9487,
        },
        "labels_same": lambda: {"metrics": same_labels()},
        "label_map": lambda: {"table": measured_map()},
        "heatmaps_and_lesions": lambda: {
            "cover": slices(2, 3),
            "abnormal": slices(2, 3),
            "normal": slices(4, 3),
            "seen": (0.125, 0.875),
            "located": {
                "tolerances_mm": localise.TOLERANCES_MM,
                "tolerance_mm": localise.TOLERANCE_MM,
                "tolerance": {k: np.linspace(0.1, 0.9, 8) for k in (*KINDS, "other_paper")},
                "pointing": {k: interval(0.3) for k in (*KINDS, "other_paper")},
                "cells": "aligned",
            },
        },
        "kinds_figure": lambda: {
            "judged": {
                judge: {kind: {"discs": 9, "all": interval(0.8), "abnormal": interval(0.7)} for kind in lesions.KINDS}
                for judge in ("truth", "notes")
            },
            "confusion": np.array([[9, 3, 0], [2, 14, 1], [0, 0, 0]]),
        },
        "faithfulness": lambda: {
            "curves": {"shares": [0, 0.5, 1]}
            | {
                way: {
                    "curve": {key: [0.9, 0.5, 0.2] for key in ("paper", "classic", "random")},
                    "area": dict.fromkeys(("paper", "classic", "random"), interval(0.6)),
                }
                for way in ("deletion", "insertion")
            },
            "sanity": {
                "paper": {"another disc": interval(0.6), "no classifier": interval(0.7)},
                "classic": {"another disc": interval(0.3)},
            },
        },
    }
    modules = (method, results, card, evidence, heat, beyond, kinds)
    module = next(m for m in modules if hasattr(m, name))
    return getattr(module, name)(**inputs[name]())


def steps() -> pd.DataFrame:
    """As `data.card.flow` counts, with long reasons and large numbers."""
    rows = [
        ("files", "axial T1 and T2 slices", 17_219, ""),
        ("files", "compressed transfer syntax that cannot be decoded", 20, "yes"),
        *(("files", f"reason number {i}", 10_000 + i, "yes") for i in range(6)),
        ("axial slices", "T2", 8_700, ""),
        ("axial slices", "T1, pre-training only", 8_519, ""),
        ("axial slices in pre-training", "train", 16_707, ""),
        ("axial slices in pre-training", "validation", 512, ""),
        ("T2 slabs", "labelled discs", 1_900, ""),
        ("T2 slabs", "to be reviewed: several studies of this patient", 90, "yes"),
        ("labelled discs", "with 2 of the samples", 1_776, ""),
        ("samples, split 'patient'", "train", 2_900, ""),
        ("samples, split 'patient'", "beyond the balanced number", 652, "yes"),
    ]
    return pd.DataFrame(rows, columns=["step", "outcome", "number", "set aside"])


def texts(fig) -> str:
    return "\n".join(artist.get_text() for artist in fig.findobj(mpl.text.Text))


def placed(fig: Figure) -> list[tuple[str, Bbox]]:
    """Text and place of every text that is drawn; ticks outside the axes' limits are not."""
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    renderer = canvas.get_renderer()
    outside = set()
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False)
        outside |= {label for place, label in ticks if not (axis.axes.axison and low - 1e-9 <= place <= high + 1e-9)}
    found = [t for t in fig.findobj(mpl.text.Text) if t.get_visible() and t.get_text().strip() and t not in outside]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in found]
