"""Every figure of the paper, drawn from arrays and data frames.

A function per figure; it takes plain values, returns a `matplotlib.figure.Figure` with its alternative text, and
neither loads data nor computes a result. Slices are shown on one grey scale from 0 to 1. The look is that of
`figure_style`; `publish` saves and shows.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from sklearn.metrics import roc_curve

from lhdlib import paper
from lhdlib.figure_style import (
    BLUE,
    COLUMN,
    FEATURES,
    GREEN,
    GREY,
    HEAT,
    MIDDLE,
    MM,
    ORANGE,
    PAGE,
    SIGNED,
    SMALL,
    VERMILION,
    Canvas,
    described,
    overlay,
    show,
    styled,
)
from lhdlib.tables import METRICS, Summary, setting_text, signed

#: The paper's figures, by the name of the function that draws each and of the files it is saved in.
FIGURES = (
    "fig01_autoencoder",
    "fig02_contrastive",
    "fig03_gradcam",
    "fig04_structure",
    "fig05_pretraining",
    "fig06_blocks",
    "fig07_finetuning",
    "fig08_roc",
    "fig09_labels",
    "fig10_heatmaps",
)

Stage = tuple[str, Sequence[int], int]


def _shape(shape: Sequence[int]) -> str:
    return "×".join(str(side) for side in shape)


def _ends(low: float, high: float) -> str:
    """What the ends of the colour scale `FEATURES` mean."""
    return f"{low:.2g} (dark) to {high:.2g} (bright)".replace("-", "−")


def _signed_ends(limit: float) -> str:
    """What the ends of the colour scale `SIGNED` mean."""
    return f"{signed(-limit, '.2g')} (orange) to {signed(limit, '.2g')} (purple)"


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)


def place_of(heat: np.ndarray) -> str:
    """Where a map is hottest, in words."""
    row, column = np.unravel_index(np.argmax(heat), np.shape(heat))
    rows, columns = np.shape(heat)
    return f"{(column + 0.5) / columns:.0%} from the left and {(row + 0.5) / rows:.0%} from the top"


def _expect(name: str, value: np.ndarray, ndim: int, first: int | None = None) -> np.ndarray:
    value = np.asarray(value)
    if value.ndim != ndim or (first is not None and len(value) != first):
        wanted = f"{ndim} dimensions" + (f", the first of length {first}" if first is not None else "")
        raise ValueError(f"{name} has shape {value.shape}: it needs {wanted}.")
    return value


# Figures


@styled
def fig01_autoencoder(
    *, slices: np.ndarray, reconstructions: np.ndarray, codes: np.ndarray, layers: Sequence[tuple[str, Sequence[int]]]
) -> Figure:
    """Fig. 1: an autoencoder's layers, and slices with their codes and reconstructions.

    Parameters
    ----------
    slices, reconstructions : np.ndarray, shape (k, W, W)
    codes : np.ndarray, shape (k, d)
    layers : sequence of (name, shape)
        Output shape of every layer from the image to the reconstruction, without the batch; one is named "code".

    Raises
    ------
    ValueError
        For other shapes, or without a layer named "code".
    """
    slices, codes = _expect("slices", slices, 3), _expect("codes", codes, 2, len(slices))
    reconstructions = _expect("reconstructions", reconstructions, 3, len(slices))
    names = [name for name, _ in layers]
    if "code" not in names:
        raise ValueError("layers needs one named 'code', between encoder and decoder.")
    middle, size, row = names.index("code"), 21, 25
    page = Canvas(PAGE, 66 + row * len(slices))

    largest = max(shape[0] for _, shape in layers if len(shape) == 3)
    left, pitch, center = 10, 154 / len(layers), 24
    for i, (name, shape) in enumerate(layers):
        x, flat = left + pitch * (i + 0.5), len(shape) == 1
        color = ORANGE if i == middle else BLUE if i < middle else GREEN
        height = 32 * (0.35 if flat else 0.2 + 0.8 * shape[0] / largest)
        width = pitch * (0.16 if flat else 0.12 + 0.09 * np.log2(1 + shape[-1]) / 2)
        page.box(x - width / 2, center - height / 2, width, height, "", color)
        page.text(x, 42, f"{_layer(name)}\n{_shape(shape)}", fontsize=SMALL, rotation=90, va="top")
        if i:
            page.arrow((x - pitch * 0.72, center), (x - pitch * 0.28, center), mutation_scale=4)
    edge = left + pitch * middle
    page.text((left + edge) / 2, 4, "encoder $f_E$", color=BLUE)
    page.text(edge + pitch / 2, 4, "code", color=ORANGE)
    page.text((edge + pitch + left + 154) / 2, 4, "decoder $f_D$", color=GREEN)

    limit = np.abs(codes).max() or 1
    errors = np.sqrt(np.mean((slices - reconstructions) ** 2, axis=(1, 2)))
    for k, error in enumerate(errors):
        y = 67 + row * k
        page.picture(slices[k], left, y, size)
        page.arrow((33, y + size / 2), (42, y + size / 2), "$f_E$")
        page.strip(codes[k], 44, y + size / 2 - 3, 82, 6, cmap=SIGNED, vmin=-limit, vmax=limit)
        page.text(85, y + size / 2 + 6, f"root mean square error {error:.3f}")
        page.arrow((128, y + size / 2), (137, y + size / 2), "$f_D$")
        page.picture(reconstructions[k], 141, y, size)
    page.text(left + size / 2, 65, "slice")
    page.text(85, 69, f"code, {codes.shape[1]} numbers, {_signed_ends(limit)}")
    page.text(141 + size / 2, 65, "reconstruction")
    return described(
        page.fig,
        f"Autoencoder of {len(layers)} layers: an image of {_shape(layers[0][1])} narrows to a code of "
        f"{codes.shape[1]} numbers and widens again. Below, {len(slices)} slices, each beside its code as a strip of "
        f"colours and its reconstruction; root mean square error {errors.min():.3f} to {errors.max():.3f}.",
    )


def _layer(name: str) -> str:
    """Keras' name of a layer in words; the number that it appends depends on what was built before."""
    words = {"conv2d": "convolution", "conv2d_transpose": "transposed conv."}
    plain = re.sub(r"_\d+$", "", name)
    return words.get(plain, plain)


