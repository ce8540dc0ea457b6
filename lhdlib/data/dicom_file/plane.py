"""Where an image lies in the patient, as its header says."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lhdlib.data.dicom_file.header import Header, Rejected

AXIAL_COSINE = 0.7  # |cosine| between the slice's normal and the body's axis: tilts up to 45 degrees are axial
VALUES = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2}
MAX_DEFECT = 1e-2  # of the directions' lengths and right angle
SPACING_MM = (0.05, 5.0)  # between pixels

Vector = list[float]  # of three numbers: numpy would take ten times as long


@dataclass(frozen=True)
class Plane:
    """An image's place in patient coordinates (x to the left, y to the back, z to the head), mm.

    Attributes
    ----------
    row, column : list of float
        Directions along a row and down a column; orthonormal but for rounding.
    position : list of float
        Centre of the first pixel.
    spacing : tuple of float
        Between rows, and between columns.
    shape : tuple of int
        Rows and columns.
    """

    row: Vector
    column: Vector
    position: Vector
    spacing: tuple[float, float]
    shape: tuple[int, int]

    @property
    def normal(self) -> Vector:
        """Direction across the image, to the head."""
        (a, b, c), (x, y, z) = self.row, self.column
        normal = [b * z - c * y, c * x - a * z, a * y - b * x]
        head = 1 if normal[2] > 0 else -1
        return [head * value for value in normal]

    @property
    def name(self) -> str:
        """Sagittal, coronal or axial, whichever is nearest."""
        normal = self.normal
        return ("sagittal", "coronal", "axial")[max(range(3), key=lambda axis: abs(normal[axis]))]

    @property
    def is_axial(self) -> bool:
        return self.name == "axial" and abs(self.normal[2]) >= AXIAL_COSINE

    def upright(self) -> tuple["Plane", "Turn"]:
        """An axial image's plane once the patient's right is at the picture's left and the front at its top.

        A patient who lies prone, and pictures that were mirrored or turned when they were stored, have other
        directions; small turns about the body's axis stay. Images of other planes are left as they are.
        """
        if not self.is_axial:
            return self, Turn()
        (row, column), (rows, columns), (down, along) = (self.row, self.column), self.shape, self.spacing
        transposed = abs(row[1]) + abs(column[0]) > abs(row[0]) + abs(column[1])
        if transposed:
            row, column, rows, columns, down, along = column, row, columns, rows, along, down
        left_right, upside_down = row[0] < 0, column[1] < 0
        position = self.position
        if left_right:
            position = [p + r * along * (columns - 1) for p, r in zip(position, row, strict=True)]
            row = [-value for value in row]
        if upside_down:
            position = [p + c * down * (rows - 1) for p, c in zip(position, column, strict=True)]
            column = [-value for value in column]
        turn = Turn(transposed, left_right, upside_down)
        return Plane(row, column, position, (down, along), (rows, columns)), turn


class Turn(NamedTuple):
    """How an image's array becomes upright: first transposed, then mirrored."""

    transposed: bool = False
    left_right: bool = False
    upside_down: bool = False

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The array, upright; the same object where nothing is turned."""
        if not any(self):
            return pixels
        pixels = pixels.T if self.transposed else pixels
        return np.ascontiguousarray(pixels[:: -1 if self.upside_down else 1, :: -1 if self.left_right else 1])


def plane_of(header: Header) -> Plane:
    """Place of an image as it is stored.

    Raises
    ------
    Rejected
        When the header tells no place, or an absurd one.
    """
    found = {}
    for keyword, count in VALUES.items():
        try:
            numbers = header.numbers(keyword, count)
        except Rejected as reason:
            raise Rejected(f"no geometry: {reason}") from None
        if numbers is None:
            raise Rejected(f"no geometry: no {keyword}")
        found[keyword] = numbers
    orientation, position, spacing = found.values()
    row, column = orientation[:3], orientation[3:]
    if max(map(abs, (_dot(row, row) - 1, _dot(column, column) - 1, _dot(row, column)))) > MAX_DEFECT:
        raise Rejected("no geometry: unusable ImageOrientationPatient")
    low, high = SPACING_MM
    if not (low < spacing[0] < high and low < spacing[1] < high):
        raise Rejected("no geometry: absurd PixelSpacing")
    shape = header.whole("Rows") or 0, header.whole("Columns") or 0
    return Plane(row, column, position, (spacing[0], spacing[1]), shape)


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
