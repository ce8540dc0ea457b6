"""Notebooks 01, 02 and 07 in JupyterLab, run by hand, and their widgets moved by keyboard and mouse."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.browser import lab
from tests.browser.conftest import NOTEBOOKS

STDERR = "application/vnd.jupyter.stderr"


class Widget:
    """A widget on a page: what a reader sees, and what they do."""

    def __init__(self, notebook, name: str, caption: str):
        self.page, self.root = notebook.page, notebook.page.locator(f".lhd-{name}")
        self.caption = self.root.locator(f".lhd-{caption}")
        self.root.scroll_into_view_if_needed()

    def look(self) -> tuple[str, str]:
        """The picture's pixels and the text below it."""
        return lab.pixels(self.root.locator(".lhd-picture")), self.caption.inner_text()

    def both_change(self, before: tuple[str, str]) -> tuple[str, str]:
        """The new look, as soon as picture and caption are new."""
        lab.until_changed(lambda: self.look()[0], before[0])
        lab.until_changed(lambda: self.look()[1], before[1])
        return self.look()

    def press(self, key: str, slider: int = 0) -> None:
        """Press a key in one of the sliders, the first of which chooses what is shown."""
        self.root.get_by_role("slider").nth(slider).focus()
        self.page.keyboard.press(key)


@pytest.mark.parametrize("number", sorted(NOTEBOOKS))
def test_a_notebook_run_by_hand_is_quiet(opened, keep, number):
    page = opened[number].page
    keep(page)
    assert lab.outputs(page, STDERR).all_inner_texts() == []
    assert opened[number].said == []
    assert not re.search(r"warning|deprecat", " ".join(lab.outputs(page, "text/plain").all_inner_texts()), re.I)
    assert page.locator(f".lhd-{NOTEBOOKS[number]}").count() == 1


# Notebook 07


@pytest.fixture
def viewer(opened, keep) -> Widget:
    found = Widget(opened["07"], "viewer", "caption")
    keep(found.root)
    return found


def test_the_viewers_slider_changes_picture_and_caption(viewer):
    first = viewer.look()
    viewer.press("ArrowRight")
    second = viewer.both_change(first)
    viewer.press("ArrowLeft")
    assert viewer.both_change(second) == first


def test_the_viewers_outcome_filter_keeps_that_outcome(viewer, opened):
    with np.load(opened["07"].results / "07" / "heatmaps.npz", allow_pickle=False) as stored:
        called, label = stored["probability"] >= 0.5, stored["labels"] == 1
    kinds = {
        "true positive": called & label,
        "false positive": called & ~label,
        "true negative": ~called & ~label,
        "false negative": ~called & label,
    }
    message, selector = viewer.root.locator(".lhd-message"), viewer.root.locator(".lhd-outcome select")
    place = viewer.root.locator(".lhd-place")
    for name, kind in kinds.items():
        selector.select_option(name)
        if kind.any():
            lab.until_changed(lambda: place.inner_text() == f"1 of {kind.sum()}", False)  # noqa: B023
            lab.until_changed(lambda: f"({name})" in viewer.caption.inner_text(), False)  # noqa: B023
        else:
            lab.until_changed(lambda: message.inner_text().startswith("No disc fits"), False)
            assert viewer.caption.inner_text() == ""
        selector.select_option(index=0)
        lab.until_changed(lambda: place.inner_text() == f"1 of {len(label)}", False)


def test_a_view_is_saved(viewer, opened):
    folder = opened["07"].results / "07" / "views"
    assert not folder.exists()
    button = viewer.root.locator(".lhd-save")
    button.click()
    lab.until_changed(lambda: len(list(folder.glob("*"))), 0)
    lab.until_changed(lambda: viewer.root.locator(".lhd-message").inner_text(), "")
    (picture,), (numbers,) = folder.glob("*.png"), folder.glob("*.json")
    with Image.open(picture) as image:
        assert np.asarray(image.convert("L")).std() > 10
    assert json.loads(numbers.read_text(encoding="utf-8"))


# Notebook 02

THETA, MIN_AREA = 1, 2  # places of the sliders


@pytest.fixture
def playground(opened, keep) -> Widget:
    found = Widget(opened["02"], "playground", "constraints")
    keep(found.root)
    return found


def test_the_playgrounds_sliders_change_views_and_constraints(playground):
    first = playground.look()
    playground.press("ArrowRight", THETA)
    second = playground.both_change(first)
    playground.press("ArrowLeft", THETA)
    assert playground.both_change(second) == first
    playground.press("ArrowRight")
    assert lab.until_changed(lambda: playground.look()[0], first[0])


def test_the_playground_lights_what_cannot_hold(playground):
    broken = playground.root.locator(".lhd-constraints .broken")
    playground.press("End", MIN_AREA)
    lab.until_changed(broken.count, broken.count())
    assert broken.count() == 2  # no crop that large is found, in either view


# Notebook 01


@pytest.fixture
def browser_of_01(opened, keep) -> Widget:
    found = Widget(opened["01"], "browser", "caption")
    keep(found.root)
    return found


def test_the_datasets_browser_shows_another_slice(browser_of_01):
    first = browser_of_01.look()
    browser_of_01.press("ArrowRight")
    second = browser_of_01.both_change(first)
    browser_of_01.press("ArrowLeft")
    assert browser_of_01.both_change(second) == first


# All three


@pytest.mark.parametrize(("number", "name"), NOTEBOOKS.items())
def test_the_words_are_legible_in_the_dark_theme(opened, keep, number, name):
    page = opened[number].page
    keep(page)
    lab.dark_theme(page)
    words = page.locator(f".lhd-{name} :is(b, td, th, p, i, label):visible")
    assert words.count() > 5
    assert min(lab.contrast(word) for word in words.all()) >= 4.5