@styled
def fig02_contrastive(*, images: np.ndarray, views: np.ndarray) -> Figure:
    """Fig. 2: two views of one image attract, views of different images repel each other.

    Parameters
    ----------
    images : np.ndarray, shape (2, W, W)
    views : np.ndarray, shape (4, W, W)
        Partners adjacent: A1, A2, B1, B2.
    """
    images, views = _expect("images", images, 3, 2), _expect("views", views, 3, 4)
    page = Canvas(MIDDLE, 86)
    size, columns, rows = 26, (56, 101), (6, 47)
    places = [(x, y) for y in rows for x in columns]
    names = ["$A_1$", "$A_2$", "$B_1$", "$B_2$"]
    for image, name, y in zip(images, "AB", rows, strict=True):
        page.picture(image, 2, y, size, f"image ${name}$")
        page.arrow((30, y + size / 2), (54, y + size / 2), "$f_T$, twice")
    for view, name, (x, y) in zip(views, names, places, strict=True):
        page.picture(view, x, y, size, name)
    left, right, top, bottom = columns[0] + size, columns[1], rows[0] + size, rows[1]
    for y in rows:
        page.arrow((left + 1, y + size / 2), (right - 1, y + size / 2), color=BLUE, both=True, lw=2, mutation_scale=9)
        page.text((left + right) / 2, y + size / 2 - 3, "similar", color=BLUE)
    apart = {"color": VERMILION, "both": True, "linestyle": (0, (3, 1.5))}
    for x in columns:
        page.arrow((x + size / 2, top + 1), (x + size / 2, bottom - 5), **apart)
    page.arrow((left, top + 1), (right, bottom - 1), **apart)
    page.arrow((left, bottom - 1), (right, top + 1), **apart)
    page.text(columns[0] + size / 2 - 2, (top + bottom) / 2 - 2, "different", ha="right", color=VERMILION)
    page.text(
        columns[0], rows[1] + size + 4, "solid: inner product of the features to be raised", ha="left", color=BLUE
    )
    page.text(columns[0], rows[1] + size + 9, "dashed: to be lowered", ha="left", color=VERMILION)
    return described(
        page.fig,
        "Slices A and B, each with two random views. Thick solid arrows join the two views of one slice, marked "
        "similar; dashed arrows join each view of A with each of B, marked different.",
    )


