"""README and gallery as a forge shows them: a column of text that becomes narrow, light or dark, with its pictures."""

import pytest
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from lhdlib.run.workspace import ROOT
from tests.browser.conftest import ARTEFACTS

WIDTHS = (390, 900, 1280, 1920)
PAGES = {"readme": ROOT / "README.md", "gallery": ROOT / "figures" / "README.md"}
STYLE = """<meta charset="utf-8"><style>
:root { color-scheme: light dark } body { max-width: 980px; margin: auto; font: 16px/1.5 sans-serif }
table { border-collapse: collapse; display: block; overflow: auto } td, th { border: 1px solid grey; padding: 4px 8px }
img { max-width: 100% } pre { overflow: auto } code { overflow-wrap: anywhere }
</style>"""


@pytest.fixture(scope="module", params=PAGES)
def page(browser, request):
    """The page of Markdown as HTML, beside which its pictures lie."""
    source = PAGES[request.param]
    page = browser.new_context(offline=True).new_page()
    html = STYLE + markdown2html_mistune(source.read_text("utf-8"))
    page.route("**/*.html", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(source.with_suffix(".html").as_uri())
    page.name = request.param
    return page


def test_every_picture_is_there_and_says_what_it_shows(page):
    pictures = page.evaluate("[...document.images].map(image => [image.naturalWidth, image.alt.length])")
    assert len(pictures) >= 3 and min(map(min, pictures)) > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_every_screen_in_light_and_dark(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    page.screenshot(path=ARTEFACTS / f"{page.name}_{width}_{scheme}.png")
