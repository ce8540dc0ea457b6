"""Pixels: the same from every transfer syntax, rescaled, or none with a reason."""

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.data import get_testdata_file

from lhdlib.data import dicom
from lhdlib.data.dicom_file import decoder, rules
from tests.data import trees
from tests.data.hostile import FOREIGN_JPEG, SYNTAXES, element, in_syntax


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: uid.UID(syntax).keyword)
def test_every_transfer_syntax_reads_to_the_same_pixels(syntax, tmp_path):
    image = in_syntax(syntax, seed=5)
    path = trees.save(image, tmp_path / "0001" / "s" / "t" / "a")
    record = rules.read_header(str(tmp_path), "0001/s/t/a")
    assert "reason" not in record and record["transfer_syntax"] == syntax and record["bytes"] >= 0
    if syntax in FOREIGN_JPEG:
        expected = pydicom.dcmread(get_testdata_file(FOREIGN_JPEG[syntax], download=False)).pixel_array
    else:
        expected = np.random.default_rng(5).integers(0, 4096, (24, 20), dtype=np.uint16)
    pixels = dicom.read_pixels(path)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless])
def test_lossless_copies_equal_the_uncompressed_original(syntax):
    original = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False))
    pixels = dicom.read_pixels(get_testdata_file(FOREIGN_JPEG[syntax], download=False))
    np.testing.assert_array_equal(pixels, np.frombuffer(original.PixelData, "<i2").reshape(64, 64))


def test_rescaling_sign_and_inversion(tmp_path):
    stored = np.random.default_rng(0).integers(-2000, 2000, (8, 6), dtype=np.int16)
    common = {"size": (8, 6), "PixelData": stored.tobytes(), "PixelRepresentation": 1, "BitsStored": 16, "HighBit": 15}
    rescale = {"RescaleSlope": 2.5, "RescaleIntercept": -7.0}
    signed = dicom.read_pixels(trees.save(trees.make_slice(**common, **rescale), tmp_path / "a"))
    np.testing.assert_array_equal(signed, (stored * 2.5 - 7).astype(np.float32))
    inverted = trees.make_slice(**common, **rescale, PhotometricInterpretation="MONOCHROME1")
    flipped = dicom.read_pixels(trees.save(inverted, tmp_path / "b"))
    np.testing.assert_array_equal(flipped, signed.max() - signed)
    bytes_ = np.arange(48, dtype=np.uint8)
    eight = {"size": (8, 6), "PixelData": bytes_.tobytes(), "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    path = trees.save(trees.make_slice(**eight), tmp_path / "c")
    np.testing.assert_array_equal(dicom.read_pixels(path), bytes_.reshape(8, 6))


@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept"])
def test_absurd_rescaling_gives_no_pixels(tag, tmp_path):
    path = trees.save(trees.make_slice(size=(8, 8), RescaleSlope=1.0, RescaleIntercept=1.5), tmp_path / "a")
    for value in (b"nan", b"inf", b"9e300"):
        old = element(0x00281053, b"DS", b"1.0 ") if tag == "RescaleSlope" else element(0x00281052, b"DS", b"1.5 ")
        data = path.read_bytes()
        assert old in data
        number = 0x00281053 if tag == "RescaleSlope" else 0x00281052
        (tmp_path / "b").write_bytes(
            data.replace(old, element(number, b"DS", value.ljust(len(value) + len(value) % 2)))
        )
        with pytest.raises(ValueError, match="absurd"):
            dicom.read_pixels(tmp_path / "b")


def test_compressed_pixels_alone_go_through_the_decoder(tmp_path, monkeypatch):
    def refuse(image):
        raise decoder.DecodeError("pixels not decodable: for a reason")

    monkeypatch.setattr(decoder, "decode", refuse)
    for number, syntax in enumerate(SYNTAXES):
        path = trees.save(in_syntax(syntax), tmp_path / f"{number}")
        if uid.UID(syntax).is_compressed:
            with pytest.raises(ValueError, match="for a reason"):
                dicom.read_pixels(path)
        else:
            dicom.read_pixels(path)
