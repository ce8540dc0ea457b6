"""The header of a file, hostile or not: whatever reads it sees it through `_Metered`, which bounds what may be read.

Processes that read files import this package and no pandas, which would double the time that they take to start.
"""

import io
import logging
import math
import os
import re
import stat
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator, read_partial
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lhdlib.data.dicom_file import decoder
from lhdlib.data.dicom_file.values import one_reading

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
    AcquisitionTime Manufacturer ProtocolName PixelPaddingValue PixelPaddingRangeLimit
""".split()
]
META = ("MediaStorageSOPClassUID", "TransferSyntaxUID")  # of the file format, not of the image
KNOWN = {keyword: (int(Tag(keyword)), dictionary_VR(keyword)) for keyword in (*META, *map(keyword_for_tag, TAGS))}
META_TAGS = frozenset(KNOWN[keyword][0] for keyword in META)
LIMITED = frozenset(map(int, TAGS))
# Words of ASCII without what some character sets give another meaning, one space between them, then padding
PLAIN_TEXT = re.compile(rb"[!-\[\]-}]+(?: [!-\[\]-}]+)*(?:\\[!-\[\]-}]+(?: [!-\[\]-}]+)*)*[ \0]*")
PIXELS = frozenset([0x7FE00008, 0x7FE00009, 0x7FE00010])  # floats, doubles, whole numbers
UNDEFINED_LENGTH = 0xFFFFFFFF

Elements: TypeAlias = dict[int, RawDataElement | pydicom.DataElement]

_log = logging.getLogger("pydicom")


class Rejected(ValueError):
    """Reason why a file is no usable axial slice; the message quotes nothing of the header."""


class _Deflated(Exception):
    """pydicom asks for all that is left: it does so for the deflated transfer syntax alone."""


class _Metered:
    """A file of which only so many bytes can be read (so much time and memory), so deep, whatever its lengths say."""

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
    """A file or value that pydicom must look at."""


class Header(dict[str, Any]):
    """Attributes of a file by keyword, each decoded when first asked for; None where absent. Values are pydicom's."""

    def __init__(self, elements: Elements) -> None:
        super().__init__()
        self._elements = elements
        for tag in LIMITED & elements.keys():
            value = elements[tag].value
            if isinstance(value, bytes) and len(value) > MAX_VALUE_BYTES:
                raise Rejected("absurd header: value too long")

    def __missing__(self, keyword: str) -> Any:
        tag, vr = KNOWN[keyword]
        self[keyword] = value = self._decoded(tag, vr) if tag in self._elements else None
        return value

    def _decoded(self, tag: int, vr: str) -> Any:
        raise NotImplementedError

    def all_of(self, keyword: str) -> list:
        """An attribute's values, be they none, one or many."""
        value = self[keyword]
        if value is None or value == "":
            return []
        return list(value) if isinstance(value, list | tuple | MultiValue) else [value]

    def text(self, keyword: str) -> str:
        """An attribute as text; empty where it is absent or cannot be read."""
        try:
            return str(self[keyword] or "")
        except Rejected:
            raise
        except Exception:
            return ""

    def codes(self, keyword: str) -> set[str]:
        """An attribute's values in capitals; none where it is absent or cannot be read."""
        try:
            return {str(value).strip().upper() for value in self.all_of(keyword)}
        except Rejected:
            raise
        except Exception:
            return set()

    def numbers(self, keyword: str, count: int) -> list[float] | None:
        """So many finite numbers, however they are written if there is one reading; None when absent or empty.

        Raises
        ------
        Rejected
            When there is something else.
        """
        try:
            values = self.all_of(keyword)
            if not values:
                return None
            numbers = [float(value) for value in values]
        except Rejected:
            raise
        except Exception:  # pydicom cannot read it
            numbers = []
        if len(numbers) == count:
            if not all(map(math.isfinite, numbers)):
                raise Rejected(f"absurd {keyword}")
            return numbers
        if numbers and count == 1 and len(set(numbers)) == 1 and math.isfinite(numbers[0]):
            return numbers[:1]  # one value, repeated
        read = one_reading(self._raw(keyword), count)
        if read is None:
            raise Rejected(f"unreadable {keyword}")
        return read

    def _raw(self, keyword: str) -> str:
        element = self._elements[KNOWN[keyword][0]]
        value = element.value
        return value.decode("latin-1") if isinstance(value, bytes) else str(value or "")

    def number(self, keyword: str) -> float | None:
        """One of `numbers`."""
        numbers = self.numbers(keyword, 1)
        return None if numbers is None else numbers[0]

    def number_if_any(self, keyword: str) -> float | None:
        """A number that nothing needs: None also where it cannot be read."""
        try:
            return self.number(keyword)
        except Rejected as reason:
            if str(reason).endswith(keyword):
                return None
            raise

    def whole(self, keyword: str) -> int | None:
        """A whole number of 32 bits, as the format has it; None when the attribute is absent or empty."""
        number = self.number(keyword)
        if number is None:
            return None
        if number != int(number) or abs(number) >= 2**31:
            raise Rejected(f"absurd {keyword}")
        return int(number)

    def whole_if_any(self, keyword: str) -> int:
        """A whole number that nothing needs: 0 where there is none."""
        number = self.number_if_any(keyword)
        return int(number) if number is not None and number == int(number) and abs(number) < 2**31 else 0


