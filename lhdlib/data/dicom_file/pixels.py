"""The pixels of a slice; compressed ones are decoded in a process of their own (`decoder`)."""

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, RLELossless

from lhdlib.data.dicom_file import decoder
from lhdlib.data.dicom_file.header import MAX_BYTES, UNDEFINED_LENGTH, Header, Rejected, opened
from lhdlib.data.dicom_file.layout import Layout, layout_of
from lhdlib.data.dicom_file.plane import plane_of

MAX_SHARE = 0.97  # of an image's pixels that may have one value: text burned into a black image covers less than 3 %
MIN_VALUES = 4  # different ones
MIN_PIXELS = 1024  # of an image of which this can be said


def read_pixels(path: str | Path) -> np.ndarray:
    """Pixel values of a single-frame slice, rescaled, bright meaning more signal; axial ones upright.

    Returns
    -------
    np.ndarray, shape (rows, columns), float32

    Raises
    ------
    ValueError
        For more than one frame, colour, an absurd size, an empty image, or pixels that cannot be decoded; the message
        quotes nothing of the header.
    """
    with opened(path) as (header, file):
        layout = layout_of(header)
        stored = _stored(header, layout, file)
        slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
        if slope is not None and slope < 0:  # programs make different things of it
            raise Rejected("absurd RescaleSlope")
        pixels = stored.astype(np.float32) * (slope or 1.0) + (intercept or 0.0)
        if not np.isfinite(pixels).all():
            raise Rejected("absurd pixel values")
        padding = _padding(header, layout, stored)
        if "MONOCHROME1" in header.text("PhotometricInterpretation").upper():
            pixels = pixels[~padding].max(initial=pixels.min()) - pixels
        if padding.any():  # what a scanner or a program fills up with is no signal, nor less than none
            pixels[padding] = pixels[~padding].min(initial=np.inf)
        _check_content(pixels)
        return _upright(header, pixels)


def pixel_hash(path: str) -> str:
    """Equal for equal images; empty when the pixels are unreadable."""
    try:
        pixels = read_pixels(path)
    except ValueError:
        return ""
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def _stored(header: Header, layout: Layout, file: BinaryIO) -> np.ndarray:
    """Pixels before rescaling."""
    syntax = UID(header["TransferSyntaxUID"])
    whole = not syntax.is_compressed or syntax == RLELossless  # all allocated bits; JPEG has the stored ones alone
    if not whole and layout.high != layout.stored - 1:
        raise Rejected("absurd pixel depth: BitsStored or HighBit")
    image = pydicom.Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = layout.rows, layout.columns
    image.BitsAllocated, image.BitsStored = layout.allocated, layout.allocated if whole else layout.stored
    image.HighBit, image.PixelRepresentation = image.BitsStored - 1, int(layout.signed)
    image.add(_pixel_data(file, syntax.is_little_endian))
    pixels = decoder.decode(image) if syntax.is_compressed else image.pixel_array
    if pixels.shape != (layout.rows, layout.columns):
        raise Rejected("more or fewer pixels than rows and columns")
    return layout.values(pixels) if whole else pixels


def _padding(header: Header, layout: Layout, stored: np.ndarray) -> np.ndarray:
    """Which pixels are filled up, so that the picture is a rectangle; zero, no signal anyhow, is not counted."""
    values = (_stored_value(header[f"PixelPadding{end}"], layout) for end in ("Value", "RangeLimit"))
    ends = [value for value in values if value is not None]
    if not ends or not any(ends):
        return np.zeros(stored.shape, bool)
    return (stored >= min(ends)) & (stored <= max(ends))


def _stored_value(value: object, layout: Layout) -> int | None:
    """A pixel value in a header, whose sign and byte order programs mistake."""
    if isinstance(value, bytes) and len(value) == 2:
        value = int.from_bytes(value, "little")
    if not isinstance(value, int):
        return None
    value &= (1 << layout.stored) - 1
    return value - (1 << layout.stored) if layout.signed and value >> (layout.stored - 1) else value


def _check_content(pixels: np.ndarray) -> None:
    """Refuse what is blank, or black but for burned-in text."""
    lowest = pixels.min()
    if lowest == pixels.max():
        raise Rejected("empty image: all pixels have one value")
    if pixels.size < MIN_PIXELS:
        return
    middle = np.partition(pixels, pixels.size // 2, axis=None)[pixels.size // 2]  # the commonest, if most have it
    if (pixels == middle).mean() > MAX_SHARE or (
        len(np.unique(pixels[::8, ::8])) < MIN_VALUES and len(np.unique(pixels)) < MIN_VALUES
    ):
        raise Rejected("empty image: hardly any pixel differs from the others")


def _upright(header: Header, pixels: np.ndarray) -> np.ndarray:
    try:
        plane = plane_of(header)
    except Rejected:  # without a place in the patient, nothing tells how it lies
        return pixels
    return plane.upright()[1](pixels)


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
