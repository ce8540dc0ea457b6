"""How a file stores its pixels, and whether they can be read at all."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from pydicom.pixels import get_decoder

from lhdlib.data.dicom_file.header import Header, Rejected

MAX_SIDE = 2048  # rows or columns


class Layout(NamedTuple):
    """Size and bits of a grey single-frame image; its values end at bit `high` of each pixel's `allocated` ones."""

    rows: int
    columns: int
    allocated: int
    stored: int
    high: int
    signed: bool

    def values(self, pixels: np.ndarray) -> np.ndarray:
        """The pixels' values, from all bits that are allocated to them.

        Raises
        ------
        Rejected
            Where bits are set that hold no value: the header may err about the others as well.
        """
        spare, above = self.allocated - self.stored, self.allocated - 1 - self.high
        if spare == 0:
            return pixels
        values = pixels << np.array(above, pixels.dtype) >> np.array(spare, pixels.dtype)  # with its sign, if any
        if above < spare:
            low = spare - above
            placed_low = (pixels >> np.array(self.stored, pixels.dtype) == 0).all()
            if placed_low and (pixels & np.array((1 << low) - 1, pixels.dtype)).any():
                raise Rejected("pixel values may lie in the lower bits or, as HighBit says, in the upper ones")
        if above:
            used = np.array((1 << (self.high + 1)) - 1).astype(pixels.dtype)
            extended = pixels << np.array(above, pixels.dtype) >> np.array(above, pixels.dtype)
            if ((pixels != extended) & (pixels != extended & used)).any():
                raise Rejected("pixel values beyond BitsStored")
        return values


def layout_of(header: Header) -> Layout:
    """Layout of an image.

    Raises
    ------
    Rejected
        For what is no grey single-frame image of a sane size that can be decoded.
    """
    if header.whole_if_any("NumberOfFrames") not in (0, 1):
        raise Rejected("multi-frame")
    meaning = header.text("PhotometricInterpretation").upper()
    if (header.whole("SamplesPerPixel") or 1) != 1 or (meaning and "MONOCHROME" not in meaning):
        raise Rejected("colour image")
    if not meaning:
        raise Rejected("no PhotometricInterpretation")
    rows, columns = (header.whole(side) or 0 for side in ("Rows", "Columns"))
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise Rejected("absurd image size")
    allocated = header.whole("BitsAllocated")
    if allocated not in (8, 16, 32):
        raise Rejected("absurd pixel depth: BitsAllocated")
    stored = header.whole("BitsStored") or allocated
    high = header.whole("HighBit")
    high = stored - 1 if high is None else high
    if not 0 < stored <= high + 1 <= allocated:
        raise Rejected("absurd pixel depth: BitsStored or HighBit")
    sign = header.whole("PixelRepresentation")
    if sign not in (0, 1):
        raise Rejected("no PixelRepresentation" if sign is None else "absurd PixelRepresentation")
    if header["TransferSyntaxUID"] is None:
        raise Rejected("no transfer syntax")
    if not _decodable(header["TransferSyntaxUID"]):
        raise Rejected("transfer syntax without a decoder")
    return Layout(rows, columns, allocated, stored, high, bool(sign))


@lru_cache(maxsize=64)
def _decodable(syntax: str) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False
