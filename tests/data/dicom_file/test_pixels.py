"""Pixels: the same from every transfer syntax, rescaled, or none with a reason."""

import warnings

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
    for value in [b"nan", b"inf", b"9e300"] + [b"-1.0"] * (tag == "RescaleSlope"):
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


def picture(kind: str) -> np.ndarray:
    """Images that are none, and some that look like it."""
    rng = np.random.default_rng(4)
    image = np.zeros((64, 64), np.uint16)
    if kind == "one value":
        image[:] = 100
    elif kind == "one pixel":
        image[5, 7] = 4000
    elif kind == "text":
        image[:2, :10] = 4000
    elif kind == "grey with text":
        image[:] = 70
        image[-3:, :20] = rng.integers(0, 4000, (3, 20))
    elif kind == "a frame":
        image[[0, -1]] = 900
    elif kind == "two values":
        image[rng.random((64, 64)) < 0.3] = 4095
    elif kind == "a small field in a large matrix":
        image[20:40, 20:40] = rng.integers(1, 4000, (20, 20))
    elif kind == "noise":
        image[:] = rng.integers(0, 30, (64, 64))
    return image


@pytest.mark.parametrize("bars", [False, True])
@pytest.mark.parametrize(
    "kind, empty",
    [
        ("zero", True),
        ("one value", True),
        ("one pixel", True),
        ("text", True),
        ("grey with text", True),
        ("a frame", False),
        ("two values", True),
        ("a small field in a large matrix", False),
        ("noise", False),
    ],
)
def test_empty_images_are_set_aside(kind, empty, bars, tmp_path):
    image = trees.make_slice(size=(64, 64), PixelData=picture(kind).tobytes())
    if kind == "a frame":
        empty = True  # two values
    if bars:
        image.compress(uid.RLELossless)
    path = trees.save(image, tmp_path / "a")
    if empty:
        with pytest.raises(ValueError, match="empty image"):
            dicom.read_pixels(path)
    else:
        assert dicom.read_pixels(path).shape == (64, 64)


@pytest.mark.parametrize("meaning", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "value, limit, signed, expected",
    [
        (-2000, None, True, True),
        (63536, None, True, True),  # the same, without a sign
        (4095, None, False, True),
        (4000, 4095, False, True),
        (4095, 4000, False, True),
        (0, None, False, False),
        (None, None, False, False),
    ],
)
def test_padding_is_no_signal(value, limit, signed, expected, meaning, tmp_path):
    rng = np.random.default_rng(6)
    kind = np.int16 if signed else np.uint16
    stored = rng.integers(100, 3000, (48, 48)).astype(kind)
    padded = np.zeros((48, 48), bool)
    padded[:, :9] = True
    filled = np.array(0 if value is None else value).astype(kind if not signed else np.int64)
    stored[padded] = np.int64(filled) - (2**16 if signed and filled >= 2**15 else 0)
    bits = {"BitsStored": 16, "HighBit": 15} if signed else {}
    image = trees.make_slice(size=(48, 48), PixelData=stored.tobytes(), PhotometricInterpretation=meaning, **bits)
    image.PixelRepresentation = int(signed)
    for keyword, number in (("PixelPaddingValue", value), ("PixelPaddingRangeLimit", limit)):
        if number is not None:
            image.add_new(keyword, "SS" if number < 0 else "US", number)
    pixels = dicom.read_pixels(trees.save(image, tmp_path / "a"))
    signal = stored[~padded].astype(np.float32)
    if expected:
        signal = signal.max() - signal if meaning == "MONOCHROME1" else signal
        np.testing.assert_array_equal(pixels[~padded], signal)
        assert (pixels[padded] == signal.min()).all()
    else:
        whole = stored.astype(np.float32)
        np.testing.assert_array_equal(pixels, whole.max() - whole if meaning == "MONOCHROME1" else whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "keyword, vr, value",
    [
        ("Rows", "LO", "24"),
        ("Columns", "IS", "20"),
        ("BitsStored", "DS", "12.0"),
        ("PixelSpacing", "LO", "0,6875\\0,6875"),
        ("PixelSpacing", "LO", "[0.6875, 0.6875]"),
        ("ImagePositionPatient", "LO", "-110,0\\-110,0\\0,0"),
        ("RescaleSlope", "LO", "1,0"),
        ("EchoTime", "LO", "99 ms"),
        ("EchoTime", "FD", 99.0),
        ("EchoTime", "LO", "unknown"),
        ("SliceThickness", "LO", "thick"),
        ("InstanceNumber", "LO", "A1"),
        ("SeriesNumber", "LO", "5\\6"),
        ("NumberOfFrames", "LO", "one"),
        ("Manufacturer", "UN", b"\xff\xfe"),
    ],
)
def test_values_in_other_forms_lose_no_slice(keyword, vr, value, tmp_path):
    path = tmp_path / "0001" / "s" / "t" / "a"
    image = trees.make_slice(size=(24, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image[keyword] = pydicom.DataElement(keyword, vr, value)
        trees.save(image, path)
    slices, rejected = dicom.index_tree(tmp_path)
    assert rejected.empty and slices.row_spacing[0] == 0.6875 and slices.x[0] == -110 and slices["rows"][0] == 24
    assert dicom.read_pixels(path).shape == (24, 20)


def test_a_slice_without_echo_time_modality_or_manufacturer(tmp_path):
    absent = ["EchoTime", "RepetitionTime", "Modality", "Manufacturer", "BodyPartExamined", "ImageType", "SeriesNumber"]
    image = trees.make_slice(size=(24, 20), **dict.fromkeys(absent), SeriesDescription="T2")
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = uid.EnhancedMRImageStorage
    image.compress(uid.RLELossless)
    trees.save(image, tmp_path / "0001" / "s" / "t" / "a")
    slices, rejected = dicom.index_tree(tmp_path)
    assert rejected.empty and slices.weighting[0] == "T2" and slices.remark[0] == ""
