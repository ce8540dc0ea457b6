"""Pictures in HTML, read back with a parser and a decoder."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lhdlib.show import pictures

ALT = """<script>"it's" & more</script>"""


def element(text: str) -> tuple[dict[str, str], Image.Image]:
    """The attributes of the only element of an HTML text, and the picture that it holds."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(text)
    ((tag, attributes),) = found
    assert tag == "img"
    head, data = attributes["src"].split(",")
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert head == f"data:image/{image.format.lower()};base64"
    return attributes, image


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))


def test_a_picture_keeps_its_pixels_its_size_and_its_description(picture):
    attributes, found = element(pictures.image_html(picture, ALT))
    assert attributes["alt"] == ALT and (attributes["width"], attributes["height"]) == ("30", "20")
    assert np.array_equal(np.asarray(found), np.asarray(picture))


def test_options_reach_the_encoder(picture):
    sizes = []
    for quality in (95, 10):
        _, found = element(pictures.image_html(picture, ALT, kind="JPEG", quality=quality))
        assert found.format == "JPEG" and found.size == picture.size
        sizes.append(len(pictures.data_url(picture, "JPEG", quality=quality)))
    assert sizes[1] < sizes[0] / 2


def test_grey_is_cut_and_rounded():
    assert list(pictures.grey(np.array([-1, 0, 0.5, 1, 2], np.float16))) == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_words_stand_out_on_any_grey(ground):
    image = Image.new("L", (80, 30), ground)
    pictures.write(ImageDraw.Draw(image), (5, 5), "word", 255)
    written = np.asarray(image)
    assert written.max() == 255 and written.min() == 0