class AnyHeader(Header):
    """The header of any file that pydicom understands."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self.dataset = read_partial(_metered(file), _at_pixels, specific_tags=list(TAGS))
        parts = self.dataset.file_meta, self.dataset
        tags = [(part, tag) for part in parts for tag in part.keys()]  # noqa: SIM118  a data set yields its elements
        super().__init__({int(tag): part.get_item(tag, keep_deferred=True) for part, tag in tags})  # nothing decoded

    def _decoded(self, tag: int, vr: str) -> Any:
        return (self.dataset.file_meta if tag in META_TAGS else self.dataset)[tag].value


class UsualHeader(Header):
    """The header of a file written as most are, in a third of pydicom's time; an odd value is left to pydicom.

    Raises
    ------
    Exception
        Of any kind, for a file that is not little endian, uncompressed and written as it says.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        super().__init__(_usual_elements(file))

    @cached_property
    def by_pydicom(self) -> AnyHeader:
        return AnyHeader(self._file)

    def _decoded(self, tag: int, vr: str) -> Any:
        try:
            return _plain_value(self._elements[tag], vr)
        except ValueError:
            return self.by_pydicom[keyword_for_tag(tag)]


def _header(file: BinaryIO) -> Header:
    """Header of a file, which is left standing at its pixel data."""
    try:
        return UsualHeader(file)
    except Rejected:
        raise
    except Exception:  # whatever it is, pydicom tells what becomes of it
        return AnyHeader(file)


def _metered(file: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, _Metered(file))


def _usual_elements(file: BinaryIO) -> Elements:
    file.seek(132)
    metered = _metered(file)
    elements: Elements = {int(e.tag): e for e in data_element_generator(metered, False, True, _after_meta)}
    syntax = _plain_value(elements[0x00020010], "UI")
    implicit = {ImplicitVRLittleEndian: True, ExplicitVRLittleEndian: False}[syntax]
    start = file.read(6)
    file.seek(-6, io.SEEK_CUR)
    first_is_explicit = re.fullmatch(rb"[A-Z]{2}", start[4:])
    if elements[0x00020000].VR != "UL" or start[:2] == b"\0\0" or bool(first_is_explicit) == implicit:
        raise _Unusual
    following = data_element_generator(metered, implicit, True, _at_pixels, specific_tags=list(TAGS))
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
def opened(path: str | Path) -> Iterator[tuple[Header, BinaryIO]]:
    """Header of a DICOM file, and the file, standing at its pixel data; whatever fails becomes `Rejected`."""
    silent, _log.disabled = _log.disabled, True  # pydicom's warnings quote names and dates of damaged headers
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Rejected("no regular file")
        if status.st_size > MAX_BYTES:
            raise Rejected(f"too large: over {MAX_BYTES >> 20} MiB")
        with warnings.catch_warnings(), open(path, "rb") as stored:
            warnings.simplefilter("ignore")  # of malformed but readable values; files are listed where they fail
            file: BinaryIO = stored
            _check_start(file)
            try:
                header = _header(file)
            except _Deflated:
                file = _inflated(file)
                header = _header(file)
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
