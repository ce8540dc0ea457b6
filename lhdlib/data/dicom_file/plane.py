"""Where an image lies in the patient, as its header says."""

import math
from dataclasses import dataclass

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


def plane_of(header: Header) -> Plane:
    """Place of an image.

    Raises
    ------
    Rejected
        When the header tells no place, or an absurd one.
    """
    try:
        orientation, position, spacing = ([float(value) for value in header.all_of(key)] for key in VALUES)
    except (TypeError, ValueError) as error:
        raise Rejected("no geometry") from error
    if [len(orientation), len(position), len(spacing)] != list(VALUES.values()):
        raise Rejected("no geometry")
    row, column = orientation[:3], orientation[3:]
    sound = all(map(math.isfinite, orientation + position + spacing))
    defects = _dot(row, row) - 1, _dot(column, column) - 1, _dot(row, column)
    if not sound or max(map(abs, defects)) > MAX_DEFECT:
        raise Rejected("no geometry: orientation or position is unusable")
    low, high = SPACING_MM
    if not (low < spacing[0] < high and low < spacing[1] < high):
        raise Rejected("no geometry: absurd pixel spacing")
    shape = int(header["Rows"]), int(header["Columns"])
    return Plane(row, column, position, (spacing[0], spacing[1]), shape)


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
