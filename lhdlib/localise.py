"""Do the heatmaps point at the lesion? Scores against truth masks, deletion and insertion, and sanity checks.

Everything is measured on heat of the size at which it is drawn (`gradcam.upsample`), slice by slice. "Near" a lesion is
what lies within `TOLERANCE_MM` of its mask; a slice "shows" a lesion when the mask covers half of at least one pixel.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image
from scipy import ndimage, special, stats

from lhdlib import gradcam
from lhdlib import profile as profiles
from lhdlib.data import phantom, resampling
from lhdlib.errors import UserError
from lhdlib.evaluate import Estimate, patient_mean
from lhdlib.model import forward
from lhdlib.progress import progress_bar

TOLERANCE_MM = 5.0
TOLERANCES_MM = (0.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0)
HOT = 0.05  #: share of a slice's pixels that count as hot for the overlap
SAME = 1 - 1e-5  #: heat of this share counts as equal: enlarging a constant map leaves rounding noise
MARGIN = 0.2  #: what the pointing game has to gain over random maps
CHANGED = 0.5  #: below this rank correlation a map counts as changed
SHARES = np.linspace(0, 1, 9)  #: of pixels deleted or inserted
DISCS = 30  #: whose deletion and insertion curves are drawn
MEASURES = ("pointing", "weighted pointing", "heat share", "overlap", "slice rank")

#: Grey values of the public label masks (doi:10.17632/zbf6b4pttk).
TISSUES = {50: "disc", 100: "posterior element", 150: "thecal sac", 200: "area between", 250: "other"}
LABEL_LEVELS = {"D3": "L3-L4", "D4": "L4-L5", "D5": "L5-S1"}
LABEL_NAME = re.compile(r"L\d_(\d{4})_(D[345])\.png")
MAX_LABEL_BYTES, MAX_LABEL_SIDE = 4_000_000, 1024


# Truth on the store's grid


def truth_masks(archive: Path) -> Mapping[str, np.ndarray] | None:
    """Lesion masks by SOPInstanceUID that lie beside a phantom's archive; None where there are none."""
    folder = archive.parent
    return phantom.load_truth(folder)[1] if (folder / "truth" / "discs.csv").is_file() else None


def lesion_cover(
    masks: Mapping[str, np.ndarray], slices: pd.DataFrame, rows: np.ndarray, settings: profiles.Data
) -> np.ndarray:
    """Share of each pixel of the store's slices that the lesion covers.

    Parameters
    ----------
    masks : mapping of SOPInstanceUID -> np.ndarray of bool
        In the grid of the DICOM slice.
    slices : pd.DataFrame
        Of `dataset.Dataset`.
    rows : np.ndarray of int, shape (n, 3)
    settings : profiles.Data

    Returns
    -------
    np.ndarray, shape (n, 3, W, W), float32

    Raises
    ------
    UserError
        When a slice has no mask, or one of another shape.
    """
    needed = slices.loc[np.unique(rows)]
    found = {}
    for slice_ in needed.itertuples():
        mask = masks.get(slice_.sop_uid)
        if mask is None or mask.shape != (slice_.rows, slice_.columns):
            raise UserError(f"The truth has no mask that fits {slice_.path}: it belongs to another archive; remove it.")
        spacing = (slice_.row_spacing, slice_.column_spacing)
        found[slice_.Index] = resampling.resample(mask, spacing, settings.image_size, settings.field_of_view_mm)
    return np.stack([[found[row] for row in sample] for sample in rows])


def pixel_mm(slices: pd.DataFrame, rows: np.ndarray, settings: profiles.Data) -> np.ndarray:
    """Side of a pixel of the store in each slice, mm: the shape of `rows`."""
    extent = np.maximum(slices["rows"] * slices.row_spacing, slices["columns"] * slices.column_spacing).to_numpy()
    side = np.full(len(slices), settings.field_of_view_mm) if settings.field_of_view_mm else extent
    return side[rows] / settings.image_size


