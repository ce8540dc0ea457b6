"""What is a usable axial slice, and what the index says of it.

What a file is, its header's numbers decide (orientation, echo and repetition time); names and descriptions only exclude
what the numbers cannot tell (screens, other body regions).
"""

import io
import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from lhdlib.data.dicom_file.header import Header, Rejected, parsed

MAX_SIDE = 2048  # rows or columns
AXIAL_COSINE = 0.7  # |cosine| between the slice's normal and the body's axis: tilts up to 45 degrees are axial
T1_MAX_ECHO_MS, T2_MIN_ECHO_MS = 40.0, 60.0  # spin echo: short TE and TR give T1, long TE and TR give T2
T1_MAX_REPETITION_MS, T2_MIN_REPETITION_MS = 1500.0, 1500.0
COLUMNS = [
    "path", "patient", "study", "series", "series_number", "instance_number", "weighting", "plane", "x", "y", "z",
    "row_x", "row_y", "row_z", "column_x", "column_y", "column_z", "normal_x", "normal_y", "normal_z", "rows",
    "columns", "row_spacing", "column_spacing", "thickness", "echo_time", "repetition_time", "acquisition_time",
    "bytes", "bits_stored", "transfer_syntax", "sop_uid", "manufacturer", "remark",
]  # fmt: skip
LUMBAR_REGION = re.compile(r"lumb|(?<![a-z])l[-_ ]?s(pine)?(?![a-z])", re.IGNORECASE)
OTHER_REGION = re.compile(
    r"(?<![a-z])[ct][-_ ]?spine|cervic|thorac|brain|(?<![a-z])(head|neck|skull|knee|shoulder|hip|pelvis|heart|breast"
    r"|chest|abdomen|ankle|foot|hand|wrist|elbow)(?![a-z])",
    re.IGNORECASE,
)


def read_plane(path: str | Path) -> dict[str, Any]:
    """Where an image of any orientation lies in the patient, e.g. a sagittal one to draw slabs on.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        ``row`` and ``column`` (unit vectors along a row and down a column, shape (3,)), ``position`` of the first
        pixel's centre (mm, patient coordinates, shape (3,)), ``spacing`` (between rows, between columns; mm) and
        ``shape`` (rows, columns).

    Raises
    ------
    ValueError
        For a file that is no grey single-frame image with a place in the patient.
    """
    with parsed(path) as (header, _):
        check_image(header)
        vectors, position, spacing = _geometry(header)
        row, column = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return {
            "row": row,
            "column": column,
            "position": np.array(position),
            "spacing": tuple(spacing),
            "shape": (int(header["Rows"]), int(header["Columns"])),
        }


def patient_of(path: str) -> str:
    """Patient of a file: the first folder of four digits, else the first folder.

    The archive's PatientID is empty, and other archives' would identify a person.
    """
    folders = path.split("/")[:-1]
    numbered = [name for name in folders if re.fullmatch(r"\d{4}", name)]
    return (numbered or folders or ["unknown"])[0]


def read_header(folder: str, path: str) -> dict[str, Any]:
    """What the index says of a file.

    Parameters
    ----------
    folder : str
    path : str
        Relative to `folder`.

    Returns
    -------
    dict
        `COLUMNS` without ``remark``; for what is no usable axial slice ``path, patient, plane, reason``.
    """
    record = {"path": path, "patient": patient_of(path), "plane": ""}
    try:
        with parsed(f"{folder}/{path}") as (header, file):
            _fill(record, header, file)
    except Rejected as reason:
        record["reason"] = str(reason)
    return record


def _fill(record: dict[str, Any], header: Header, file: BinaryIO) -> None:
    if header["MediaStorageSOPClassUID"] == "1.2.840.10008.1.3.10":
        raise Rejected("DICOMDIR")
    if header["Rows"] is None:
        raise Rejected("no image")
    _exclude_by_kind(header, record["path"])
    check_image(header)
    (row, column), position, spacing = _geometry(header)
    normal = _cross(row, column)
    record["plane"] = ("sagittal", "coronal", "axial")[max(range(3), key=lambda axis: abs(normal[axis]))]
    if record["plane"] != "axial" or abs(normal[2]) < AXIAL_COSINE:
        raise Rejected(f"{record['plane']} plane" if record["plane"] != "axial" else "oblique plane")
    weighting = _weighting(header)
    syntax = header["TransferSyntaxUID"]
    start = file.tell()
    size = file.seek(0, io.SEEK_END)
    needed = 1 if UID(syntax).is_compressed else header["Rows"] * header["Columns"] * header["BitsAllocated"] // 8
    if size - start < needed:
        raise Rejected("truncated: fewer bytes than pixels")
    head = 1 if normal[2] > 0 else -1
    folders = record["path"].split("/")
    in_study_folder = len(folders) > 2 and folders[-3] != record["patient"]
    record |= {
        "study": folders[-3] if in_study_folder else _text(header, "StudyInstanceUID"),
        "series": _text(header, "SeriesInstanceUID"),
        "series_number": _whole(header, "SeriesNumber"),
        "instance_number": _whole(header, "InstanceNumber"),
        "weighting": weighting,
        **dict(zip(COLUMNS[8:20], [*position, *row, *column, *(head * x for x in normal)], strict=True)),
        "rows": int(header["Rows"]),
        "columns": int(header["Columns"]),
        "row_spacing": spacing[0],
        "column_spacing": spacing[1],
        "thickness": number_of(header, "SliceThickness"),
        "echo_time": number_of(header, "EchoTime"),
        "repetition_time": number_of(header, "RepetitionTime"),
        "acquisition_time": _text(header, "AcquisitionTime"),
        "bytes": size,
        "bits_stored": int(header["BitsStored"]),
        "transfer_syntax": str(syntax),
        "sop_uid": _text(header, "SOPInstanceUID"),
        "manufacturer": _text(header, "Manufacturer"),
    }


