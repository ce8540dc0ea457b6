"""Pictures in widgets and pages: as HTML with a description, and with words on them."""

import base64
import html
import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont


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


def write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, color: tuple[int, ...]) -> None:
    """Write text that is legible on any grey."""
    draw.text(place, text, color, ImageFont.load_default(14), stroke_width=2, stroke_fill="black")
