"""The atlas as a colleague opens it: from the disk, in a browser without a network."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from lhdlib.run import workspace
from lhdlib.show import atlas, disc
from tests.browser import lab

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def written(browser, request, tmp_path_factory):
    """The smoke run's discs in an atlas, and how many there are of each outcome.

    The threshold lies in their middle: a smoke run has hardly learnt anything and calls all discs the same.
    """
    smoke = request.getfixturevalue("smoke")
    space = workspace.open_workspace("smoke", results=str(smoke.results), figures=str(smoke.figures))
    with np.load(smoke.results / "07" / "heatmaps.npz", allow_pickle=False) as stored:
        probability, label = stored["probability"], stored["labels"] == 1
    threshold = float(np.median(probability))
    discs = dataclasses.replace(disc.from_workspace(space), threshold=threshold)
    path = tmp_path_factory.mktemp("atlas") / "atlas.html"
    atlas.write_atlas(discs, path, space.stamp())
    called = probability >= threshold
    assert 0 < called.sum() < len(called)
    right = np.where(called == label, "true", "false")
    outcomes = Counter(f"{a} {b}" for a, b in zip(right, np.where(called, "positive", "negative"), strict=True))
    return path, outcomes


@pytest.fixture
def page(browser, written, keep):
    """The page; after the test it must have asked for nothing but itself, and complained about nothing."""
    path, _ = written
    context = browser.new_context(offline=True, viewport=lab.WINDOW)
    opened = context.new_page()
    asked, failed, said = [], [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("requestfailed", lambda request: failed.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(path.as_uri())
    keep(opened)
    yield opened
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert failed == [] and said == []


def look(page) -> tuple[str, str]:
    return lab.pixels(page.locator("#input")), page.locator("#caption").inner_text()


def test_the_slider_shows_another_disc(page, written):
    _, outcomes = written
    first = look(page)
    assert page.locator("#place").inner_text() == f"disc 1 of {outcomes.total()}"
    page.locator("#slider").focus()
    page.keyboard.press("ArrowRight")
    lab.until_changed(lambda: look(page)[0], first[0])
    assert look(page)[1] != first[1] and page.locator("#place").inner_text().startswith("disc 2 of")
    page.keyboard.press("ArrowLeft")
    lab.until_changed(lambda: look(page) == first, False)


def test_the_filter_keeps_one_outcome(page, written):
    _, outcomes = written
    offered = page.locator("#outcome option").evaluate_all("options => options.map(option => option.value)")
    assert sorted(filter(None, offered)) == sorted(outcomes)
    for name, count in outcomes.items():
        page.locator("#outcome").select_option(name)
        seen = set()
        for number in range(1, count + 1):
            assert page.locator("#place").inner_text() == f"disc {number} of {count}"
            assert name in page.locator("#caption").inner_text()
            seen.add(look(page))
            if number < count:
                page.get_by_role("button", name="Next").click()
        assert len(seen) == count and page.get_by_role("button", name="Next").is_disabled()


def test_opacity_and_heatmap_of_normal_discs(page):
    shown = page.locator("#heat")
    page.locator("#order").select_option("low")
    before = page.locator("#disc").screenshot()
    assert shown.is_hidden() and "No heat" in page.locator("#heated").inner_text()
    page.locator("#always").check()
    assert shown.is_visible() and page.locator("#disc").screenshot() != before
    page.locator("#opacity").fill("0")
    assert shown.evaluate("image => getComputedStyle(image).opacity") == "0"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen(page, scheme):
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    dark, light = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (sum(map(int, dark[4:-1].split(","))) < sum(map(int, light[4:-1].split(",")))) == (scheme == "dark")