def number_of(header: Header, keyword: str) -> float | None:
    """A finite number, or None when the attribute is absent or empty."""
    value = header[keyword]
    if value is None or value == "":
        return None
    number = float(value)
    if not math.isfinite(number):
        raise Rejected(f"absurd {keyword}")
    return number


def _whole(header: Header, keyword: str) -> int:
    """A number of 32 bits, as the format has it; 0 when the attribute is absent or empty."""
    number = int(header[keyword] or 0)
    if abs(number) >= 2**31:
        raise Rejected(f"absurd {keyword}")
    return number


def _exclude_by_kind(header: Header, path: str) -> None:
    kinds = {str(kind).upper() for kind in _values(header, "ImageType")}
    place = path.rpartition("/")[0]
    series = f"{_text(header, 'SeriesDescription')} {place.rpartition('/')[2]}".lower()
    if "LOCALIZER" in kinds or re.search(r"locali[sz]er|scout|survey", series):
        raise Rejected("localizer")
    if re.search(r"pos[ _]?disp", series):
        raise Rejected("position display")
    if kinds & {"DERIVED", "SECONDARY"}:
        raise Rejected("derived or secondary image")
    for name in (_text(header, "BodyPartExamined"), _text(header, "StudyDescription"), series, place):
        if _other_region(name):
            raise Rejected("other body region")


@lru_cache(maxsize=256)  # files of a series share theirs
def _other_region(name: str) -> bool:
    return bool(OTHER_REGION.search(name)) and not LUMBAR_REGION.search(name)


def check_image(header: Header) -> None:
    """Raise `Rejected` for what is no single grey image of a sensible size."""
    if int(header["NumberOfFrames"] or 1) != 1:
        raise Rejected("multi-frame")
    if int(header["SamplesPerPixel"] or 1) != 1 or "MONOCHROME" not in str(header["PhotometricInterpretation"]):
        raise Rejected("colour image")
    if not all(0 < int(header[side] or 0) <= MAX_SIDE for side in ("Rows", "Columns")):
        raise Rejected("absurd image size")
    if header["BitsAllocated"] not in (8, 16, 32) or not 0 < int(header["BitsStored"] or 0) <= header["BitsAllocated"]:
        raise Rejected("absurd pixel depth")
    if header["TransferSyntaxUID"] is None:
        raise Rejected("no transfer syntax")
    if not _decodable(header["TransferSyntaxUID"]):
        raise Rejected("transfer syntax without a decoder")


@lru_cache(maxsize=64)
def _decodable(syntax: str) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _geometry(header: Header) -> tuple[list[list[float]], list[float], list[float]]:
    """Directions of rows and columns, orthonormal; position of the first pixel; spacing between rows, and columns."""
    try:
        counts = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2}
        orientation, position, spacing = ([float(value) for value in _values(header, key)] for key in counts)
    except (TypeError, ValueError) as error:
        raise Rejected("no geometry") from error
    if [len(orientation), len(position), len(spacing)] != list(counts.values()):
        raise Rejected("no geometry")
    row, column = vectors = [orientation[:3], orientation[3:]]
    sound = all(map(math.isfinite, orientation + position + spacing))
    products = _dot(row, row) - 1, _dot(column, column) - 1, _dot(row, column)
    if not sound or max(map(abs, products)) > 1e-2:
        raise Rejected("no geometry: orientation or position is unusable")
    if not (0.05 < spacing[0] < 5 and 0.05 < spacing[1] < 5):
        raise Rejected("no geometry: absurd pixel spacing")
    return vectors, position, spacing


# Three numbers: numpy would take ten times as long


def _dot(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: list[float], b: list[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def _weighting(header: Header) -> str:
    """T1 or T2 spin echo, from echo and repetition time; the description counts only where one of them is absent."""
    sequence = {str(value).upper() for value in _values(header, "ScanningSequence")}
    description = _text(header, "SeriesDescription").lower()
    echo, repetition, inversion = (number_of(header, tag) for tag in ("EchoTime", "RepetitionTime", "InversionTime"))
    if "IR" in sequence or (inversion or 0) > 0:
        raise Rejected("inversion recovery")  # STIR, FLAIR: another contrast at the same echo and repetition times
    if sequence & {"GR", "EP"}:
        raise Rejected("gradient echo or echo planar")
    kinds = {
        "T1": (echo is None or 0 < echo < T1_MAX_ECHO_MS)
        and (repetition is None or 0 < repetition < T1_MAX_REPETITION_MS),
        "T2": (echo is None or echo > T2_MIN_ECHO_MS) and (repetition is None or repetition > T2_MIN_REPETITION_MS),
    }
    if echo is None or repetition is None:
        named = {f"T{digit}" for digit in re.findall(r"(?<![a-z0-9])t([12])(?![0-9*])", description)}
        hindered = re.search(r"stir|tirm|flair|dwi|medic|t2\*|star", description) or len(named) != 1
        kinds = {kind: possible and kind in named and not hindered for kind, possible in kinds.items()}
    found = [kind for kind, possible in kinds.items() if possible]
    if len(found) != 1:
        raise Rejected("weighting neither T1 nor T2")
    return found[0]


def _values(header: Header, keyword: str) -> list:
    """An attribute's values, be they none, one or many."""
    value = header[keyword]
    return [value] if isinstance(value, str | bytes) else list(value or [])


def _text(header: Header, keyword: str) -> str:
    return str(header[keyword] or "")
