"""One HTML file for a reader without Python: a slider over the discs, from the disk, with no server and no network.

Pictures and words come from `disc`, as in the live viewer. The page gets the maps' cells and enlarges, colours and lays
them over the slices as `gradcam.upsample` and `disc.draw_disc` do.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from lhdlib import evaluate, files, gradcam
from lhdlib.data.marks import Marks
from lhdlib.errors import UserError
from lhdlib.figures.words import interval_text
from lhdlib.progress import progress_bar
from lhdlib.show import disc as discs
from lhdlib.show import slabs
from lhdlib.show.disc import SLICES, Look, Reading
from lhdlib.show.pictures import data_url

LIMIT = 10 * 10**6  # bytes of the page
LARGEST, ENLARGED = 300, 3  # side of a slice in a picture: pixels, and how often the slice store's
SMALLEST = 0.5  # side of a slice in a picture over the slice store's, below which discs are left out
QUALITY, COARSE = 85, 40  # WebP quality of the largest pictures, and of smaller ones
HEAT = 150  # side of a slice's heat as the page draws it, pixels
SAGITTAL, SAGITTAL_QUALITY = 300, 60  # longest side of a sagittal view, pixels, and its WebP quality
LOOK = Look(always=True)
KINDS_TOLD = (
    "for each kind the answer of a linear classifier, from 0 to 1, to whether a note on this disc would name it; a "
    "disc may have several, and a rare kind is rarely given more than its share."
)
NOT_CLINICAL = "Research software, not for clinical use: it must not be used to diagnose, treat or triage anyone."


@dataclass(frozen=True)
class Written:
    """The page, the side of a slice in its pictures (pixels), and the rows of discs left out."""

    path: Path
    side: int
    left_out: tuple[int, ...]


def write_atlas(
    reading: Reading,
    path: str | Path,
    stamp: Mapping[str, Any],
    *,
    title: str = "Heatmaps of the test discs",
    warning: str = "",
    details: str = "",
    limit: int = LIMIT,
) -> Written:
    """Write the page, atomically; equal input gives equal bytes.

    Pictures shrink until the page fits. Discs for which even the smallest leave no room are left out, from the last
    one backwards; the page names them.

    Parameters
    ----------
    stamp
        `workspace.Workspace.stamp`.
    warning
        Stands large above everything; by default the data's label.
    details
        HTML below the discs, its contents escaped.
    limit
        Bytes that the page may have.

    Raises
    ------
    UserError
        When the truth has no mask that fits a slice, or the disk is full.
    """
    path = Path(path)
    studies, places = _studies(reading)
    words = [_words(reading, row) | place for row, place in enumerate(places)]
    frame: dict[str, Any] = {"title": title, "stamp": stamp, "details": details, "studies": studies}
    frame |= {"warning": warning or f"Data: {reading.data_label}"}
    room = limit - len(_page(reading, words[:0], frame, ()).encode()) - 4096  # for the sentence about what is left out
    side, pictures = _pictures(reading, [len(_json(disc)) for disc in words], room)
    shown = [disc | drawn for disc, drawn in zip(words, pictures, strict=False)]
    left_out = tuple(range(len(shown), len(words)))
    with files.replacing(path) as temporary:
        temporary.write_text(_page(reading, shown, frame, left_out), encoding="utf-8")
    return Written(path, side, left_out)


# What the page shows of a disc


def _words(reading: Reading, row: int) -> dict[str, Any]:
    said = discs.facts(reading, row)
    known = {"abnormal": 1, "normal": 0, None: None}[said["label"]]
    rows = reading.discs[SLICES].iloc[row].to_numpy(int)
    marks = {} if reading.marks is None else {"marks": [_marks(reading.marks[number]) for number in rows]}
    maps = {name: base64.b64encode(_bytes(own[row])).decode() for name, own in _kinds(reading).items()}
    return {
        "name": f"patient {said['patient']}, {said['level']}",
        "outcome": said["outcome"],
        "level": said["level"],
        "patient": said["patient"],
        "probability": round(said["probability"], 4),
        "error": None if known is None else round(abs(known - said["probability"]), 4),
        "called": said["called"],
        "caption": discs.caption(said),
        **maps,
        **marks,
    }


def _kinds(reading: Reading) -> dict[str, np.ndarray]:
    return {"paper": reading.maps, "classic": reading.classic}


def _bytes(values: np.ndarray) -> bytes:
    """Values in [0, 1] as one byte each."""
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8).tobytes()


def _marks(marks: Marks) -> tuple[str, str, str, int, float]:
    return marks.left, marks.right, marks.place, marks.bar_mm, marks.mm


def _studies(reading: Reading) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every study's sagittal view once, and for each disc which one and which of its lines are the disc's."""
    places: list[dict[str, Any]] = [{} for _ in range(len(reading.discs))]
    if reading.sagittal is None:
        return [], places
    views: dict[str, int] = {}
    studies: list[dict[str, Any]] = []
    for row in progress_bar(range(len(places)), desc="sagittal views", disable=len(places) < 100):
        try:
            found = reading.sagittal(row)
        except UserError:
            continue  # a disc without a sagittal view is shown without
        study = _study(found)
        number = views.setdefault(study["picture"], len(studies))
        if number == len(studies):
            studies.append(study)
        places[row] = {"study": number, "slab": found.chosen, "used": found.used}
    return studies, places


