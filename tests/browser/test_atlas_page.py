"""The atlas as a colleague opens it: from the disk, in a browser without a network."""

import dataclasses
import re
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
    assert {url.split("#")[0] for url in asked if not url.startswith("data:")} <= {path.as_uri(), "about:blank"}
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


def test_classic_heatmaps_and_lines_change_the_picture(page):
    page.locator("#always").check()
    pictures = [lab.pixels(page.locator("#heat"))]
    for act in (
        lambda: page.locator("#kind").select_option("classic"),
        lambda: page.locator("#lines").check(),
        lambda: page.locator("#kind").select_option("paper"),
    ):
        act()
        pictures.append(lab.until_changed(lambda: lab.pixels(page.locator("#heat")), pictures[-1]))
    assert len(set(pictures)) == len(pictures)
    page.locator("#kind").select_option("none")
    assert page.locator("#heat").is_hidden()


def test_a_link_names_a_disc_and_the_address_follows(page, written):
    path, outcomes = written
    discs = [page.locator("#caption b").first.inner_text()]
    for _ in range(3):
        page.get_by_role("button", name="Next").click()
        discs.append(page.locator("#caption b").first.inner_text())
    assert page.url.endswith("#disc=4") and len(set(discs)) > 1
    page.locator("#outcome").select_option(index=1)
    number = 4 if page.url.endswith("#disc=3") else 3  # not the one that is shown
    page.evaluate(f"location.hash = '#disc={number}'")
    wanted = f"disc {number} of {outcomes.total()}"
    lab.until_changed(lambda: page.locator("#place").inner_text() == wanted, False)
    assert page.locator("#caption b").first.inner_text() == discs[number - 1]
    page.goto("about:blank")
    page.goto(f"{path.as_uri()}#disc=2")
    assert page.locator("#place").inner_text() == f"disc 2 of {outcomes.total()}"


def test_a_patients_discs_and_the_counts_follow_each_other(page):
    patients = page.locator("#patient option").evaluate_all("all => all.map(one => [one.value, one.textContent])")
    value, text = patients[1]
    page.locator("#patient").select_option(value)
    count = int(text.rsplit("(", 1)[1][:-1])
    assert page.locator("#place").inner_text() == f"disc 1 of {count}"
    assert f"Patient {value}" in page.locator("#caption").inner_text()
    levels = page.locator("#level option").all_inner_texts()
    assert levels[0] == f"all ({count})" and sum(int(one.rsplit("(", 1)[1][:-1]) for one in levels[1:]) == count


def test_it_plays_and_stops_at_the_end(page, written):
    _, outcomes = written
    button = page.locator("#play")
    button.click()
    assert button.inner_text() == "Pause"
    lab.until_changed(lambda: page.locator("#place").inner_text().startswith("disc 3 of"), False)
    page.locator("#slider").fill(str(outcomes.total()))
    lab.until_changed(button.inner_text, "Pause")
    assert page.locator("#place").inner_text() == f"disc {outcomes.total()} of {outcomes.total()}"


def test_every_picture_is_marked(page):
    words = page.locator("#marks text").all_text_contents()
    assert words.count("R") == words.count("L") == 3 and sum(" of " in word for word in words) == 3
    assert sum(word.endswith(" mm") for word in words) == 3
    assert page.locator("#sides text").all_text_contents() == 3 * ["R", "L"]
    assert page.locator("#view text").all_text_contents()[-3] == "A" and page.locator("#view .used").count() >= 3


def test_a_disc_fits_a_small_laptop_and_one_printed_page(page):
    page.set_viewport_size({"width": 1280, "height": 800})
    assert page.locator("#disc").bounding_box()["y"] + page.locator("#disc").bounding_box()["height"] <= 800
    page.emulate_media(media="print")
    printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1


def test_controls_are_large_enough_to_be_touched(page):
    page.set_viewport_size(PHONE)
    small = """() => [...document.querySelectorAll("button, select, input, summary")].filter(node => node.offsetParent)
        .filter(node => Math.min(node.offsetWidth, node.offsetHeight) < 24).map(node => node.id)"""
    assert page.evaluate(small) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE["width"], 900, 1280, 1920])
def test_it_fits_every_screen_in_light_and_dark(page, width, scheme):
    page.set_viewport_size({"width": width, "height": PHONE["height"]})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark, light = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (sum(map(int, dark[4:-1].split(","))) < sum(map(int, light[4:-1].split(",")))) == (scheme == "dark")
