"""Notebooks 01, 02 and 07 in JupyterLab, run by hand, and their widgets moved by keyboard and mouse."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lhdlib import profile
from lhdlib.show import viewer as viewers
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

    def choose(self, name: str, value: str) -> None:
        """Choose in one of the lists; a count may stand behind the value."""
        control = self.root.get_by_label(name, exact=True)
        texts = [text.replace("\xa0", " ") for text in control.locator("option").all_inner_texts()]
        control.select_option(index=[re.sub(r" \(\d+\)$", "", text) for text in texts].index(value))

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
    message = viewer.root.locator(".lhd-message")
    place = viewer.root.locator(".lhd-place")
    for name, kind in kinds.items():
        viewer.choose("outcome", name)
        if kind.any():
            lab.until_changed(lambda: place.inner_text() == f"1 of {kind.sum()}", False)  # noqa: B023
            lab.until_changed(lambda: f"({name})" in viewer.caption.inner_text(), False)  # noqa: B023
        else:
            lab.until_changed(lambda: message.inner_text().startswith("No disc fits"), False)
            assert viewer.caption.inner_text() == ""
        viewer.choose("outcome", "all")
        lab.until_changed(lambda: place.inner_text() == f"1 of {len(label)}", False)


@pytest.fixture
def table(opened) -> pd.DataFrame:
    """The test discs as the slider lists them, read from the run's files."""
    results = opened["07"].results
    samples = pd.read_csv(results / "01" / "samples.csv", dtype={"patient": str})
    test = samples[samples[f"split_{profile.load('smoke').data.split}"] == "test"].reset_index(drop=True)
    with np.load(results / "07" / "heatmaps.npz", allow_pickle=False) as stored:
        return test.assign(probability=stored["probability"])


def place(viewer: Widget, text: str) -> None:
    """Wait until the viewer shows this disc of so many."""
    lab.until_changed(lambda: viewer.root.locator(".lhd-place").inner_text() == text, False)


@pytest.mark.slow
def test_the_viewers_lists_of_levels_and_patients(viewer, table):
    for name in ("level", "patient"):
        for value, kept in table.groupby(name):
            viewer.choose(name, value)
            place(viewer, f"1 of {len(kept)}")
            lab.until_changed(lambda: value in viewer.caption.inner_text(), False)  # noqa: B023
        viewer.choose(name, "all")
        place(viewer, f"1 of {len(table)}")


def test_keys_in_a_control_are_the_controls_alone(viewer):
    """JupyterLab would cut the cell at "x", insert others at "a" and "b", and go to the next one at an arrow."""
    page, cells = viewer.page, viewer.page.locator(".jp-Notebook .jp-Cell")
    texts = cells.evaluate_all("all => all.map(cell => cell.querySelector('.jp-InputArea').innerText)")
    controls = [viewer.root.get_by_role("slider", name="disc"), viewer.root.get_by_label("outcome", exact=True)]
    for control in (*controls, viewer.root.get_by_role("button", name="next")):
        control.focus()
        for key in ("x", "a", "b", "d", "d", "y", "m", "c", "v", "ArrowUp", "Shift+M"):
            page.keyboard.press(key)
        assert cells.evaluate_all("all => all.map(cell => cell.querySelector('.jp-InputArea').innerText)") == texts
    viewer.choose("outcome", "all")
    page.locator(".jp-Notebook .jp-InputPrompt").first.click()  # the same key where no control has the focus
    page.keyboard.press("b")
    lab.until_changed(cells.count, len(texts))
    page.keyboard.press("z")
    lab.until_changed(cells.count, len(texts) + 1)


def test_every_control_of_the_viewer_has_a_name(viewer):
    names = ["disc", "opacity", "window, lowest", "window, highest"]
    assert [viewer.root.get_by_role("slider", name=name, exact=True).count() for name in names] == [1] * 4
    for name in ("previous", "next", "play", "stop", "save this view"):
        assert viewer.root.get_by_role("button", name=name).count() == 1  # an icon may stand before the word
    unnamed = """root => [...root.querySelectorAll("button, [role=slider], select, input")].filter(node =>
        node.offsetParent && !(node.textContent.trim() || node.ariaLabel || node.title || node.labels?.length))
        .length"""
    assert viewer.root.evaluate(unnamed) == 0


