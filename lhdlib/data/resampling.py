"""From the pixels of a DICOM slice to the slice store: square, resampled, scaled.

Apart from the tables, so that the processes which do it start without pandas.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from lhdlib import profile as profiles
from lhdlib.data.dicom_file.pixels import read_pixels

SCALE_PERCENTILE = 99.5  # becomes 1; the paper does not say how pixels become floats


@functools.lru_cache(maxsize=64)  # slices of a series share theirs
def area_weights(length: int, start: float, stop: float, size: int) -> np.ndarray:
    """Weights of area resampling along one axis: the interval [start, stop] of `length` pixels becomes `size` pixels.

    Returns
    -------
    np.ndarray, shape (size, length), float32
        Share of each new pixel covered by each old one; what lies outside the image counts as zeros.
    """
    edges = np.linspace(start, stop, size + 1)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = (np.clip(overlap, 0, None) * size / (stop - start)).astype(np.float32)
    weights.flags.writeable = False
    return weights


def preprocess(
    pixels: np.ndarray, spacing: tuple[float, float], size: int, field_of_view_mm: float, *, scaling: str = "percentile"
) -> np.ndarray:
    """Square about the centre, area-resampled and scaled; the paper says W x H alone.

    Parameters
    ----------
    pixels : shape (rows, columns)
    spacing : (float, float)
        Row and column spacing, mm.
    size
        W = H of the result, pixels.
    field_of_view_mm
        Side of the square kept; 0 keeps all, padding the shorter side.
    scaling : {"percentile", "maximum", "standard"}
        The 99.5th percentile or the maximum becomes 1, or the mean 0 and the standard deviation 1.

    Returns
    -------
    np.ndarray, shape (size, size), float32
    """
    image = resample(pixels, spacing, size, field_of_view_mm)
    if scaling == "standard":
        image, level = image - image.mean(), image.std()
    else:
        level = image.max() if scaling == "maximum" else _percentile(image)
    return image / level if level > 0 else image


def _percentile(image: np.ndarray) -> np.float32:
    """`np.percentile` of a float32 image at `SCALE_PERCENTILE` in a third of its time, alike in all its versions."""
    place = np.float32(SCALE_PERCENTILE) / np.float32(100) * np.float32(image.size - 1)
    below = int(place)
    ordered = np.partition(image, below, axis=None)  # one value in its place; numpy seeks the next one in the same way
    low, high, share = ordered[below], ordered[below + 1 :].min(), place - np.float32(below)
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)


def resample(pixels: np.ndarray, spacing: tuple[float, float], size: int, field_of_view_mm: float) -> np.ndarray:
    """The geometry of `preprocess` without its scaling: what is drawn on a slice goes the same way as the slice.

    A mask becomes the share of each new pixel that it covers. No matrix product: its order of summation differs between
    processors, and so would the last digit of the store.
    """
    extents = np.array(pixels.shape) * spacing
    side = field_of_view_mm or extents.max()
    halves = side / 2 / np.array(spacing)
    centers = np.array(pixels.shape) / 2
    rows, columns = (_band(n, c - h, c + h, size) for n, c, h in zip(pixels.shape, centers, halves, strict=True))
    pixels = pixels.astype(np.float32)
    narrowed: np.ndarray = sum(weights[:, None] * pixels[places] for places, weights in rows)
    return sum(weights * narrowed[:, places] for places, weights in columns)


@functools.lru_cache(maxsize=64)
def _band(length: int, start: float, stop: float, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights of `area_weights` without the zeros: for each new pixel an old one and its weight, as often as needed."""
    weights = area_weights(length, start, stop, size)
    first, count = (weights > 0).argmax(axis=1), (weights > 0).sum(axis=1)
    places = [np.minimum(first + k, length - 1) for k in range(max(count.max(), 1))]
    return [(place, weights[np.arange(size), place] * (k < count)) for k, place in enumerate(places)]


def limit_to_one_thread() -> None:
    """Start of a process that reads slices: the others use all cores, and threads of small products would fight."""
    threadpool_limits(1)


def load_slice(task: tuple[Path, tuple[float, float], profiles.Data]) -> np.ndarray | str:
    """One slice as the store holds it, float16, or why it cannot be read; `task`: file, spacing (mm), settings."""
    path, spacing, settings = task
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            image = preprocess(
                read_pixels(path), spacing, settings.image_size, settings.field_of_view_mm, scaling=settings.scaling
            ).astype(np.float16)
        return image if np.isfinite(image).all() else "pixels unusable: not finite at the scale of the others"
    except ValueError as error:  # says why and quotes nothing of the header; the slice is listed, not lost
        return f"pixels unreadable: {error}"


def store_slice(task: tuple[Any, ...]) -> str:
    """Write one slice into its place in the store; the reason where it cannot be read, else an empty text."""
    store, offset, *slice_task = task
    image = load_slice(tuple(slice_task))
    if isinstance(image, str):
        return image
    with open(store, "r+b") as file:
        file.seek(offset)
        file.write(image.tobytes())
    return ""
