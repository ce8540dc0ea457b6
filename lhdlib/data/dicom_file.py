"""One DICOM file -> what the index says of it, its pixels, its place in the patient.

Headers are read without pixels. What a file is, its header's numbers decide (orientation, echo and repetition time);
names and descriptions only exclude what the numbers cannot tell (screens, other body regions).

Files are hostile until read: pydicom sees them through `_Metered`, which bounds what it may read,
and compressed pixels are decoded in a process of their own (`decoder`).

Processes that read files import this module and no pandas, which would double the time that they take to start.
"""

import hashlib
import io
import logging
import math
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import data_element_generator, read_partial
from pydicom.pixels import get_decoder
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lhdlib.data import decoder

MAX_BYTES = 32 * 2**20  # of one file, also when inflated; a slice of the archive has 0.3 MB
MAX_HEADER_BYTES = 256 * 2**10  # that must be read, what is skipped not counted; in the archive some thousands
MAX_HEADER_NESTING = 32  # sequences within sequences; in the archive some few
MAX_VALUE_BYTES = 1024  # of an attribute that is asked for
MAX_SIDE = 2048  # rows or columns
AXIAL_COSINE = 0.7  # |cosine| between the slice's normal and the body's axis: tilts up to 45 degrees are axial
T1_MAX_ECHO_MS, T2_MIN_ECHO_MS = 40.0, 60.0  # spin echo: short TE and TR give T1, long TE and TR give T2
T1_MAX_REPETITION_MS, T2_MIN_REPETITION_MS = 1500.0, 1500.0

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
META = ("MediaStorageSOPClassUID", "TransferSyntaxUID")  # of the file format, not of the image
KNOWN = {
    keyword: (tag_for_keyword(keyword), dictionary_VR(keyword)) for keyword in (*META, *map(keyword_for_tag, TAGS))
}
LIMITED = frozenset(map(int, TAGS))
# Words of ASCII without what some character sets give another meaning, one space between them, then padding
PLAIN_TEXT = re.compile(rb"[!-\[\]-}]+(?: [!-\[\]-}]+)*(?:\\[!-\[\]-}]+(?: [!-\[\]-}]+)*)*[ \0]*")
COLUMNS = [
    "path", "patient", "study", "series", "series_number", "instance_number", "weighting", "plane", "x", "y", "z",
    "row_x", "row_y", "row_z", "column_x", "column_y", "column_z", "normal_x", "normal_y", "normal_z", "rows",
    "columns", "row_spacing", "column_spacing", "thickness", "echo_time", "repetition_time", "acquisition_time",
    "bytes", "bits_stored", "transfer_syntax", "sop_uid", "manufacturer", "remark",
]  # fmt: skip
PIXELS = frozenset([0x7FE00008, 0x7FE00009, 0x7FE00010])  # floats, doubles, whole numbers
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
        start = data[:4]
        if start in (b"\xfe\xff\0\xe0", b"\xff\xfe\xe0\0"):  # an item begins, in either byte order
            here, length = self.tell(), int.from_bytes(data[4:], "little" if data[0] == 0xFE else "big")
            end = np.inf if length == UNDEFINED_LENGTH else here + length
            self.item_ends = [*(other for other in self.item_ends if other > here), end]
            if len(self.item_ends) > MAX_HEADER_NESTING:  # before Python's recursion ends: where, depends on the caller
                raise _Rejected("absurd header: nested too deep")
        elif start in (b"\xfe\xff\x0d\xe0", b"\xff\xfe\xe0\x0d") and self.item_ends:
            self.item_ends.pop()
        return data


class _Unusual(ValueError):
    """A value that pydicom must look at."""


