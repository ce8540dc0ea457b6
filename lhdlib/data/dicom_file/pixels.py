"""The pixels of a slice; compressed ones are decoded in a process of their own (`decoder`)."""

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.uid import UID

from lhdlib.data.dicom_file import decoder
from lhdlib.data.dicom_file.header import MAX_BYTES, UNDEFINED_LENGTH, Rejected, opened
from lhdlib.data.dicom_file.rules import check_image


def read_pixels(path: str | Path) -> np.ndarray:
    """Pixel values of a single-frame slice, rescaled, bright meaning more signal.

    Returns
    -------
    np.ndarray, shape (rows, columns), float32

    Raises
    ------
    ValueError
        For more than one frame, colour, an absurd size, or pixels that cannot be decoded; the message quotes nothing of
        the header.
    """
    with opened(path) as (header, file):
        check_image(header)
        image, syntax = header.image(), UID(header["TransferSyntaxUID"])
        image.add(_pixel_data(file, syntax.is_little_endian))
        pixels = decoder.decode(image) if syntax.is_compressed else image.pixel_array
        slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
        if pixels.shape != (header["Rows"], header["Columns"]):
            raise Rejected("more or fewer pixels than rows and columns")
        pixels = pixels.astype(np.float32) * (slope or 1.0) + (intercept or 0.0)
        if not np.isfinite(pixels).all():
            raise Rejected("absurd pixel values")
        return pixels.max() - pixels if header["PhotometricInterpretation"] == "MONOCHROME1" else pixels


def pixel_hash(path: str) -> str:
    """Equal for equal images; empty when the pixels are unreadable."""
    try:
        pixels = read_pixels(path)
    except ValueError:
        return ""
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def _pixel_data(file: BinaryIO, little_endian: bool) -> pydicom.DataElement:
    """The element that `file` stands at, read in one piece: pydicom would look for items in it."""
    order = "<" if little_endian else ">"
    start = file.read(8)
    if len(start) < 8 or struct.unpack(f"{order}HH", start[:4]) != (0x7FE0, 0x0010):
        raise Rejected("no pixels")
    vr = start[4:6].decode("latin-1")
    if vr in ("OB", "OW", "UN"):
        start = file.read(4)
    else:
        vr = "OW"  # implicit
    (length,) = struct.unpack(f"{order}L", start[-4:])
    element = pydicom.DataElement(0x7FE00010, "OW" if vr == "UN" else vr, file.read(min(length, MAX_BYTES)))
    element.is_undefined_length = length == UNDEFINED_LENGTH
    return element