@styled
def fig03_gradcam(
    *,
    image: np.ndarray,
    feature_maps: np.ndarray,
    gradients: np.ndarray,
    weights: np.ndarray,
    heat: np.ndarray,
    logit: float,
    channels: int = 4,
) -> Figure:
    """Fig. 3: the steps of Grad-CAM on one slice, with the channels of largest absolute weight.

    Parameters
    ----------
    image : np.ndarray, shape (W, W)
    feature_maps, gradients : np.ndarray, shape (u, v, n)
        A and dh/dA.
    weights : np.ndarray, shape (n,)
        Of the channels (Eq. 7, or Eq. 18).
    heat : np.ndarray, shape (W, W)
        In [0, 1].
    logit : float
        h, the classifier's output before the sigmoid.
    channels : int
        How many are shown.
    """
    feature_maps, gradients = _expect("feature_maps", feature_maps, 3), _expect("gradients", gradients, 3)
    strongest = np.argsort(-np.abs(weights), kind="stable")[:channels]
    page = Canvas(PAGE, 112)
    size, pitch, left = 20, 23, 50
    page.picture(image, 3, 5, 28, "slice")
    page.arrow((32, 19), (left - 1, 19), "extractor")
    peak, limit = feature_maps[..., strongest].max() or 1, np.abs(gradients[..., strongest]).max() or 1
    for place, k in enumerate(strongest):
        x = left + pitch * place
        page.picture(feature_maps[..., k], x, 9, size, f"$A^{{({k + 1})}}$", cmap=FEATURES, vmin=0, vmax=peak)
        slopes = page.picture(gradients[..., k], x, 42, size, cmap=SIGNED, vmin=-limit, vmax=limit)
        slopes.set_title(rf"$\partial h/\partial A^{{({k + 1})}}$", pad=3)
        page.text(x + size / 2, 65, f"w = {signed(weights[k], '.2g')}")
    end = left + pitch * len(strongest)
    page.text((left + end) / 2, 32.5, f"feature maps, {_ends(0, peak)}")
    page.arrow((end, 19), (156, 19), "pooling,\nclassifier")
    page.box(157, 14, 14, 10, f"h\n{signed(logit)}", BLUE)
    page.arrow((164, 25), (end, 52), color=VERMILION)
    page.text(159, 44, "back-\npropagation", color=VERMILION)
    ends = _signed_ends(limit).replace(" to ", "\nto ")
    page.text(left - 3, 52, f"gradients of h,\n{ends}", ha="right")

    bars = page.axes(20, 76, 45, 24)
    ranked = np.sort(weights)[::-1]
    bars.fill_between(np.arange(1, len(ranked) + 1), ranked, step="mid", color=BLUE, lw=0)
    bars.set(xlabel=f"channels by weight (n = {len(ranked)})", ylabel="weight $w_k$", xlim=(0.5, len(ranked) + 0.5))
    bars.locator_params(nbins=4)
    page.arrow((68, 87), (95, 87), r"ReLU($\sum_k w_k A^{(k)}$)")
    page.picture(heat, 97, 74, 28, "heat", cmap=HEAT)
    page.text(111, 104.5, _ends(0, 1))
    page.arrow((127, 87), (141, 87))
    mixed = page.axes(143, 74, 28, 28)
    overlay(mixed, image, heat)
    mixed.set_title("heat on the slice", pad=3)
    return described(
        page.fig,
        f"Grad-CAM in steps: a slice; the {len(strongest)} of its {len(ranked)} feature maps with the largest weights, "
        f"{_shape(feature_maps.shape[:2])} cells each; their gradients, with weights "
        f"{_listed([signed(weights[k], '.2g') for k in strongest])}; a bar chart of all weights, "
        f"{(ranked > 0).sum()} of them positive; the heat, hottest {place_of(heat)}, alone and on the slice. "
        f"The classifier's output h is {signed(logit)}.",
    )


