"""Notes on phantom patients in the radiologists' style, and the workbook that holds them."""

import re
import zipfile
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import openpyxl

from lhdlib.phantom.anatomy import LEVELS, Disc, Lesion

SLIPS = {"noted": "notted", "compressing": "compresing", "thecal": "thecl", "Feature": "Faeture"}


def compose_note(rng: np.random.Generator, discs: list[Disc]) -> str:
    """A radiologist's note on some discs, in the style of the archive's notes.

    Every positive disc, and no other, is said to have a bulge, protrusion, extrusion, tear or compression.
    """
    return _Writer(rng).note(discs)


class _Writer:
    """Chooses words and phrases at random, and keeps to one way of naming levels."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.style = self.pick("L4-L5", "L4-L5", "L4/L5", "L4-5")

    def pick(self, *choices: str) -> str:
        return str(self.rng.choice(choices))

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def note(self, discs: list[Disc]) -> str:
        """The whole note: heading, findings, remarks, perhaps a spelling mistake."""
        positive = [disc for disc in discs if disc.lesion]
        dry = [disc for disc in discs if not disc.lesion and disc.nucleus < 0.45]
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
        """Lines on all positive discs; several bulges may share one."""
        lines = []
        bulges = [disc for disc in positive if disc.lesion and disc.lesion.kind == "bulge"]
        if len(bulges) > 1 and self.chance(0.7):
            form = self.pick("Diffuse disc bulges", "Mild diffuse disc bulges", "Disc bulges")
            effect = self.pick("compressing the thecal sac", "mild compressing thecal sac and both exit nerve roots")
            lines.append(f"{form} {self.pick('noted at', 'of', 'at')} {self.places(bulges)}, {effect}.")
            positive = [disc for disc in positive if disc not in bulges]
        return lines + [self.finding(disc.lesion, self.places([disc])) for disc in positive if disc.lesion]

    def finding(self, lesion: Lesion, place: str) -> str:
        """One sentence on one lesion."""
        pick = self.pick
        side = pick(lesion.side, lesion.side.replace("left", "Lt").replace("right", "Rt"))
        side = side[0].upper() + side[1:]
        effect = pick("compressing the thecal sac", "mildly compressing thecal sac", "indenting the thecal sac")
        at = pick("noted at", "at", "of")
        if lesion.kind == "bulge":
            root = pick("", " and both exiting nerve roots", " and exit canals")
            return f"{pick('Diffuse', 'Mild diffuse', 'Wide base')} disc bulge {at} {place}, {effect}{root}."
        if lesion.kind == "tear":
            return f"{side} {pick('annular tear', 'annular fissure')} {at} {place}."
        root = "" if side == "Central" else pick("", f" and {side.split()[0]} nerve root")
        moved = pick(" with caudal migration", "") if lesion.migration < 0 else ""
        return f"{side} disc {lesion.kind} {at} {place}{moved}, {effect}{root}."

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
