"""Do the heatmaps point at the lesion? Scores against truth masks, deletion and insertion, and sanity checks.

Everything is measured on heat of the size and at the place at which it is drawn (`gradcam.upsample`), slice by slice.
"Near" a lesion is what lies within `TOLERANCE_MM` of its mask; a slice "shows" a lesion when the mask covers half of at
least one pixel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from scipy import ndimage, stats

from lhdlib import gradcam
from lhdlib import profile as profiles
from lhdlib.data import marks, resampling
from lhdlib.data.dicom_file.rules import key_of
from lhdlib.errors import UserError
from lhdlib.evaluate import patient_mean
from lhdlib.phantom import truth

TOLERANCE_MM = 5.0
TOLERANCES_MM = (0.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0)
HOT = 0.05  #: share of a slice's pixels that count as hot for the overlap
SAME = 1 - 1e-5  #: heat of this share counts as equal: enlarging a constant map leaves rounding noise
MARGIN = 0.2  #: what the pointing game has to gain over random maps
MEASURES = ("pointing", "weighted pointing", "heat share", "side", "overlap", "slice rank")
OTHER = "other_"  #: begins the name of a kind that is drawn in the placement that the run does not use
DRAWN_TWICE = ("paper", "classic", "random")  #: the kinds that are scored in both placements


# Truth on the store's grid


def truth_masks(archive: Path) -> Mapping[str, np.ndarray] | None:
    """Lesion masks by SOPInstanceUID that lie beside a phantom's archive; None where there are none."""
    folder = truth.beside(archive)
    return truth.load_truth(folder)[1] if folder else None


def lesion_cover(
    masks: Mapping[str, np.ndarray], slices: pd.DataFrame, rows: np.ndarray, settings: profiles.Data
) -> np.ndarray:
    """Share of each pixel of the store's slices that the lesion covers.

    Parameters
    ----------
    masks : mapping of SOPInstanceUID -> np.ndarray of bool
        In the grid of the DICOM slice.
    slices : pd.DataFrame
        Those of a `dataset.Dataset`.
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
    uids = {key_of(uid): uid for uid in masks}
    found = {}
    for slice_ in needed.itertuples():
        mask = masks.get(uids.get(slice_.sop_key, ""))
        if mask is None or mask.shape != (slice_.rows, slice_.columns):
            raise UserError(f"The truth has no mask that fits {slice_.path}: it belongs to another archive; remove it.")
        spacing = (slice_.row_spacing, slice_.column_spacing)
        found[slice_.Index] = resampling.resample(mask, spacing, settings.image_size, settings.field_of_view_mm)
    return np.stack([[found[row] for row in sample] for sample in rows])


def pixel_mm(slices: pd.DataFrame, rows: np.ndarray, settings: profiles.Data) -> np.ndarray:
    """Side of a pixel of the store in each slice, mm: the shape of `rows`."""
    return marks.side_mm(slices, settings)[rows] / settings.image_size


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


# Scores of single slices; all broadcast over the leading axes


def hottest(heat: np.ndarray) -> np.ndarray:
    """Place of each map's hottest point as a distribution over (W, W); equally hot pixels share it."""
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


def overlap(heat: np.ndarray, near: np.ndarray, *, hot: float = HOT) -> np.ndarray:
    """Intersection over union of a mask and the hottest share `hot` of the pixels (more where they are equally hot)."""
    flat = heat.reshape(*heat.shape[:-2], -1)
    hottest_pixels = heat >= SAME * np.quantile(flat, 1 - hot, axis=-1)[..., None, None]
    both = inside(hottest_pixels.astype(np.float32), near)
    return both / (hottest_pixels.sum(axis=(-2, -1)) + near.sum(axis=(-2, -1)) - both)


