"""Notes on phantom patients in the radiologists' style, and the workbook that holds them."""

import re
import zipfile
from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import openpyxl

from lhdlib.phantom import facts
from lhdlib.phantom.anatomy import Disc
from lhdlib.phantom.disease import LEVELS

SLIPS = {"noted": "notted", "compressing": "compresing", "thecal": "thecl", "Feature": "Faeture"}


def compose_note(
    rng: np.random.Generator, discs: Sequence[Disc], abnormal: Sequence[bool], *, hedged: bool = False
) -> str:
    """A radiologist's note on some discs from the top, in the style of the archive's notes.

    Every disc that the reader calls abnormal, and no other, is said to have a bulge, protrusion, extrusion or
    sequestration, and perhaps a tear beside it. A hedged note leaves the lowest of the other discs open.
    """
    note = _Writer(rng).note(discs, abnormal)
    others = [disc for disc, found in zip(discs, abnormal, strict=True) if not found]
    return f"{note}\nDisc bulge at {others[-1].level} cannot be excluded." if hedged and others else note


class _Writer:
    """Chooses words and phrases at random, and keeps to one way of naming levels."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.style = self.pick("L4-L5", "L4-L5", "L4/L5", "L4-5")

    def pick(self, *choices: str) -> str:
        return str(self.rng.choice(choices))

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def note(self, discs: Sequence[Disc], abnormal: Sequence[bool]) -> str:
        """The whole note: heading, findings, remarks, perhaps a spelling mistake."""
        positive = [disc for disc, found in zip(discs, abnormal, strict=True) if found]
        dry = [disc for disc in discs if disc not in positive and disc.nucleus < 0.45]
        lines = [self.pick("LSS MRI:", "LSS MRI :", "LSS MRI", "Lumbosacral MRI", "MRI OF THE LSS")]
        if self.chance(0.5):
            spasm = "Feature of muscle spasm.", "Features of muscle spasm noted.", "feature of muscle spasm ."
            lines.append(self.pick(*spasm))
        lines += self.findings(positive) if positive else self.nothing_found()
        if dry and self.chance(0.6):
            form = self.pick("Mild disc dehydration", "Disc dehydration", "Desiccated disc")
            lines.append(f"{form} {self.pick('noted at', 'at')} {self.places(dry)}.")
        if self.chance(0.3):
            remarks = "Adequate spinal canal.", "no definite fractures noted.", "Normal conus medullaris."
            lines.append(self.pick(*remarks))
        text = "\n".join(lines)
        if self.chance(0.3):
            right = self.pick(*SLIPS)
            text = text.replace(right, SLIPS[right], 1)
        return text

    def nothing_found(self) -> list[str]:
        """Lines of a note without a positive disc."""
        normal = "Normal study."
        line = self.pick(normal, "No evidence of disc herniation noted.", "No disc herniation or bulge noted.")
        return [line] if line == normal else [line, "No significant thecal sac or nerve root compression noted."]

    def findings(self, positive: list[Disc]) -> list[str]:
        """Lines on all positive discs; several bulges without a tear may share one."""
        lines = []
        bulges = [disc for disc in positive if disc.displacement.kind == "bulge" and not disc.tear]
        if len(bulges) > 1 and self.chance(0.7):
            form = self.pick("Diffuse disc bulges", "Mild diffuse disc bulges", "Disc bulges")
            lines.append(f"{form} {self.pick('noted at', 'of', 'at')} {self.places(bulges)}{self.pressed('both ')}.")
            positive = [disc for disc in positive if disc not in bulges]
        return lines + [self.finding(disc, self.places([disc])) for disc in positive]

    def finding(self, disc: Disc, place: str) -> str:
        """One sentence on one disc."""
        pick, kind, side = self.pick, disc.displacement.kind, disc.displacement.side
        at, tear = pick("noted at", "at", "of"), pick(" with annular tear", " and annular fissure") if disc.tear else ""
        if kind == "bulge":
            form = pick("Diffuse", "Mild diffuse", "Wide base")
            return f"{form} disc bulge{tear} {at} {place}{self.pressed('both ')}."
        side = pick(side, side.replace("left", "Lt").replace("right", "Rt"))
        side = side[0].upper() + side[1:]
        moved = pick(" with caudal migration", "") if disc.displacement.migration < 0 else ""
        one = "" if side == "Central" else f"{side.split()[0]} "
        return f"{side} disc {kind}{tear} {at} {place}{moved}{self.pressed(one)}."

    def pressed(self, side: str) -> str:
        """What the discs press on, as often as the archive's notes say it; `side` stands before a root or foramen."""
        sac, foramen, root = (self.chance(share) for share in facts.PRESSED.values())
        soft = self.pick("compressing the thecal sac", "mildly compressing thecal sac", "indenting the thecal sac")
        nerve = f"{side}{self.pick('nerve root', 'exiting nerve root')}" + "s" * (side == "both ")
        parts = [soft] * sac + [f"compressing {nerve}" if not sac else nerve] * root
        text = f", {' and '.join(parts)}" if parts else ""
        if foramen:
            canals = f"{side}{self.pick('neural foramen', 'exit foramen')}" + "s" * (side == "both ")
            text += f"{' and' if text else ','} narrowing {canals}"
        return text

    def places(self, discs: list[Disc]) -> str:
        """Names of levels: one, a list, or from the first to the last."""
        if self.style == "L4-5":
            names = [re.sub(r"^L(\d)-L(\d)$", r"L\1-\2", disc.level) for disc in discs]
        else:
            names = [disc.level.replace("-", self.style[2]) for disc in discs]
        if len(discs) == 1:
            return names[0] + self.pick(" level", " level", "")
        order = [LEVELS.index(disc.level) for disc in discs]
        if np.all(np.diff(order) == -1) and self.pick("range", "list", "list") == "range":
            return f"{discs[0].level.split('-')[0]}-{discs[-1].level.split('-')[1]} levels"
        return f"{', '.join(names[:-1])} {self.pick('and', '&')} {names[-1]} levels"


def write_workbook(path: Path, notes: dict[int, str]) -> None:
    """Write notes by patient number, in the layout of the archive's workbook; its bytes depend on the notes alone."""
    book = openpyxl.Workbook()
    [sheet] = book.worksheets
    sheet.title = "Sheet1"
    sheet.append(["Patient ID", "Clinician's Notes"])
    for number, note in sorted(notes.items()):
        sheet.append([number, note or None])
    book.properties.created = datetime(2020, 1, 1)
    buffer = BytesIO()
    book.save(buffer)
    # openpyxl stamps the time of saving into the properties and into the ZIP directory.
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.namelist():
            content = source.read(entry)
            if entry == "docProps/core.xml":
                content = re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>2020-01-01T00:00:00Z", content)
            target.writestr(zipfile.ZipInfo(entry, (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
