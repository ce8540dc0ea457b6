"""Indexing: what hostile, foreign and unusual files become, and that they harm nothing beside them."""

import itertools
import os
import re
import resource
import signal
import socket
import struct
import sys
import time
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom import uid
from pydicom.data import get_testdata_file

from lhdlib.data import dicom
from lhdlib.data.dicom_file import decoder, rules
from lhdlib.data.dicom_file.header import KNOWN, MAX_BYTES, META, PLAIN_TEXT, TAGS, parsed
from lhdlib.errors import UserError
from tests.data import trees

SECRET = "Zyxwvutsky"  # planted as name, institution and more; no output may hold it
MUTANTS = 10_000
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


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Parts:
    return Parts(trees.save(trees.make_slice(size=(64, 60)), tmp_path_factory.mktemp("parts") / "sound"))


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


# ----------------------------------------------------------------------------------------------- mutated files


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


def examine(share: tuple[int, int, str]) -> dict:
    """Write, index and read mutants `first` to `last`; run in a process of its own, whose memory is then known."""
    first, last, folder = share
    originals = [trees.save(in_syntax(s), Path(folder) / f"sound-{first}").read_bytes() for s in SYNTAXES]
    found = {"faults": [], "slowest": 0.0, "reasons": {}, "pixels": 0}
    for seed in range(first, last):
        rng = np.random.default_rng([3, seed])
        path = Path(folder) / f"mutant-{seed}"  # a new file each time: overwriting one waits for the disk
        path.write_bytes(mutate(rng, originals[rng.integers(len(originals))]))
        start = time.process_time()  # not the decoder's, which has its own limit
        try:
            record = read(path)
            reason = record.get("reason", "")
            if not reason and set(rules.COLUMNS) - record.keys() != {"remark"}:
                found["faults"].append((seed, "neither indexed nor listed"))
            if SECRET in str(record.get("reason")):
                found["faults"].append((seed, "quotes the header"))
            found["reasons"][reason] = found["reasons"].get(reason, 0) + 1
            try:
                pixels = dicom.read_pixels(path)
                found["pixels"] += 1
                if pixels.dtype != np.float32 or pixels.ndim != 2 or not np.isfinite(pixels).all():
                    found["faults"].append((seed, "unsound pixels"))
            except ValueError as error:
                if SECRET in str(error):
                    found["faults"].append((seed, "quotes the header"))
            found["slowest"] = max(found["slowest"], time.process_time() - start)
        except Exception as error:
            found["faults"].append((seed, repr(error)))
        path.unlink()
    found["bytes"] = peak_bytes()
    return found


