"""A folder tree of DICOM files -> a table of usable axial slices, and a table of what was set aside and why.

Headers are read without pixels, in parallel. What a file is, its header's numbers decide (orientation, echo and
repetition time); names and descriptions only exclude what the numbers cannot tell (screens, other body regions).
"""

import hashlib
import os
import re
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom

from lhdlib.errors import UserError
from lhdlib.progress import progress_bar

MAX_BYTES = 64 * 2**20  # of one file; a slice of the archive has 0.3 MB
MAX_SIDE = 2048  # rows or columns
AXIAL_COSINE = 0.7  # |cosine| between the slice's normal and the body's axis: tilts up to 45 degrees are axial
T1_MAX_ECHO_MS, T2_MIN_ECHO_MS = 40.0, 60.0  # spin echo: short TE and TR give T1, long TE and TR give T2
T1_MAX_REPETITION_MS, T2_MIN_REPETITION_MS = 1500.0, 1500.0
PARALLEL_FROM = 400  # files; below that, starting processes costs more than it saves

TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SeriesNumber", "InstanceNumber",
    "ImageType", "SeriesDescription", "BodyPartExamined", "ImageOrientationPatient", "ImagePositionPatient",
    "PixelSpacing", "SliceThickness", "Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel",
    "NumberOfFrames", "PhotometricInterpretation", "EchoTime", "RepetitionTime", "AcquisitionTime", "Manufacturer",
]  # fmt: skip
COLUMNS = [
    "path", "patient", "study", "series", "series_number", "instance_number", "weighting", "plane", "x", "y", "z",
    "row_x", "row_y", "row_z", "column_x", "column_y", "column_z", "normal_x", "normal_y", "normal_z", "rows",
    "columns", "row_spacing", "column_spacing", "thickness", "echo_time", "repetition_time", "acquisition_time",
    "bits_stored", "transfer_syntax", "sop_uid", "manufacturer",
]  # fmt: skip


class _Rejected(Exception):
    """Why a file is no usable axial slice."""