@pytest.mark.parametrize("width", [900, 1280, 1920])
def test_the_viewer_fits_the_window(viewer, width):
    """Nothing is cut; where there is room the caption stands beside the picture, and the sagittal view beside both."""
    viewer.page.set_viewport_size({"width": width, "height": 1000})
    viewer.root.scroll_into_view_if_needed()
    boxes = {name: viewer.root.locator(f".lhd-{name}").bounding_box() for name in ("picture", "caption", "sagittal")}
    whole = viewer.root.bounding_box()
    assert viewer.root.evaluate("root => root.scrollWidth <= root.clientWidth")
    assert all(box["x"] + box["width"] <= whole["x"] + whole["width"] + 1 for box in boxes.values())
    beside = [boxes["picture"]["x"] + boxes["picture"]["width"] <= boxes["caption"]["x"]]
    beside += [boxes["caption"]["x"] + boxes["caption"]["width"] <= boxes["sagittal"]["x"]]
    assert beside == [width > 1000, width > 1500]
    assert viewer.root.locator(".lhd-picture img").bounding_box()["width"] > 440
    viewer.page.set_viewport_size(lab.WINDOW)


def test_the_colour_bar_stays_for_discs_without_heat(viewer):
    """Controls keep their places as the slider moves from a disc called abnormal to one called normal."""
    viewer.choose("sorted by", "probability")
    viewer.choose("heatmap", "none")

    def looks() -> tuple[float, ...]:
        """Place in the viewer, wherever the page has scrolled to, and size."""
        box, whole = viewer.root.locator(".lhd-looks").bounding_box(), viewer.root.bounding_box()
        return box["x"] - whole["x"], box["y"] - whole["y"], box["width"], box["height"]

    without = lab.settled(looks)
    viewer.choose("heatmap", "paper")
    lab.until_changed(lambda: viewer.root.locator(".lhd-ramp").count() == 1, False)
    lab.until_changed(lambda: looks() == pytest.approx(without), False)
    viewer.choose("sorted by", "as listed")


def test_the_viewers_order(viewer, table):
    error = (table.probability - table.label).abs()
    for name, row in {"probability": table.probability.idxmax(), "error": error.idxmax()}.items():
        viewer.choose("sorted by", name)
        title = f"Patient {table.patient[row]}, {table.level[row]}"
        lab.until_changed(lambda: title in viewer.caption.inner_text(), False)  # noqa: B023
    viewer.choose("sorted by", "as listed")
    place(viewer, f"1 of {len(table)}")


@pytest.mark.slow
def test_the_viewer_plays(viewer, table):
    place(viewer, f"1 of {len(table)}")
    play, stop, *_ = viewer.root.locator(".widget-play button").all()
    play.click()
    seen = [viewer.look()]
    for _ in range(2):
        seen.append(viewer.both_change(seen[-1]))
    assert seen[0] != seen[2]
    stop.click()  # and goes back to the first
    place(viewer, f"1 of {len(table)}")


OPACITY = 1  # place of the slider


@pytest.mark.slow
def test_the_viewers_opacity_and_kinds_of_heatmap(viewer):
    viewer.root.get_by_label("heatmap for discs called normal too").check()
    pictures = [lab.settled(lambda: viewer.look()[0])]
    for act in (
        lambda: viewer.press("ArrowLeft", OPACITY),
        lambda: viewer.choose("heatmap", "classic"),
        lambda: viewer.choose("heatmap", "none"),
        lambda: viewer.choose("heatmap", "paper"),
        lambda: viewer.press("ArrowRight", OPACITY),
    ):
        act()
        pictures.append(lab.until_changed(lambda: viewer.look()[0], pictures[-1]))
    assert pictures[-1] == pictures[0] and len(set(pictures)) == 4 and pictures[4] == pictures[1]
    viewer.root.get_by_label("heatmap for discs called normal too").uncheck()


def test_the_sagittal_view_follows_the_slider(viewer):
    sagittal = viewer.root.locator(".lhd-sagittal")
    sagittal.locator("img").wait_for()
    assert viewers.LINES in sagittal.inner_text()
    assert "Sagittal view" in sagittal.locator("img").get_attribute("alt")
    first = lab.pixels(sagittal)
    viewer.press("ArrowRight")
    second = lab.until_changed(lambda: lab.pixels(sagittal), first)
    viewer.press("ArrowLeft")
    assert lab.until_changed(lambda: lab.pixels(sagittal), second) == first


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
    lab.until_changed(lambda: broken.count() == 2, False)  # no crop that large is found, in either view


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


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), NOTEBOOKS.items())
def test_the_words_are_legible_in_the_dark_theme(opened, keep, number, name):
    page = opened[number].page
    keep(page)
    lab.dark_theme(page)
    words = page.locator(f".lhd-{name} :is(b, td, th, p, i, label):visible")
    assert words.count() > 5
    assert min(lab.contrast(word) for word in words.all()) >= 4.5