@styled
def fig04_structure(
    *, disc: np.ndarray, extractor: Sequence[Stage], head: Sequence[Stage], classifier: Sequence[Stage]
) -> Figure:
    """Fig. 4: the two stages, with the layers of the models as built.

    Parameters
    ----------
    disc : np.ndarray, shape (3, W, W)
        A sample's slices; the first also stands for an unlabelled slice.
    extractor, head, classifier : sequence of (name, output shape, parameters)
        The stages kept for fine-tuning, those used in pre-training only, and the classifier's.
    """
    disc = _expect("disc", disc, 3, 3)
    line, width, top = 6.5, 66, 33
    page = Canvas(PAGE, top + line * (len(extractor) + max(len(head), len(classifier))) + 15)
    lefts = (4, 104)

    def stack(stages, x, y, color, **options):
        for name, shape, parameters in stages:
            page.box(x, y, width, line - 1.2, "", color, **options)
            middle = y + (line - 1.2) / 2
            page.text(x + 1.5, middle, name, ha="left")
            page.text(x + 42, middle, _shape(shape), ha="right")
            page.text(x + width - 1.5, middle, f"{parameters:,}", ha="right")
            y += line
        return y

    page.text(lefts[0] + width / 2, 3, "Stage 1: unsupervised pre-training", weight="bold")
    page.text(lefts[1] + width / 2, 3, "Stage 2: supervised fine-tuning", weight="bold")
    page.picture(disc[0], lefts[0] + width / 2 - 8.75, 7, 17.5)
    page.text(lefts[0] + width / 2 - 11, 16, "unlabelled\nslice", ha="right")
    for i, image in enumerate(disc):
        page.picture(image, lefts[1] + width - 53.5 + 18 * i, 7, 17.5)
    page.text(lefts[1] + width - 55.5, 16, "labelled\ndisc", ha="right")
    for x in lefts:
        page.arrow((x + width / 2, 25), (x + width / 2, top - 4))
        page.text(x + 1.5, top - 2, "layer", ha="left", color="0.3", fontsize=SMALL)
        page.text(x + 42, top - 2, "output", ha="right", color="0.3", fontsize=SMALL)
        page.text(x + width - 1.5, top - 2, "parameters", ha="right", color="0.3", fontsize=SMALL)
    below = stack(extractor, lefts[0], top, BLUE)
    stack(extractor, lefts[1], top, BLUE, linestyle="--")
    middle = (top + below) / 2
    page.arrow((lefts[0] + width + 1, middle), (lefts[1] - 1, middle), "feature\nextractor $f_E$", color=BLUE, lw=1.5)
    page.text(
        (lefts[0] + width + lefts[1]) / 2, middle + 1, "same weights,\nfrozen,\neach slice\nalone", va="top", color=BLUE
    )
    for x, stages, color, result in (
        (lefts[0], head, ORANGE, f"contrastive loss (Eq. 6);\n{head[0][0]} to {head[-1][0]} are then discarded"),
        (lefts[1], classifier, GREEN, "probability that the disc is abnormal"),
    ):
        page.arrow((x + width / 2, below - 0.8), (x + width / 2, below + 3))
        end = stack(stages, x, below + 3.4, color)
        page.arrow((x + width / 2, end - 0.8), (x + width / 2, end + 3.5))
        page.text(x + width / 2, end + 4, result, va="top")
    sizes = [sum(parameters for *_, parameters in stages) for stages in (extractor, head, classifier)]
    return described(
        page.fig,
        f"Two columns of layers. Stage 1: a slice passes the feature extractor, {extractor[0][0]} to "
        f"{extractor[-1][0]}, {sizes[0]:,} parameters, then {head[0][0]} to {head[-1][0]}, {sizes[1]:,} parameters, to "
        "the contrastive loss. Stage 2: a disc's three slices pass the same extractor, now frozen and drawn dashed, "
        f"and a classifier of {sizes[2]:,} parameters to a probability.",
    )