def _study(found: slabs.UsedSlices) -> dict[str, Any]:
    laid = slabs.lay_out(found.view, width=SAGITTAL, height=SAGITTAL, pitch=SAGITTAL / 20)
    return {
        "picture": data_url(laid.picture, "WEBP", quality=SAGITTAL_QUALITY, method=6),
        "size": laid.picture.size,
        "lines": [np.round(lines.reshape(-1, 4), 1).tolist() for lines in laid.lines],
        "heights": [height and round(height, 1) for height in laid.heights],
        "names": found.names,
        "marks": _marks(laid.marks),
    }


def _heat(reading: Reading) -> dict[str, Any]:
    """What the page needs to draw maps: their cells' weights in every row of pixels, colours and lines."""
    cells = reading.maps.shape[-1]
    colors = mpl.colormaps[LOOK.color_map](np.arange(256))[:, :3]
    return {
        "side": HEAT,
        "cells": cells,
        "weights": gradcam.cell_weights(cells, HEAT, where=reading.where).round(4).tolist(),
        "colors": base64.b64encode(_bytes(colors)).decode(),
        "levels": discs.LEVELS,
        "seen": (reading.where.low, reading.where.high) if reading.where else (0, 1),
    }


def _pictures(reading: Reading, sizes: list[int], room: int) -> tuple[int, list[dict[str, str]]]:
    """Side of a slice, and the pictures of as many discs as there is room for; `sizes` are their words' bytes.

    A picture's bytes grow with its pixels: the share of the discs that found room tells the side for all of them.
    """
    stored = reading.images.shape[-1]
    side, smallest, quality = min(LARGEST, ENLARGED * stored), round(SMALLEST * stored), QUALITY
    while True:
        pictures = _fill(reading, sizes, room, side, quality)
        if len(pictures) == len(sizes) or side <= smallest:
            return side, pictures
        side = max(smallest, int(0.95 * side * np.sqrt(len(pictures) / len(sizes))))
        quality = COARSE


def _fill(reading: Reading, sizes: list[int], room: int, side: int, quality: int) -> list[dict[str, str]]:
    """Pictures of the first discs, until the room is used up."""
    pictures: list[dict[str, str]] = []
    for row, words in enumerate(progress_bar(sizes, desc="atlas", disable=len(sizes) < 100)):
        drawn = _slices(reading, row, side, quality) | _lesion(reading, row, side)
        room -= words + len(_json(drawn))
        if room < 0:
            break
        pictures.append(drawn)
    return pictures


def _slices(reading: Reading, row: int, side: int, quality: int) -> dict[str, str]:
    drawn = discs.draw_disc(reading, row, Look(heatmap="none"), side=side, marked=False)
    return {"slices": data_url(drawn.crop((0, 0, drawn.width, side)), "WEBP", quality=quality, method=6)}


def _lesion(reading: Reading, row: int, side: int) -> dict[str, str]:
    """Where the truth is known and there is a lesion: its outline, to lay over the slices."""
    if reading.lesion is None:
        return {}
    edge = np.concatenate(list(discs.outline(reading.lesion(row), side)), axis=1)
    if not edge.any():
        return {}
    picture = Image.fromarray(edge.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *discs.CONTOUR])
    return {"lesion": data_url(picture, "PNG", transparency=0, bits=1, optimize=True)}


