"""Figures and saved tables: drawn without warnings, legible in print, told apart without colour, described in words."""

import functools
import html
import itertools
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from lhdlib import evaluate, figures, paper
from lhdlib.errors import UserError
from lhdlib.evidence import localise, operating
from lhdlib.figures import card, evidence, gallery, heat, method, publish, results, style, tables
from lhdlib.figures.heat import KINDS
from lhdlib.figures.results import ordering_note
from lhdlib.figures.words import place_of

#: Beyond the paper's.
FURTHER = (
    "dataset_flow",
    "acquisition",
    "tiles",
    "pretraining_curves",
    "roc_band",
    "calibration_curve",
    "forest",
    "heatmaps_and_lesions",
    "faithfulness",
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
    layers = [("Dense", 32), ("BatchNormalization", 32), ("ReLU", 32), ("Dropout", 32)]
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
        },
        "fig05_pretraining": lambda: {
            "images": three[:2],
            "crops": crops(),
            "views": slices(4),
            "features": rng.uniform(size=(4, 32)),
            "probabilities": (1 - np.eye(4)) / 3,
            "loss": 4 * np.log(3),
        },
        "fig06_blocks": lambda: {"first": layers, "last": [layer for layer in layers if layer[0] != "ReLU"]},
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
            "levels": ["L3-L4", "L4-L5", "L5-S1"],
            "probabilities": [0.9, 0.8, 0.7],
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
            ).assign(validation_accuracy=[0.0, 0.2, 0.3])
        },
        "roc_band": lambda: {
            "curve": pd.DataFrame({"fpr": [0, 0.2, 1], "low": [0, 0.5, 1], "tpr": [0, 0.7, 1], "high": [0.1, 0.9, 1]}),
            "auc": patients(0.8),
            "points": {aim: {"test": {"TPR": patients(0.9), "TNR": patients(0.6)}} for aim in ("TPR", "TNR")},
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
        "heatmaps_and_lesions": lambda: {
            "cover": slices(2, 3),
            "abnormal": slices(2, 3),
            "normal": slices(4, 3),
            "located": {
                "tolerances_mm": localise.TOLERANCES_MM,
                "tolerance_mm": localise.TOLERANCE_MM,
                "tolerance": {k: np.linspace(0.1, 0.9, 8) for k in KINDS},
                "pointing": {k: interval(0.3) for k in KINDS},
            },
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
    module = next(m for m in (method, results, card, evidence, heat) if hasattr(m, name))
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


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A figure, drawn and saved once for all tests."""

    @functools.cache
    def save(name: str) -> tuple[Figure, Path]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fig = draw(name)
            return fig, publish.save_figure(fig, name, tmp_path_factory.mktemp(name), STAMP, "A caption.")

    return save


@every_figure
def test_figure_draws_saves_and_carries_its_stamp(name, saved, tmp_path):
    first = saved(name)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with mpl.rc_context({"font.size": 30, "pdf.fonttype": 3}):  # a user's own settings change nothing
            second_figure = draw(name)
            second = publish.save_figure(second_figure, name, tmp_path, STAMP, "A caption.")
    assert first.read_bytes() == second.read_bytes()
    pdf = first.with_suffix(".pdf").read_bytes()
    assert pdf == second.with_suffix(".pdf").read_bytes()
    assert b"CreationDate" not in pdf and b"FontFile2" in pdf and b"/Type3" not in pdf
    alt = f"{second_figure.get_label()} Data: {STAMP['data']}."
    with Image.open(first) as image:
        assert json.loads(image.text["Comment"]) == STAMP and image.text["Description"] == alt
        width = image.width / style.DPI * 25.4
        assert min(abs(width - printed) for printed in PRINTED) < 0.2, "cut or widened by what is drawn"
    assert any(STAMP["data"] in text.get_text() for text in second_figure.texts)
    entry = json.loads(first.with_suffix(".json").read_text(encoding="utf-8"))
    assert entry["caption"] == "A caption." and entry["alt"] == alt
    assert entry["stamp"] == STAMP and entry["kind"] == "figure"
    assert sorted(path.name for path in first.parent.iterdir()) == [f"{name}.{kind}" for kind in ("json", "pdf", "png")]


@every_figure
def test_alternative_text_describes_in_a_few_sentences(name, saved):
    alt = saved(name)[0].get_label()
    assert 8 <= len(alt.split()) <= 130 and alt.endswith(".") and alt[0] in alt[0].upper()
    assert "nan" not in alt and "None" not in alt and "\n" not in alt and "{" not in alt


def test_alternative_text_states_the_numbers_drawn(saved):
    assert "w = 0.0001, dr = 0: AUC 0.800 [0.750, 0.850], paper 0.9487" in saved("fig08_roc")[0].get_label()
    assert "Accuracy, semi: 0.700 with 20 to 0.780 with 60 labels" in saved("fig09_labels")[0].get_label()
    heat = saved("fig10_heatmaps")[0].get_label()
    assert "Disc 3, L5-S1, probability 0.70: most weight, 0.333, on the upper slice" in heat
    image = np.zeros((10, 20))
    image[7, 3] = 1
    assert place_of(image) == "18% from the left and 75% from the top"
    assert "2 of them below the diagonal" in saved("calibration_curve")[0].get_label()
    assert "the farthest from it predicts 0.90 where 0.60" in saved("calibration_curve")[0].get_label()
    assert "from +0.80 to −3.80" in saved("pretraining_curves")[0].get_label()
    assert "2 normal and 1 abnormal" in saved("tiles")[0].get_label()


@pytest.mark.parametrize(("fig", "message"), [(Figure((3, 2)), "wide"), (Figure((85 / 25.4, 2)), "alternative text")])
def test_a_figure_of_another_width_or_without_words_is_not_saved(fig, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        publish.save_figure(fig, "x", tmp_path, STAMP, "c")
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_the_picture_its_words_and_its_caption(tmp_path):
    path = publish.save_figure(draw("fig06_blocks"), "x", tmp_path, STAMP, "The *caption*.")
    picture, caption = publish.Shown(path).parts()
    data, metadata = (found["image/png"] for found in picture._repr_mimebundle_())
    assert metadata["alt"] == json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["alt"]
    assert metadata["width"] == round(85 / 25.4 * publish.SCREEN_DPI) and data
    assert caption.data == "The *caption*."


# Colours as readers with no red or no green cones see them (Machado, Oliveira and Fernandes 2009)

PRINTED = (style.COLUMN, style.MIDDLE, style.PAGE)
SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(colors: np.ndarray, seen: str) -> np.ndarray:
    """CIELAB (D65) of sRGB colours, shape (..., 3), as `seen`."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(SEEN[seen]).T, 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = linear @ np.array(to_xyz).T / [0.95047, 1, 1.08883]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def apart(first: str, second: str, seen: str) -> float:
    pair = np.array([mpl.colors.to_rgb(color) for color in (first, second)])
    return float(np.linalg.norm(np.subtract(*lab(pair, seen))))


@pytest.mark.parametrize("seen", SEEN)
def test_colours_are_told_apart(seen):
    names = ("BLUE", "ORANGE", "GREEN", "VERMILION", "GREY")
    palette = [getattr(style, name) for name in names] + ["0.2"]
    for one, other in itertools.combinations(palette, 2):
        assert apart(one, other, seen) > 10, f"{one} and {other}"


def test_the_colour_test_finds_red_and_green():
    assert apart("#b04040", "#547a30", "all cones") > 60 and apart("#b04040", "#547a30", "protanopia") < 30
    assert apart("#c08050", "#96913f", "deuteranopia") < 10 < apart("#c08050", "#96913f", "all cones")


@pytest.mark.parametrize("seen", SEEN)
def test_maps_rise_in_lightness_or_fall_to_both_sides(seen):
    places = np.linspace(0, 1, 64)
    for name in (style.FEATURES, style.HEAT, "gray"):
        lightness = lab(mpl.colormaps[name](places)[:, :3], seen)[:, 0]
        assert (np.diff(lightness) > 0).all() and np.ptp(lightness) > 70, name
    signed = lab(mpl.colormaps[style.SIGNED](places)[:, :3], seen)
    assert (np.diff(signed[:31, 0]) > 0).all() and (np.diff(signed[33:, 0]) < 0).all()
    assert np.linalg.norm(signed[8] - signed[-9]) > 40, "its two sides look alike"


def test_no_drawing_names_a_rainbow():
    source = "".join(path.read_text(encoding="utf-8") for path in Path(figures.__file__).parents[1].rglob("*.py"))
    assert not re.search(r"[\"'](jet|rainbow|hsv|turbo|nipy_spectral|gist_rainbow|RdYlGn|RdGy)(_r)?[\"']", source)


def _look(handle) -> tuple | None:
    """What tells a line or error bar from another one without colour."""
    if isinstance(handle, ErrorbarContainer):
        line, _, bars = handle
        return (line.get_marker(), line.get_linestyle()) if line else (None, bars[0].get_linewidth()[0])
    if isinstance(handle, Line2D):
        return handle.get_marker(), handle.get_linestyle(), handle.get_linewidth()
    return None


@every_figure
def test_lines_differ_by_more_than_colour(name, saved):
    fig = saved(name)[0]
    named = [(h, label) for ax in fig.axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)]
    named += [(h, t.get_text()) for box in fig.legends for h, t in zip(box.legend_handles, box.texts, strict=True)]
    looks = {}
    for handle, label in named:
        if _look(handle) is not None and not isinstance(handle, mpl.collections.LineCollection):
            looks.setdefault(_look(handle), set()).add(label.split(":")[0].split(" (")[0])
    assert all(len(labels) == 1 for labels in looks.values()), looks


def _placed(fig):
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


@every_figure
def test_text_is_large_enough_in_print_and_neither_cut_nor_covered(name, saved):
    fig = saved(name)[0]
    width, height = fig.get_size_inches()
    assert round(25.4 * width, 6) in PRINTED and 25.4 * height <= 230, "does not fit a page at its printed width"
    placed = _placed(fig)
    for i, (text, box) in enumerate(placed):
        assert box.x0 >= 0 and box.x1 <= width * fig.dpi and box.y1 <= height * fig.dpi, f"{text!r} leaves the sheet"
        assert box.y0 >= 0 or text.startswith("Data:"), f"{text!r} leaves the sheet"
        for other, rival in placed[i + 1 :]:
            overlap = min(box.x1, rival.x1) - max(box.x0, rival.x0), min(box.y1, rival.y1) - max(box.y0, rival.y0)
            assert min(overlap) <= 2, f"{text!r} and {other!r} overlap"
    sizes = [t.get_fontsize() for t in fig.findobj(mpl.text.Text) if t.get_text().strip()]
    assert min(sizes) >= style.SMALL >= 6
    for ax in fig.axes:
        box = ax.get_tightbbox()
        if box is not None and ax.axison:
            assert min(box.x0, box.y0) >= -1 and box.x1 <= width * fig.dpi + 1 and box.y1 <= height * fig.dpi + 1


def test_saving_twice_leaves_one_footer_and_long_labels_are_wrapped(tmp_path):
    fig = draw("fig06_blocks")
    stamp = STAMP | {"data": "archive " + "word " * 60}
    for _ in range(2):
        path = publish.save_figure(fig, "x", tmp_path, stamp, "c")
    footers = [text.get_text() for text in fig.texts]
    assert len(footers) == 1 and " ".join(footers[0].split()).startswith(f"Data: {stamp['data'].strip()}")
    assert all(box.x0 >= 0 and box.x1 <= fig.get_figwidth() * fig.dpi for _, box in _placed(fig))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert (pixels[-4:] == 255).all() and (pixels[-60:-10] < 128).any(), "the footer's last line is cut off"


def test_a_failed_save_leaves_the_earlier_file(tmp_path):
    path = publish.save_figure(draw("fig06_blocks"), "x", tmp_path, STAMP, "c")
    before = path.read_bytes()
    with pytest.raises(TypeError):
        publish.save_figure(draw("fig06_blocks"), "x", tmp_path, STAMP | {"bad": object()}, "c")
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 3


def test_crop_frames_are_equation_12():
    augment = pytest.importorskip("lhdlib.augment")
    fig = draw("fig05_pretraining")
    frames = [p for p in fig.findobj(Rectangle) if not p.get_fill() and p.get_width() > 2]
    drawn = [frame.get_corners() for frame in frames]
    rows = crops()[~crops().skipped]
    assert len(drawn) == len(rows)
    for corners, row in zip(drawn, rows.itertuples(), strict=True):
        x0, y0, x1, y1 = row.box
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        expected = augment.rotate_back(points, np.array(row.center), np.full(4, row.angle_deg))
        np.testing.assert_allclose(corners, expected, atol=1e-9)


def test_figures_state_the_numbers_they_are_given():
    fig = draw("fig08_roc")
    assert texts(fig).count("AUC 0.800 [0.750, 0.850]") == 4
    for row in paper.TABLE3.values():
        assert f"paper {row['AUC']:.4f}" in texts(fig)
    labels = texts(draw("fig09_labels"))
    for count, published in zip((20, 30, 40, 50, 60), paper.LABEL_COUNTS, strict=True):
        assert f"{count}\n{published}\n{count / 60:.0%}" in labels
    assert "supv\n3036\n100%" in labels
    assert f"loss (Eq. 6) = {4 * np.log(3):.3f}" in texts(draw("fig05_pretraining"))
    heat = texts(draw("fig10_heatmaps"))
    assert heat.count("weight 0.333") == 9 and "L5-S1\np = 0.70" in heat


def test_the_flow_states_every_number_and_the_whole_of_each_step():
    fig = draw("dataset_flow")
    words = " ".join(texts(fig).split())
    for row in steps().itertuples():
        assert f"{row.number:,} {row.outcome}" in words
    for whole in ("77,254 files", "60,035 set aside", "17,219 axial slices", "1,990 T2 slabs", "3,552 samples"):
        assert whole in words
    assert "split 'patient'" in words and "90 set aside" in words and "652 set aside" in words


def test_histograms_drop_no_value():
    fig = draw("acquisition")
    top, thickness, distance = fig.axes
    heights = [sum(bar.get_height() for bar in ax.patches) for ax in (thickness, distance)]
    assert heights == [902, 3]
    assert {"T1: 2, median 4.00 mm, 1 unknown", "T2: 3, median 4.40 mm, 1 above 10 mm"} <= set(texts(fig).split("\n"))
    [line] = [line for line in top.lines if line.get_marker() == "o"]
    assert [float(y) for y in line.get_ydata()] == [0.1, 1.0, 0.2]


def test_the_card_shows_what_was_saved_and_names_the_data(tmp_path):
    publish.save_figure(draw("dataset_flow"), "flow", tmp_path, STAMP, "The flow.")
    publish.save_table(tables.counts_table({"patients": 8}), "counts", tmp_path, STAMP, "Counts of both.")
    page = publish.save_card({"Numbers": ["counts"], "Flow": ["flow"]}, tmp_path, STAMP, "## The end")
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# Dataset card\n\n**Data: {STAMP['data']}**\n\n## Numbers\n\nCounts of both.")
    alt = html.escape(json.loads((tmp_path / "flow.json").read_text(encoding="utf-8"))["alt"])
    assert "| patients | 515 | 8 |" in text
    assert f'<img src="flow.png" width="482" alt="{alt}">\n\nThe flow.\n\n## The end\n' in text
    with pytest.raises(UserError, match="missing.json"):
        publish.save_card({"Flow": ["missing"]}, tmp_path, STAMP, "")
    assert page.read_text(encoding="utf-8") == text


def test_finetuning_probability_is_that_of_the_drawn_features():
    features, weights = np.ones((3, 2)), np.array([[0.5, 0.5], [0.0, -1.0], [1.0, 0.0]])
    fig = method.fig07_finetuning(
        slices=slices(3), box=(1, 1, 20, 20), crops=slices(3), features=features, weights=weights, bias=0.5, label=0
    )
    h = 1 - 1 + 1 + 0.5
    assert f"probability {1 / (1 + np.exp(-h)):.2f}" in texts(fig) and "label: normal" in texts(fig)


def test_mean_roc_lies_between_the_seeds():
    fig = draw("fig08_roc")
    for ax in fig.axes:
        *seeds, mean, _chance = ax.lines
        grid = mean.get_xdata()[1:]
        tpr = np.stack([np.interp(grid, line.get_xdata(), line.get_ydata()) for line in seeds])
        assert (mean.get_ydata()[1:] >= tpr.min(0) - 1e-9).all() and (mean.get_ydata()[1:] <= tpr.max(0) + 1e-9).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: method.fig02_contrastive(images=slices(3), views=slices(4)), "images"),
        (lambda: method.fig02_contrastive(images=slices(2), views=slices(3)), "views"),
        (
            lambda: method.fig01_autoencoder(
                slices=slices(1), reconstructions=slices(1), codes=np.ones((1, 4)), layers=[("a", (4,))]
            ),
            "code",
        ),
        (lambda: tables.counts_table({"patient": 3}), "patient"),
        (lambda: ordering_note({"a": 1}, {}, "AUC"), "same settings"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_saved_tables_carry_caption_data_and_escaped_cells(tmp_path):
    table = pd.DataFrame({"a|b": ["x|y", "two\nlines"], "n": [1, 2]})
    path = publish.save_table(table, "t", tmp_path, STAMP, "The caption.")
    text = path.read_text(encoding="utf-8")
    assert "The caption." in text and f"Data: {STAMP['data']}" in text
    assert r"| a\|b | n |" in text and r"| x\|y | 1 |" in text and "| two lines | 2 |" in text
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table)
    assert json.loads((tmp_path / "t.json").read_text())["kind"] == "table"


def test_drawing_needs_no_deep_learning_library():
    modules = "lhdlib.figures.method, lhdlib.figures.results, lhdlib.figures.gallery"
    check = f"import sys, {modules}; assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    root = Path(figures.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", check], cwd=root, check=False).returncode == 0
