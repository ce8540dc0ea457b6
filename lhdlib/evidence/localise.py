"""Do the heatmaps point at the lesion? Scores against truth masks, deletion and insertion, and sanity checks.

Everything is measured on heat of the size at which it is drawn (`gradcam.upsample`), slice by slice. "Near" a lesion is
what lies within `TOLERANCE_MM` of its mask; a slice "shows" a lesion when the mask covers half of at least one pixel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage, stats

from lhdlib import gradcam
from lhdlib import profile as profiles
from lhdlib.data import resampling
from lhdlib.errors import UserError
from lhdlib.evaluate import patient_mean
from lhdlib.phantom import truth

TOLERANCE_MM = 5.0
TOLERANCES_MM = (0.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0)
HOT = 0.05  #: share of a slice's pixels that count as hot for the overlap
SAME = 1 - 1e-5  #: heat of this share counts as equal: enlarging a constant map leaves rounding noise
MARGIN = 0.2  #: what the pointing game has to gain over random maps
MEASURES = ("pointing", "weighted pointing", "heat share", "overlap", "slice rank")


# Truth on the store's grid


def truth_masks(archive: Path) -> Mapping[str, np.ndarray] | None:
    """Lesion masks by SOPInstanceUID that lie beside a phantom's archive; None where there are none."""
    folder = archive.parent
    return truth.load_truth(folder)[1] if (folder / "truth" / "discs.csv").is_file() else None


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


def rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the last axis, broadcast over the others; nan where either side is constant."""
    ranks = [stats.rankdata(values, axis=-1) for values in (one, other)]
    a, b = (r - r.mean(axis=-1, keepdims=True) for r in ranks)
    product = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return np.divide((a * b).sum(-1), product, out=np.full(product.shape, np.nan), where=product > 0)


# The maps against the truth


def compared_maps(
    maps: np.ndarray, classic: np.ndarray, normal: np.ndarray, cover: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Maps that are scored, each ``(k, n or 1, 3 or 1, W, W)`` with k equally likely ones for a slice.

    Parameters
    ----------
    maps, classic : shape (n, 3, u, v)
    normal : shape (m, 3, u, v)
        Maps of normal discs.
    cover : shape (n, 3, W, W)
        From `lesion_cover`.
    draws, seed
        For the random maps.

    Returns
    -------
    dict
        ``paper``, ``classic``, ``aligned``, ``random``, ``centre``: a round hill, ``fixed``: the mean of `normal`,
        ``ceiling``: the lesion seen through the map's cells.
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

    Enlarging a map as a picture draws each cell half a cell further to the right and down.

    Parameters
    ----------
    maps : shape (..., u, v)
    size
        W.

    Returns
    -------
    np.ndarray, shape (..., W, W), float32
        In [0, 1]; the last cell's value beyond its pixel.
    """
    # Every stride of the network keeps the first of two positions and every convolution is padded evenly, so the
    # receptive field of cell i is centred on pixel stride * i.
    stride = 2 ** int(np.ceil(np.log2(size / maps.shape[-1])))
    place = np.meshgrid(*[np.arange(size) / stride] * 2, indexing="ij")
    flat = maps.reshape(-1, *maps.shape[-2:])
    large = np.stack([ndimage.map_coordinates(m, place, np.float32, order=3, mode="nearest") for m in flat])
    return np.clip(large, 0, 1).reshape(*maps.shape[:-2], size, size)