def side(heat: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """1 where a mask (..., W, W) holds more heat than its mirror image about the vertical midline, 0 where less.

    Ties, to rounding, count 1/2: a map that is symmetric, constant or empty says nothing of the side.
    """
    own, mirrored = inside(heat, mask), inside(heat, mask[..., ::-1])
    tie = np.abs(own - mirrored) <= (1 - SAME) * (own + mirrored)
    return np.where(tie, 0.5, own > mirrored)


def one_sided(mask: np.ndarray) -> np.ndarray:
    """Whether a mask (..., W, W) shares at most half of its pixels with its mirror image; False for an empty one."""
    area, common = mask.sum(axis=(-2, -1)), (mask & mask[..., ::-1]).sum(axis=(-2, -1))
    return (area > 0) & (2 * common <= area)


def best_point(near: np.ndarray, shown: np.ndarray) -> tuple[int, int]:
    """Row and column of the pixel that is near the lesion most often: no picture of one point for all can do better.

    Parameters
    ----------
    near : np.ndarray of bool, shape (n, 3, W, W)
    shown : np.ndarray of bool, shape (n, 3)
        Slices that count (`over_slices`).
    """
    share = shown / np.maximum(shown.sum(axis=1, keepdims=True), 1)
    often = np.tensordot(share.astype(np.float32), near.astype(np.float32), axes=2)
    row, column = np.unravel_index(np.argmax(often), often.shape)
    return int(row), int(column)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the last axis, broadcast over the others; nan where either side is constant."""
    ranks = [stats.rankdata(values, axis=-1) for values in (one, other)]
    a, b = (r - r.mean(axis=-1, keepdims=True) for r in ranks)
    product = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return np.divide((a * b).sum(-1), product, out=np.full(product.shape, np.nan), where=product > 0)


# The maps against the truth


def placements(profile: profiles.Profile, count: int) -> tuple[gradcam.Cells, gradcam.Cells]:
    """Where the `count` cells in a row lie in the profile's placement, and in the other one."""
    other = next(place for place in gradcam.PLACES if place != profile.heatmaps.cells)
    return gradcam.cells(profile, count), gradcam.cells(profile, count, place=other)


def compared_maps(
    maps: Mapping[str, np.ndarray],
    normal: np.ndarray,
    cover: np.ndarray,
    where: gradcam.Cells,
    other: gradcam.Cells,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Draw the maps that are scored, each ``(k, n or 1, 3 or 1, W, W)`` with k equally likely ones for a slice.

    Parameters
    ----------
    maps : mapping of kind -> np.ndarray, shape (n, 3, u, u)
        ``paper``, ``classic`` and any others.
    normal : shape (m, 3, u, u)
        The paper's maps of normal discs.
    cover : shape (n, 3, W, W)
    where, other
        See `placements`.

    Returns
    -------
    dict
        The kinds of notebook 08, then those of `DRAWN_TWICE` in the other placement (`OTHER`).
    """
    count, size = normal.shape[-1], cover.shape[-1]
    rng = np.random.default_rng([seed, 51])
    off = where.first + where.step * np.arange(count) - 0.5  # of the cells from the slice's centre
    areas = cell_areas(where, count, size)
    coarse = {
        **maps,
        "random": rng.random((draws, 1, 1, count, count)),
        "centre": np.exp(-(off[:, None] ** 2 + off**2) / (2 * 0.25**2)),
        "fixed": normal.mean(axis=0),
        "ceiling": areas @ cover @ areas.T,
    }
    even = {kind: gradcam.normalise(np.asarray(values, np.float32)) for kind, values in coarse.items()}
    five = {kind: values.reshape((1,) * (5 - values.ndim) + values.shape) for kind, values in even.items()}
    heat = {kind: gradcam.upsample(values, size, where=where) for kind, values in five.items()}
    return heat | {f"{OTHER}{kind}": gradcam.upsample(five[kind], size, where=other) for kind in DRAWN_TWICE}


def cell_areas(where: gradcam.Cells, count: int, size: int) -> np.ndarray:
    """Share (count, size) of each of `size` pixels in each cell's stretch: what the network sees, cut midway."""
    edges = where.first + where.step * (np.arange(count + 1) - 0.5)
    edges[0], edges[-1] = where.low, where.high
    pixels, edges = np.arange(size), edges * size
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(overlap, 0, None) / np.diff(edges)[:, None]).astype(np.float32)


def compared_weights(
    slice_weight: np.ndarray, normal: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Slice weights that are scored, by kind as in `compared_maps`: (n, 3) and (m, 3) -> each ``(k, n or 1, 3)``."""
    random = np.random.default_rng([seed, 55]).dirichlet(np.ones(3), (draws, len(slice_weight)))
    return {"paper": slice_weight[None], "random": random, "fixed": normal.mean(axis=0)[None, None]}


Scores = dict[str, dict[str, float]]  # kind of map -> value, low, high


@dataclass(frozen=True)
class Localisation:
    """Scores of every kind of map against the lesions, with intervals that resample patients.

    Notebook 08 defines the scores of a disc. A kind that begins with `OTHER` is drawn in the other placement;
    ``best_point``, the one point of `best_point`, is chosen with the answers.
    """

    pointing: Scores
    weighted_pointing: Scores  #: a third each where a kind of map has no slice weights
    heat_share: Scores
    side: Scores  #: over the slices that are `one_sided`
    overlap: Scores
    slice_rank: Scores  #: of the kinds with slice weights
    #: measure -> kind: the paper's map minus that kind, both in that kind's placement; ``other_paper``: between the two
    differences: dict[str, Scores]
    tolerance: dict[str, list[float]]  #: kind -> pointing at each of `tolerances_mm`
    cells: str  #: the run's placement, "published" or "aligned"
    of: str  #: the discs that were asked: true positives, or all abnormal ones where too few are called so
    discs: int  #: of these, those that show a lesion
    patients: int
    slices: int  #: that show a lesion
    one_sided: int  #: of these, those of the side test
    tolerances_mm: tuple[float, ...] = TOLERANCES_MM
    tolerance_mm: float = TOLERANCE_MM
    hot: float = HOT
    margin: float = MARGIN


def measure(
    heat: Mapping[str, np.ndarray],
    slice_weight: Mapping[str, np.ndarray],
    cover: np.ndarray,
    distance: np.ndarray,
    patients: np.ndarray,
    *,
    cells: str,
    of: str = "true positives",
    seed: int = 0,
) -> Localisation:
    """Score every kind of map against the lesions.

    Parameters
    ----------
    heat : mapping of kind -> np.ndarray, shape (k, n or 1, 3 or 1, W, W)
        With ``paper`` and ``other_paper`` (`compared_maps`).
    slice_weight : mapping of kind -> np.ndarray, shape (k, n or 1, 3)
    cover, distance : np.ndarray, shape (n, 3, W, W)
        From `lesion_cover` and `distance_mm`.
    patients : np.ndarray, shape (n,)
    cells
        The run's placement.
    of
        Words for the discs.
    """
    mask, near, area = distance == 0, distance <= TOLERANCE_MM, cover.sum(axis=(2, 3))
    shown, lopsided = mask.any(axis=(2, 3)), one_sided(mask)
    scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in MEASURES}
    tolerance = {}
    for kind, values in heat.items():
        place = hottest(values).mean(axis=0)
        own = kind.removeprefix(OTHER)
        hits, weight = inside(place, near), slice_weight.get(own, np.full((1, 1, 3), 1 / 3))
        scores["pointing"][kind] = over_slices(hits, shown)
        scores["weighted pointing"][kind] = (weight.mean(axis=0) * hits).sum(axis=1)
        scores["heat share"][kind] = over_slices(inside(share_of_heat(values).mean(axis=0), near), shown)
        scores["side"][kind] = over_slices(side(values, mask).mean(axis=0), lopsided)
        scores["overlap"][kind] = over_slices(overlap(values, near).mean(axis=0), shown)
        if kind in slice_weight:
            scores["slice rank"][kind] = rank_correlation(weight, area).mean(axis=0)
        tolerance[kind] = [float(np.nanmean(over_slices(inside(place, distance <= t), shown))) for t in TOLERANCES_MM]
    fixed_points = [_at_best_point(distance <= t, shown) for t in TOLERANCES_MM]
    tolerance["best_point"] = [float(np.nanmean(values)) for values in fixed_points]
    scores["pointing"]["best_point"] = fixed_points[TOLERANCES_MM.index(TOLERANCE_MM)]

    def estimate(values: np.ndarray, least: float = -1.0) -> dict[str, float]:
        return patient_mean(values, patients, reach=(least, 1.0), seed=seed)._asdict()

    def estimates(name: str, least: float = 0.0) -> Scores:
        return {kind: estimate(values, least) for kind, values in scores[name].items()}

    def against_paper(kinds: Mapping[str, np.ndarray]) -> Scores:
        alike = {kind: f"{OTHER}paper" if kind.startswith(OTHER) else "paper" for kind in kinds}
        alike[f"{OTHER}paper"] = "paper"
        return {kind: estimate(kinds[alike[kind]] - kinds[kind]) for kind in kinds if kind != "paper"}

    return Localisation(
        pointing=estimates("pointing"),
        weighted_pointing=estimates("weighted pointing"),
        heat_share=estimates("heat share"),
        side=estimates("side"),
        overlap=estimates("overlap"),
        slice_rank=estimates("slice rank", -1.0),
        differences={name.replace(" ", "_"): against_paper(kinds) for name, kinds in scores.items()},
        tolerance=tolerance,
        cells=cells,
        of=of,
        discs=int(shown.any(axis=1).sum()),
        patients=len(np.unique(patients)),
        slices=int(shown.sum()),
        one_sided=int(lopsided.sum()),
    )


def over_pretrainings(
    classifiers: Sequence[tuple[keras.Model, np.ndarray, float]],
    seen: np.ndarray,
    rows: np.ndarray,
    normal: np.ndarray,
    cover: np.ndarray,
    distance: np.ndarray,
    profile: profiles.Profile,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of the maps of each pre-training, means over abnormal discs, whatever it calls them.

    Parameters
    ----------
    classifiers : sequence of (extractor, weights (3, d), bias)
    seen : shape (N, V, V)
        Slices as the network sees them.
    rows, normal : shape (n, 3) and (m, 3)
        Of the abnormal and of the normal discs.
    cover, distance : shape (n, 3, W, W)
        From `lesion_cover` and `distance_mm`.

    Returns
    -------
    DataFrame
        A row per pre-training: ``discs`` that show a lesion, then "measure, kind" (`compared_maps`).
    """
    mask, near, area = distance == 0, distance <= TOLERANCE_MM, cover.sum(axis=(2, 3))
    shown, lopsided, found = mask.any(axis=(2, 3)), one_sided(mask), []
    for extractor, weights, bias in classifiers:
        asked, common = (gradcam.explain(extractor, seen, discs, weights, bias) for discs in (rows, normal))
        maps = {"paper": asked.maps, "classic": asked.classic}
        heat = compared_maps(maps, common.maps, cover, *placements(profile, asked.maps.shape[-1]), seed=seed)
        weight = compared_weights(asked.slice_weight, common.slice_weight, seed=seed)
        scores = {
            f"pointing, {kind}": over_slices(inside(hottest(heat[kind]).mean(axis=0), near), shown)
            for kind in (*maps, "random", "fixed", f"{OTHER}paper", f"{OTHER}random")
        }
        scores |= {f"side, {kind}": over_slices(side(heat[kind][0], mask), lopsided) for kind in maps}
        scores |= {f"slice rank, {kind}": rank_correlation(weight[kind][0], area) for kind in ("paper", "fixed")}
        row = {name: float(np.nanmean(values)) for name, values in scores.items()}
        found.append({"discs": int(shown.any(axis=1).sum())} | row)
    return pd.DataFrame(found)


def between_pretrainings(found: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean (``value``), least (``low``) and greatest (``high``) of the paper's maps over pre-trainings.

    Parameters
    ----------
    found : pd.DataFrame
        From `over_pretrainings`.

    Returns
    -------
    dict
        Pointing minus that of ``random`` maps, of the ``fixed`` map and of random maps in the ``other`` placement;
        ``side``; ``slice rank`` (that of random weights is 0) and the same minus the ``fixed rank``.
    """
    values = {
        "random": found["pointing, paper"] - found["pointing, random"],
        "fixed": found["pointing, paper"] - found["pointing, fixed"],
        "other": found[f"pointing, {OTHER}paper"] - found[f"pointing, {OTHER}random"],
        "side": found["side, paper"],
        "slice rank": found["slice rank, paper"],
        "fixed rank": found["slice rank, paper"] - found["slice rank, fixed"],
    }
    return {
        name: {"value": each.mean(), "low": each.min(skipna=False), "high": each.max(skipna=False)}
        for name, each in values.items()
    }


def _at_best_point(near: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Pointing of the one fixed point, disc by disc."""
    row, column = best_point(near, shown)
    return over_slices(near[..., row, column], shown)


def over_slices(values: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Mean of values (n, 3) over the slices shown; nan where none is."""
    count = shown.sum(axis=1)
    return np.divide((values * shown).sum(axis=1), count, out=np.full(len(shown), np.nan), where=count > 0)
