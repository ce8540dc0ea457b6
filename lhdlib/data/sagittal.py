"""Where a study's slabs lie on its sagittal image: the image that shows them best, and the slices' cuts through it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lhdlib.data import dicom, marks
from lhdlib.errors import UserError

MAX_IMAGES = 300  # sagittal images of one study that are looked at; in the archive 15 to 40
MAX_DISTANCE_MM = 40.0  # from the slabs' centre: an image farther to the side shows no disc


@dataclass(frozen=True)
class SagittalView:
    """A sagittal image and the slabs' places on it.

    Attributes
    ----------
    path : str
        Relative to the archive.
    pixels : np.ndarray, shape (rows, columns), float32
    spacing : (float, float)
        Between rows and between columns, mm.
    cuts : tuple of np.ndarray, each of shape (n, 2, 2)
        For every slab its n slices' lines, each two ends ``(x, y)`` in pixels; none where it does not cut the image.
    numbers : tuple of tuples of int
        Of the lines' slices, from 1.
    """

    path: str
    pixels: np.ndarray
    spacing: tuple[float, float]
    cuts: tuple[np.ndarray, ...]
    numbers: tuple[tuple[int, ...], ...] = ()
    sides: tuple[str, str] = ("", "")  #: of the patient, at the image's left and right edge (`marks.sides`)


def slice_plane(row: Mapping[str, Any]) -> dict[str, Any]:
    """The plane that `dicom.read_plane` reads, from a slice's row in the table of `dicom.index_tree`."""
    return {
        "row": np.array([row[f"row_{axis}"] for axis in "xyz"], float),
        "column": np.array([row[f"column_{axis}"] for axis in "xyz"], float),
        "position": np.array([row[axis] for axis in "xyz"], float),
        "spacing": (float(row["row_spacing"]), float(row["column_spacing"])),
        "shape": (int(row["rows"]), int(row["columns"])),
    }


def cut(plane: Mapping[str, Any], image: Mapping[str, Any]) -> np.ndarray | None:
    """The line along which a slice cuts an image, as far as both reach.

    Parameters
    ----------
    plane, image : mapping
        Planes as `dicom.read_plane` gives them.

    Returns
    -------
    np.ndarray, shape (2, 2), or None
        Both ends ``(x, y)`` in pixels of `image`, the left one first; the centre of its first pixel is (0, 0). None
        where the planes are parallel or meet outside one of the images.
    """
    normals = [np.cross(p["row"], p["column"]) for p in (plane, image)]
    along = np.cross(*normals)
    length = np.linalg.norm(along)
    if length < 0.1:  # less than six degrees apart: no cut in the sense of a picture
        return None
    along /= length
    offsets = [n @ p["position"] for n, p in zip(normals, (plane, image), strict=True)]
    start = np.linalg.solve([*normals, along], [*offsets, along @ image["position"]])
    low, high = -np.inf, np.inf
    for place in (plane, image):
        at = _pixels(place, start)
        steps = _pixels(place, start + along) - at
        for here, step, size in zip(at, steps, place["shape"][::-1], strict=True):
            if abs(step) < 1e-9:
                if not -0.5 <= here <= size - 0.5:
                    return None
            else:
                first, last = sorted(((-0.5 - here) / step, (size - 0.5 - here) / step))
                low, high = max(low, first), min(high, last)
    if low >= high:
        return None
    ends = _pixels(image, start + np.outer([low, high], along))
    return ends[np.argsort(ends[:, 0])]


def _pixels(plane: Mapping[str, Any], points: np.ndarray) -> np.ndarray:
    """Coordinates (x, y) of points (mm) in an image, pixels."""
    away = points - plane["position"]
    return np.stack([away @ plane["row"] / plane["spacing"][1], away @ plane["column"] / plane["spacing"][0]], axis=-1)


def sagittal_view(archive: Path, slabs: pd.DataFrame, slices: pd.DataFrame, rejected: pd.DataFrame) -> SagittalView:
    """The sagittal image of a study nearest its slabs' centre, with the slabs' cuts.

    A T2 image if the names of series and files tell of one, else any. The frame of reference is not asked: it differs
    between the series of one study although their coordinates agree.

    Parameters
    ----------
    slabs
        T2 slabs of one study, from `discs.group_discs`.
    slices, rejected
        Both tables of `dicom.index_tree`.

    Raises
    ------
    UserError
        Where the study has no readable sagittal image, or its coordinates cannot belong to the slabs'.
    """
    center = slabs[["x", "y", "z"]].to_numpy(float).mean(axis=0)
    places = slices.set_index("path")
    for path, plane, distance in _nearest_first(archive, _sagittal_paths(slabs.paths.iloc[0][0], rejected), center):
        try:
            pixels = dicom.read_pixels(archive / path)
        except ValueError:
            continue  # the next one is a few millimetres away
        lines = [[cut(slice_plane(places.loc[p]), plane) for p in slab] for slab in slabs.paths]
        cuts = tuple(np.array([line for line in slab if line is not None]).reshape(-1, 2, 2) for slab in lines)
        if distance > MAX_DISTANCE_MM or not sum(map(len, cuts)):
            raise UserError(
                "The coordinates of this study's sagittal and axial images cannot belong together, for no slab cuts "
                "the sagittal image where discs are: judge by the axial slices alone."
            )
        numbers = tuple(tuple(n for n, line in enumerate(slab, 1) if line is not None) for slab in lines)
        return SagittalView(path, pixels, plane["spacing"], cuts, numbers, marks.sides(plane["row"]))
    raise UserError("This study has no readable sagittal image: judge by the axial slices alone.")


def _nearest_first(archive: Path, paths: list[str], center: np.ndarray) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Images with a place, and their distance (mm) from `center`; others than T2 are opened only after all T2."""
    kinds = [path for path in paths if _named_t2(path)], [path for path in paths if not _named_t2(path)]
    for kind in kinds:
        planes = [(path, _plane(archive / path)) for path in kind[:MAX_IMAGES]]
        found = [
            (path, plane, abs(np.cross(plane["row"], plane["column"]) @ (center - plane["position"])))
            for path, plane in planes
            if plane is not None
        ]
        yield from sorted(found, key=lambda image: (image[2], image[0]))


def _sagittal_paths(axial: str, rejected: pd.DataFrame) -> list[str]:
    """Sagittal images of the study that the axial slice `axial` belongs to; localizers are not among them."""
    study = axial.rsplit("/", 2)[0] + "/"
    sagittal = rejected[(rejected.plane == "sagittal") & rejected.path.str.startswith(study)]
    return sorted(sagittal.path)


def _named_t2(path: str) -> bool:
    return bool(re.search(r"(?<![a-z0-9])t2", "/".join(path.split("/")[-2:]).lower()))


def _plane(path: Path) -> dict[str, Any] | None:
    try:
        return dicom.read_plane(path)
    except ValueError:
        return None
