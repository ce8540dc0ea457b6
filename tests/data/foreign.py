"""Random trees of two people, as other hospitals, anonymisers and copies leave them, and the truth of who is who.

Nothing is drawn that nobody could tell apart: two people in one folder, two folders of one name under one study UID, or
another's note under a patient's own number.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import uid

from lhdlib.data import dataset
from tests.data.hostile import element
from tests.data.test_dataset import write_notes

#: Names of the two people's folders: numbers as they are written, years, names, and what may be taken for the other's
CODES = [
    ("0037", "0038"), ("37", "38"), ("P0037", "P0038"), ("00037", "00038"), ("12345", "12346"), ("2015", "2016"),
    ("0004", "0005"), ("A 1", "B 2"), ("Smith", "Smyth"), ("case_7", "case_8"), ("7", "70"),
    *2 * [("37", "0037"), ("P37", "Q37"), ("P37", "37"), ("0037", "0037")],
]  # fmt: skip
ABOVE = ["", "", "01_MRI_Data/", "2016/", "0004/x/", "T2/", "38/", "0037/"]
STUDIES = ["MRI", "MRI", "0004", "2016", "L-SPINE_LSS", "37", "0038", "P38"]
SERIES = ["T2_TSE_TRA_0004", "0004", "T2", "SE5", "38", "0037"]
#: Patient IDs of others in the workbook: near numbers, and whatever else stands in the paths
OTHERS = "4 5 1 2 70 2016 38 37 0037 P37 unknown MRI T2".split()
UIDS = ["own", "own", "own", "missing", "of one", "shared", "constant", "swapped"]  # what became of the studies' UIDs
NUMBERED = ["in order", "shuffled", "missing", "each its own"]  # instance numbers
IMAGES = ["own", "own", "missing", "by number"]  # SOPInstanceUIDs
LEVELS = ["L5-S1", "L4-L5", "L3-L4", "L2-L3", "L1-L2"]
PITCH = 34.0  # mm from disc to disc
ORDINARY = "0500"  # a patient of the archive's own kind: every build has samples of both labels


@dataclass
class Truth:
    """Who lies where, and whom each note is about."""

    people: dict[str, str] = field(default_factory=dict)  #: path -> person
    notes: dict[str, str] = field(default_factory=dict)  #: text -> person


@dataclass(frozen=True)
class Series:
    """What the files of a series share."""

    folder: str
    study_uid: str
    uid: str
    seed: int  #: its own among all series
    slabs: list[int]  #: slices of each disc
    bottom: int = 0  #: its lowest disc, counted from the lowest
    weighting: str = "T2"
    numbered: str = "in order"
    images: str = "own"


class Tree:
    """A tree as it is written."""

    def __init__(self, folder: Path, rng: np.random.Generator):
        self.folder, self.rng, self.truth = folder, rng, Truth()
        self.codes = CODES[rng.integers(len(CODES))]
        self.one_name = self.codes[0] == self.codes[1]  # then only places tell the people apart
        self.uids = self.pick(UIDS[:5] if self.one_name else UIDS)
        self.numbered, self.images = self.pick(NUMBERED), self.pick(IMAGES)
        self.above = self.pick(ABOVE)
        self.study = self.pick(STUDIES)
        self.counts = self.rng.integers(1, 3, 2).tolist()  # discs of each
        low = int(self.rng.integers(2))
        above = low + self.counts[0]  # there, two people's discs look like one's
        self.bottoms = [low, above if self.chance(0.5) else int(self.rng.integers(3))]

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def write(self) -> Truth:
        for who in (0, 1):
            above = f"disk{who}/" if self.one_name else self.above if self.chance(0.8) else self.pick(ABOVE)
            root = ["root"] * (who == 0 and not alike(*self.codes))  # without a folder, and so without a name
            depth = "study" if self.one_name else self.pick(["study", "study", "study", "series", "flat", *root])
            for study in range(1 + self.chance(0.1)):
                bottom, slabs = self.bottoms[who], self.rng.integers(3, 5, self.counts[who]).tolist()
                kinds = [("T2", bottom, slabs)] + [("T1", bottom, slabs)] * self.chance(0.4)
                if len(slabs) > 1 and self.chance(0.4):  # in two series, perhaps on two disks
                    kinds[:1] = [("T2", bottom, slabs[:1]), ("T2", bottom + 1, slabs[1:])]
                for number, (weighting, lowest, own) in enumerate(kinds):
                    place = self.place(who, depth, above, study, number)
                    uids = self.study_uid(who, study, last=number == len(kinds) - 1)
                    series_uid = f"1.8.{number}" if self.uids == "constant" else f"1.8.{who}.{study}.{number}"
                    seed = 100 * (who + 1) + 10 * study + number
                    kind = (own, lowest, weighting, self.numbered, self.images)
                    self.write_series(Series(place, uids, series_uid, seed, *kind), "AB"[who])
        self.write_series(Series(f"{ORDINARY}/L-SPINE/T2", "1.9", "1.9.1", 999, [3, 3]), ORDINARY)
        self.write_workbook()
        return self.truth

    def place(self, who: int, depth: str, above: str, study: int, number: int) -> str:
        """Folder of a series."""
        code, name = self.codes[who], self.study if self.chance(0.7) else self.pick(STUDIES)
        disk = f"disk{number}/" * self.chance(0.1)
        return {
            "study": f"{disk}{above}{code}/{name}{study or ''}/{self.pick(SERIES)}{number or ''}",
            "series": f"{code}/{study}{number}",
            "flat": code,
            "root": ".",
        }[depth]

    def study_uid(self, who: int, study: int, last: bool) -> str:
        if self.uids in ("shared", "constant"):
            return "1.6"
        if self.uids == "missing" or (self.uids == "of one" and who == 0):
            return ""
        return f"1.7.{1 - who if self.uids == 'swapped' and last else who}.{study}"

    def write_series(self, series: Series, person: str) -> None:
        heights = [
            PITCH * (series.bottom + disc) + 4.4 * at for disc, count in enumerate(series.slabs) for at in range(count)
        ]
        count = len(heights)
        numbers = {
            "in order": range(1, count + 1),
            "shuffled": 1 + self.rng.permutation(count),
            "missing": [""] * count,
            "each its own": 1000 * series.seed + np.arange(count),
        }[series.numbered]
        (self.folder / series.folder).mkdir(parents=True, exist_ok=True)
        for at, (height, number) in enumerate(zip(heights, numbers, strict=True)):
            image = {"own": f"1.4.{series.seed}.{at}", "missing": "", "by number": f"1.4.{at}"}[series.images]
            path = f"{series.folder}/{self.rng.bytes(4).hex()}".removeprefix("./")  # in any order
            (self.folder / path).write_bytes(encoded(series, height, str(number), image, self.rng.bytes(32)))
            self.truth.people[path] = person

    def write_workbook(self) -> None:
        """Notes of the two, written in one of the usual ways or lacking, among notes of others."""
        rows, noted, others = [(ORDINARY, "Disc protrusion at L5-S1.", ORDINARY)], set(), OTHERS.copy()
        for who, code in enumerate(self.codes):
            digits = "".join(filter(str.isdigit, code))
            others += [f"{letter}{digits}" for letter in "QRX" if digits] + [digits + "0", digits[:-1]] * bool(digits)
            if self.chance(0.7):
                ways = [code, digits.lstrip("0"), digits.zfill(4) * bool(digits), f"P{digits}" * (code[0] == "P")]
                rows.append((self.pick([way for way in ways if way]), f"Disc bulge at {LEVELS[who]}.", "AB"[who]))
                noted.add(code)
        for number, other in enumerate(self.rng.permutation(others)[: self.rng.integers(6)]):
            if other and not any(alike(other, code) for code in set(self.codes) - noted):
                rows.append((str(other), f"Disc extrusion at {LEVELS[number]}.", f"other {number}"))
        self.truth.notes = {text: person for _, text, person in rows}
        cells = [(int(name) if name.isdigit() and self.chance(0.5) else name, text) for name, text, _ in rows]
        write_notes(self.folder / dataset.NOTES_NAME, [cells[at] for at in self.rng.permutation(len(cells))])


def write_tree(folder: Path, rng: np.random.Generator) -> Truth:
    """Write a random tree of two people, an ordinary third and the workbook of notes."""
    return Tree(folder, rng).write()


def alike(one: str, other: str) -> bool:
    """Whether two names may be one patient's: of one number, and not of different letters."""
    digits = ["".join(filter(str.isdigit, name)).lstrip("0") for name in (one, other)]
    letters = {"".join(filter(str.isalpha, name)).casefold() for name in (one, other)} - {"", "case"}
    return digits[0] == digits[1] and len(letters) < 2


