"""Rules: which file is a usable axial slice, and its record in the index.

Numbers decide what a slice is (orientation, echo and repetition time); texts tell the region and other contrasts. What
contradicts itself is used with a remark, for a person to look at.
"""

import hashlib
import io
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom.uid import UID, MediaStorageDirectoryStorage

from lhdlib.data.dicom_file.header import Header, Rejected, opened
from lhdlib.data.dicom_file.layout import Layout, layout_of
from lhdlib.data.dicom_file.plane import Plane, plane_of
from lhdlib.data.dicom_file.region import region_remark
from lhdlib.data.dicom_file.texts import Texts, texts_of
from lhdlib.data.dicom_file.weighting import weighting_of

LOCALIZER = re.compile(
    r"lo[ck]ali[sz]|localad|scout|survey|topogra|scanogra|reperage|ubersicht|uebersicht|positioning|smart ?brain"
    r"|plan ?scan|ref ?scan|prescan|calibrat|pilot|planung|planning|lageplan|screen ?save"
    r"|(?<![a-z])(?:lo[ck]s?|plan|plans|cal|shim(?:ming)?|ref|sondage|count(?:ing)?"
    r"|(?:3|three|tri|multi) ?pl(?:an|n|anar)?s?)(?![a-z])"
    r"|(?<!ax )(?<!axial )(?<!tra )(?<!transverse )(?<!transversal )(?<!oblique )planes?(?![a-z])"
)
SHARED_UID = "SOPInstanceUID of another image too"  # a remark, and no doubt about the slice
NO_FOLDER = "unknown"  # the patient of files that lie in no patient's folder
POSITION_DISPLAY = re.compile(r"pos(?:ition)? ?disp")
#: What the index says of a slice, in the order of its table: names and types. Places are those of the pixels as
#: `read_pixels` gives them, mm.
COLUMNS: dict[str, type] = {
    # relative to the folder; the folder above the study's, never of the header; a name that no other study of the
    # patient has; hashes of the UIDs of study and series
    **dict.fromkeys(["path", "patient", "study", "study_key", "series"], str),
    **dict.fromkeys(["series_number", "instance_number"], int),
    **dict.fromkeys(["weighting", "plane"], str),
    **dict.fromkeys(["x", "y", "z", "row_x", "row_y", "row_z", "column_x", "column_y", "column_z"], float),
    **dict.fromkeys(["normal_x", "normal_y", "normal_z"], float),
    **dict.fromkeys(["rows", "columns"], int),
    **dict.fromkeys(["row_spacing", "column_spacing", "thickness", "echo_time", "repetition_time"], float),
    "acquisition_time": str,
    **dict.fromkeys(["bytes", "bits_stored"], int),
    **dict.fromkeys(["transfer_syntax", "sop_key", "manufacturer", "remark"], str),  # remarks are the disc's flag later
}


