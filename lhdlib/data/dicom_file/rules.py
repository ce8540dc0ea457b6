"""What is a usable axial slice, and what the index says of it.

What a file is, its header's numbers decide (orientation, echo and repetition time); names and descriptions only exclude
what the numbers cannot tell (screens, other body regions).
"""

import io
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom.pixels import get_decoder
from pydicom.uid import UID, MediaStorageDirectoryStorage

from lhdlib.data.dicom_file.header import Header, Rejected, opened
from lhdlib.data.dicom_file.plane import Plane, plane_of

MAX_SIDE = 2048  # rows or columns
T1_MAX_ECHO_MS, T2_MIN_ECHO_MS = 40.0, 60.0  # spin echo: short TE and TR give T1, long TE and TR give T2
T1_MAX_REPETITION_MS, T2_MIN_REPETITION_MS = 1500.0, 1500.0
#: What the index says of a slice, in the order of its table: names and types; `dicom.index_tree` explains them
COLUMNS: dict[str, type] = {
    **dict.fromkeys(["path", "patient", "study", "series"], str),
    **dict.fromkeys(["series_number", "instance_number"], int),
    **dict.fromkeys(["weighting", "plane"], str),
    **dict.fromkeys(["x", "y", "z", "row_x", "row_y", "row_z", "column_x", "column_y", "column_z"], float),
    **dict.fromkeys(["normal_x", "normal_y", "normal_z"], float),
    **dict.fromkeys(["rows", "columns"], int),
    **dict.fromkeys(["row_spacing", "column_spacing", "thickness", "echo_time", "repetition_time"], float),
    "acquisition_time": str,
    **dict.fromkeys(["bytes", "bits_stored"], int),
    **dict.fromkeys(["transfer_syntax", "sop_uid", "manufacturer", "remark"], str),
}
LUMBAR_REGION = re.compile(r"lumb|(?<![a-z])l[-_ ]?s(pine)?(?![a-z])", re.IGNORECASE)
OTHER_REGION = re.compile(
    r"(?<![a-z])[ct][-_ ]?spine|cervic|thorac|brain|(?<![a-z])(head|neck|skull|knee|shoulder|hip|pelvis|heart|breast"
    r"|chest|abdomen|ankle|foot|hand|wrist|elbow)(?![a-z])",
    re.IGNORECASE,
)


def read_plane(path: str | Path) -> dict[str, Any]:
    """Where an image of any orientation lies in the patient, e.g. a sagittal one to draw slabs on.

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
    with opened(path) as (header, _):
        check_image(header)
        plane = plane_of(header)
    directions = np.array([plane.row, plane.column])
    row, column = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    place = {"row": row, "column": column, "position": np.array(plane.position)}
    return {**place, "spacing": plane.spacing, "shape": plane.shape}


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
    path : str
        Relative to `folder`.

    Returns
    -------
    dict
        `COLUMNS` without ``remark``; for what is no usable axial slice ``path, patient, plane, reason``.
    """
    record = {"path": path, "patient": patient_of(path), "plane": ""}
    try:
        with opened(f"{folder}/{path}") as (header, file):
            _check_kind(header, path)
            check_image(header)
            plane = plane_of(header)
            record["plane"] = plane.name
            if not plane.is_axial:
                raise Rejected("oblique plane" if plane.name == "axial" else f"{plane.name} plane")
            weighting = _weighting(header)
            size = _size(header, file)
            return record | _names(header, path) | {"weighting": weighting, "bytes": size} | _place(plane)
    except Rejected as reason:
        return record | {"reason": str(reason)}


def _names(header: Header, path: str) -> dict[str, Any]:
    """Identity and acquisition of a slice."""
    folders = path.split("/")
    in_study_folder = len(folders) > 2 and folders[-3] != patient_of(path)
    return {
        "study": folders[-3] if in_study_folder else header.text("StudyInstanceUID"),
        "series": header.text("SeriesInstanceUID"),
        "series_number": header.whole("SeriesNumber"),
        "instance_number": header.whole("InstanceNumber"),
        "thickness": header.number("SliceThickness"),
        "echo_time": header.number("EchoTime"),
        "repetition_time": header.number("RepetitionTime"),
        "acquisition_time": header.text("AcquisitionTime"),
        "bits_stored": int(header["BitsStored"]),
        "transfer_syntax": str(header["TransferSyntaxUID"]),
        "sop_uid": header.text("SOPInstanceUID"),
        "manufacturer": header.text("Manufacturer"),
    }


def _place(plane: Plane) -> dict[str, float]:
    vectors = {"": plane.position, "row_": plane.row, "column_": plane.column, "normal_": plane.normal}
    return {
        **{name + axis: value for name, vector in vectors.items() for axis, value in zip("xyz", vector, strict=True)},
        **dict(zip(("rows", "columns"), plane.shape, strict=True)),
        **dict(zip(("row_spacing", "column_spacing"), plane.spacing, strict=True)),
    }


def _size(header: Header, file: BinaryIO) -> int:
    """Bytes of a file that stands at its pixel data and is not too short for them."""
    start, size = file.tell(), file.seek(0, io.SEEK_END)
    compressed = UID(header["TransferSyntaxUID"]).is_compressed
    needed = 1 if compressed else header["Rows"] * header["Columns"] * header["BitsAllocated"] // 8
    if size - start < needed:
        raise Rejected("truncated: fewer bytes than pixels")
    return size


def _check_kind(header: Header, path: str) -> None:
    if header["MediaStorageSOPClassUID"] == MediaStorageDirectoryStorage:
        raise Rejected("DICOMDIR")
    if header["Rows"] is None:
        raise Rejected("no image")
    kinds = {str(kind).upper() for kind in header.all_of("ImageType")}
    place = path.rpartition("/")[0]
    series = f"{header.text('SeriesDescription')} {place.rpartition('/')[2]}".lower()
    if "LOCALIZER" in kinds or re.search(r"locali[sz]er|scout|survey", series):
        raise Rejected("localizer")
    if re.search(r"pos[ _]?disp", series):
        raise Rejected("position display")
    if kinds & {"DERIVED", "SECONDARY"}:
        raise Rejected("derived or secondary image")
    for name in (header.text("BodyPartExamined"), header.text("StudyDescription"), series, place):
        if _other_region(name):
            raise Rejected("other body region")


@lru_cache(maxsize=256)  # files of a series share theirs
def _other_region(name: str) -> bool:
    return bool(OTHER_REGION.search(name)) and not LUMBAR_REGION.search(name)


def check_image(header: Header) -> None:
    """Refuse what is no grey single-frame image of a sane size that can be decoded."""
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


def _weighting(header: Header) -> str:
    """T1 or T2 spin echo, from echo and repetition time; the description counts only where one of them is absent."""
    sequence = {str(value).upper() for value in header.all_of("ScanningSequence")}
    description = header.text("SeriesDescription").lower()
    echo, repetition, inversion = (header.number(tag) for tag in ("EchoTime", "RepetitionTime", "InversionTime"))
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
