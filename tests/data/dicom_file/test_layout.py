"""Bits of pixels: read where the header says one thing, refused where it may say two."""

import numpy as np
import pytest

from lhdlib.data import dicom
from lhdlib.data.dicom_file.header import Rejected, opened
from lhdlib.data.dicom_file.layout import Layout, layout_of
from tests.data import trees


def layout(stored: int, high: int, signed: bool = False) -> Layout:
    return Layout(8, 8, 16, stored, high, signed)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [11, 12, 13, 14, 15])
def test_values_come_from_the_bits_that_the_header_names(high, signed):
    rng = np.random.default_rng(high)
    values = rng.integers(-2048 if signed else 0, 2048 if signed else 4096, (8, 8))
    kind = np.int16 if signed else np.uint16
    placed = (values << (high - 11)).astype(kind)
    np.testing.assert_array_equal(layout(12, high, signed).values(placed), values)
    masked = (placed.view(np.uint16) & ((1 << (high + 1)) - 1)).view(kind)  # without the sign's extension
    np.testing.assert_array_equal(layout(12, high, signed).values(masked), values)


@pytest.mark.parametrize("signed", [False, True])
def test_all_bits_are_values_where_all_are_stored(signed):
    pixels = np.random.default_rng(0).integers(0, 2**16, (8, 8)).astype(np.uint16)
    pixels = pixels.view(np.int16) if signed else pixels
    assert layout(16, 15, signed).values(pixels) is pixels


def test_doubtful_bits_are_refused():
    values = np.random.default_rng(1).integers(0, 4096, (8, 8)).astype(np.uint16)
    with pytest.raises(Rejected, match="beyond BitsStored"):
        layout(12, 11).values(values << 4)  # the upper bits, and no word of it
    with pytest.raises(Rejected, match="lower bits"):
        layout(12, 15).values(values)  # the lower bits, and the header says the upper
    with pytest.raises(Rejected, match="beyond BitsStored"):
        layout(12, 11, signed=True).values((values << 4).view(np.int16))


@pytest.mark.parametrize(
    "tags, reason",
    [
        ({"BitsAllocated": 12}, "absurd pixel depth: BitsAllocated"),
        ({"BitsStored": 17}, "absurd pixel depth: BitsStored"),
        ({"HighBit": 16}, "absurd pixel depth"),
        ({"HighBit": 5}, "absurd pixel depth"),
        ({"PixelRepresentation": 2}, "absurd PixelRepresentation"),
        ({"PixelRepresentation": None}, "no PixelRepresentation"),
        ({"PhotometricInterpretation": None}, "no PhotometricInterpretation"),
        ({"Rows": None}, "absurd image size"),
        ({"BitsStored": None, "HighBit": None}, ""),
        ({"HighBit": None}, ""),
        ({"SamplesPerPixel": None}, ""),
        ({"PhotometricInterpretation": "monochrome2"}, ""),
        ({"NumberOfFrames": 1}, ""),
    ],
)
def test_what_is_needed_is_named_and_nothing_else_is_asked_for(tags, reason, tmp_path):
    path = trees.save(trees.make_slice(size=(8, 8), **tags), tmp_path / "a")
    with opened(path) as (header, _):
        try:
            assert layout_of(header).columns == 8 and reason == ""
        except Rejected as error:
            assert reason and str(error).startswith(reason)


@pytest.mark.slow
def test_a_slice_in_the_upper_bits_reads_as_one_in_the_lower(tmp_path):
    values = np.random.default_rng(2).integers(0, 4096, (40, 40)).astype(np.uint16)
    lower = trees.save(trees.make_slice(size=(40, 40), PixelData=values.tobytes()), tmp_path / "a")
    upper = trees.make_slice(size=(40, 40), PixelData=(values << 4).tobytes(), HighBit=15)
    path = trees.save(upper, tmp_path / "b")
    np.testing.assert_array_equal(dicom.read_pixels(path), dicom.read_pixels(lower))
    upper.compress("1.2.840.10008.1.2.5")
    np.testing.assert_array_equal(dicom.read_pixels(trees.save(upper, tmp_path / "c")), values)