@styled
def fig05_pretraining(
    *,
    images: np.ndarray,
    crops: pd.DataFrame,
    views: np.ndarray,
    features: np.ndarray,
    probabilities: np.ndarray,
    loss: float,
) -> Figure:
    """Fig. 5: one pre-training step with two images.

    Parameters
    ----------
    images : np.ndarray, shape (2, W, W)
    crops : pd.DataFrame, 4 rows
        ``center``, ``angle_deg``, ``box``, ``skipped`` of each view, as `augment.sample_crops` returns them, pixels.
    views : np.ndarray, shape (4, W, W)
        Partners adjacent.
    features : np.ndarray, shape (4, d)
        Vectors x.
    probabilities : np.ndarray, shape (4, 4)
        P of Eq. 5; the diagonal is not drawn.
    loss : float
        Eq. 6 for these four views.
    """
    images, views, features = _expect("images", images, 3, 2), _expect("views", views, 3, 4), np.asarray(features)
    result = f"loss (Eq. 6) = {loss:.3f}" if loss >= 0.001 else "loss (Eq. 6) < 0.001"
    page = Canvas(PAGE, 115)
    lines, size, pitch = ((BLUE, "-"), (VERMILION, "--")), 22, 27
    tops = [8 + pitch * i for i in range(4)]
    for h, image in enumerate(images):
        y = tops[2 * h] + (pitch + size - 29) / 2
        ax = page.picture(image, 3, y, 29, f"image ${'AB'[h]}$")
        for i, (color, ls) in enumerate(lines, 2 * h):
            _crop(ax, crops.iloc[i], color, ls)
            page.arrow((33, y + 14.5), (47, tops[i] + size / 2), color=color, linestyle=ls)
        page.text(40, y + 3, "$f_T$")
    low, high = features.min(), features.max()
    for i, y in enumerate(tops):
        skipped = " (not cropped)" if crops.skipped.iloc[i] else ""
        color, ls = lines[i % 2]
        page.picture(views[i], 49, y, size, f"$m_{i + 1}${skipped}", edge=color, ls=ls)
        page.arrow((72, y + size / 2), (83, y + size / 2), r"$\hat{f}_E$")
        page.strip(features[i], 85, y + size / 2 - 3, 34, 6, cmap=FEATURES, vmin=low, vmax=high)
        page.text(102, y + size / 2 - 5, f"$x_{i + 1}$")
    ends = _ends(low, high).replace(" to ", "\nto ")
    page.text(102, tops[-1] + size / 2 + 6, f"{features.shape[1]} numbers, {ends}", va="top")
    page.arrow((120.5, 60), (131, 60))

    ax = page.axes(137, 38, 35, 35)
    ax.imshow(np.ma.masked_array(probabilities, np.eye(4, dtype=bool)), cmap=FEATURES, vmin=0, vmax=1)
    for i, j in np.ndindex(4, 4):
        if i != j:
            value = probabilities[i, j]
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", color="w" if value < 0.5 else "k", fontsize=SMALL)
            if i // 2 == j // 2:
                ax.add_patch(Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, ec=ORANGE, lw=1.6))
    ax.set(xticks=range(4), yticks=range(4))
    ax.set_xticklabels([f"$x_{j}$" for j in range(1, 5)])
    ax.set_yticklabels([f"$x_{i}$" for i in range(1, 5)])
    ax.tick_params(length=0)
    ax.set_title("$P_{i,j}$ (Eq. 5)", pad=3)
    page.text(154, 81, "framed: partners,\nP to be raised", color="0.2", fontsize=SMALL)
    page.arrow((154, 84), (154, 90))
    page.box(137, 91, 34, 8, result, ORANGE)
    for x, text in ((38, "(a) two views of each image"), (102, "(b) features"), (154, "(c) similarity")):
        page.text(x, 2.5, text, weight="bold")
    partner = np.eye(4, dtype=bool)[[1, 0, 3, 2]]
    others = ~(partner | np.eye(4, dtype=bool))
    return described(
        page.fig,
        "One pre-training step: two slices, each with the frames of two random crops, solid and dashed, and their "
        f"common centre; the four views; their vectors of {features.shape[1]} numbers as strips of colours; a table of "
        f"probabilities, at least {probabilities[partner].min():.2f} between partners and at most "
        f"{probabilities[others].max():.2f} between views of different slices; {result}.",
    )


def _crop(ax: Axes, crop: pd.Series, color: str, ls: str) -> None:
    """A view's crop in the original image (Eq. 12) and the operation centre O."""
    x0, y0, x1, y1 = crop.box
    if not crop.skipped:
        turned = {"angle": crop.angle_deg, "rotation_point": tuple(crop.center)}
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=color, lw=1.1, ls=ls, **turned))
    ax.plot(*crop.center, "+", color=ORANGE, ms=6, mew=1.4)


@styled
def fig06_blocks(*, first: Sequence[tuple[str, int]], last: Sequence[tuple[str, int]]) -> Figure:
    """Fig. 6: the fully connected blocks.

    Parameters
    ----------
    first, last : sequence of (layer type, output width)
        Layers of (a) blocks 1 to 3 and (b) block 4, in order.
    """
    line = 10
    page = Canvas(COLUMN, 12 + line * max(len(first), len(last)))
    colors = {name: color for (name, _), color in zip(first, (BLUE, GREY, GREEN, ORANGE), strict=False)}
    for x, title, layers in ((2, "(a) blocks 1 to 3", first), (45, "(b) block 4", last)):
        page.text(x + 19, 2, title, weight="bold")
        page.arrow((x + 19, 5), (x + 19, 10.5))
        for i, (name, width) in enumerate(layers):
            y = 11 + line * i
            page.box(x, y, 38, 6, f"{name}, {width}", colors.get(name, GREY))
            page.arrow((x + 19, y + 6.2), (x + 19, y + line - 0.4))
    chains = [_listed([name for name, _ in layers]) for layers in (first, last)]
    return described(
        page.fig,
        f"Two chains of layers, each {first[0][1]} wide: blocks 1 to 3 are {chains[0]}; block 4 is {chains[1]}.",
    )


