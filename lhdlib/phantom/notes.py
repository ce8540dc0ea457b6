"""Notes on a phantom patient in the radiologists' style."""

import re
import zipfile
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import openpyxl

from lhdlib.phantom.anatomy import LEVELS, Disc, Lesion

# --- notes ----------------------------------------------------------------------------------------------------------


def write_note(rng: np.random.Generator, discs: list[Disc]) -> str:
    """A radiologist's note on some discs, in the style of the archive's notes.

    Every positive disc, and no other, is said to have a bulge, protrusion, extrusion, tear or compression.
    """
    pick = lambda *choices: str(rng.choice(choices))  # noqa: E731
    positive = [disc for disc in discs if disc.lesion]
    dry = [disc for disc in discs if not disc.lesion and disc.nucleus < 0.45]
    style = pick("L4-L5", "L4-L5", "L4/L5", "L4-5")

    lines = [pick("LSS MRI:", "LSS MRI :", "LSS MRI", "Lumbosacral MRI", "MRI OF THE LSS")]
    if rng.random() < 0.5:
        lines.append(pick("Feature of muscle spasm.", "Features of muscle spasm noted.", "feature of muscle spasm ."))
    if not positive:
        lines.append(
            pick("Normal study.", "No evidence of disc herniation noted.", "No disc herniation or bulge noted.")
        )
        if lines[-1] != "Normal study.":
            lines.append("No significant thecal sac or nerve root compression noted.")
    bulges = [disc for disc in positive if disc.lesion.kind == "bulge"]
    if len(bulges) > 1 and rng.random() < 0.7:
        form = pick("Diffuse disc bulges", "Mild diffuse disc bulges", "Disc bulges")
        effect = pick("compressing the thecal sac", "mild compressing thecal sac and both exit nerve roots")
        lines.append(f"{form} {pick('noted at', 'of', 'at')} {_places(pick, bulges, style)}, {effect}.")
        positive = [disc for disc in positive if disc.lesion.kind != "bulge"]
    lines += [_finding(pick, disc.lesion, _places(pick, [disc], style)) for disc in positive]
    if dry and rng.random() < 0.6:
        form = pick("Mild disc dehydration", "Disc dehydration", "Desiccated disc")
        lines.append(f"{form} {pick('noted at', 'at')} {_places(pick, dry, style)}.")
    if rng.random() < 0.3:
        lines.append(pick("Adequate spinal canal.", "no definite fractures noted.", "Normal conus medullaris."))
    text = "\n".join(lines)
    if rng.random() < 0.3:
        slips = {"noted": "notted", "compressing": "compresing", "thecal": "thecl", "Feature": "Faeture"}
        right = pick(*slips)
        text = text.replace(right, slips[right], 1)
    return text


def _places(pick: Callable[..., str], discs: list[Disc], style: str) -> str:
    """Names of disc levels as a note writes them: one, a list, or from the first to the last."""
    if style == "L4-5":
        names = [re.sub(r"^L(\d)-L(\d)$", r"L\1-\2", disc.level) for disc in discs]
    else:
        names = [disc.level.replace("-", style[2]) for disc in discs]
    if len(discs) == 1:
        return names[0] + pick(" level", " level", "")
    order = [LEVELS.index(disc.level) for disc in discs]
    if np.all(np.diff(order) == -1) and pick("range", "list", "list") == "range":
        return f"{discs[0].level.split('-')[0]}-{discs[-1].level.split('-')[1]} levels"
    return f"{', '.join(names[:-1])} {pick('and', '&')} {names[-1]} levels"


def _finding(pick: Callable[..., str], lesion: Lesion, place: str) -> str:
    """One sentence on one lesion."""
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


def write_notes(path: Path, notes: dict[int, str]) -> None:
    """Write the workbook; its bytes depend on the notes alone."""
    book = openpyxl.Workbook()
    sheet = book.active
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
