"""The paper's figures of its method, 1 to 7, drawn from arrays and data frames.

A function per figure; it takes plain values, returns a `matplotlib.figure.Figure` with its alternative text, and
neither loads data nor computes a result. Slices are shown on one grey scale from 0 to 1. The look is that of `style`;
`publish` saves and shows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lhdlib.figures.style import (
    BLUE,
    FEATURES,
    GREEN,
    GREY,
    HEAT,
    MIDDLE,
    ORANGE,
    PAGE,
    SIGNED,
    SMALL,
    VERMILION,
    Canvas,
    described,
    expect,
    overlay,
    styled,
)
from lhdlib.figures.words import layer_text, listed, place_of, scale_ends, shape_text, signed, signed_ends

Stage = tuple[str, Sequence[int], int]
LAYERS = {"Dense": BLUE, "BatchNormalization": GREY, "ReLU": GREEN, "Dropout": ORANGE}  # colours in Fig. 6


@styled
def fig01_autoencoder(
    *, slices: np.ndarray, reconstructions: np.ndarray, codes: np.ndarray, layers: Sequence[tuple[str, Sequence[int]]]
) -> Figure:
    """Fig. 1: an autoencoder's layers, and slices (k, W, W) with their codes (k, d) and reconstructions.

    Parameters
    ----------
    layers : sequence of (name, shape)
        Output shape of every layer from the image to the reconstruction, without the batch; one is named "code".

    Raises
    ------
    ValueError
        For other shapes, or without such a layer.
    """
    slices, codes = expect("slices", slices, 3), expect("codes", codes, 2, first=len(slices))
    reconstructions = expect("reconstructions", reconstructions, 3, first=len(slices))
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
        words = layer_text(name).replace(" ", "\n")
        page.text(x, 41.5 + 10.5 * (i % 2), f"{words}\n{shape_text(shape)}", fontsize=SMALL, va="top")
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
        page.arrow((33, y + size / 2), (42, y + size / 2), text="$f_E$")
        page.strip(codes[k], 44, y + size / 2 - 3, 82, 6, cmap=SIGNED, vmin=-limit, vmax=limit)
        page.text(85, y + size / 2 + 6, f"root mean square error {error:.3f}")
        page.arrow((128, y + size / 2), (137, y + size / 2), text="$f_D$")
        page.picture(reconstructions[k], 141, y, size)
    page.text(left + size / 2, 65, "slice")
    page.text(85, 69, f"code, {codes.shape[1]} numbers, {signed_ends(limit)}")
    page.text(141 + size / 2, 65, "reconstruction")
    return described(
        page.fig,
        f"Autoencoder of {len(layers)} layers: an image of {shape_text(layers[0][1])} narrows to a code of "
        f"{codes.shape[1]} numbers and widens again. Below, {len(slices)} slices, each beside its code as a strip of "
        f"colours and its reconstruction; root mean square error {errors.min():.3f} to {errors.max():.3f}.",
    )


@styled
def fig02_contrastive(*, images: np.ndarray, views: np.ndarray) -> Figure:
    """Fig. 2: two views of one image attract, views of different images repel each other.

    Parameters
    ----------
    views : np.ndarray, shape (4, W, W)
        Partners adjacent: A1, A2, B1, B2.
    """
    images, views = expect("images", images, 3, first=2), expect("views", views, 3, first=4)
    page = Canvas(MIDDLE, 86)
    size, columns, rows = 26, (56, 101), (6, 47)
    places = [(x, y) for y in rows for x in columns]
    for image, name, y in zip(images, "AB", rows, strict=True):
        page.picture(image, 2, y, size, title=f"image ${name}$")
        page.arrow((30, y + size / 2), (54, y + size / 2), text="$f_T$, twice")
        page.text(42, y + size / 2 + 1.5, "turn, crop,\nflip, brightness,\ncontrast, blur", va="top", fontsize=SMALL)
    for view, name, (x, y) in zip(views, ("$A_1$", "$A_2$", "$B_1$", "$B_2$"), places, strict=True):
        page.picture(view, x, y, size, title=name)
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
    below = rows[1] + size + 4
    page.text(columns[0], below, "solid: inner product of the features to be raised", ha="left", color=BLUE)
    page.text(columns[0], below + 5, "dashed: to be lowered", ha="left", color=VERMILION)
    return described(
        page.fig,
        "Slices A and B, each with two random views: turned, cropped, flipped, brightened, blurred. Thick solid "
        "arrows join the two views of one slice, marked similar; dashed ones join each view of A with each of B, "
        "marked different.",
    )


@styled
def fig03_gradcam(
    *,
    image: np.ndarray,
    feature_maps: np.ndarray,
    gradients: np.ndarray,
    weights: np.ndarray,
    heatmap: np.ndarray,
    logit: float,
    seen: tuple[float, float] = (0.0, 1.0),
    channels: int = 4,
) -> Figure:
    """Fig. 3: the steps of Grad-CAM on one slice, with the channels that add most to the heat.

    Parameters
    ----------
    feature_maps, gradients : np.ndarray, shape (u, v, n)
        A and dh/dA.
    weights : np.ndarray, shape (n,)
        Of the channels (Eq. 7, or Eq. 18).
    heatmap : np.ndarray, shape (W, W)
        In [0, 1].
    logit : float
        h, the classifier's output before the sigmoid.
    seen
        What the network sees of a side (`augment.seen_side`).
    """
    feature_maps, gradients = expect("feature_maps", feature_maps, 3), expect("gradients", gradients, 3)
    strongest = np.argsort(-weights * feature_maps.mean(axis=(0, 1)), kind="stable")[:channels]
    page = Canvas(PAGE, 112)
    size, pitch, left = 20, 23, 50
    page.picture(image, 3, 5, 28, title="slice")
    page.arrow((32, 19), (left - 1, 19), text="extractor")
    peak, limit = feature_maps[..., strongest].max() or 1, np.abs(gradients[..., strongest]).max() or 1
    for place, k in enumerate(strongest):
        x = left + pitch * place
        page.picture(feature_maps[..., k], x, 9, size, title=f"$A^{{({k + 1})}}$", cmap=FEATURES, vmin=0, vmax=peak)
        slopes = page.picture(gradients[..., k], x, 42, size, cmap=SIGNED, vmin=-limit, vmax=limit)
        slopes.set_title(rf"$\partial h/\partial A^{{({k + 1})}}$", pad=3)
        page.text(x + size / 2, 65, f"w = {signed(weights[k], form='.2g')}")
    end = left + pitch * len(strongest)
    page.text((left + end) / 2, 32.5, f"feature maps that add most to the heat, {scale_ends(0, peak)}")
    page.text(
        (left + end) / 2, 69.5, "flat: h depends on each map through its mean alone, on all cells alike", color="0.3"
    )
    page.arrow((end, 19), (156, 19), text="pooling,\nclassifier")
    page.box(157, 14, 14, 10, f"h\n{signed(logit)}", BLUE)
    page.arrow((164, 25), (end, 52), color=VERMILION)
    page.text(159, 44, "back-\npropagation", color=VERMILION)
    ends = signed_ends(limit).replace(" to ", "\nto ")
    page.text(left - 3, 52, f"gradients of h,\n{ends}", ha="right")

    bars = page.axes(20, 76, 45, 24)
    ranked = np.sort(weights)[::-1]
    bars.fill_between(np.arange(1, len(ranked) + 1), ranked, step="mid", color=BLUE, lw=0)
    bars.set(xlabel=f"channels by weight (n = {len(ranked)})", ylabel="weight $w_k$", xlim=(0.5, len(ranked) + 0.5))
    bars.locator_params(nbins=4)
    page.arrow((68, 87), (95, 87), text=r"ReLU($\sum_k w_k A^{(k)}$)")
    page.picture(heatmap, 97, 74, 28, title="heat", cmap=HEAT)
    page.text(111, 104.5, scale_ends(0, 1))
    page.arrow((127, 87), (141, 87))
    mixed = page.axes(143, 74, 28, 28)
    overlay(mixed, image, heatmap, seen=seen)
    mixed.set_title("heat on the slice", pad=3)
    return described(
        page.fig,
        f"Grad-CAM in steps: a slice; the {len(strongest)} of its {len(ranked)} feature maps that add most to the "
        f"heat, {shape_text(feature_maps.shape[:2])} cells each; their gradients, the same in every cell, with weights "
        f"{listed([signed(weights[k], form='.2g') for k in strongest])}; a bar chart of all weights, "
        f"{(ranked > 0).sum()} of them positive; the heat, hottest {place_of(heatmap)}, alone and on the slice. "
        f"The classifier's output h is {signed(logit)}.",
    )


@styled
def fig04_structure(
    *,
    disc: np.ndarray,
    extractor: Sequence[Stage],
    head: Sequence[Stage],
    classifier: Sequence[Stage],
    blocks: Mapping[str, Sequence[tuple[str, int]]],
) -> Figure:
    """Fig. 4: the two stages, with the layers of the models as built; and Fig. 6: what a fully connected block is.

    Parameters
    ----------
    disc : np.ndarray, shape (3, W, W)
        A sample's slices; the first also stands for an unlabelled slice.
    extractor, head, classifier : sequence of (name, output shape, parameters)
        The stages kept for fine-tuning, those used in pre-training only, and the classifier's.
    blocks : mapping of name -> sequence of (type of layer, output width)
    """
    disc = expect("disc", disc, 3, first=3)
    line, width, top = 6.5, 66, 33
    chains = top + line * (len(extractor) + max(len(head), len(classifier))) + 18
    page = Canvas(PAGE, chains + 11.5 * len(blocks))
    lefts = (4, 104)

    def stack(stages, x, y, color, **options):
        for name, shape, parameters in stages:
            page.box(x, y, width, line - 1.2, "", color, **options)
            middle = y + (line - 1.2) / 2
            page.text(x + 1.5, middle, name, ha="left")
            page.text(x + 42, middle, shape_text(shape), ha="right")
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
    columns = ((1.5, "layer", "left"), (42, "output", "right"), (width - 1.5, "parameters", "right"))
    for x in lefts:
        page.arrow((x + width / 2, 25), (x + width / 2, top - 4))
        for place, title, ha in columns:
            page.text(x + place, top - 2, title, ha=ha, color="0.3", fontsize=SMALL)
    below = stack(extractor, lefts[0], top, BLUE)
    stack(extractor, lefts[1], top, BLUE, linestyle="--")
    middle, between = (top + below) / 2, (lefts[0] + width + 1, lefts[1] - 1)
    page.arrow((between[0], middle), (between[1], middle), text="feature\nextractor $f_E$", color=BLUE, lw=1.5)
    page.text(sum(between) / 2, middle + 1, "same weights,\nfrozen,\neach slice\nalone", va="top", color=BLUE)
    for x, stages, color, result in (
        (lefts[0], head, ORANGE, f"contrastive loss (Eq. 6);\n{head[0][0]} to {head[-1][0]} are then discarded"),
        (lefts[1], classifier, GREEN, "probability that the disc is abnormal"),
    ):
        page.arrow((x + width / 2, below - 0.8), (x + width / 2, below + 3))
        end = stack(stages, x, below + 3.4, color)
        page.arrow((x + width / 2, end - 0.8), (x + width / 2, end + 3.5))
        page.text(x + width / 2, end + 4, result, va="top")
    for place, (name, layers) in enumerate(blocks.items()):
        _chain(page, chains + 11.5 * place, name, layers)
    sizes = [sum(parameters for *_, parameters in stages) for stages in (extractor, head, classifier)]
    return described(
        page.fig,
        f"Two columns of layers. Stage 1: a slice passes the feature extractor, {extractor[0][0]} to "
        f"{extractor[-1][0]}, {sizes[0]:,} parameters, then {head[0][0]} to {head[-1][0]}, {sizes[1]:,} parameters, to "
        "the contrastive loss. Stage 2: a disc's three slices pass the same extractor, now frozen and drawn dashed, "
        f"and a classifier of {sizes[2]:,} parameters to a probability. Below, what the blocks are made of: "
        f"{'; '.join(f'{name}, {listed([layer for layer, _ in layers])}' for name, layers in blocks.items())}.",
    )


def _chain(page: Canvas, y: float, name: str, layers: Sequence[tuple[str, int]]) -> None:
    """The layers of a fully connected block from left to right (Fig. 6)."""
    page.text(4, y + 4.5, name, ha="left", weight="bold")
    for i, (layer, width) in enumerate(layers):
        x = 27 + 36.5 * i
        page.arrow((x - 2.9, y + 4.5), (x - 0.4, y + 4.5), mutation_scale=4)
        page.box(x, y, 32.5, 9, f"{layer}\n{width:,}", LAYERS.get(layer, GREY), linestyle="-")


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
    crops : pd.DataFrame, 4 rows
        ``center``, ``angle_deg``, ``box``, ``skipped`` of each view, as `augment.sample_crops` gives them, pixels.
    views : np.ndarray, shape (4, W, W)
        Partners adjacent.
    features : np.ndarray, shape (4, d)
        x in Eq. 5.
    probabilities : np.ndarray, shape (4, 4)
        P of Eq. 5; the diagonal is not drawn.
    loss : float
        Eq. 6 for these four views.
    """
    images, views = expect("images", images, 3, first=2), expect("views", views, 3, first=4)
    features = expect("features", features, 2, first=4)
    result = f"loss (Eq. 6) = {loss:.3f}" if loss >= 0.001 else "loss (Eq. 6) < 0.001"
    page = Canvas(PAGE, 115)
    lines, size, pitch = ((BLUE, "-"), (VERMILION, "--")), 22, 27
    tops = [8 + pitch * i for i in range(4)]
    for h, image in enumerate(images):
        y = tops[2 * h] + (pitch + size - 29) / 2
        ax = page.picture(image, 3, y, 29, title=f"image ${'AB'[h]}$")
        for i, (color, ls) in enumerate(lines, 2 * h):
            _crop(ax, crops.iloc[i], color, ls)
            page.arrow((33, y + 14.5), (47, tops[i] + size / 2), color=color, linestyle=ls)
        page.text(40, y + 3, "$f_T$")
    low, high = features.min(), features.max()
    for i, y in enumerate(tops):
        skipped = " (not cropped)" if crops.skipped.iloc[i] else ""
        color, ls = lines[i % 2]
        page.picture(views[i], 49, y, size, title=f"$m_{i + 1}${skipped}", edge=color, ls=ls)
        page.arrow((72, y + size / 2), (83, y + size / 2), text=r"$\hat{f}_E$")
        page.strip(features[i], 85, y + size / 2 - 3, 34, 6, cmap=FEATURES, vmin=low, vmax=high)
        page.text(102, y + size / 2 - 5, f"$x_{i + 1}$")
    ends = scale_ends(low, high).replace(" to ", "\nto ")
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
    """Fig. 7: one labelled disc on its way through the frozen extractor and the linear classifier.

    Parameters
    ----------
    slices, crops : np.ndarray, shape (3, W, W)
        Before and after the crop that the three share.
    box : sequence of float, (x0, y0, x1, y1)
        Pixels.
    features, weights : np.ndarray, shape (3, d)
        Features of these crops, weights of the classifier; the probability drawn is computed from them.
    label : int
        1: abnormal.
    """
    slices, crops = expect("slices", slices, 3, first=3), expect("crops", crops, 3, first=3)
    features, weights = expect("features", features, 2, first=3), expect("weights", weights, 2, first=3)
    parts = (features * weights).sum(axis=1)
    h = float(parts.sum() + bias)
    probability = 1 / (1 + np.exp(-h))
    page = Canvas(PAGE, 95)
    size, tops = 25, (6, 35, 64)
    shades = {"vmin": features.min(), "vmax": features.max()}
    limit = np.abs(weights).max() or 1
    for i, y in enumerate(tops):
        middle = y + size / 2
        ax = page.picture(slices[i], 2, y, size, title=["slices", "", ""][i])
        ax.add_patch(Rectangle(box[:2], box[2] - box[0], box[3] - box[1], fill=False, ec=ORANGE, lw=1.3))
        page.arrow((28, middle), (34, middle), color=ORANGE)
        page.picture(crops[i], 35, y, size, title=["the same crop", "", ""][i], edge=ORANGE)
        page.arrow((61, middle), (66, middle))
        page.arrow((80, middle), (85, middle))
        page.text(104, middle - 8.5, f"features $x_{i + 1}$, {features.shape[1]}")
        page.strip(features[i], 86, middle - 6, 36, 4.5, cmap=FEATURES, **shades)
        page.strip(weights[i], 86, middle + 1, 36, 4.5, cmap=SIGNED, vmin=-limit, vmax=limit)
        page.text(104, middle + 8, f"weights; product {signed(parts[i])}")
        page.arrow((123, middle), (129, 48 + 3 * (i - 1)))
    page.box(67, 6, 12, 83, "", BLUE, linestyle="--")
    page.text(73, 47.5, "feature extractor $f_E$ (frozen)", rotation=90)
    ends = f"features: {scale_ends(*shades.values())}; weights: {signed_ends(limit)}"
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
        f"beside their weights as strips of colours. The products {listed([signed(part) for part in parts])} and the "
        f"bias {signed(bias)} add up to h = {signed(h)}, a probability of {probability:.2f}.",
    )