@styled
def fig07_finetuning(
    *,
    slices: np.ndarray,
    box: Sequence[float],
    crops: np.ndarray,
    features: np.ndarray,
    weights: np.ndarray,
    bias: float,
    label: int,
) -> Figure:
    """Fig. 7: one labelled disc on its way through the frozen extractor and the linear unit.

    Parameters
    ----------
    slices, crops : np.ndarray, shape (3, W, W)
        Before and after the crop that the three share.
    box : sequence of float, (x0, y0, x1, y1)
        Pixels.
    features, weights : np.ndarray, shape (3, d)
        Of these crops, and of the linear unit; the probability drawn is computed from them.
    bias : float
    label : int
        1: abnormal.
    """
    slices, crops = _expect("slices", slices, 3, 3), _expect("crops", crops, 3, 3)
    features, weights = _expect("features", features, 2, 3), _expect("weights", weights, 2, 3)
    parts = (features * weights).sum(axis=1)
    h = float(parts.sum() + bias)
    probability = 1 / (1 + np.exp(-h))
    page = Canvas(PAGE, 95)
    size, tops = 25, (6, 35, 64)
    shades = {"vmin": features.min(), "vmax": features.max()}
    limit = np.abs(weights).max() or 1
    for i, y in enumerate(tops):
        middle = y + size / 2
        ax = page.picture(slices[i], 2, y, size, ["slices", "", ""][i])
        ax.add_patch(Rectangle(box[:2], box[2] - box[0], box[3] - box[1], fill=False, ec=ORANGE, lw=1.3))
        page.arrow((28, middle), (34, middle), color=ORANGE)
        page.picture(crops[i], 35, y, size, ["the same crop", "", ""][i], edge=ORANGE)
        page.arrow((61, middle), (66, middle))
        page.arrow((80, middle), (85, middle))
        page.text(104, middle - 8.5, f"features $x_{i + 1}$, {features.shape[1]}")
        page.strip(features[i], 86, middle - 6, 36, 4.5, cmap=FEATURES, **shades)
        page.strip(weights[i], 86, middle + 1, 36, 4.5, cmap=SIGNED, vmin=-limit, vmax=limit)
        page.text(104, middle + 8, f"weights; product {signed(parts[i])}")
        page.arrow((123, middle), (129, 48 + 3 * (i - 1)))
    page.box(67, 6, 12, 83, "", BLUE, linestyle="--")
    page.text(73, 47.5, "feature extractor $f_E$ (frozen)", rotation=90)
    ends = f"features: {_ends(*shades.values())}; weights: {_signed_ends(limit)}"
    page.text(172, 92, ends, ha="right", fontsize=SMALL)
    page.box(129.5, 40, 20, 16, f"sum\n+ bias {signed(bias)}\nh = {signed(h)}", GREEN)
    page.arrow((150.5, 48), (160.5, 48))
    page.text(155.5, 47, "sigmoid", va="bottom", fontsize=SMALL)
    gauge = page.axes(162, 24, 5, 48)
    gauge.bar(0, probability, color=GREEN, width=1)
    gauge.axhline(0.5, color="0.2", lw=0.8, ls="--")
    gauge.set(xlim=(-0.5, 0.5), ylim=(0, 1), xticks=[], yticks=[0, 0.5, 1])
    gauge.yaxis.tick_right()
    verdict = "abnormal" if label else "normal"
    page.text(159, 20, f"probability {probability:.2f}")
    page.text(159, 76, f"label: {verdict}")
    return described(
        page.fig,
        f"Three slices of a disc labelled {verdict}, the same crop of each, and its {features.shape[1]} features "
        f"beside their weights as strips of colours. The products {_listed([signed(part) for part in parts])} and the "
        f"bias {signed(bias)} add up to h = {signed(h)}, a probability of {probability:.2f}.",
    )


