"""Pictures in widgets and pages: as HTML with a description, and with words on them."""

import base64
import html
import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lhdlib.data.marks import Marks

WHITE = (255, 255, 255)


def data_url(picture: Image.Image, kind: str, **options: Any) -> str:
    """Address that holds the picture itself; the options are those of `PIL.Image.Image.save`."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def image_html(picture: Image.Image, alt: str, *, kind: str = "PNG", **options: Any) -> str:
    """HTML element of a picture with its description; it is never scaled up and shrinks with the page.

    ipywidgets' Image can carry no description.
    """
    size = f'width="{picture.width}" height="{picture.height}" style="max-width:100%;height:auto"'
    options = options or {"compress_level": 1}
    return f'<img {size} decoding="sync" alt="{html.escape(alt)}" src="{data_url(picture, kind, **options)}">'


def grey(image: np.ndarray) -> np.ndarray:
    """Values in [0, 1], cut beyond, as 8 bits."""
    return np.round(np.clip(image.astype(np.float32), 0, 1) * 255).astype(np.uint8)


@lru_cache(8)
def font(size: int) -> Any:
    """Pillow's own font, loaded once in each size (pixels)."""
    return ImageFont.load_default(size)


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    color: tuple[int, ...],
    *,
    size: int = 14,
    anchor: str = "la",
) -> None:
    """Write text that is legible on any grey; `anchor` is Pillow's, as is `size` in pixels."""
    draw.text(place, text, color, font(size), anchor, stroke_width=2, stroke_fill="black")


def mark(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], marks: Marks, *, sides_only: bool = False) -> None:
    """Write the patient's sides, the slice's place and a scale bar on a picture of a slice.

    Parameters
    ----------
    box
        Of the picture: left, top, right and bottom, pixels.
    sides_only
        Leave out place and scale.
    """
    left, top, right, bottom = box
    size = max(10, min(16, (right - left) // 12))
    for x, text, anchor in ((left + 4, marks.left, "lm"), (right - 4, marks.right, "rm")):
        write(draw, (x, (top + bottom) / 2), text, WHITE, size=size, anchor=anchor)
    if sides_only:
        return
    write(draw, (left + 5, top + 4), marks.place, WHITE, size=size)
    if marks.bar_mm:
        length = round((right - left) * marks.bar_mm / marks.mm)
        x, y = left + 6, bottom - 7
        draw.rectangle((x - 1, y - 1, x + length, y + 3), fill="black")
        draw.rectangle((x, y, x + length - 1, y + 2), fill=WHITE)
        write(draw, (x, y - 3), f"{marks.bar_mm} mm", WHITE, size=size, anchor="ls")
