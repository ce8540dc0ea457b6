"""A folder tree of DICOM files -> a table of usable axial slices, and a table of what was set aside and why.

Headers are read without pixels, in parallel. What a file is, its header's numbers decide (orientation, echo and
repetition time); names and descriptions only exclude what the numbers cannot tell (screens, other body regions).

Files are hostile until read: pydicom sees them through `_Metered`, which bounds what it may read,
and compressed pixels are decoded in a process of their own (`decoder`).
"""

import hashlib
import io
import logging
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pydicom
from pydicom.pixels import get_decoder
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from lhdlib.data import decoder
from lhdlib.errors import UserError
from lhdlib.progress import progress_bar

MAX_BYTES = 32 * 2**20  # of one file, also when inflated; a slice of the archive has 0.3 MB
MAX_HEADER_BYTES = 256 * 2**10  # that must be read, what is skipped not counted; in the archive some thousands
MAX_HEADER_NESTING = 32  # sequences within sequences; in the archive some few
MAX_VALUE_BYTES = 1024  # of an attribute that is asked for
MAX_SIDE = 2048  # rows or columns
MAX_DEPTH = 32  # folders
AXIAL_COSINE = 0.7  # |cosine| between the slice's normal and the body's axis: tilts up to 45 degrees are axial
T1_MAX_ECHO_MS, T2_MIN_ECHO_MS = 40.0, 60.0  # spin echo: short TE and TR give T1, long TE and TR give T2
T1_MAX_REPETITION_MS, T2_MIN_REPETITION_MS = 1500.0, 1500.0
PARALLEL_FROM = 2000  # files; below that, starting processes (a second) costs more than it saves

TAGS = [
    Tag(keyword)
    for keyword in """
    SOPClassUID SOPInstanceUID SeriesInstanceUID StudyInstanceUID SeriesNumber InstanceNumber ImageType
    StudyDescription SeriesDescription BodyPartExamined ImageOrientationPatient ImagePositionPatient PixelSpacing
    SliceThickness Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel NumberOfFrames
    PhotometricInterpretation RescaleSlope RescaleIntercept EchoTime RepetitionTime InversionTime ScanningSequence
    AcquisitionTime Manufacturer
""".split()
]
COLUMNS = [
    "path", "patient", "study", "series", "series_number", "instance_number", "weighting", "plane", "x", "y", "z",
    "row_x", "row_y", "row_z", "column_x", "column_y", "column_z", "normal_x", "normal_y", "normal_z", "rows",
    "columns", "row_spacing", "column_spacing", "thickness", "echo_time", "repetition_time", "acquisition_time",
    "bytes", "bits_stored", "transfer_syntax", "sop_uid", "manufacturer", "remark",
]  # fmt: skip
REJECTED = ["path", "patient", "plane", "reason"]
UNDEFINED_LENGTH = 0xFFFFFFFF
LUMBAR_REGION = re.compile(r"lumb|(?<![a-z])l[-_ ]?s(pine)?(?![a-z])", re.IGNORECASE)
OTHER_REGION = re.compile(
    r"(?<![a-z])[ct][-_ ]?spine|cervic|thorac|brain|(?<![a-z])(head|neck|skull|knee|shoulder|hip|pelvis|heart|breast"
    r"|chest|abdomen|ankle|foot|hand|wrist|elbow)(?![a-z])",
    re.IGNORECASE,
)

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its warnings quote names and dates of damaged headers


class _Rejected(ValueError):
    """Why a file is no usable axial slice; the message quotes nothing of the header."""


class _Deflated(Exception):
    """pydicom asks for all that is left: it does so for the deflated transfer syntax alone."""