def peak_bytes() -> int:
    """Of this process; Linux' `ru_maxrss` counts in what the process was started from."""
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_ten_thousand_mutated_files(tmp_path):
    steps = range(0, MUTANTS + 1, MUTANTS // 4)
    shares = [(a, b, str(tmp_path)) for a, b in itertools.pairwise(steps)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(examine, shares))
    assert [fault for result in results for fault in result["faults"]] == []
    assert max(result["slowest"] for result in results) + decoder.MAX_SECONDS < 5
    assert max(result["bytes"] for result in results) + decoder.MAX_MEMORY < 2**30
    reasons = pd.concat([pd.Series(result["reasons"]) for result in results]).groupby(level=0).sum()
    assert reasons.sum() == MUTANTS
    assert reasons[""] > MUTANTS / 20 and len(reasons) > 12  # mutations of every degree
    assert sum(result["pixels"] for result in results) > MUTANTS / 20


@pytest.fixture(scope="module")
def hostile(parts) -> dict[str, tuple[bytes, str]]:
    """Files made to hang or to fill the memory, and what becomes of them ("" is indexed)."""
    big = 2**21
    nest = element(0x00291000, b"SQ", b"", UNDEFINED) + item(b"", UNDEFINED)
    charset = element(0x00080005, b"CS", b"xy\\" * 21_844)
    items = element(0x00291000, b"SQ", item(b"") * (big // 8) + SEQUENCE_END, UNDEFINED)
    dataset = parts.header + parts.pixels
    return {
        "items": (parts.private(items), "absurd header"),
        "items of known length": (parts.private(element(0x00291000, b"SQ", item(b"") * (big // 8))), ""),
        "elements": (parts.private(element(0x00291000, b"LO", b"") * (big // 8)), "absurd header"),
        "nesting": (parts.private(nest * (big // 20)), "absurd header: nested"),
        "nesting, closed": (parts.private((nest * 60 + (ITEM_END + SEQUENCE_END) * 60) * 400), "absurd header: nested"),
        "some nesting": (parts.private((nest * 30 + (ITEM_END + SEQUENCE_END) * 30) * 20), ""),
        "nesting with lengths": (parts.private((nest[:12] + item(b"", 10**6)) * 90), "absurd header: nested"),
        "ends sought": (parts.private(element(0x00291000, b"OB", b"", UNDEFINED) * (big // 12)), "absurd header"),
        "character sets": (parts.first(charset), ""),
        "more character sets": (parts.first(charset * 30), "absurd header"),
        "character sets in items": (
            parts.first(element(0x00080001, b"SQ", item(charset) * 10 + SEQUENCE_END, UNDEFINED)),
            "absurd header",
        ),
        "values": (parts.private(element(0x00280030, b"DS", b"1\\" * 32_000)), "absurd header"),
        "a length of 4 GB": (parts.first(element(0x00080008, b"UN", b"A", UNDEFINED - 1)), "no image|absurd header"),
        "deflated": (parts.deflated(dataset), ""),
        "deflated bomb": (parts.deflated(dataset + bytes(2**28)), "too large: .* inflated"),
        "deflated items": (parts.deflated(parts.header + items + parts.pixels), "absurd header"),
        "deflated garbage": (parts.deflated(dataset)[:400] + b"garbage" * 9, "unreadable|no image"),
    }


def test_files_made_to_hang_or_to_fill_the_memory(hostile, tmp_path):
    for name, (data, expected) in hostile.items():
        (tmp_path / name).write_bytes(data)
        start = time.process_time()
        reason = read(tmp_path / name).get("reason", "")
        try:
            assert dicom.read_pixels(tmp_path / name).shape == (64, 60)
            assert reason == "", name
        except ValueError:
            assert reason, name
        assert time.process_time() - start < 5, name
        assert re.match(expected or "$", reason), (name, reason)


def test_no_more_than_its_share_of_memory(hostile, tmp_path):
    for name, (data, _) in hostile.items():
        (tmp_path / name).write_bytes(data)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        before = pool.submit(peak_after, []).result()
        after = pool.submit(peak_after, [str(tmp_path / name) for name in hostile]).result()
    assert after - before < 200 * 2**20


def peak_after(paths: list[str]) -> int:
    for path in paths:
        read(Path(path))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> tuple[Path, list[str], list[str]]:
    """A tree with sound slices and everything else that may lie in one; its sound files, and all."""
    root = tmp_path_factory.mktemp("tree")
    sound = []
    for patient in range(1, 13):
        study = root / f"{patient:04d}" / trees.STUDY
        for weighting, tags in (("T1", trees.T1), ("T2", trees.T2)):
            for level in range(3):
                center = (0, 0, 40.0 * level)
                sound += trees.write_slab(
                    study / f"{weighting}_TSE_TRA_000{level}", center, size=(16, 16), seed=10 * patient + level, **tags
                )
    others = []
    rng = np.random.default_rng(7)
    originals = [trees.save(in_syntax(syntax), root / "0013" / "s" / "t" / f"{syntax}") for syntax in SYNTAXES]
    others += originals
    for number in range(150):
        path = root / f"{number % 12 + 1:04d}" / trees.STUDY / "T2_TSE_TRA_0000" / f"mutant{number}"
        path.write_bytes(mutate(rng, originals[number % len(originals)].read_bytes()))
        others.append(path)
    foreign = root / "0001" / "foreign"
    foreign.mkdir()
    for name in ("DICOMDIR", "a.png", "notes.txt", "Report.xlsx", "b.zip", "empty", "naïve ☃.dcm"):
        (foreign / name).write_bytes(b"" if name == "empty" else name.encode() * 40)
        others.append(foreign / name)
    os.mkfifo(foreign / "fifo")
    (foreign / "dangling").symlink_to("nowhere")
    (foreign / "loop").symlink_to("loop")
    (foreign / "folder").symlink_to(root)
    others += [foreign / name for name in ("fifo", "dangling", "loop", "folder")]
    relative = [[p.relative_to(root).as_posix() for p in paths] for paths in (sound, others)]
    return root, relative[0], relative[0] + relative[1]


def test_a_tree_with_everything_in_it(tree, monkeypatch):
    root, sound, everything = tree
    monkeypatch.setattr(dicom, "PARALLEL_FROM", len(everything) - 1)
    slices, rejected = dicom.index_tree(root, workers=2)
    assert sorted([*slices.path, *rejected.path]) == sorted(everything)
    assert rejected.reason.str.len().gt(0).all()
    assert set(sound) <= set(slices.path)
    indexed = slices.set_index("path").loc[sound]
    assert (indexed.weighting == indexed.index.str.extract(r"(T\d)_TSE", expand=False)).all()
    reasons = rejected.set_index("path").reason
    place = "0001/foreign/"
    assert reasons[place + "empty"] == "empty file"
    assert reasons[place + "fifo"] == "no regular file"
    assert reasons[place + "folder"].startswith("link to a folder")
    assert (
        reasons[[place + n for n in ("a.png", "notes.txt", "Report.xlsx", "b.zip", "DICOMDIR")]] == "not DICOM"
    ).all()
    assert not any(SECRET in text for table in (slices, rejected) for text in table.astype(str).to_numpy().ravel())
    for table, again in zip((slices, rejected), dicom.index_tree(root, workers=1), strict=True):
        pd.testing.assert_frame_equal(table, again)


def test_what_cannot_be_looked_into_is_listed(tmp_path, monkeypatch):
    trees.save(trees.make_slice(size=(8, 8)), tmp_path / "0001/s/t/a")
    (tmp_path / "0002").mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9") / "a").write_bytes(b"x")
    deep = tmp_path.joinpath(*["d"] * (dicom.MAX_DEPTH + 3))
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tmp_path)  # the path of a socket is short
        listener.bind("socket")
    scandir = os.scandir

    def denied(place):
        if os.path.basename(place) == "0002":
            raise PermissionError(13, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", denied)
    slices, rejected = dicom.index_tree(tmp_path)
    assert list(slices.path) == ["0001/s/t/a"]
    reasons = dict(zip(rejected.path, rejected.reason, strict=True))
    assert reasons.pop("0002") == "folder cannot be read"
    assert reasons.pop("socket") == "no regular file"
    assert reasons.pop("caf\\udce9/a") == "name is not Unicode"
    assert list(reasons.values()) == ["folder too deep"] and len(list(reasons)[0].split("/")) > dicom.MAX_DEPTH
    rejected.to_csv(tmp_path / "rejected.csv")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_no_folder_or_no_file(tmp_path, make):
    make(tmp_path / "archive")
    with pytest.raises(UserError, match="archive"):
        dicom.index_tree(tmp_path / "archive")


def test_a_file_over_the_limit_is_listed(tmp_path):
    path = trees.save(trees.make_slice(size=(8, 8)), tmp_path / "a")
    with path.open("ab") as file:
        file.truncate(MAX_BYTES + 1)
    assert read(path)["reason"].startswith("too large")


# ------------------------------------------------------------------------------------------------- pixels


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


@pytest.mark.parametrize(
    "tags, reason",
    [
        ({"NumberOfFrames": 2}, "multi-frame"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"Rows": 60000}, "absurd image size"),
        ({"Columns": 0}, "absurd image size"),
        ({"Rows": 17}, "truncated"),
        ({"BitsAllocated": 12}, "absurd pixel depth"),
        ({"BitsStored": 17}, "absurd pixel depth"),
        ({"PixelData": None}, "truncated"),
        ({"ImageOrientationPatient": [1.0, 0, 0, 1, 0, 0]}, "no geometry"),
        ({"ImageOrientationPatient": [1.0, 0, 0]}, "no geometry"),
        ({"ImagePositionPatient": None}, "no geometry"),
        ({"PixelSpacing": [0.0, 0.0]}, "no geometry"),
    ],
)
def test_unusable_images_are_set_aside(tags, reason, tmp_path):
    path = trees.save(trees.make_slice(**{"size": (16, 16), **tags}), tmp_path / "a")
    assert read(path)["reason"].startswith(reason)
    if "Pixel" not in reason and "geometry" not in reason:
        with pytest.raises(ValueError):
            dicom.read_pixels(path)


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


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, "1.2.3.4.5"])
def test_a_transfer_syntax_without_decoder_is_named(syntax, tmp_path):
    image = in_syntax(uid.RLELossless)
    image.file_meta.TransferSyntaxUID = uid.UID(syntax)
    pydicom.dcmwrite(tmp_path / "a", image, implicit_vr=False, little_endian=True, force_encoding=True)
    assert read(tmp_path / "a")["reason"] == "transfer syntax without a decoder"


def test_files_without_the_formats_head_are_named(tmp_path):
    for name in ("ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "rtstruct.dcm"):
        assert read(Path(get_testdata_file(name, download=False)))["reason"] == "DICOM without the file format's head"


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


class Bad:
    """Stands for an image whose decoder does what `deed` says."""

    def __init__(self, deed: str) -> None:
        self.deed = deed

    @cached_property
    def pixel_array(self):
        if self.deed == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.deed == "hang":
            time.sleep(60)
        if self.deed == "memory":
            return np.ones(2**28)  # 2 GiB
        if self.deed == "panic":
            raise SystemExit
        return np.full((2, 2), int(self.deed))


@pytest.mark.parametrize("deed", ["crash", "hang", "memory", "panic"])
def test_a_decoder_that_fails_harms_no_other_image(deed, monkeypatch):
    if deed == "memory" and sys.platform != "linux":
        pytest.skip("memory is limited on Linux alone")
    np.testing.assert_array_equal(decoder.decode(Bad("1")), np.full((2, 2), 1))
    monkeypatch.setattr(decoder, "MAX_SECONDS", 1.0)
    start = time.monotonic()
    with pytest.raises(
        decoder.DecodeError, match="MemoryError" if deed == "memory" else "crashed|no answer|SystemExit"
    ):
        decoder.decode(Bad(deed))
    assert time.monotonic() - start < 3
    monkeypatch.undo()
    for number in range(3):
        np.testing.assert_array_equal(decoder.decode(Bad(f"{number}")), np.full((2, 2), number))


def test_an_interrupted_image_is_not_taken_for_the_next(monkeypatch):
    decoder.decode(Bad("1"))
    connection = decoder._child[1]

    class Interrupted:
        send, recv, close = connection.send, connection.recv, connection.close

        def poll(self, seconds):
            raise KeyboardInterrupt

    monkeypatch.setattr(decoder, "_child", (decoder._child[0], Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        decoder.decode(Bad("1"))
    assert decoder.decode(Bad("2")).max() == 2


# ------------------------------------------------------------------------------------ values beside pydicom's own

TEXTS = [
    *(
        b"SE",
        b"ORIGINAL\\PRIMARY\\M\\ND ",
        b"1.2.840.10008.1.2\0",
        b"two  spaces ",
        b" led by one",
        b"a \\b",
        b"a\\\\b",
    ),
    *(b"\\", b" ", b"end\0\0 ", b"100~", b"caf\xe9", b"caf\xc3\xa9 ", b"\x1b$B3$\x1b(B", b"\xc0\xb0", b"091629.5"),
]
NUMBERS = [
    *(b"7", b"1.5", b"-0.6875\\0.7 ", b" 12 ", b"1e-3", b"1E400", b"+3.\\ 4", b"1,5", b"1_0", b"1.0", b"99999999999"),
    *(b"1\0", b"1\\\\2", b"0x1", b"inf"),
]
BINARY = [b"\1\2", b"\1\2\3\4", b"\1\2\3"]
CHARACTER_SETS = [None, b"ISO_IR 100", b"ISO_IR 192", b"\\ISO 2022 IR 87 ", b"ISO_IR 13 ", b"nonsense"]


def random_file(rng: np.random.Generator, syntax: str, odd: float) -> bytes:
    """All attributes that the index asks for, each under another's VR or with another's value with chance `odd`."""
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"

    def encoded(tag: int, vr: str, value: bytes) -> bytes:
        start = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
        if syntax == uid.ImplicitVRLittleEndian:
            return start + struct.pack("<L", len(value)) + value
        length = struct.pack(
            f"{order}HL" if vr in ("UN", "OB") else f"{order}H", *[0] * (vr in ("UN", "OB")), len(value)
        )
        return start + vr.encode() + length + value

    pools = {"DS": NUMBERS[:5], "IS": NUMBERS[:1], "US": BINARY[:1]}
    image = []
    if (characters := CHARACTER_SETS[rng.integers(len(CHARACTER_SETS))]) is not None:
        image.append((0x00080005, "CS", characters))
    for tag in TAGS:
        vr, pool = pydicom.datadict.dictionary_VR(tag), pools.get(pydicom.datadict.dictionary_VR(tag), TEXTS[:3])
        if rng.random() < odd:
            vr = rng.choice(["UN", "OB", "LO", "DS", "IS", "US", "UI", "FD"])
        if rng.random() < odd:
            pool = [b"", *TEXTS, *NUMBERS, *BINARY]
        if rng.random() > odd / 4:
            image.append((tag, vr, pool[rng.integers(len(pool))]))
    data = b"".join(encoded(*one) for one in sorted(image))
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(1, zlib.DEFLATED, -15)
        data = deflater.compress(data) + deflater.flush()
    name = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(0x00020002, b"UI", b"1.2.840.10008.5.1.4.1.1.4\0") + element(0x00020010, b"UI", name)
    return bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<L", len(meta))) + meta + data


def value_of(source: dict | pydicom.Dataset, keyword: str):
    """An attribute's value, or the kind of the error."""
    try:
        return source[keyword] if isinstance(source, dict) else source[keyword].value if keyword in source else None
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("syntax", SYNTAXES[:4], ids=lambda syntax: uid.UID(syntax).keyword)
def test_values_are_those_of_pydicom(syntax, tmp_path):
    rng = np.random.default_rng(17)
    by_pydicom = 0
    for number in range(600):
        path = tmp_path / f"{number}"
        path.write_bytes(random_file(rng, syntax, odd=(0, 0.05, 0.5)[number % 3]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = pydicom.dcmread(path, stop_before_pixels=True)
            with parsed(path) as (header, _):
                for keyword in rng.permutation(list(KNOWN)):
                    source = reference.file_meta if keyword in META else reference
                    assert value_of(header, keyword) == value_of(source, keyword), (number, keyword)
                by_pydicom += "dataset" in vars(header)
    assert by_pydicom == 600 if syntax == uid.ExplicitVRBigEndian else 300 < by_pydicom < 400  # both ways were compared


def test_plain_text_is_the_same_in_every_character_set():
    """What `PLAIN_TEXT` lets pass is decoded as ASCII, whatever character set the file says."""
    letters = bytes(code for code in range(256) if PLAIN_TEXT.fullmatch(bytes([code])))
    assert len(letters) == 92 and letters.isascii()
    for encoding in pydicom.charset.python_encoding.values():
        assert letters.decode(encoding) == letters.decode("ascii"), encoding


# ------------------------------------------------------------------------------------- what an image is


@pytest.mark.parametrize(
    "tags, expected",
    [
        (trees.T1, "T1"),
        (trees.T2, "T2"),
        ({**trees.T1, "SeriesDescription": "t2_tse_tra"}, "T1"),  # the numbers count
        ({**trees.T2, "SeriesDescription": ""}, "T2"),
        ({**trees.T2, "ScanningSequence": "SE"}, "T2"),
        ({**trees.T2, "ScanningSequence": ["SE", "IR"]}, "inversion recovery"),
        ({**trees.T2, "InversionTime": 2500.0}, "inversion recovery"),
        ({**trees.T2, "InversionTime": 0.0}, "T2"),
        ({**trees.T1, "ScanningSequence": "GR"}, "gradient echo"),
        ({**trees.T2, "ScanningSequence": "EP"}, "gradient echo"),
        ({"EchoTime": 30.0, "RepetitionTime": 3000.0}, "neither"),  # proton density
        ({"EchoTime": 99.0, "RepetitionTime": 500.0}, "neither"),
        ({"EchoTime": None, "SeriesDescription": "Ax T2 FSE"}, "T2"),
        ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "t1_tse_tra"}, "T1"),
        ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "t2_stir_tra"}, "neither"),
        ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "t2*_medic"}, "neither"),
        ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "axial"}, "neither"),
        ({"EchoTime": 11.0, "RepetitionTime": None, "SeriesDescription": "t2_tse"}, "neither"),  # contradicts
    ],
)
def test_weighting(tags, expected, tmp_path):
    record = read(trees.save(trees.make_slice(**{"size": (8, 8), **tags}), tmp_path / "a"))
    assert expected in record.get("reason", record.get("weighting"))


@pytest.mark.parametrize(
    "path, tags, expected",
    [
        (f"0001/{trees.STUDY}/T2_TSE_TRA_0004", {}, None),
        (f"0001/{trees.STUDY}/x", {"SeriesDescription": "localizer"}, "localizer"),
        (f"0001/{trees.STUDY}/LOCALIZER_0001", {"SeriesDescription": ""}, "localizer"),
        (f"0001/{trees.STUDY}/x", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        (f"0001/{trees.STUDY}/x", {"SeriesDescription": "PosDisp: [4] t2_tse_tra_384"}, "position display"),
        (f"0001/{trees.STUDY}/POSDISP_[4]_T2_TSE_TRA_384_5001", {}, "position display"),
        (f"0001/{trees.STUDY}/x", {"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, "derived"),
        (f"0001/{trees.STUDY}/x", {"ImageType": ["ORIGINAL", "SECONDARY"]}, "derived"),
        (f"0001/{trees.STUDY}/x", {"ImageType": "DERIVED"}, "derived"),
        ("0046/C-SPINE_C-SPINE_20160309_091629/T2_TSE_TRA_0004", {}, "other body region"),
        ("0046/a/x", {"BodyPartExamined": "CSPINE"}, "other body region"),
        ("0046/a/x", {"BodyPartExamined": "HEAD"}, "other body region"),
        ("0046/a/x", {"StudyDescription": "MRI cervical spine"}, "other body region"),
        ("0046/a/x", {"StudyDescription": "MRI cervical and lumbar spine"}, None),
        ("0046/a/x", {"BodyPartExamined": "TLSPINE"}, None),
        ("headers/a/x", {"BodyPartExamined": None}, None),
        ("0001/a/x", {"orientation": [0.0, 1, 0, 0, 0, -1]}, "sagittal plane"),
        ("0001/a/x", {"orientation": [1.0, 0, 0, 0, 0, -1]}, "coronal plane"),
        ("0001/a/x", {"orientation": trees.tilted(40)}, None),
        ("0001/a/x", {"orientation": trees.tilted(50)}, "coronal plane"),
    ],
)
def test_kind_region_and_plane(path, tags, expected, tmp_path):
    trees.save(trees.make_slice(**{"size": (8, 8), **tags}), tmp_path / path / "a")
    slices, rejected = dicom.index_tree(tmp_path)
    assert len(slices) + len(rejected) == 1
    if expected is None:
        assert len(slices) == 1, rejected.reason.tolist()
    else:
        assert rejected.reason[0].startswith(expected)
        assert rejected.plane[0] == (expected.split()[0] if "plane" in expected else "")


def test_the_table_holds_what_the_header_says(tmp_path):
    rng = np.random.default_rng(11)
    for number in range(20):
        angle, position = float(rng.uniform(-40, 40)), rng.uniform(-200, 200, 3).round(3)
        tags = {
            "SliceThickness": 4.5,
            "AcquisitionTime": "091629.5",
            "SeriesNumber": 5,
            "InstanceNumber": number,
            "Manufacturer": "Maker",
            "PatientID": SECRET,
            "size": (16, 12),
        }
        image = trees.make_slice(position, trees.tilted(angle), **tags)
        image.PixelSpacing = [0.6, 0.7]
        trees.save(image, tmp_path / "0007" / trees.STUDY / "T2" / f"{number:02d}")
    slices, rejected = dicom.index_tree(tmp_path)
    assert (
        rejected.empty
        and list(slices.columns) == rules.COLUMNS
        and not slices.drop(columns="remark").isna().any(axis=None)
    )
    for row in slices.itertuples():
        header = pydicom.dcmread(tmp_path / row.path)
        np.testing.assert_allclose([row.x, row.y, row.z], header.ImagePositionPatient)
        orientation = [row.row_x, row.row_y, row.row_z, row.column_x, row.column_y, row.column_z]
        np.testing.assert_allclose(orientation, header.ImageOrientationPatient)
        normal = np.cross(orientation[:3], orientation[3:])
        np.testing.assert_allclose([row.normal_x, row.normal_y, row.normal_z], normal, atol=1e-9)
        assert row.normal_z > 0 and row.plane == "axial"
        assert (row.patient, row.study, row.series) == ("0007", trees.STUDY, "1.2.3.4")
        assert (row.rows, row.columns, row.row_spacing, row.column_spacing) == (16, 12, 0.6, 0.7)
        assert (row.thickness, row.echo_time, row.repetition_time) == (4.5, 99.0, 3800.0)
        assert (row.series_number, row.instance_number) == (5, header.InstanceNumber)
        assert (row.acquisition_time, row.bits_stored, row.manufacturer) == ("091629.5", 12, "Maker")
        assert row.transfer_syntax == uid.ExplicitVRLittleEndian and row.sop_uid == header.SOPInstanceUID
        assert row.bytes == (tmp_path / row.path).stat().st_size
    assert SECRET not in slices.to_csv()


@pytest.mark.parametrize(
    "path, patient, study",
    [
        ("01_MRI_Data/0012/L-SPINE_1/T2_0004/a.ima", "0012", "L-SPINE_1"),
        ("0012/T2_0004/a.ima", "0012", "1.2.3"),
        ("0012/a.ima", "0012", "1.2.3"),
        ("Miller/T2/a", "Miller", "1.2.3"),
        ("a", "unknown", "1.2.3"),
    ],
)
def test_patient_and_study_come_from_the_folders(path, patient, study, tmp_path):
    trees.save(trees.make_slice(size=(8, 8), PatientID="9999", PatientName=SECRET), tmp_path / path)
    slices, _ = dicom.index_tree(tmp_path)
    assert (slices.patient[0], slices.study[0]) == (patient, study)


def test_read_plane(tmp_path):
    image = trees.make_slice((1.0, 2.0, 3.0), [0.0, 1, 0, 0, 0, -1], (10, 20))
    image.PixelSpacing = [0.5, 0.8]
    plane = dicom.read_plane(trees.save(image, tmp_path / "a"))
    np.testing.assert_allclose(plane.pop("row"), [0, 1, 0])
    np.testing.assert_allclose(plane.pop("column"), [0, 0, -1])
    np.testing.assert_allclose(plane.pop("position"), [1, 2, 3])
    assert plane == {"spacing": (0.5, 0.8), "shape": (10, 20)}
    (tmp_path / "b").write_text("no image")
    for path in (tmp_path / "b", tmp_path / "absent", trees.save(trees.make_slice(Rows=None), tmp_path / "c")):
        with pytest.raises(ValueError):
            dicom.read_plane(path)


# --------------------------------------------------------------------------------------------- duplicates


def copies(folder: Path, *images: pydicom.Dataset) -> dict[str, str]:
    """Reasons by file name of images stored as a, b, c ..."""
    for name, image in zip("abcdef", images, strict=False):
        trees.save(image, folder / "0001" / "s" / "t" / name)
    slices, rejected = dicom.index_tree(folder)
    assert len(slices) + len(rejected) == len(images)
    return dict(zip(rejected.path.str[-1], rejected.reason, strict=True))


def small(seed: int = 0, position=(0.0, 0.0, 0.0), **tags) -> pydicom.Dataset:
    return trees.make_slice(position, size=(8, 8), seed=seed, **tags)


def test_a_copy_under_the_same_or_a_new_uid_is_a_duplicate(tmp_path):
    first = small(0)
    found = copies(tmp_path, first, small(0), first, small(1), small(0, (0, 0, 9.0)), small(0, (0.0004, -0.0, 0.0)))
    assert found == {name: "duplicate: of 0001/s/t/a" for name in "bcf"}
    kept, rejected = dicom.index_tree(tmp_path, duplicates="kept")
    assert rejected.empty and len(kept) == len(list(tmp_path.rglob("s/t/*")))


def test_a_copy_in_another_patient_is_found_by_its_uid_alone(tmp_path):
    image = small(0)
    for patient, name, other in (("0001", "a", image), ("0002", "a", image), ("0003", "a", small(0))):
        trees.save(other, tmp_path / patient / "s" / "t" / name)
    trees.save(small(0), tmp_path / "0003" / "s" / "t" / "b")
    slices, rejected = dicom.index_tree(tmp_path)
    assert list(rejected.path) == ["0002/s/t/a", "0003/s/t/b"] and list(slices.patient) == ["0001", "0003"]
    assert (slices.remark == "").all()


def test_different_images_under_one_uid_all_stay_and_are_marked(tmp_path):
    images = [small(number, (0, 0, 4.4 * number), SOPInstanceUID="1.2.3.9") for number in range(3)]
    assert copies(tmp_path, *images, small(7, (0, 0, 50.0))) == {}
    slices, _ = dicom.index_tree(tmp_path)
    assert (slices.remark != "").tolist() == [True, True, True, False]


def test_one_uid_and_other_pixels_at_one_place_are_one_image(tmp_path):
    found = copies(tmp_path, small(0, SOPInstanceUID="1.9"), small(1, SOPInstanceUID="1.9"))
    assert found == {"b": "duplicate: of 0001/s/t/a"}


def test_images_without_uid_are_no_copies(tmp_path):
    images = [small(number, (0, 0, 9.0 * number), SOPInstanceUID=None) for number in range(3)]
    for image in images:
        image.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    assert copies(tmp_path, *images) == {}
    assert (dicom.index_tree(tmp_path)[0].remark == "").all()


def test_the_copy_whose_pixels_are_readable_is_kept(tmp_path):
    image = small(0)
    image.compress(uid.RLELossless)
    image.file_meta.TransferSyntaxUID = uid.RLELossless
    place = tmp_path / "0001" / "s" / "t"
    whole = trees.save(image, place / "b").read_bytes()
    (place / "a").write_bytes(whole[:-40])
    with pytest.raises(ValueError):
        dicom.read_pixels(place / "a")
    slices, rejected = dicom.index_tree(tmp_path)
    assert list(slices.path) == ["0001/s/t/b"] and rejected.reason[0] == "duplicate: of 0001/s/t/b"


def test_the_result_does_not_depend_on_the_order_of_the_file_system(tmp_path, monkeypatch):
    first, second = small(0), small(0)
    expected = copies(tmp_path, first, second, first)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((p, d[::-1], f[::-1]) for p, d, f in walk(*a, **k)))
    _, rejected = dicom.index_tree(tmp_path)
    assert dict(zip(rejected.path.str[-1], rejected.reason, strict=True)) == expected
