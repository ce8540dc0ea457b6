"""One HTML file for a reader without Python: a slider over the discs, from the disk, with no server and no network.

Pictures and words come from `disc`, as in the live viewer. Each disc has its slices and the same under its full
heatmap; the page lays one over the other, which is what drawing with any opacity in between would give.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from lhdlib import files
from lhdlib.progress import progress_bar
from lhdlib.show import disc as discs
from lhdlib.show.disc import Look, Reading
from lhdlib.show.pictures import data_url

LIMIT = 10 * 10**6  # bytes of the page
LARGEST, ENLARGED = 300, 3  # side of a slice in a picture: pixels, and how often the slice store's
SMALLEST = 0.5  # side of a slice in a picture over the slice store's, below which discs are left out
QUALITY, COARSE = 85, 40  # WebP quality of the largest pictures, and of smaller ones
HEATMAP_QUALITY = 0.6  # of the slices' quality: a heatmap is smooth, and the slices show through it
LOOK = Look(opacity=1, always=True)
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
    words = [_words(reading, row) for row in range(len(reading.discs))]
    frame = {"title": title, "warning": warning or f"Data: {reading.data_label}", "stamp": stamp, "details": details}
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
    return {
        "name": f"patient {said['patient']}, {said['level']}",
        "outcome": said["outcome"],
        "level": said["level"],
        "probability": round(said["probability"], 4),
        "error": None if known is None else round(abs(known - said["probability"]), 4),
        "called": said["called"],
        "caption": discs.caption(said),
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
    """The slices, and the same under their full heatmap."""
    drawn = discs.draw_disc(reading, row, LOOK, side=side)
    grey, hot = (drawn.crop((0, top, drawn.width, top + side)) for top in (0, side))
    return {
        "slices": data_url(grey, "WEBP", quality=quality, method=6),
        "heat": data_url(hot, "WEBP", quality=round(HEATMAP_QUALITY * quality), method=6),
    }


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
        not_clinical=NOT_CLINICAL,
        missing=f"<p class='warning'>{html.escape(missing)}</p>" if missing else "",
        style=style,
        script=script,
        stops=", ".join("rgb({} {} {})".format(*(255 * color).astype(int)) for color in colors),
        drawn=html.escape(reading.drawn),
        contour="rgb({} {} {})".format(*discs.CONTOUR),
        lesion_hidden="hidden" if reading.lesion is None else "",
        columns="".join(f"<span>{name}</span>" for name in discs.POSITIONS),
        details=frame["details"],
        stamp=" · ".join(f"{html.escape(str(key))} {html.escape(str(value))}" for key, value in frame["stamp"].items()),
        data=_json(shown),
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