def encoded(series: Series, height: float, number: str, image: str, pixels: bytes) -> bytes:
    """An axial slice of 4 × 4 pixels; a library would take most of a test's time."""
    echo, repetition = ("11", "550") if series.weighting == "T1" else ("99", "3800")
    attributes: list[tuple[int, bytes, str | int]] = [
        (0x00080008, b"CS", "ORIGINAL\\PRIMARY\\M"),
        (0x00080016, b"UI", uid.MRImageStorage),
        (0x00080018, b"UI", image),
        (0x00080060, b"CS", "MR"),
        (0x0008103E, b"LO", f"{series.weighting} tse tra lumbar"),
        (0x00180080, b"DS", repetition),
        (0x00180081, b"DS", echo),
        (0x0020000D, b"UI", series.study_uid),
        (0x0020000E, b"UI", series.uid),
        (0x00200013, b"IS", number),
        (0x00200032, b"DS", f"-10\\-10\\{height:.2f}"),
        (0x00200037, b"DS", "1\\0\\0\\0\\1\\0"),
        (0x00280002, b"US", 1),
        (0x00280004, b"CS", "MONOCHROME2"),
        (0x00280010, b"US", 4),
        (0x00280011, b"US", 4),
        (0x00280030, b"DS", "2.8\\2.8"),
        (0x00280100, b"US", 16),
        (0x00280101, b"US", 16),
        (0x00280102, b"US", 15),
        (0x00280103, b"US", 0),
    ]
    meta = _element(0x00020002, b"UI", uid.MRImageStorage) + _element(0x00020010, b"UI", uid.ExplicitVRLittleEndian)
    head = b"\0" * 128 + b"DICM" + element(0x00020000, b"UL", struct.pack("<L", len(meta))) + meta
    return head + b"".join(_element(*one) for one in attributes) + element(0x7FE00010, b"OW", pixels)


def _element(tag: int, vr: bytes, value: str | int) -> bytes:
    data = struct.pack("<H", value) if isinstance(value, int) else value.encode()
    return element(tag, vr, data + (b"\0" if vr == b"UI" else b" ") * (len(data) % 2))
