"""The book as somebody reads it who runs nothing: from the disk, in a browser without a network, on any screen."""

import pytest

from tests.browser import lab
from tests.browser.conftest import ARTEFACTS

WIDTHS = (390, 900, 1280, 1920)
SIDE = 1024  # pixels from which on the contents stand at the side
SMALL = 4  # pixels: an equation that did not render has no size


@pytest.fixture(scope="module")
def path(browser, request):
    return request.getfixturevalue("smoke").figures / "book.html"


@pytest.fixture
def read(browser, path):
    """Open the book on a screen of some width; afterwards it must have asked for nothing but itself."""
    asked, failed, said = [], [], []

    def read(width: int = 1280, scheme: str = "light"):
        context = browser.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(path.as_uri())
        return page

    yield read
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
    assert failed == [] and said == []


def test_every_equation_has_a_size(read):
    sizes = read().evaluate("[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().width)")
    assert len(sizes) > 150 and min(sizes) >= SMALL


def test_every_picture_is_there(read):
    widths = read().evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) > 15 and min(widths) > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_every_screen_in_light_and_dark(read, width, scheme):
    page = read(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")
    page.screenshot(path=ARTEFACTS / f"book_{width}_{scheme}.png")
    page.evaluate("document.getElementById('07').scrollIntoView()")
    page.screenshot(path=ARTEFACTS / f"book_{width}_{scheme}_heatmaps.png")


def test_the_contents_scroll_by_themselves_and_lead_to_a_chapter(read):
    page = read()
    nav = page.locator("nav")
    assert nav.evaluate("nav => nav.scrollHeight > nav.clientHeight")
    last = nav.locator("ol > li > a").last
    nav.evaluate("nav => nav.scrollTo(0, nav.scrollHeight)")
    assert page.evaluate("scrollY") == 0 and nav.evaluate("nav => nav.scrollTop") > 0
    last.click()
    assert page.evaluate("scrollY") > 900
    place = last.get_attribute("href")[1:]
    assert page.evaluate("place => document.getElementById(place).getBoundingClientRect().top", place) < 100


@pytest.mark.parametrize(("width", "beside"), [(SIDE - 1, False), (SIDE, True)])
def test_the_contents_stand_at_the_side_where_there_is_room(read, width, beside):
    page = read(width)
    nav, text = (page.locator(name).bounding_box() for name in ("nav", "main"))
    assert (nav["x"] + nav["width"] <= text["x"]) is beside


def test_folded_code_opens(read):
    page = read()
    fold = page.locator("details.code").first
    code = fold.locator(".highlight").first
    assert not code.is_visible()
    fold.locator("summary").click()
    assert code.is_visible()


def test_dark_text_and_code_can_be_read(read):
    page = read(scheme="dark")
    for place in ("main p", "nav a", ".highlight pre"):
        assert lab.contrast(page.locator(place).first) >= 4.5