def distance_mm(cover: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest one at least half covered; infinite in slices without such a pixel.

    Parameters
    ----------
    cover : np.ndarray, shape (n, 3, W, W)
    pixel : np.ndarray, shape (n, 3)
        mm.

    Returns
    -------
    np.ndarray, shape (n, 3, W, W)
        mm.
    """
    distance = np.full(cover.shape, np.inf, np.float32)
    for index in np.ndindex(cover.shape[:2]):
        mask = cover[index] >= 0.5
        if mask.any():
            distance[index] = ndimage.distance_transform_edt(~mask, sampling=pixel[index])
    return distance


# Scores of single slices: all broadcast over the leading axes


def hottest(heat: np.ndarray) -> np.ndarray:
    """Where the hottest point of each map lies: adds up to 1 over (W, W), equally hot pixels share it."""
    peak = heat >= SAME * heat.max(axis=(-2, -1), keepdims=True)
    return peak / peak.sum(axis=(-2, -1), keepdims=True, dtype=np.float32)


def share_of_heat(heat: np.ndarray) -> np.ndarray:
    """Each pixel's share of its map's heat; equal shares in a map without heat."""
    total = heat.sum(axis=(-2, -1), keepdims=True)
    even = np.full_like(heat, 1 / np.prod(heat.shape[-2:]))
    return np.divide(heat, total, out=even, where=total > 0)


def inside(distribution: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Sum of a distribution (..., W, W) over a mask (..., W, W)."""
    return np.einsum("...ij,...ij->...", distribution, near.astype(np.float32))


def overlap(heat: np.ndarray, near: np.ndarray, hot: float = HOT) -> np.ndarray:
    """Intersection over union of a mask and the hottest share `hot` of the pixels (more where they are equally hot)."""
    flat = heat.reshape(*heat.shape[:-2], -1)
    hottest_pixels = heat >= SAME * np.quantile(flat, 1 - hot, axis=-1)[..., None, None]
    both = inside(hottest_pixels.astype(np.float32), near)
    return both / (hottest_pixels.sum(axis=(-2, -1)) + near.sum(axis=(-2, -1)) - both)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the last axis, broadcast over the others; nan where either side is constant."""
    ranks = [stats.rankdata(values, axis=-1) for values in (one, other)]
    a, b = (r - r.mean(axis=-1, keepdims=True) for r in ranks)
    product = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return np.divide((a * b).sum(-1), product, out=np.full(product.shape, np.nan), where=product > 0)


# The maps against the truth


def compared_maps(
    maps: np.ndarray, classic: np.ndarray, normal: np.ndarray, cover: np.ndarray, draws: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """The heat that is scored, each ``(k, n or 1, 3 or 1, W, W)`` with k equally likely maps for a slice.

    Parameters
    ----------
    maps, classic : np.ndarray, shape (n, 3, u, v)
        The paper's and classic Grad-CAM's.
    normal : np.ndarray, shape (m, 3, u, v)
        The paper's maps of normal discs.
    cover : np.ndarray, shape (n, 3, W, W)
    draws, seed : int
        Of the random maps.

    Returns
    -------
    dict
        ``paper``; ``aligned``: the same maps drawn where their cells look (`aligned`); ``classic``; ``random``:
        independent uniform values in every cell; ``centre``: a round hill; ``fixed``: the mean map of normal discs, one
        for all discs; ``ceiling``: the lesion itself seen through the cells of the map.
    """
    (u, v), size = maps.shape[2:], cover.shape[-1]
    rng = np.random.default_rng([seed, 51])
    y, x = ((np.arange(n) - (n - 1) / 2) / n for n in (u, v))
    rows, columns = (resampling.area_weights(size, 0, size, n) for n in (u, v))
    coarse = {
        "paper": maps[None],
        "classic": classic[None],
        "random": rng.random((draws, 1, 1, u, v)),
        "centre": np.exp(-(y[:, None] ** 2 + x**2) / (2 * 0.25**2))[None, None, None],
        "fixed": normal.mean(axis=0)[None, None],
        "ceiling": (rows @ cover @ columns.T)[None],
    }
    heat = {name: upsampled(gradcam.normalise(np.asarray(m, np.float32)), size) for name, m in coarse.items()}
    return heat | {"aligned": aligned(maps, size)[None]}


def aligned(maps: np.ndarray, size: int) -> np.ndarray:
    """Upsample maps so that each cell lies on the pixel at the centre of its receptive field.

    Every stride of the network keeps the first of two positions and every convolution is padded evenly, so cell i
    looks at pixel ``stride * i``; enlarging the map as a picture puts it half a cell further to the right and down.

    Parameters
    ----------
    maps : np.ndarray, shape (..., u, v)
    size : int
        W.

    Returns
    -------
    np.ndarray, shape (..., W, W), float32
        In [0, 1]; the last cell's value beyond its pixel.
    """
    stride = 2 ** int(np.ceil(np.log2(size / maps.shape[-1])))
    place = np.meshgrid(*[np.arange(size) / stride] * 2, indexing="ij")
    flat = maps.reshape(-1, *maps.shape[-2:])
    large = np.stack([ndimage.map_coordinates(m, place, np.float32, order=3, mode="nearest") for m in flat])
    return np.clip(large, 0, 1).reshape(*maps.shape[:-2], size, size)


def compared_weights(
    slice_weight: np.ndarray, normal: np.ndarray, draws: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Slice weights that are scored, by kind as in `compared_maps`: (n, 3) and (m, 3) -> each ``(k, n or 1, 3)``."""
    random = np.random.default_rng([seed, 55]).dirichlet(np.ones(3), (draws, len(slice_weight)))
    return {"paper": slice_weight[None], "random": random, "fixed": normal.mean(axis=0)[None, None]}


def upsampled(maps: np.ndarray, size: int) -> np.ndarray:
    """`gradcam.upsample` for maps (..., u, v)."""
    return gradcam.upsample(maps.reshape(-1, *maps.shape[-2:]), size).reshape(*maps.shape[:-2], size, size)


def measure(
    heat: Mapping[str, np.ndarray],
    slice_weight: Mapping[str, np.ndarray],
    cover: np.ndarray,
    distance: np.ndarray,
    patients: np.ndarray,
    seed: int = 0,
) -> dict:
    """Scores of every kind of map, with intervals that resample patients.

    Of a sample: *pointing* is the share of the slices showing the lesion whose hottest point is near it; *weighted
    pointing* the sum of the slices' weights (a third each where a kind has none) over the slices, out of all three,
    whose hottest point is near the lesion; *heat share* the share of the heat that is near, and *overlap* the
    intersection over union of the near pixels with the hottest ones, both averaged over the slices showing it; *slice
    rank* is Spearman's correlation of the three slice weights with the lesion's area in the three slices.

    Parameters
    ----------
    heat : mapping of kind -> np.ndarray, shape (k, n or 1, 3 or 1, W, W)
        With ``paper`` (`compared_maps`).
    slice_weight : mapping of kind -> np.ndarray, shape (k, n or 1, 3)
    cover, distance : np.ndarray, shape (n, 3, W, W)
        `lesion_cover`, `distance_mm`.
    patients : np.ndarray, shape (n,)

    Returns
    -------
    dict
        Each measure (``pointing``, ``heat_share``, ...) -> kind -> ``value, low, high``; ``difference_<kind>``: the
        paper's pointing minus that kind's; ``differences``: the same for every measure, and ``aligned_random``, the
        pointing of the aligned maps minus that of random ones; ``tolerance``: the pointing
        of each kind at each of ``tolerances_mm``; ``discs``, ``patients``, ``tolerance_mm``, ``hot``, ``margin``.
    """
    near, shown = distance <= TOLERANCE_MM, np.isfinite(distance).any(axis=(2, 3))
    area = cover.sum(axis=(2, 3))
    scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in MEASURES}
    curves = {}
    for kind, values in heat.items():
        place = hottest(values).mean(axis=0)
        hits, weight = inside(place, near), slice_weight.get(kind, np.full((1, 1, 3), 1 / 3))
        scores["pointing"][kind] = _over(hits, shown)
        scores["weighted pointing"][kind] = (weight.mean(axis=0) * hits).sum(axis=1)
        scores["heat share"][kind] = _over(inside(share_of_heat(values).mean(axis=0), near), shown)
        scores["overlap"][kind] = _over(overlap(values, near).mean(axis=0), shown)
        if kind in slice_weight:
            scores["slice rank"][kind] = rank_correlation(weight, area).mean(axis=0)
        curves[kind] = [float(np.nanmean(_over(inside(place, distance <= t), shown))) for t in TOLERANCES_MM]

    def estimate(values: np.ndarray, least: float = -1.0) -> dict[str, float]:
        return patient_mean(values, patients, (least, 1.0), seed=seed)._asdict()

    summaries = {
        name: {kind: estimate(found, -1.0 if name == "slice rank" else 0.0) for kind, found in kinds.items()}
        for name, kinds in scores.items()
    }
    differences = {
        _key(name): {kind: estimate(kinds["paper"] - values) for kind, values in kinds.items() if kind != "paper"}
        for name, kinds in scores.items()
    }
    pointing = scores["pointing"]
    differences["pointing"]["aligned_random"] = estimate(pointing["aligned"] - pointing["random"])
    return {
        **{_key(name): kinds for name, kinds in summaries.items()},
        **{f"difference_{kind}": value for kind, value in differences["pointing"].items()},
        "differences": differences,
        "tolerance": curves,
        "tolerances_mm": TOLERANCES_MM,
        "discs": int(shown.any(axis=1).sum()),
        "patients": len(np.unique(patients)),
        "tolerance_mm": TOLERANCE_MM,
        "hot": HOT,
        "margin": MARGIN,
    }