def _json(value: Any) -> str:
    """JSON in ASCII that may stand in a script element: no ``<`` could end it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


# The page


def _page(reading: Reading, shown: list[dict[str, Any]], frame: Mapping[str, Any], left_out: tuple[int, ...]) -> str:
    template, style, script = (_file(suffix) for suffix in (".html", ".css", ".js"))
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()  # of all between the tags
    colors = mpl.colormaps[LOOK.color_map](np.linspace(0, 1, 9))[:, :3]
    missing = _missing(reading, left_out)
    return Template(template).substitute(
        policy="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{digest}'",
        title=html.escape(frame["title"]),
        warning=html.escape(frame["warning"]),
        missing=f"<p class='warning'>{html.escape(missing)}</p>" if missing else "",
        about="".join(f"<li><b>{name}</b>: {_escaped(text)}</li>" for name, text in _about(reading).items()),
        style=style,
        script=script,
        stops=", ".join(_rgb(255 * color) for color in colors),
        drawn=html.escape(reading.drawn),
        levels=" and ".join(f"{level:.0%}" for level in discs.LEVELS),
        contour=_rgb(discs.CONTOUR),
        used=_rgb(slabs.CHOSEN),
        line=_rgb(slabs.LINE),
        sagittal=html.escape(slabs.LINES),
        lesion_hidden="hidden" if reading.lesion is None else "",
        columns="".join(f"<span>{name}</span>" for name in discs.POSITIONS),
        details=frame["details"],
        stamp=" · ".join(f"{html.escape(str(key))} {html.escape(str(value))}" for key, value in frame["stamp"].items()),
        data=_json({"discs": shown, "studies": frame["studies"], "heat": _heat(reading)}),
    )


def _escaped(text: str) -> str:
    """Text of whatever characters as HTML in ASCII."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode()


def _rgb(color: Sequence[float] | np.ndarray) -> str:
    return "rgb({} {} {})".format(*np.asarray(color).astype(int))


def _about(reading: Reading) -> dict[str, str]:
    """Some lines for a reader who knows nothing of it, by what they explain."""
    kinds = {"Kind of lesion": KINDS_TOLD} if reading.kinds is not None else {}
    return {
        "Probability": "the classifier's answer, from 0 to 1, to whether the disc is abnormal; from "
        f"{reading.threshold:g} on it is called abnormal.",
        "Slice weight": "how much each of the disc's three slices counts in the heatmap; the three add up to 100 %.",
        **kinds,
        "Heatmap": "what the network's features respond to, each slice divided by its own maximum: every map has a "
        "hottest place, whether or not there is a lesion.",
        "How good it is": _quality(reading),
        "Data": f"{reading.data_label}. {NOT_CLINICAL}",
    }


def _quality(reading: Reading) -> str:
    """How often the classifier is right on these discs."""
    known = reading.discs[reading.discs.label.notna()]
    called, label = known.probability >= reading.threshold, known.label == 1
    if not 0 < label.sum() < len(label):
        return "not known for these discs, of which nobody has told both abnormal and normal ones."
    scores = known.probability.to_numpy()[None]
    auc = evaluate.by_patient(label.to_numpy(int), scores, known.patient.to_numpy())["AUC"]
    return (
        f"of {label.sum()} abnormal discs here it calls {(called & label).sum()} abnormal, of {(~label).sum()} normal "
        f"ones {(~called & ~label).sum()} normal; AUC {interval_text(auc._asdict())} "
        "(of one network; the headline is the mean of several)."
    )


def _file(suffix: str) -> str:
    """One of the files beside this module that make the page."""
    return Path(__file__).with_suffix(suffix).read_text(encoding="utf-8")


def _missing(reading: Reading, left_out: tuple[int, ...]) -> str:
    if not left_out:
        return ""
    first, last = (discs.facts(reading, row) for row in (left_out[0], left_out[-1]))
    name = "patient {patient}, {level}".format
    return (
        f"{len(left_out)} of {len(reading.discs)} discs found no room in this file and are not shown: the last "
        f"ones, {name(**first)} to {name(**last)}."
    )