@styled
def fig08_roc(
    *, scores: Mapping[tuple[float, float], tuple[np.ndarray, np.ndarray]], auc: Mapping[tuple[float, float], Summary]
) -> Figure:
    """Fig. 8: ROC curves at four regularisation settings; a thin line per seed, a thick one for their mean.

    Parameters
    ----------
    scores : mapping of (w, dr) -> (labels (n,), scores (seeds, n))
    auc : mapping of (w, dr) -> mapping with mean, low, high
        As in Table 3 (`evaluate.over_seeds`).
    """
    fig = Figure(figsize=(MIDDLE * MM, 130 * MM), layout="constrained")
    grid, notes = np.linspace(0, 1, 501), []
    for letter, ax, (setting, (labels, rows)) in zip("abcd", fig.subplots(2, 2).flat, scores.items(), strict=True):
        curves = []
        for row in np.atleast_2d(rows):
            fpr, tpr, _ = roc_curve(labels, row, drop_intermediate=False)
            ax.plot(fpr, tpr, color=BLUE, lw=0.6, alpha=0.6)
            curves.append(np.interp(grid, fpr, tpr))
        ax.plot([0, *grid], [0, *np.mean(curves, axis=0)], color=BLUE, lw=1.8)
        ax.plot([0, 1], [0, 1], color="0.5", lw=0.8, ls=":")
        value, low, high = (auc[setting][key] for key in ("mean", "low", "high"))
        published = paper.TABLE3.get(setting, {}).get("AUC")
        note = f"AUC {value:.3f} [{low:.3f}, {high:.3f}]" + (f"\npaper {published:.4f}" if published else "")
        notes.append(f"{setting_text(setting)}: {note}".replace("\n", ", "))
        ax.text(0.98, 0.05, note, ha="right", va="bottom", transform=ax.transAxes)
        ax.set_title(f"({letter}) {setting_text(setting)}", loc="left")
        ticks = np.linspace(0, 1, 6)
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xticks=ticks, yticks=ticks)
        ax.set(xlabel="1 − specificity", ylabel="sensitivity")
        ax.label_outer()
    handles = [
        Line2D([], [], color=BLUE, lw=0.6),
        Line2D([], [], color=BLUE, lw=1.8),
        Line2D([], [], color="0.5", ls=":"),
    ]
    fig.legend(handles, ["one seed", "mean over seeds", "chance"], loc="outside upper center", ncols=3)
    return described(
        fig,
        "Four panels of ROC curves, sensitivity against 1 − specificity, thin for each seed and thick for their mean. "
        f"{'; '.join(notes)}.",
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
    names = [*ticks, _count_label("supv", known[-1], None)]
    seen = []
    for letter, metric, ax in zip("ab", ("ACC", "AUC"), fig.subplots(1, 2, sharey=True), strict=True):
        table = results[results.metric == metric]
        for model, color, marker in (("semi", BLUE, "o"), ("supv", VERMILION, "s")):
            rows = table[table.model == model].sort_values("labels")
            places = [counts.index(c) if model == "semi" else len(counts) for c in rows.labels]
            span = np.maximum([rows["mean"] - rows.low, rows.high - rows["mean"]], 0)  # limits may be a rounding off
            ax.errorbar(places, rows["mean"], span, fmt=f"{marker}-", color=color, ms=4.5, capsize=2.5, zorder=3)
            ends = [f"{row['mean']:.3f} with {row['labels']}" for _, row in rows.iterrows()]
            seen.append(f"{METRICS[metric]}, {model}: {' to '.join(dict.fromkeys([ends[0], ends[-1]]))} labels")
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
    names = ["semi-supervised, mean over seeds and 95 % interval", "supervised ResNet (supv)"]
    fig.legend(handles, names, loc="outside upper center", ncols=2)
    return described(
        fig,
        f"Two panels, accuracy and AUC with intervals, against {len(counts)} numbers of labels (semi) and for the "
        f"supervised baseline (supv). {'; '.join(seen)}.",
    )


def _count_label(count: Any, published: int | None, full: int | None) -> str:
    lines = [f"{count}", f"{published}" if published else "–"]
    return "\n".join([*lines, f"{count / full:.0%}" if full else "100%"])


@styled
def fig10_heatmaps(
    *,
    slices: np.ndarray,
    heat: np.ndarray,
    slice_weights: np.ndarray,
    levels: Sequence[str],
    probabilities: Sequence[float],
) -> Figure:
    """Fig. 10: heatmaps of discs called abnormal; odd rows the slices, even rows with the heat on top.

    Parameters
    ----------
    slices, heat : np.ndarray, shape (k, 3, W, W)
        Three cross-sections of k discs, and their heat in [0, 1]; the paper shows k = 3.
    slice_weights : np.ndarray, shape (k, 3)
        Each slice's share.
    levels : sequence of str
        Such as "L4-L5".
    probabilities : sequence of float
    """
    slices, heat = _expect("slices", slices, 4), _expect("heat", heat, 4, len(slices))
    size, gap, left = 30, 1.5, 16
    pair, width = 2 * (size + gap) + 6, 3 * (size + gap)
    page = Canvas(MIDDLE, 5 + pair * len(slices))
    order = ("upper", "middle", "lower")
    seen = []
    for k in range(len(slices)):
        y = 5 + pair * k
        page.text(left - 2, y + size + 2, f"disc {k + 1}\n{levels[k]}\np = {probabilities[k]:.2f}", ha="right")
        for i in range(3):
            x = left + (size + gap) * i
            page.picture(slices[k, i], x, y, size, f"{order[i]} slice" if k == 0 else "")
            ax = page.axes(x, y + size + 5, size, size)
            overlay(ax, slices[k, i], heat[k, i])
            ax.set_title(f"weight {slice_weights[k][i]:.3f}", pad=3)
        most = int(np.argmax(slice_weights[k]))
        seen.append(
            f"Disc {k + 1}, {levels[k]}, probability {probabilities[k]:.2f}: most weight, "
            f"{slice_weights[k][most]:.3f}, on the {order[most]} slice, hottest {place_of(heat[k, most])}."
        )
    bar = page.axes(left + width + 1, 5, 3, pair * len(slices) - 11)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), HEAT)
    page.fig.colorbar(scale, cax=bar, label="heat, each slice's largest is 1")
    return described(
        page.fig,
        f"{len(slices)} discs called abnormal, each with its three slices and, below, the same slices under the heat. "
        + " ".join(seen),
    )


