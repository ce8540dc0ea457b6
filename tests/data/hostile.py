"""Files that are hostile, foreign or in any transfer syntax, written byte by byte."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid
from pydicom.data import get_testdata_file

from lhdlib.data.dicom_file import rules
from tests.data import trees

SECRET = "Zyxwvutsky"  # planted as name, institution and more; no output may hold it


SEQUENCE_END, ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), struct.pack("<HHL", 0xFFFE, 0xE00D, 0)


UNDEFINED = 0xFFFFFFFF


FOREIGN_JPEG = {
    uid.JPEG2000Lossless: "MR_small_jp2klossless.dcm",
    uid.JPEG2000: "JPEG2000.dcm",
    uid.JPEGLSLossless: "MR_small_jpeg_ls_lossless.dcm",
    uid.JPEGLSNearLossless: "JPEGLSNearLossless_16.dcm",
    uid.JPEGExtended12Bit: "JPGExtended.dcm",
}


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element in explicit little endian, its length stated truly or not."""
    length = len(value) if length is None else length
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    size = struct.pack("<HL", 0, length) if long else struct.pack("<H", length)
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + size + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value) if length is None else length) + value


class Parts:
    """A sound file in pieces: what stands before the header, the header, the pixels."""

    def __init__(self, path: Path) -> None:
        whole = path.read_bytes()
        start = 144 + struct.unpack("<L", whole[140:144])[0]
        pixels = whole.index(b"\xe0\x7f\x10\x00", start)
        self.meta, self.header, self.pixels = whole[:start], whole[start:pixels], whole[pixels:]

    def private(self, inserted: bytes) -> bytes:
        """The file with something between the header's image attributes and the pixels."""
        return self.meta + self.header + inserted + self.pixels

    def first(self, inserted: bytes) -> bytes:
        return self.meta + inserted + self.header + self.pixels

    def deflated(self, dataset: bytes) -> bytes:
        plain = element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
        assert plain in self.meta
        syntax = element(0x00020010, b"UI", b"1.2.840.10008.1.2.1.99")
        deflater = zlib.compressobj(1, zlib.DEFLATED, -15)
        return self.meta.replace(plain, syntax) + deflater.compress(dataset) + deflater.flush()


def read(path: Path) -> dict:
    return rules.read_header(str(path.parent), path.name)


def in_syntax(syntax: str, seed: int = 0, **tags) -> pydicom.Dataset:
    """An axial T2 slice in a transfer syntax; its pixels are random, or a foreign encoder's where none is at hand."""
    image = trees.make_slice(size=(24, 20), seed=seed, PatientName=SECRET, InstitutionName=SECRET, **tags)
    if syntax in FOREIGN_JPEG:
        foreign = pydicom.dcmread(get_testdata_file(FOREIGN_JPEG[syntax], download=False))
        for tag in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"):
            setattr(image, tag, getattr(foreign, tag))
        image["PixelData"].is_undefined_length = True
        image["PixelData"].VR = "OB"
    elif syntax == uid.RLELossless:
        image.compress(syntax)
    elif syntax == uid.ExplicitVRBigEndian:
        image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
        image["PixelData"].VR = "OW"
    image.file_meta.TransferSyntaxUID = uid.UID(syntax)
    return image


SYNTAXES = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    *FOREIGN_JPEG,
]


def mutate(rng: np.random.Generator, whole: bytes) -> bytes:
    """One to three of: bits flipped, cut off, bytes removed or doubled, absurd lengths, values or nesting put in."""
    data = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(132, max(133, len(data))))
        kind = rng.integers(9)
        if kind == 0:
            for index in rng.integers(0, len(data), rng.integers(1, 40)):
                data[index] ^= 1 << rng.integers(8)
        elif kind == 1:
            del data[int(rng.integers(len(data))) :]
        elif kind == 2:
            del data[place : place + int(rng.integers(1, 60))]
        elif kind == 3:
            data[place:place] = data[place : place + int(rng.integers(1, 400))]
        elif kind == 4:
            data[place : place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xf0\xff\xff\xff", b"\0\0\0\x80", b"\0\0\0\0"])
        else:
            tags = [m.start() for m in re.finditer(rb"[\x08\x10\x18\x20\x28]\0..[A-Z]{2}", bytes(data), re.S)]
            if kind == 5 and tags:  # remove an element
                start = int(rng.choice(tags))
                del data[start : start + 8 + struct.unpack_from("<H", data[start + 6 : start + 8] + b"\0\0")[0]]
            elif kind == 6 and tags:  # another VR
                data[(start := int(rng.choice(tags)) + 4) : start + 2] = rng.choice([b"SQ", b"UN", b"DS", b"US", b"ZZ"])
            elif kind == 7 and tags:  # nesting
                nest = element(0x00291000, b"SQ", b"", UNDEFINED) + item(b"", UNDEFINED)
                data[(start := int(rng.choice(tags))) : start] = nest * int(rng.choice([3, 100, 3000]))
            elif kind == 8 and tags:  # many values, or a lie in an attribute that counts
                value = [b"1\\" * 30000, b"\xff\xfe\xe9" * 9, b"-1e999 ", b"nan ", SECRET.encode() * 2][rng.integers(5)]
                tag = int(rng.choice([0x00200032, 0x00280030, 0x00280008, 0x00180080, 0x00281053, 0x0008103E]))
                added = element(tag, b"DS", value)
                data[(start := int(rng.choice(tags))) : start] = added
        if not data:
            break
    return bytes(data)