def compared_weights(
    slice_weight: np.ndarray, normal: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Slice weights that are scored, by kind as in `compared_maps`: (n, 3) and (m, 3) -> each ``(k, n or 1, 3)``."""
    random = np.random.default_rng([seed, 55]).dirichlet(np.ones(3), (draws, len(slice_weight)))
    return {"paper": slice_weight[None], "random": random, "fixed": normal.mean(axis=0)[None, None]}


def upsampled(maps: np.ndarray, size: int) -> np.ndarray:
    """`gradcam.upsample` for maps (..., u, v)."""
    return gradcam.upsample(maps.reshape(-1, *maps.shape[-2:]), size).reshape(*maps.shape[:-2], size, size)


Scores = dict[str, dict[str, float]]  # kind of map -> value, low, high


@dataclass(frozen=True)
class Localisation:
    """Scores of every kind of map against the lesions, with intervals that resample patients.

    A place is near within `tolerance_mm` of the lesion. Means are over the slices showing the lesion.
    """

    pointing: Scores  #: share of the slices showing the lesion whose hottest point is near it
    weighted_pointing: Scores  #: the slices' weights where it is, added up; a third each for a kind without weights
    heat_share: Scores  #: share of the heat that is near
    overlap: Scores  #: intersection over union of near and hottest pixels
    slice_rank: Scores  #: Spearman's correlation of slice weight and lesion area, of the kinds with slice weights
    #: measure -> kind: the paper's map minus that kind; pointing has ``aligned_random`` too, aligned minus random
    differences: dict[str, Scores]
    tolerance: dict[str, list[float]]  #: kind -> pointing at each of `tolerances_mm`
    discs: int  #: that show a lesion
    patients: int
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
    seed: int = 0,
) -> Localisation:
    """Score every kind of map against the lesions.

    Parameters
    ----------
    heat : mapping of kind -> np.ndarray, shape (k, n or 1, 3 or 1, W, W)
        With ``paper`` (`compared_maps`).
    slice_weight : mapping of kind -> np.ndarray, shape (k, n or 1, 3)
    cover, distance : np.ndarray, shape (n, 3, W, W)
        From `lesion_cover` and `distance_mm`.
    patients : np.ndarray, shape (n,)
    """
    shown = np.isfinite(distance).any(axis=(2, 3))
    near, area = distance <= TOLERANCE_MM, cover.sum(axis=(2, 3))
    scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in MEASURES}
    tolerance = {}
    for kind, values in heat.items():
        place = hottest(values).mean(axis=0)
        hits, weight = inside(place, near), slice_weight.get(kind, np.full((1, 1, 3), 1 / 3))
        scores["pointing"][kind] = over_slices(hits, shown)
        scores["weighted pointing"][kind] = (weight.mean(axis=0) * hits).sum(axis=1)
        scores["heat share"][kind] = over_slices(inside(share_of_heat(values).mean(axis=0), near), shown)
        scores["overlap"][kind] = over_slices(overlap(values, near).mean(axis=0), shown)
        if kind in slice_weight:
            scores["slice rank"][kind] = rank_correlation(weight, area).mean(axis=0)
        tolerance[kind] = [float(np.nanmean(over_slices(inside(place, distance <= t), shown))) for t in TOLERANCES_MM]

    def estimate(values: np.ndarray, least: float = -1.0) -> dict[str, float]:
        return patient_mean(values, patients, reach=(least, 1.0), seed=seed)._asdict()

    def estimates(name: str, least: float = 0.0) -> Scores:
        return {kind: estimate(values, least) for kind, values in scores[name].items()}

    differences = {
        name.replace(" ", "_"): {kind: estimate(kinds["paper"] - kinds[kind]) for kind in kinds if kind != "paper"}
        for name, kinds in scores.items()
    }
    aligned_random = scores["pointing"]["aligned"] - scores["pointing"]["random"]
    differences["pointing"]["aligned_random"] = estimate(aligned_random)
    return Localisation(
        pointing=estimates("pointing"),
        weighted_pointing=estimates("weighted pointing"),
        heat_share=estimates("heat share"),
        overlap=estimates("overlap"),
        slice_rank=estimates("slice rank", -1.0),
        differences=differences,
        tolerance=tolerance,
        discs=int(shown.any(axis=1).sum()),
        patients=len(np.unique(patients)),
    )


def over_slices(values: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Mean of values (n, 3) over the slices shown; nan where none is."""
    count = shown.sum(axis=1)
    return np.divide((values * shown).sum(axis=1), count, out=np.full(len(shown), np.nan), where=count > 0)