class _Metered:
    """What pydicom may read of a file, whatever its lengths say: so many bytes (so much time and memory), so deep."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.bytes = file, MAX_HEADER_BYTES
        self.seek, self.tell = file.seek, file.tell
        self.item_ends: list[float] = []  # where the open items of sequences end

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            raise _Deflated
        data = self.file.read(min(size, self.bytes + 1))
        self.bytes -= len(data)
        if self.bytes < 0:
            raise _Rejected("absurd header: too long")
        if data[:4] in (b"\xfe\xff\0\xe0", b"\xff\xfe\xe0\0"):  # an item begins, in either byte order
            here, length = self.tell(), int.from_bytes(data[4:], "little" if data[0] == 0xFE else "big")
            end = np.inf if length == UNDEFINED_LENGTH else here + length
            self.item_ends = [*(other for other in self.item_ends if other > here), end]
            if len(self.item_ends) > MAX_HEADER_NESTING:  # before Python's recursion ends: where, depends on the caller
                raise _Rejected("absurd header: nested too deep")
        elif data[:4] in (b"\xfe\xff\x0d\xe0", b"\xff\xfe\xe0\x0d") and self.item_ends:
            self.item_ends.pop()
        return data


def index_tree(
    folder: str | Path, workers: int | None = None, progress: bool = False, duplicates: str = "removed"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Index every file below a folder, whatever its name.

    Parameters
    ----------
    folder : path
    workers : int, optional
        Processes; the number of cores when None. The result does not depend on it.
    progress : bool
        Show a progress bar.
    duplicates : {"removed", "kept"}
        What becomes of images stored twice (profile, ``data.duplicates``).

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
    paths, unread = _walk(folder)
    if not paths + unread:
        raise UserError(f"{folder} holds no file: name the folder that holds the patients' studies.")
    tasks = [(str(folder), path) for path in paths]
    records = unread + _map(_read_header, tasks, workers, "reading headers", progress)
    slices = pd.DataFrame([r for r in records if not r.get("reason")], columns=COLUMNS).sort_values("path")
    rejected = pd.DataFrame([r for r in records if r.get("reason")], columns=REJECTED)
    twins = find_duplicates(slices if duplicates == "removed" else slices[:0], folder, workers, progress)
    slices = slices[~slices.path.isin(twins.path)].reset_index(drop=True)
    shared = slices.sop_uid.duplicated(keep=False) & (slices.sop_uid != "")
    slices["remark"] = np.where(shared, "SOPInstanceUID of another image too", "")
    rejected = pd.concat([rejected, twins], ignore_index=True).sort_values("path", ignore_index=True)
    return slices, rejected


def find_duplicates(
    slices: pd.DataFrame, folder: str | Path, workers: int | None = None, progress: bool = False
) -> pd.DataFrame:
    """Images stored twice; the first path whose pixels are readable is kept.

    Stored twice means: one SOPInstanceUID, and one place or the same pixels; or one patient, one place and the same
    pixels under another UID. Images that share a UID but neither place nor pixels were numbered wrongly and all stay.
    Only slices that share a UID, or patient and place, have their pixels read.

    Parameters
    ----------
    slices : pd.DataFrame
        Of `index_tree`.
    folder : path
        That its paths are relative to.
    workers, progress
        As in `index_tree`.

    Returns
    -------
    pd.DataFrame
        ``path, patient, plane, reason`` of the copies, sorted by path.
    """
    decimals = dict.fromkeys("xyz", 1) | {f"{vector}_{axis}": 3 for vector in ("row", "column") for axis in "xyz"}
    rounded = slices[list(decimals)].astype(float).round(decimals)  # programs that copy round
    place = rounded.assign(weighting=slices.weighting).groupby([*decimals, "weighting"]).ngroup()
    uid = slices.sop_uid.where(slices.sop_uid != "", slices.path)
    crowded = uid.duplicated(keep=False) | pd.DataFrame({"p": slices.patient, "at": place}).duplicated(keep=False)
    found = slices.assign(place=place, uid=uid)[crowded]
    tasks = [str(Path(folder) / path) for path in found.path]
    found = found.assign(pixels=_map(_pixel_hash, tasks, workers, "comparing copies", progress))
    found = found.sort_values(["pixels", "path"], key=lambda c: c == "" if c.name == "pixels" else c)  # readable first
    kept: dict[Any, str] = {}
    copies = []
    for row in found.itertuples():
        keys = [(row.uid, row.place)]
        if row.pixels:
            keys += [(row.uid, row.pixels), (row.patient, row.place, row.pixels)]
        original = next((kept[key] for key in keys if key in kept), None)
        if original:
            copies.append((row.path, row.patient, row.plane, f"duplicate: of {original}"))
        for key in keys:
            kept.setdefault(key, original or row.path)
    return pd.DataFrame(copies, columns=REJECTED).sort_values("path", ignore_index=True)


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
        For more than one frame, colour, an absurd size, or pixels that cannot be decoded; the message quotes nothing of
        the header.
    """
    with _parsed(Path(path)) as (header, file):
        _check_image(header)
        image = pydicom.Dataset(header)
        image.file_meta = header.file_meta
        image.add(_pixel_data(file, little_endian=header.original_encoding[1]))
        compressed = header.file_meta.TransferSyntaxUID.is_compressed
        pixels = decoder.decode(image) if compressed else image.pixel_array
        slope, intercept = _number(header, "RescaleSlope"), _number(header, "RescaleIntercept")
        if pixels.shape != (header.Rows, header.Columns):
            raise _Rejected("more or fewer pixels than rows and columns")
        pixels = pixels.astype(np.float32) * (slope or 1.0) + (intercept or 0.0)
        if not np.isfinite(pixels).all():
            raise _Rejected("absurd pixel values")
        return pixels.max() - pixels if header.PhotometricInterpretation == "MONOCHROME1" else pixels


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
    with _parsed(Path(path)) as (header, _):
        _check_image(header)
        vectors = _geometry(header)
        row, column = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return {
            "row": row,
            "column": column,
            "position": np.array(header.ImagePositionPatient, float),
            "spacing": tuple(float(value) for value in header.PixelSpacing),
            "shape": (int(header.Rows), int(header.Columns)),
        }