def _key(name: str) -> str:
    return name.replace(" ", "_")


def _over(values: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Mean of values (n, 3) over the slices shown; nan where none is."""
    count = shown.sum(axis=1)
    return np.divide((values * shown).sum(axis=1), count, out=np.full(len(shown), np.nan), where=count > 0)


# Without truth: deletion, insertion, sanity checks


def perturb(
    extractor: keras.Model,
    slices: np.ndarray,
    heat: np.ndarray,
    weights: np.ndarray,
    bias: float,
    shares: np.ndarray = SHARES,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Deletion and insertion curves (Petsiuk et al. 2018, arXiv:1806.07421): the probability while pixels are swapped.

    In each of the three slices the same share of pixels, the hottest first, is replaced by the blurred slice
    (deletion), or restored in the blurred slice (insertion). Equally hot pixels go in random order.

    Parameters
    ----------
    extractor : keras.Model
    slices, heat : np.ndarray, shape (n, 3, W, W)
    weights : np.ndarray, shape (3, d)
    bias : float
    shares : np.ndarray, shape (k,)
        In [0, 1].

    Returns
    -------
    deletion, insertion : np.ndarray, shape (n, k)
        Probability that the disc is abnormal.
    """
    size = slices.shape[-1]
    blurred = ndimage.gaussian_filter(slices, (0, 0, size / 8, size / 8), mode="nearest")
    flat = heat.reshape(*heat.shape[:2], -1)
    noise = np.random.default_rng([seed, 52]).random(flat.shape, np.float32)
    rank = np.lexsort((noise, -flat)).argsort(axis=-1).reshape(heat.shape)  # 0 is the hottest
    curves = []
    for share in shares:
        swapped = rank < round(share * size**2)
        pair = np.where(swapped, blurred, slices), np.where(swapped, slices, blurred)
        curves.append([_probability(extractor, changed, weights, bias) for changed in pair])
    return tuple(np.transpose(curves, (1, 2, 0)))


def _probability(
    extractor: keras.Model, slices: np.ndarray, weights: np.ndarray, bias: float, batch: int = 32
) -> np.ndarray:
    found, compute = [], forward.inference(extractor)
    for start in range(0, len(slices), batch):
        part = slices[start : start + batch]
        features = compute(tf.constant(part.reshape(-1, *part.shape[2:], 1)))[0].numpy()
        found.append((features.reshape(len(part), *weights.shape) * weights).sum(axis=(1, 2)) + bias)
    return special.expit(np.concatenate(found))


def faithfulness(
    extractor: keras.Model,
    slices: np.ndarray,
    maps: Mapping[str, np.ndarray],
    weights: np.ndarray,
    bias: float,
    patients: np.ndarray,
    seed: int = 0,
) -> dict:
    """Deletion and insertion of several kinds of maps and of random ones, with paired differences.

    Parameters
    ----------
    extractor : keras.Model
    slices : np.ndarray, shape (n, 3, W, W)
    maps : mapping of kind -> np.ndarray, shape (n, 3, u, v)
    weights : np.ndarray, shape (3, d)
    bias : float
    patients : np.ndarray, shape (n,)

    Returns
    -------
    dict
        ``deletion`` and ``insertion``, each with ``curve`` (kind -> mean probability at ``shares``), ``area`` (kind
        -> area under a disc's curve: ``value, low, high``) and ``difference`` (kind minus ``random``); ``shares``,
        ``discs``.
    """
    shape = next(iter(maps.values())).shape
    kinds = {**maps, "random": np.random.default_rng([seed, 53]).random(shape, np.float32)}
    found = {}
    for kind, values in progress_bar(kinds.items(), desc="deletion and insertion"):
        heat = upsampled(gradcam.normalise(values), slices.shape[-1])
        found[kind] = perturb(extractor, slices, heat, weights, bias, seed=seed)
    result: dict = {"shares": SHARES.tolist(), "discs": len(slices)}
    for place, name in enumerate(("deletion", "insertion")):
        curves = {kind: pair[place] for kind, pair in found.items()}
        areas = {kind: np.trapezoid(curve, SHARES, axis=1) for kind, curve in curves.items()}
        result[name] = {
            "curve": {kind: curve.mean(axis=0).tolist() for kind, curve in curves.items()},
            "area": {
                kind: patient_mean(area, patients, (0.0, 1.0), seed=seed)._asdict() for kind, area in areas.items()
            },
            "difference": {
                kind: patient_mean(areas[kind] - areas["random"], patients, seed=seed)._asdict() for kind in maps
            },
        }
    return result


def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rank correlation of the cells of maps (n, 3, u, v), mean over the three slices; nan where no slice has one."""
    flat = (maps.reshape(*maps.shape[:2], -1) for maps in (one, other))
    found = rank_correlation(*flat)
    return _over(np.nan_to_num(found), np.isfinite(found))


def sanity(
    maps: Mapping[str, np.ndarray], changed: Mapping[str, Mapping[str, np.ndarray]], patients: np.ndarray, seed: int = 0
) -> dict:
    """How alike maps stay when what they explain is randomised (Adebayo et al. 2018, arXiv:1810.03292).

    Parameters
    ----------
    maps : mapping of kind -> np.ndarray, shape (n, 3, u, v)
        Of the trained model.
    changed : mapping of check -> mapping of kind -> np.ndarray, shape (n, 3, u, v)
        Of the same discs after a change; a check that leaves no map of a kind any heat is left out there.
    patients : np.ndarray, shape (n,)

    Returns
    -------
    dict
        kind -> check -> ``value, low, high`` of the rank correlation, and ``verdict``: "passes" when the interval
        lies below `CHANGED`, "fails" when it lies above, else "undecided". ``another disc`` (without a verdict) is the
        likeness of two different patients' maps.
    """
    other = _other_patient(patients, seed)
    result: dict = {}
    for kind, before in maps.items():
        result[kind] = {"another disc": patient_mean(similarity(before, before[other]), patients, seed=seed)._asdict()}
        for check, after in changed.items():
            likeness = similarity(before, after[kind])
            if np.isfinite(likeness).any():
                found = patient_mean(likeness, patients, seed=seed)
                result[kind][check] = found._asdict() | {"verdict": _verdict(found)}
    return result


def certificate(
    trained: gradcam.Explained, opposite: gradcam.Explained, plain: np.ndarray, patients: np.ndarray, seed: int = 0
) -> dict:
    """What the maps are made of, beside what `sanity` says of them.

    Parameters
    ----------
    trained, opposite : gradcam.Explained
        Of the classifier, and of the one with the signs of its weights and bias turned: its "abnormal" is "normal".
    plain : np.ndarray, shape (n, 3, u, v)
        The plain mean of the channels: the map of a classifier without weights (Eq. 18 is uniform then).
    patients : np.ndarray, shape (n,)

    Returns
    -------
    dict
        ``channels``: how many there are, 3n of Eq. 18; ``effective``: the exponential of the entropy of their weights
        w, as many channels as share the weight equally; ``classic``: the rank correlation, as in `sanity`, of the
        paper's map with classic Grad-CAM; and for the maps ``paper`` and ``classic``: ``plain``, the same with the
        plain mean; ``opposite``, its mean over the discs between a disc's two maps for the two classes, and
        ``most_changed``, the largest difference between these two anywhere.
    """
    weights = trained.weights.reshape(len(trained.weights), -1)
    channels = weights.shape[1]
    effective = patient_mean(np.exp(stats.entropy(weights, axis=1)), patients, (1.0, float(channels)), seed=seed)

    def likeness(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
        return patient_mean(similarity(one, other), patients, seed=seed)._asdict()

    both = {"paper": (trained.maps, opposite.maps), "classic": (trained.classic, opposite.classic)}
    return {
        "channels": channels,
        "effective": effective._asdict(),
        "classic": likeness(trained.maps, trained.classic),
        "plain": {kind: likeness(own, plain) for kind, (own, _) in both.items()},
        "opposite": {kind: float(np.nanmean(similarity(own, other))) for kind, (own, other) in both.items()},
        "most_changed": {kind: float(np.abs(own - other).max()) for kind, (own, other) in both.items()},
    }


def _verdict(found: Estimate) -> str:
    if found.high < CHANGED:
        return "passes"
    return "fails" if found.low >= CHANGED else "undecided"


def _other_patient(patients: np.ndarray, seed: int) -> np.ndarray:
    """For each sample the row of a random one of another patient (of itself where there is none)."""
    rng = np.random.default_rng([seed, 54])
    patients, everyone = np.asarray(patients), np.arange(len(patients))
    return np.array(
        [
            rng.choice(everyone[patients != p]) if (patients != p).any() else i
            for i, p in zip(everyone, patients, strict=True)
        ]
    )


# The public label masks


def label_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Label masks in a data folder, by patient and disc level: ``.../Label_Images/L1_0001_D3.png``."""
    found = {}
    for path in sorted(folder.glob("**/Label_Images/*.png")):
        if match := LABEL_NAME.fullmatch(path.name):
            found[match[1], LABEL_LEVELS[match[2]]] = path
    return found


def read_labels(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a label mask.

    Parameters
    ----------
    path : Path
        PNG.
    shape : (int, int)
        Rows and columns of the slice that it lies on.

    Returns
    -------
    np.ndarray of uint8
        0 or a key of `TISSUES`.

    Raises
    ------
    UserError
        When it is no PNG, damaged, too large, of another shape, or holds other grey values.
    """
    mend = "fetch it again, or take it out of the data folder."
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise ValueError("the file is too large")
        with Image.open(path, formats=("PNG",)) as image:
            if max(image.size) > MAX_LABEL_SIDE:  # before any pixel is decoded
                raise ValueError("the image is too large")
            labels = np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not a usable label mask ({error}): {mend}") from error
    if labels.shape != tuple(shape):
        sizes = f"{labels.shape[0]} x {labels.shape[1]} pixels, its slice {shape[0]} x {shape[1]}"
        raise UserError(f"{path} has {sizes}: {mend}")
    if unknown := set(np.unique(labels).tolist()) - {0, *TISSUES}:
        raise UserError(f"{path} has the unknown grey value {min(unknown)}: {mend}")
    return labels


def labelled_slice(samples: pd.DataFrame) -> np.ndarray:
    """Which of a sample's slices (0 to 2) the publishers labelled: the disc's third, where it has four or five.

    Parameters
    ----------
    samples : pd.DataFrame
        All samples of a dataset: ``patient, study, level, part``. Discs of four slices have two samples.
    """
    parts = samples.groupby(["patient", "study", "level"]).part.transform("size")
    return np.where((parts == 2) & (samples.part == 0), 2, 1)


def tissue_heat(
    heat: np.ndarray,
    rows: np.ndarray,
    slices: pd.DataFrame,
    files: list[Path],
    settings: profiles.Data,
    patients: np.ndarray,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[str]]:
    """Share of the heat, and of the area, in each tissue of labelled slices.

    Parameters
    ----------
    heat : np.ndarray, shape (n, W, W)
        Of one slice each.
    rows : np.ndarray of int, shape (n,)
        Rows of `slices`.
    slices : pd.DataFrame
    files : list of Path, n
        Label masks of these slices.
    settings : profiles.Data
    patients : np.ndarray, shape (n,)

    Returns
    -------
    table : pd.DataFrame
        ``tissue``; ``heat`` and ``area``: mean share; ``low``, ``high``: of the heat; ``discs``. A map that ignores
        the slice has the tissue's area as its share of heat.
    unusable : list of str
        Why masks were left out.
    """
    kept, covers, unusable = [], [], []
    for number, (path, slice_) in enumerate(zip(files, slices.loc[rows].itertuples(), strict=True)):
        try:
            labels = read_labels(path, (slice_.rows, slice_.columns))
        except UserError as error:
            unusable.append(str(error))
            continue
        kept.append(number)
        grid = (slice_.row_spacing, slice_.column_spacing), settings.image_size, settings.field_of_view_mm
        covers.append([resampling.resample(labels == value, *grid) for value in TISSUES])
    columns = ["tissue", "heat", "low", "high", "area", "discs"]
    if not kept:
        return pd.DataFrame(columns=columns), unusable
    cover = np.stack(covers)  # (n, tissues, W, W)
    warm = inside(share_of_heat(heat[kept])[:, None], cover)
    table = []
    for name, values, area in zip(TISSUES.values(), warm.T, cover.mean(axis=(0, 2, 3)), strict=True):
        found = patient_mean(values, np.asarray(patients)[kept], (0.0, 1.0), seed=seed)
        table.append((name, *found, float(area), len(kept)))
    return pd.DataFrame(table, columns=["tissue", "heat", "low", "high", "area", "discs"])[columns], unusable