class _Header(dict):
    """Attributes of a file by keyword, None where absent; the file is left standing at its pixel data.

    Each is decoded when it is first asked for. Values are those of pydicom, whose own reading (`dataset`) takes three
    times as long and is done where a file or a value is not as they usually are.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        try:
            self._elements = _usual_elements(file)
        except _Rejected:
            raise
        except Exception:  # noqa: BLE001  whatever it is, pydicom tells what becomes of it
            self._elements = {int(e.tag): e for e in self.dataset.elements()}
            self |= {keyword: self.dataset.file_meta.get(keyword) for keyword in META}
        for tag, element in self._elements.items():
            if tag in LIMITED and isinstance(element.value, bytes) and len(element.value) > MAX_VALUE_BYTES:
                raise _Rejected("absurd header: value too long")

    @cached_property
    def dataset(self) -> pydicom.FileDataset:
        self._file.seek(0)
        return read_partial(_Metered(self._file), _at_pixels, specific_tags=TAGS)

    def image(self) -> pydicom.Dataset:
        """What pydicom needs to know to decode pixels."""
        image = pydicom.Dataset({e.tag: e for tag, e in self._elements.items() if tag in LIMITED})
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = self["TransferSyntaxUID"]
        return image

    def __missing__(self, keyword: str) -> Any:
        tag, vr = KNOWN[keyword]
        element = self._elements.get(tag)
        if element is None:
            value = None
        else:
            try:
                value = _plain_value(element, vr)
            except ValueError:
                value = (self.dataset.file_meta if tag >> 16 == 2 else self.dataset)[tag].value
        self[keyword] = value
        return value


def _usual_elements(file: BinaryIO) -> dict[int, RawDataElement | pydicom.DataElement]:
    """Elements by tag of a file that is little endian, uncompressed and written as it says; otherwise an error."""
    file.seek(132)
    metered = _Metered(file)
    elements = {int(e.tag): e for e in data_element_generator(metered, False, True, _after_meta)}
    syntax = _plain_value(elements[0x00020010], "UI")
    implicit = {ImplicitVRLittleEndian: True, ExplicitVRLittleEndian: False}[syntax]
    start = file.read(6)
    file.seek(-6, io.SEEK_CUR)
    first_is_explicit = re.fullmatch(rb"[A-Z]{2}", start[4:])
    if elements[0x00020000].VR != "UL" or start[:2] == b"\0\0" or bool(first_is_explicit) == implicit:
        raise _Unusual
    following = data_element_generator(metered, implicit, True, _at_pixels, specific_tags=TAGS)
    return elements | {int(e.tag): e for e in following}


def _after_meta(tag: int, vr: str | None, length: int) -> bool:
    return tag >> 16 != 2


def _at_pixels(tag: int, vr: str | None, length: int) -> bool:
    return tag in PIXELS


def _plain_value(element: RawDataElement | pydicom.DataElement, vr: str) -> Any:
    """Value of an element as it usually is, a list where there are several; `vr` where the file does not say it."""
    if not isinstance(element, RawDataElement) or element.value is None:
        raise _Unusual
    vr, data = element.VR or vr, element.value
    if vr == "US" and len(data) == 2:
        return int.from_bytes(data, "little" if element.is_little_endian else "big")
    if vr not in ("DS", "IS") and not (vr in ("CS", "LO", "TM", "UI") and PLAIN_TEXT.fullmatch(data)):
        raise _Unusual
    values: list = data.decode("ascii").rstrip("\0 ").split("\\")
    if vr == "DS":
        values = [float(value) for value in values]
    elif vr == "IS":
        values = [int(value) for value in values]
        if max(map(abs, values)) >= 2**31:  # not allowed, and no integer to pydicom
            raise _Unusual
    return values[0] if len(values) == 1 else values


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
    with _parsed(path) as (header, file):
        _check_image(header)
        image, syntax = header.image(), UID(header["TransferSyntaxUID"])
        image.add(_pixel_data(file, syntax.is_little_endian))
        pixels = decoder.decode(image) if syntax.is_compressed else image.pixel_array
        slope, intercept = _number(header, "RescaleSlope"), _number(header, "RescaleIntercept")
        if pixels.shape != (header["Rows"], header["Columns"]):
            raise _Rejected("more or fewer pixels than rows and columns")
        pixels = pixels.astype(np.float32) * (slope or 1.0) + (intercept or 0.0)
        if not np.isfinite(pixels).all():
            raise _Rejected("absurd pixel values")
        return pixels.max() - pixels if header["PhotometricInterpretation"] == "MONOCHROME1" else pixels


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
    with _parsed(path) as (header, _):
        _check_image(header)
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
        with _parsed(f"{folder}/{path}") as (header, file):
            _fill(record, header, file)
    except _Rejected as reason:
        record["reason"] = str(reason)
    return record


def pixel_hash(path: str) -> str:
    """Equal for equal images; empty when the pixels are unreadable."""
    try:
        pixels = read_pixels(path)
    except ValueError:
        return ""
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


@contextmanager
def _parsed(path: str | Path) -> Iterator[tuple[_Header, BinaryIO]]:
    """Header of a DICOM file, and the file, standing at its pixel data; whatever fails becomes `_Rejected`."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise _Rejected("no regular file")
        if status.st_size > MAX_BYTES:
            raise _Rejected(f"too large: over {MAX_BYTES >> 20} MiB")
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")  # of malformed but readable values; files are listed where they fail
            _check_start(file)
            try:
                header = _Header(file)
            except _Deflated:
                file = _inflated(file)
                header = _Header(file)
                header["TransferSyntaxUID"] = DeflatedExplicitVRLittleEndian
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