@styled
def tiles(samples: np.ndarray, titles: Sequence[str]) -> Figure:
    """Disc samples as rows of slices, two samples beside each other.

    Parameters
    ----------
    samples : np.ndarray, shape (k, 3, W, W)
    titles : sequence of str
        One for each sample.
    """
    rows = -(-len(samples) // 2)
    fig = Figure(figsize=(PAGE * MM, rows * 33 * MM), layout="constrained")
    grid = fig.add_gridspec(rows, 7, width_ratios=(1, 1, 1, 0.2, 1, 1, 1))
    for number, (sample, title) in enumerate(zip(samples, titles, strict=True)):
        for place, image in enumerate(sample):
            ax = fig.add_subplot(grid[number // 2, number % 2 * 4 + place])
            show(ax, np.asarray(image, np.float32))
            ax.set_title("" if place else title, loc="left")
    kinds = [f"{number} {title}" for title, number in Counter(titles).items()]
    return described(fig, f"{len(samples)} samples of three slices, cranial to caudal, each: {_listed(kinds)}.")


@styled
def pretraining_curves(history: pd.DataFrame) -> Figure:
    """Loss and contrastive accuracy at every look of the pre-training.

    Parameters
    ----------
    history : pd.DataFrame
        ``steps``, ``loss`` (per view, above log(2n - 1)), ``accuracy``, ``validation_accuracy``.
    """
    fig = Figure(figsize=(MIDDLE * MM, 58 * MM), layout="constrained")
    left, right = fig.subplots(1, 2)
    left.plot(history.steps, history.loss, color=BLUE, marker="o", ms=3)
    left.axhline(0, color="0.5", lw=0.8, ls=":", label="views cannot be told apart")
    left.set(xlabel="optimisation steps", ylabel="loss per view − log(2n − 1)")
    left.legend(loc="upper right", borderpad=0)
    right.plot(history.steps, history.accuracy, color=BLUE, marker="o", ms=3, label="training, 2n views")
    held_out = "held-out slices, all at once"
    right.plot(history.steps, history.validation_accuracy, color=VERMILION, marker="s", ms=3, ls="--", label=held_out)
    right.set(xlabel="optimisation steps", ylabel="contrastive accuracy", ylim=(0, 1))
    right.legend(loc="upper right", borderpad=0)
    first, last = history.iloc[0], history.iloc[-1]
    return described(
        fig,
        f"Two curves over {last.steps:.0f} optimisation steps. Loss per view above log(2n − 1): from "
        f"{signed(first.loss)} to {signed(last.loss)}. Contrastive accuracy: from {first.accuracy:.2f} to "
        f"{last.accuracy:.2f} in training, from {first.validation_accuracy:.2f} to {last.validation_accuracy:.2f} on "
        "held-out slices.",
    )