def patient_of(path: str) -> str:
    """Patient of a file: the first folder of four digits, else the first folder.

    The archive's PatientID is empty, and other archives' would identify a person.
    """
    folders = path.split("/")[:-1]
    numbered = [name for name in folders if re.fullmatch(r"\d{4}", name)]
    return (numbered or folders or ["unknown"])[0]


def _walk(folder: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Paths of all files below a folder, relative to it, and records of what cannot be looked into."""
    paths: list[str] = []
    records = []

    def aside(path: str, reason: str) -> None:
        shown = relative(path).encode("utf-8", "backslashreplace").decode("utf-8")
        records.append({"path": shown, "patient": patient_of(shown), "plane": "", "reason": reason})

    def relative(path: str) -> str:
        return os.path.relpath(path, folder).replace(os.sep, "/")

    for place, folders, names in os.walk(folder, onerror=lambda e: aside(e.filename, "folder cannot be read")):
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                aside(os.path.join(place, name), "link to a folder: not followed")
        if relative(place).count("/") >= MAX_DEPTH:
            for name in folders:
                aside(os.path.join(place, name), "folder too deep")
            folders.clear()
        for name in names:
            path = os.path.join(place, name)
            if relative(path).encode("utf-8", "ignore").decode() == relative(path):
                paths.append(relative(path))
            else:  # no table can hold it
                aside(path, "name is not Unicode")
    return sorted(paths), records


def _map(function: Callable, tasks: list, workers: int | None, title: str, progress: bool) -> list:
    bar = {"total": len(tasks), "desc": title, "disable": not progress}
    if len(tasks) < PARALLEL_FROM or workers == 1:
        return list(progress_bar(map(function, tasks), **bar))
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        return list(progress_bar(pool.map(function, tasks, chunksize=64), **bar))


@contextmanager
def _parsed(path: Path) -> Iterator[tuple[pydicom.FileDataset, BinaryIO]]:
    """Header of a DICOM file, and the file, standing at its pixel data; whatever fails becomes `_Rejected`."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _Rejected("no regular file")
        if status.st_size > MAX_BYTES:
            raise _Rejected(f"too large: over {MAX_BYTES >> 20} MiB")
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of malformed but readable values; files are listed where they fail
            _check_start(file)
            try:
                header = pydicom.dcmread(_Metered(file), stop_before_pixels=True, specific_tags=TAGS)
            except _Deflated:
                file = _inflated(file)
                header = pydicom.dcmread(_Metered(file), stop_before_pixels=True, specific_tags=TAGS)
                header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            for element in header.elements():
                if isinstance(element.value, bytes) and len(element.value) > MAX_VALUE_BYTES:
                    raise _Rejected("absurd header: value too long")
            yield header, file
    except (_Rejected, decoder.DecodeError):
        raise
    except Exception as error:  # a damaged file may fail anywhere in the parser; its message may quote the header
        within = error.__context__  # pydicom turns what `_Metered` raises into its own error
        raise within if isinstance(within, _Rejected) else _Rejected(f"unreadable: {type(error).__name__}") from None


def _check_start(file: BinaryIO) -> None:
    start = file.read(132)
    file.seek(0)
    if not start:
        raise _Rejected("empty file")
    if start[128:] != b"DICM":
        bare = start[:2] in (b"\2\0", b"\x08\0", b"\0\x08")  # begins with group 0002 or 0008
        # without the head nothing tells the transfer syntax: other programs guess it
        raise _Rejected("DICOM without the file format's head" if bare else "not DICOM")


def _inflated(file: BinaryIO) -> BinaryIO:
    """The file as if written without deflation; `file` stands at the deflated part."""
    start = file.tell()
    file.seek(0)
    head = file.read(start)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(file.read(MAX_BYTES), MAX_BYTES)
    if inflater.unconsumed_tail:
        raise _Rejected(f"too large: over {MAX_BYTES >> 20} MiB when inflated")
    deflated, plain = (uid.encode() for uid in (DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian))
    return io.BytesIO(head.replace(deflated, plain.ljust(len(deflated), b"\0")) + body)


def _pixel_data(file: BinaryIO, little_endian: bool) -> pydicom.DataElement:
    """The element that `file` stands at, read in one piece: pydicom would look for items in it."""
    order = "<" if little_endian else ">"
    start = file.read(8)
    if len(start) < 8 or struct.unpack(f"{order}HH", start[:4]) != (0x7FE0, 0x0010):
        raise _Rejected("no pixels")
    vr = start[4:6].decode("latin-1")
    if vr in ("OB", "OW", "UN"):
        start = file.read(4)
    else:
        vr = "OW"  # implicit
    (length,) = struct.unpack(f"{order}L", start[-4:])
    element = pydicom.DataElement(0x7FE00010, "OW" if vr == "UN" else vr, file.read(min(length, MAX_BYTES)))
    element.is_undefined_length = length == UNDEFINED_LENGTH
    return element


def _read_header(task: tuple[str, str]) -> dict[str, Any]:
    folder, path = task
    record = {"path": path, "patient": patient_of(path), "plane": ""}
    try:
        with _parsed(Path(folder) / path) as (header, file):
            _fill(record, header, file)
    except _Rejected as reason:
        record["reason"] = str(reason)
    return record


def _fill(record: dict[str, Any], header: pydicom.FileDataset, file: BinaryIO) -> None:
    if header.file_meta.get("MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10":
        raise _Rejected("DICOMDIR")
    if "Rows" not in header:
        raise _Rejected("no image")
    _exclude_by_kind(header, record["path"])
    _check_image(header)
    vectors = _geometry(header)
    normal = _cross(*vectors)
    record["plane"] = ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]
    if record["plane"] != "axial" or abs(normal[2]) < AXIAL_COSINE:
        raise _Rejected(f"{record['plane']} plane" if record["plane"] != "axial" else "oblique plane")
    weighting = _weighting(header)
    syntax = header.file_meta.TransferSyntaxUID
    start = file.tell()
    size = file.seek(0, io.SEEK_END)
    needed = 1 if syntax.is_compressed else header.Rows * header.Columns * header.BitsAllocated // 8
    if size - start < needed:
        raise _Rejected("truncated: fewer bytes than pixels")
    position = np.array(header.ImagePositionPatient, float)
    spacing = np.array(header.PixelSpacing, float)
    numbers = [*position, *vectors[0], *vectors[1], *(normal if normal[2] > 0 else -normal)]
    folders = record["path"].split("/")
    in_study_folder = len(folders) > 2 and folders[-3] != record["patient"]
    record |= {
        "study": folders[-3] if in_study_folder else str(header.get("StudyInstanceUID") or ""),
        "series": str(header.get("SeriesInstanceUID") or ""),
        "series_number": int(header.get("SeriesNumber") or 0),
        "instance_number": int(header.get("InstanceNumber") or 0),
        "weighting": weighting,
        **dict(zip(COLUMNS[8:20], map(float, numbers), strict=True)),
        "rows": int(header.Rows),
        "columns": int(header.Columns),
        "row_spacing": float(spacing[0]),
        "column_spacing": float(spacing[1]),
        "thickness": _number(header, "SliceThickness"),
        "echo_time": _number(header, "EchoTime"),
        "repetition_time": _number(header, "RepetitionTime"),
        "acquisition_time": str(header.get("AcquisitionTime") or ""),
        "bytes": size,
        "bits_stored": int(header.BitsStored),
        "transfer_syntax": str(syntax),
        "sop_uid": str(header.get("SOPInstanceUID") or ""),
        "manufacturer": str(header.get("Manufacturer") or ""),
    }


def _number(header: pydicom.Dataset, tag: str) -> float | None:
    """A finite number, or None when the attribute is absent or empty."""
    value = header.get(tag)
    if value is None or value == "":
        return None
    number = float(value)
    if not np.isfinite(number):
        raise _Rejected(f"absurd {tag}")
    return number


def _exclude_by_kind(header: pydicom.Dataset, path: str) -> None:
    kinds = {str(kind).upper() for kind in _values(header, "ImageType")}
    place = path.rpartition("/")[0]
    series = f"{header.get('SeriesDescription', '')} {place.rpartition('/')[2]}".lower()
    if "LOCALIZER" in kinds or re.search(r"locali[sz]er|scout|survey", series):
        raise _Rejected("localizer")
    if re.search(r"pos[ _]?disp", series):
        raise _Rejected("position display")
    if kinds & {"DERIVED", "SECONDARY"}:
        raise _Rejected("derived or secondary image")
    for name in (str(header.get("BodyPartExamined", "")), str(header.get("StudyDescription", "")), series, place):
        if OTHER_REGION.search(name) and not LUMBAR_REGION.search(name):
            raise _Rejected("other body region")


def _check_image(header: pydicom.Dataset) -> None:
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise _Rejected("multi-frame")
    if int(header.get("SamplesPerPixel") or 1) != 1 or "MONOCHROME" not in str(header.get("PhotometricInterpretation")):
        raise _Rejected("colour image")
    if not (0 < int(header.Rows) <= MAX_SIDE and 0 < int(header.Columns) <= MAX_SIDE):
        raise _Rejected("absurd image size")
    if header.get("BitsAllocated") not in (8, 16, 32) or not 0 < int(header.BitsStored) <= header.BitsAllocated:
        raise _Rejected("absurd pixel depth")
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise _Rejected("no transfer syntax")
    try:
        decodable = get_decoder(syntax).is_available
    except NotImplementedError:
        decodable = False
    if not decodable:
        raise _Rejected("transfer syntax without a decoder")


def _geometry(header: pydicom.Dataset) -> np.ndarray:
    """Directions of rows and columns, shape (2, 3), orthonormal."""
    try:
        vectors = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        rest = np.array([*header.ImagePositionPatient, *header.PixelSpacing], float)
    except (AttributeError, TypeError, ValueError) as error:
        raise _Rejected("no geometry") from error
    sound = np.isfinite(vectors).all() and np.isfinite(rest).all() and rest.shape == (5,)
    if not sound or not (np.abs(vectors @ vectors.T - np.eye(2)) < 1e-2).all():
        raise _Rejected("no geometry: orientation or position is unusable")
    if not (0.05 < rest[3] < 5 and 0.05 < rest[4] < 5):
        raise _Rejected("no geometry: absurd pixel spacing")
    return vectors


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`np.cross` of two vectors, whose generality takes ten times as long."""
    (a1, a2, a3), (b1, b2, b3) = a.tolist(), b.tolist()
    return np.array([a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1])


def _weighting(header: pydicom.Dataset) -> str:
    """T1 or T2 spin echo, from echo and repetition time; the description counts only where one of them is absent."""
    sequence = {str(value).upper() for value in _values(header, "ScanningSequence")}
    description = str(header.get("SeriesDescription", "")).lower()
    echo, repetition, inversion = (_number(header, tag) for tag in ("EchoTime", "RepetitionTime", "InversionTime"))
    if "IR" in sequence or (inversion or 0) > 0:
        raise _Rejected("inversion recovery")  # STIR, FLAIR: another contrast at the same echo and repetition times
    if sequence & {"GR", "EP"}:
        raise _Rejected("gradient echo or echo planar")
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
        raise _Rejected("weighting neither T1 nor T2")
    return found[0]


def _values(header: pydicom.Dataset, tag: str) -> list:
    """An attribute's values, be they none, one or many."""
    value = header.get(tag)
    return [value] if isinstance(value, str) else list(value or [])


def _pixel_hash(path: str) -> str:
    """Equal for equal images; empty when the pixels are unreadable."""
    try:
        pixels = read_pixels(path)
    except ValueError:
        return ""
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
