"""The header of a hostile file: pydicom sees it through `_Metered`, which bounds what it may read.

Processes that read files import this package and no pandas, which would double the time that they take to start.
"""

import io
import logging
import os
import re
import stat
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import data_element_generator, read_partial
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lhdlib.data.dicom_file import decoder

MAX_BYTES = 32 * 2**20  # of one file, also when inflated; a slice of the archive has 0.3 MB
MAX_HEADER_BYTES = 256 * 2**10  # that must be read, what is skipped not counted; in the archive some thousands
MAX_HEADER_NESTING = 32  # sequences within sequences; in the archive some few
MAX_VALUE_BYTES = 1024  # of an attribute that is asked for

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
PIXELS = frozenset([0x7FE00008, 0x7FE00009, 0x7FE00010])  # floats, doubles, whole numbers
UNDEFINED_LENGTH = 0xFFFFFFFF

_log = logging.getLogger("pydicom")


class Rejected(ValueError):
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
            raise Rejected("absurd header: too long")
        start = data[:4]
        if start in (b"\xfe\xff\0\xe0", b"\xff\xfe\xe0\0"):  # an item begins, in either byte order
            here, length = self.tell(), int.from_bytes(data[4:], "little" if data[0] == 0xFE else "big")
            end = np.inf if length == UNDEFINED_LENGTH else here + length
            self.item_ends = [*(other for other in self.item_ends if other > here), end]
            if len(self.item_ends) > MAX_HEADER_NESTING:  # before Python's recursion ends: where, depends on the caller
                raise Rejected("absurd header: nested too deep")
        elif start in (b"\xfe\xff\x0d\xe0", b"\xff\xfe\xe0\x0d") and self.item_ends:
            self.item_ends.pop()
        return data


class _Unusual(ValueError):
    """A value that pydicom must look at."""


class Header(dict):
    """Attributes of a file by keyword, None where absent; the file is left standing at its pixel data.

    Each is decoded when it is first asked for. Values are those of pydicom, whose own reading (`dataset`) takes three
    times as long and is done where a file or a value is not as they usually are.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        try:
            self._elements = _usual_elements(file)
        except Rejected:
            raise
        except Exception:
            self._elements = {int(e.tag): e for e in self.dataset.elements()}
            self |= {keyword: self.dataset.file_meta.get(keyword) for keyword in META}
        for tag, element in self._elements.items():
            if tag in LIMITED and isinstance(element.value, bytes) and len(element.value) > MAX_VALUE_BYTES:
                raise Rejected("absurd header: value too long")

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


@contextmanager
def parsed(path: str | Path) -> Iterator[tuple[Header, BinaryIO]]:
    """Header of a DICOM file, and the file, standing at its pixel data; whatever fails becomes `Rejected`."""
    silent, _log.disabled = _log.disabled, True  # pydicom's warnings quote names and dates of damaged headers
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Rejected("no regular file")
        if status.st_size > MAX_BYTES:
            raise Rejected(f"too large: over {MAX_BYTES >> 20} MiB")
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")  # of malformed but readable values; files are listed where they fail
            _check_start(file)
            try:
                header = Header(file)
            except _Deflated:
                file = _inflated(file)
                header = Header(file)
                header["TransferSyntaxUID"] = DeflatedExplicitVRLittleEndian
            yield header, file
    except (Rejected, decoder.DecodeError):
        raise
    except Exception as error:  # a damaged file may fail anywhere in the parser; its message may quote the header
        within = error.__context__  # pydicom turns what `_Metered` raises into its own error
        raise within if isinstance(within, Rejected) else Rejected(f"unreadable: {type(error).__name__}") from None
    finally:
        _log.disabled = silent


def _check_start(file: BinaryIO) -> None:
    start = file.read(132)
    file.seek(0)
    if not start:
        raise Rejected("empty file")
    if start[128:] != b"DICM":
        bare = start[:2] in (b"\2\0", b"\x08\0", b"\0\x08")  # begins with group 0002 or 0008
        # without the head nothing tells the transfer syntax: other programs guess it
        raise Rejected("DICOM without the file format's head" if bare else "not DICOM")


def _inflated(file: BinaryIO) -> BinaryIO:
    """The file as if written without deflation; `file` stands at the deflated part."""
    start = file.tell()
    file.seek(0)
    head = file.read(start)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(file.read(MAX_BYTES), MAX_BYTES)
    if inflater.unconsumed_tail:
        raise Rejected(f"too large: over {MAX_BYTES >> 20} MiB when inflated")
    deflated, plain = (uid.encode() for uid in (DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian))
    return io.BytesIO(head.replace(deflated, plain.ljust(len(deflated), b"\0")) + body)