def index_tree(
    folder: str | Path, workers: int | None = None, progress: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Index every file below a folder, whatever its name.

    Parameters
    ----------
    folder : path
    workers : int, optional
        Processes; the number of cores when None. The result does not depend on it.
    progress : bool
        Show a progress bar.

    Returns
    -------
    slices : pd.DataFrame
        The usable axial T1 and T2 slices, sorted by path: ``path`` (relative to `folder`), ``patient`` (from the
        folder, never from the header), ``study``, ``series``, ``weighting``, position of the first pixel ``x, y, z``
        (mm, patient coordinates), the row's, column's and normal's direction (the normal points to the head),
        spacing and thickness (mm), times (ms), ``sop_uid``, ``manufacturer`` and more (`COLUMNS`).
    rejected : pd.DataFrame
        ``path, patient, plane, reason`` of every other file; duplicates are among them.

    Raises
    ------
    UserError
        When there is no such folder, or no file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: name the folder that holds the patients' studies.")
    paths = sorted(
        os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
        for place, _, names in os.walk(folder)
        for name in names
    )
    if not paths:
        raise UserError(f"{folder} holds no file: name the folder that holds the patients' studies.")
    tasks = [(str(folder), path) for path in paths]
    bar = {"total": len(tasks), "desc": "reading headers", "disable": not progress}
    if len(tasks) < PARALLEL_FROM or workers == 1:
        records = list(progress_bar(map(_read_header, tasks), **bar))
    else:
        with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn")) as pool:
            records = list(progress_bar(pool.map(_read_header, tasks, chunksize=64), **bar))
    usable = [record for record in records if not record.get("reason")]
    slices = pd.DataFrame(usable, columns=COLUMNS)
    rejected = pd.DataFrame([r for r in records if r.get("reason")], columns=["path", "patient", "plane", "reason"])
    twins = find_duplicates(slices, folder)
    slices = slices[~slices.path.isin(twins.path)].reset_index(drop=True)
    rejected = pd.concat([rejected, twins], ignore_index=True).sort_values("path", ignore_index=True)
    return slices, rejected


def find_duplicates(slices: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Slices stored twice: same SOPInstanceUID, or same patient, geometry and pixels; the first path is kept.

    Only slices that share patient, position, orientation and weighting have their pixels read.

    Returns
    -------
    pd.DataFrame
        ``path, patient, plane, reason`` of the copies.
    """
    kept: dict[Any, str] = {}
    copies = []
    place = ["patient", "weighting", "x", "y", "z", *(f"{v}_{a}" for v in ("row", "column") for a in "xyz")]
    crowded = slices.duplicated(place, keep=False) if len(slices) else pd.Series(dtype=bool)
    for row, same_place in zip(slices.itertuples(), crowded, strict=True):
        keys = [row.sop_uid]
        if same_place:
            keys.append((row.patient, row.weighting, _pixel_hash(folder / row.path)))
        original = next((kept[key] for key in keys if key in kept), None)
        if original:
            copies.append((row.path, row.patient, row.plane, f"duplicate: of {original}"))
        for key in keys:
            kept.setdefault(key, row.path)
    return pd.DataFrame(copies, columns=["path", "patient", "plane", "reason"])


def read_pixels(path: str | Path) -> np.ndarray:
    """Pixel values of a single-frame slice, rescaled, bright meaning more signal.

    Parameters
    ----------
    path : path

    Returns
    -------
    np.ndarray, shape (rows, columns), float32

    Raises
    ------
    ValueError
        For more than one frame, colour, or an absurd size.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of malformed but readable values; files are listed where they fail
        header = pydicom.dcmread(path)
        _check_image(header)
        pixels = header.pixel_array.astype(np.float32)
    if pixels.ndim != 2:
        raise ValueError(f"{path} does not hold one grey image.")
    pixels = pixels * float(header.get("RescaleSlope", 1) or 1) + float(header.get("RescaleIntercept", 0) or 0)
    if header.PhotometricInterpretation == "MONOCHROME1":
        pixels = pixels.max() - pixels
    return pixels


def patient_of(path: str) -> str:
    """Patient of a file: the first folder of four digits, else the first folder.

    The archive's PatientID is empty, and other archives' would identify a person.
    """
    folders = path.split("/")[:-1]
    numbered = [name for name in folders if re.fullmatch(r"\d{4}", name)]
    return (numbered or folders or ["unknown"])[0]


def _read_header(task: tuple[str, str]) -> dict[str, Any]:
    folder, path = task
    record = {"path": path, "patient": patient_of(path), "plane": ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _fill(record, Path(folder) / path)
    except _Rejected as reason:
        record["reason"] = str(reason)
    except pydicom.errors.InvalidDicomError:
        record["reason"] = "not DICOM"
    except Exception as error:  # a damaged file may fail anywhere in the parser; its message may quote the header
        record["reason"] = f"unreadable: {type(error).__name__}"
    return record


def _fill(record: dict[str, Any], file: Path) -> None:
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise _Rejected(f"too large: over {MAX_BYTES >> 20} MiB")
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS)
    if header.file_meta.get("MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10":
        raise _Rejected("DICOMDIR")
    if "Rows" not in header:
        raise _Rejected("no image")
    _exclude_by_kind(header, record["path"])
    _check_image(header)
    vectors = _geometry(header)
    normal = np.cross(vectors[0], vectors[1])
    record["plane"] = ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]
    if record["plane"] != "axial" or abs(normal[2]) < AXIAL_COSINE:
        raise _Rejected(f"{record['plane']} plane" if record["plane"] != "axial" else "oblique plane")
    syntax = header.file_meta.TransferSyntaxUID
    if not syntax.is_compressed and size < header.Rows * header.Columns * header.BitsAllocated // 8:
        raise _Rejected("truncated: fewer bytes than pixels")
    position = np.array(header.ImagePositionPatient, float)
    spacing = np.array(header.PixelSpacing, float)
    numbers = [*position, *vectors[0], *vectors[1], *(normal if normal[2] > 0 else -normal)]
    folders = record["path"].split("/")
    record |= {
        "study": folders[-3] if len(folders) > 2 else str(header.StudyInstanceUID),
        "series": str(header.SeriesInstanceUID),
        "series_number": int(header.get("SeriesNumber") or 0),
        "instance_number": int(header.get("InstanceNumber") or 0),
        "weighting": _weighting(header),
        **dict(zip(COLUMNS[8:20], map(float, numbers), strict=True)),
        "rows": int(header.Rows),
        "columns": int(header.Columns),
        "row_spacing": float(spacing[0]),
        "column_spacing": float(spacing[1]),
        "thickness": float(header.get("SliceThickness") or np.nan),
        "echo_time": float(header.get("EchoTime") or np.nan),
        "repetition_time": float(header.get("RepetitionTime") or np.nan),
        "acquisition_time": str(header.get("AcquisitionTime") or ""),
        "bits_stored": int(header.BitsStored),
        "transfer_syntax": str(syntax),
        "sop_uid": str(header.SOPInstanceUID),
        "manufacturer": str(header.get("Manufacturer") or ""),
    }


def _exclude_by_kind(header: pydicom.Dataset, path: str) -> None:
    description = f"{header.get('SeriesDescription', '')}".lower()
    if "localizer" in description or "scout" in description:
        raise _Rejected("localizer")
    if "posdisp" in description.replace(" ", ""):
        raise _Rejected("position display")
    kinds = {str(kind).upper() for kind in header.get("ImageType") or []}
    if kinds & {"DERIVED", "SECONDARY"}:
        raise _Rejected("derived or secondary image")
    region = f"{header.get('BodyPartExamined', '')} {path}".upper()
    if re.search(r"C-SPINE|T-SPINE|CSPINE|TSPINE|CERVICAL|THORACIC|BRAIN|HEAD/", region):
        raise _Rejected("other body region")


def _check_image(header: pydicom.Dataset) -> None:
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise _Rejected("multi-frame")
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise _Rejected("colour image")
    if not (0 < int(header.Rows) <= MAX_SIDE and 0 < int(header.Columns) <= MAX_SIDE):
        raise _Rejected("absurd image size")
    if header.get("BitsAllocated") not in (8, 16, 32):
        raise _Rejected("absurd pixel depth")


def _geometry(header: pydicom.Dataset) -> np.ndarray:
    """Directions of rows and columns, shape (2, 3), orthonormal."""
    try:
        vectors = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        rest = np.array([*header.ImagePositionPatient, *header.PixelSpacing], float)
    except (AttributeError, TypeError, ValueError) as error:
        raise _Rejected("no geometry") from error
    sound = np.isfinite(vectors).all() and np.isfinite(rest).all() and rest.shape == (5,)
    if not sound or not np.allclose(vectors @ vectors.T, np.eye(2), atol=1e-2):
        raise _Rejected("no geometry: orientation or position is unusable")
    if not (0.05 < rest[3] < 5 and 0.05 < rest[4] < 5):
        raise _Rejected("no geometry: absurd pixel spacing")
    return vectors


def _weighting(header: pydicom.Dataset) -> str:
    echo, repetition = (float(header.get(tag) or np.nan) for tag in ("EchoTime", "RepetitionTime"))
    if echo < T1_MAX_ECHO_MS and repetition < T1_MAX_REPETITION_MS:
        return "T1"
    if echo > T2_MIN_ECHO_MS and repetition > T2_MIN_REPETITION_MS:
        return "T2"
    if np.isnan(echo) or np.isnan(repetition):  # only then does the description count
        found = re.match(r"t([12])[_ ]", str(header.get("SeriesDescription", "")).lower())
        if found:
            return f"T{found[1]}"
    raise _Rejected("weighting neither T1 nor T2")


def _pixel_hash(path: Path) -> str:
    try:
        return hashlib.sha256(read_pixels(path).tobytes()).hexdigest()
    except Exception:  # noqa: BLE001  unreadable pixels are no duplicates; the store lists them
        return str(path)