def read_plane(path: str | Path) -> dict[str, Any]:
    """Where the pixels that `read_pixels` gives lie in the patient, in whatever plane, e.g. to draw slabs on them.

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
        layout_of(header)
        plane, _ = plane_of(header).upright()
    directions = np.array([plane.row, plane.column])
    row, column = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    place = {"row": row, "column": column, "position": np.array(plane.position)}
    return {**place, "spacing": plane.spacing, "shape": plane.shape}


def folders_of(path: str) -> tuple[str, str]:
    """Patient and study by a file's folders, counted from its own: patient, study, series.

    Whatever their names and what lies above, the patient is the folder above the study: the archive's PatientID is
    empty, and others' would identify a person. In fewer folders the first is the patient, and no folder the study.
    """
    folders = path.split("/")[:-1]
    if len(folders) > 2:
        return folders[-3], folders[-2]
    return (folders or [NO_FOLDER])[0], ""


def patient_of(path: str) -> str:
    """Patient of a file (`folders_of`)."""
    return folders_of(path)[0]


def read_described(folder: str, task: tuple[str, str]) -> dict[str, Any]:
    """`read_header` of a path, with the description that a table gives its series."""
    path, described = task
    return read_header(folder, path, described=described)


def read_header(folder: str, path: str, *, described: str = "") -> dict[str, Any]:
    """Record of a file in the index.

    Parameters
    ----------
    path : str
        Relative to `folder`.
    described : str
        Description of the series in a table beside the images; empty where there is none.

    Returns
    -------
    dict
        `COLUMNS`, with ``study`` and ``study_key`` as this file alone tells them; for what is no usable axial slice
        ``path, patient, plane, reason``.
    """
    record: dict[str, Any] = {"path": path, "patient": patient_of(path), "plane": ""}
    try:
        with opened(f"{folder}/{path}") as (header, file):
            texts = texts_of(header, path, described=described)
            kinds = header.codes("ImageType")
            _check_kind(header, texts, kinds)
            remarks = [region_remark(texts, folder_tells=path.count("/") > 1)]
            layout = layout_of(header)
            stored = plane_of(header)
            record["plane"] = stored.name
            if not stored.is_axial:
                raise Rejected("oblique plane" if stored.name == "axial" else f"{stored.name} plane")
            weighting, doubt = weighting_of(header, texts, kinds)
            size = _size(header, layout, file)
            remark = "; ".join(filter(None, [*remarks, doubt]))
            record |= {"weighting": weighting, "bytes": size, "bits_stored": layout.stored, "remark": remark}
            return record | _names(header, path) | _place(stored.upright()[0])
    except Rejected as reason:
        return record | {"reason": str(reason)}


def key_of(uid: str) -> str:
    """A UID's SHA-256, twelve digits: it tells studies, series or images apart; empty without UID.

    No table has UIDs themselves: in the hospital they lead to the patient.
    """
    return hashlib.sha256(uid.encode("utf-8", "surrogatepass")).hexdigest()[:12] if uid else ""


def _names(header: Header, path: str) -> dict[str, Any]:
    """Identity and acquisition of a slice."""
    return {
        "study": folders_of(path)[1],
        "study_key": key_of(header.text("StudyInstanceUID")),
        "series": key_of(header.text("SeriesInstanceUID")),
        "series_number": header.whole_if_any("SeriesNumber"),
        "instance_number": header.whole_if_any("InstanceNumber"),
        "thickness": header.number_if_any("SliceThickness"),
        "echo_time": header.number_if_any("EchoTime"),
        "repetition_time": header.number_if_any("RepetitionTime"),
        "acquisition_time": header.text("AcquisitionTime"),
        "transfer_syntax": str(header["TransferSyntaxUID"]),
        "sop_key": key_of(header.text("SOPInstanceUID")),
        "manufacturer": header.text("Manufacturer"),
    }


def _place(plane: Plane) -> dict[str, float]:
    vectors = {"": plane.position, "row_": plane.row, "column_": plane.column, "normal_": plane.normal}
    return {
        **{name + axis: value for name, vector in vectors.items() for axis, value in zip("xyz", vector, strict=True)},
        **dict(zip(("rows", "columns"), plane.shape, strict=True)),
        **dict(zip(("row_spacing", "column_spacing"), plane.spacing, strict=True)),
    }


def _size(header: Header, layout: Layout, file: BinaryIO) -> int:
    """Bytes of a file that stands at its pixel data and is not too short for them."""
    start, size = file.tell(), file.seek(0, io.SEEK_END)
    compressed = UID(header["TransferSyntaxUID"]).is_compressed
    if size - start < (1 if compressed else layout.rows * layout.columns * layout.allocated // 8):
        raise Rejected("truncated: fewer bytes than pixels")
    return size


def _check_kind(header: Header, texts: Texts, kinds: set[str]) -> None:
    """Refuse what is no image, and images made to find one's way or by computing."""
    if header["MediaStorageSOPClassUID"] == MediaStorageDirectoryStorage:
        raise Rejected("DICOMDIR")
    if header["Rows"] is None:
        raise Rejected("no image")
    series = f"{texts.series} | {texts.series_folder}"
    if POSITION_DISPLAY.search(series):
        raise Rejected("position display")
    if "LOCALIZER" in kinds or LOCALIZER.search(series):
        raise Rejected("localizer")
    if kinds & {"DERIVED", "SECONDARY"}:
        raise Rejected("derived or secondary image")