def _fill(record: dict[str, Any], header: _Header, file: BinaryIO) -> None:
    if header["MediaStorageSOPClassUID"] == "1.2.840.10008.1.3.10":
        raise _Rejected("DICOMDIR")
    if header["Rows"] is None:
        raise _Rejected("no image")
    _exclude_by_kind(header, record["path"])
    _check_image(header)
    (row, column), position, spacing = _geometry(header)
    normal = _cross(row, column)
    record["plane"] = ("sagittal", "coronal", "axial")[max(range(3), key=lambda axis: abs(normal[axis]))]
    if record["plane"] != "axial" or abs(normal[2]) < AXIAL_COSINE:
        raise _Rejected(f"{record['plane']} plane" if record["plane"] != "axial" else "oblique plane")
    weighting = _weighting(header)
    syntax = header["TransferSyntaxUID"]
    start = file.tell()
    size = file.seek(0, io.SEEK_END)
    needed = 1 if UID(syntax).is_compressed else header["Rows"] * header["Columns"] * header["BitsAllocated"] // 8
    if size - start < needed:
        raise _Rejected("truncated: fewer bytes than pixels")
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
        "thickness": _number(header, "SliceThickness"),
        "echo_time": _number(header, "EchoTime"),
        "repetition_time": _number(header, "RepetitionTime"),
        "acquisition_time": _text(header, "AcquisitionTime"),
        "bytes": size,
        "bits_stored": int(header["BitsStored"]),
        "transfer_syntax": str(syntax),
        "sop_uid": _text(header, "SOPInstanceUID"),
        "manufacturer": _text(header, "Manufacturer"),
    }


def _number(header: _Header, keyword: str) -> float | None:
    """A finite number, or None when the attribute is absent or empty."""
    value = header[keyword]
    if value is None or value == "":
        return None
    number = float(value)
    if not math.isfinite(number):
        raise _Rejected(f"absurd {keyword}")
    return number


def _whole(header: _Header, keyword: str) -> int:
    """A number of 32 bits, as the format has it; 0 when the attribute is absent or empty."""
    number = int(header[keyword] or 0)
    if abs(number) >= 2**31:
        raise _Rejected(f"absurd {keyword}")
    return number


def _exclude_by_kind(header: _Header, path: str) -> None:
    kinds = {str(kind).upper() for kind in _values(header, "ImageType")}
    place = path.rpartition("/")[0]
    series = f"{_text(header, 'SeriesDescription')} {place.rpartition('/')[2]}".lower()
    if "LOCALIZER" in kinds or re.search(r"locali[sz]er|scout|survey", series):
        raise _Rejected("localizer")
    if re.search(r"pos[ _]?disp", series):
        raise _Rejected("position display")
    if kinds & {"DERIVED", "SECONDARY"}:
        raise _Rejected("derived or secondary image")
    for name in (_text(header, "BodyPartExamined"), _text(header, "StudyDescription"), series, place):
        if _other_region(name):
            raise _Rejected("other body region")


@lru_cache(maxsize=256)  # files of a series share theirs
def _other_region(name: str) -> bool:
    return bool(OTHER_REGION.search(name)) and not LUMBAR_REGION.search(name)


def _check_image(header: _Header) -> None:
    if int(header["NumberOfFrames"] or 1) != 1:
        raise _Rejected("multi-frame")
    if int(header["SamplesPerPixel"] or 1) != 1 or "MONOCHROME" not in str(header["PhotometricInterpretation"]):
        raise _Rejected("colour image")
    if not all(0 < int(header[side] or 0) <= MAX_SIDE for side in ("Rows", "Columns")):
        raise _Rejected("absurd image size")
    if header["BitsAllocated"] not in (8, 16, 32) or not 0 < int(header["BitsStored"] or 0) <= header["BitsAllocated"]:
        raise _Rejected("absurd pixel depth")
    if header["TransferSyntaxUID"] is None:
        raise _Rejected("no transfer syntax")
    if not _decodable(header["TransferSyntaxUID"]):
        raise _Rejected("transfer syntax without a decoder")


@lru_cache(maxsize=64)
def _decodable(syntax: str) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _geometry(header: _Header) -> tuple[list[list[float]], list[float], list[float]]:
    """Directions of rows and columns, orthonormal; position of the first pixel; spacing between rows, and columns."""
    try:
        counts = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2}
        orientation, position, spacing = ([float(value) for value in _values(header, key)] for key in counts)
    except (TypeError, ValueError) as error:
        raise _Rejected("no geometry") from error
    if [len(orientation), len(position), len(spacing)] != list(counts.values()):
        raise _Rejected("no geometry")
    row, column = vectors = [orientation[:3], orientation[3:]]
    sound = all(map(math.isfinite, orientation + position + spacing))
    products = _dot(row, row) - 1, _dot(column, column) - 1, _dot(row, column)
    if not sound or max(map(abs, products)) > 1e-2:
        raise _Rejected("no geometry: orientation or position is unusable")
    if not (0.05 < spacing[0] < 5 and 0.05 < spacing[1] < 5):
        raise _Rejected("no geometry: absurd pixel spacing")
    return vectors, position, spacing


# Three numbers: numpy would take ten times as long


def _dot(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: list[float], b: list[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def _weighting(header: _Header) -> str:
    """T1 or T2 spin echo, from echo and repetition time; the description counts only where one of them is absent."""
    sequence = {str(value).upper() for value in _values(header, "ScanningSequence")}
    description = _text(header, "SeriesDescription").lower()
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


def _values(header: _Header, keyword: str) -> list:
    """An attribute's values, be they none, one or many."""
    value = header[keyword]
    return [value] if isinstance(value, str | bytes) else list(value or [])


def _text(header: _Header, keyword: str) -> str:
    return str(header[keyword] or "")
