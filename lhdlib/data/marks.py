"""Sides, scale and place of a slice, as they stand on every picture of a patient."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lhdlib import profile as profiles

ENDS = (("R", "L"), ("A", "P"), ("F", "H"))  # where each axis of the patient's coordinates begins, and where it ends
BARS_MM = (5, 10, 20, 50, 100)  # lengths of a scale bar
LONGEST = 0.4  # of a picture's width


class Marks(NamedTuple):
    """Words and scale of one slice."""

    left: str = ""  #: side of the patient at the picture's left edge, such as "R"
    right: str = ""
    mm: float = 0.0  #: width of the picture; 0 where nobody knows it
    number: int = 0  #: of the slice in its slab, from 1, the cranial one first; 0 where it is in none
    of: int = 0  #: slices in the slab

    @property
    def place(self) -> str:
        """Which slice of how many, in words."""
        return f"{self.number} of {self.of}" if self.number else ""

    @property
    def bar_mm(self) -> int:
        """Length of the scale bar, mm."""
        return max((length for length in BARS_MM if length <= LONGEST * self.mm), default=0)


def sides(direction: Sequence[float] | np.ndarray) -> tuple[str, str]:
    """Sides of the patient at a picture's left and right edge, as letters.

    Parameters
    ----------
    direction
        Of its rows, from left to right, in the patient's coordinates: x grows to the left, y to the back, z upwards.
    """
    axis = int(np.argmax(np.abs(direction)))
    first, last = ENDS[axis]
    return (first, last) if direction[axis] > 0 else (last, first)


def side_mm(slices: pd.DataFrame, settings: profiles.Data) -> np.ndarray:
    """Side of each slice in the store, mm."""
    extent = np.maximum(slices["rows"] * slices.row_spacing, slices["columns"] * slices.column_spacing)
    return np.full(len(slices), settings.field_of_view_mm) if settings.field_of_view_mm else extent.to_numpy(float)


def slice_marks(slices: pd.DataFrame, slabs: pd.DataFrame, settings: profiles.Data) -> list[Marks]:
    """Read the marks of each slice of the store, in its order.

    Parameters
    ----------
    slices
        As `dataset.Dataset` or `dicom.index_tree` has them.
    slabs
        As `discs.group_discs` or `dataset.load_discs` gives them.
    """
    places = {path: (n, len(paths)) for paths in slabs.paths for n, path in enumerate(paths, 1)}
    directions = slices[["row_x", "row_y", "row_z"]].to_numpy(float)
    return [
        Marks(*sides(direction), float(mm), *places.get(path, (0, 0)))
        for direction, mm, path in zip(directions, side_mm(slices, settings), slices.path, strict=True)
    ]
