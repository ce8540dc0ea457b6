"""Headers: hostile ones harm nothing, and values are those of pydicom."""

import itertools
import re
import resource
import struct
import sys
import time
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor
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
from lhdlib.data.dicom_file.header import KNOWN, MAX_BYTES, META, PLAIN_TEXT, TAGS, UsualHeader, opened
from tests.data import trees
from tests.data.hostile import (
    ITEM_END,
    SECRET,
    SEQUENCE_END,
    SYNTAXES,
    UNDEFINED,
    Parts,
    element,
    in_syntax,
    item,
    mutate,
    read,
)

MUTANTS = 3_000
ASKED = re.compile(r'header(?:\.\w+\(|\[)"(\w+)"')


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Parts:
    return Parts(trees.save(trees.make_slice(size=(64, 60)), tmp_path_factory.mktemp("parts") / "sound"))


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
            if not reason and set(rules.COLUMNS) - record.keys():
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


@pytest.mark.slow
def test_thousands_of_mutated_files(tmp_path):
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_a_file_over_the_limit_is_listed(tmp_path):
    path = trees.save(trees.make_slice(size=(8, 8)), tmp_path / "a")
    with path.open("ab") as file:
        file.truncate(MAX_BYTES + 1)
    assert read(path)["reason"].startswith("too large")


def test_files_without_the_formats_head_are_named(tmp_path):
    for name in ("ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "rtstruct.dcm"):
        assert read(Path(get_testdata_file(name, download=False)))["reason"] == "DICOM without the file format's head"


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
        vr = pydicom.datadict.dictionary_VR(tag)[:2]  # "US or SS": unsigned
        pool = pools.get(vr, TEXTS[:3])
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


SIGN_NEEDED = ["PixelPaddingValue", "PixelPaddingRangeLimit"]  # their form depends on PixelRepresentation


def value_of(source: dict | pydicom.Dataset, keyword: str):
    """An attribute's value, or the kind of the error."""
    try:
        return source[keyword] if isinstance(source, dict) else source[keyword].value if keyword in source else None
    except Exception as error:
        return type(error)


@pytest.mark.slow
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
            with opened(path) as (header, _):
                asked = rng.permutation([keyword for keyword in KNOWN if keyword not in SIGN_NEEDED]).tolist()
                for keyword in asked + SIGN_NEEDED * (number % 3 == 2):
                    source = reference.file_meta if keyword in META else reference
                    assert value_of(header, keyword) == value_of(source, keyword), (number, keyword)
                by_pydicom += not isinstance(header, UsualHeader) or "by_pydicom" in vars(header)
    assert by_pydicom == 600 if syntax == uid.ExplicitVRBigEndian else 300 < by_pydicom < 400  # both ways were compared


def test_plain_text_is_the_same_in_every_character_set():
    """What `PLAIN_TEXT` lets pass is decoded as ASCII, whatever character set the file says."""
    letters = bytes(code for code in range(256) if PLAIN_TEXT.fullmatch(bytes([code])))
    assert len(letters) == 92 and letters.isascii()
    for encoding in pydicom.charset.python_encoding.values():
        assert letters.decode(encoding) == letters.decode("ascii"), encoding


def test_every_attribute_that_is_asked_for_is_read():
    """Another one would be absent in every file, and the rule that asks for it idle."""
    sources = (path.read_text(encoding="utf-8") for path in Path(rules.__file__).parent.glob("*.py"))
    asked = {keyword for source in sources for keyword in ASKED.findall(source)}
    assert len(asked) > 20 and asked <= KNOWN.keys()
    assert ASKED.findall('header.text("Planted")') == ["Planted"] and "Planted" not in KNOWN
