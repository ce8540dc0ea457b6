"""The viewer without a browser: what the slider, the selector and the opacity show."""

import io
import statistics
import time

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from ipywidgets.widgets import widget
from PIL import Image

from lhdlib import viewer

DISCS, SIZE, CELLS = 40, 64, 4
PANEL = viewer.PANEL


def make_heat(
    probability: np.ndarray | None = None, label: np.ndarray | None = None, note="L4-L5 bulge"
) -> viewer.Heat:
    """Made-up slices, heat and probabilities of 40 discs; all four outcomes occur unless given otherwise."""
    rng = np.random.default_rng(0)
    discs = pd.DataFrame(
        {
            "patient": [f"{number:04d}" for number in range(1, DISCS + 1)],
            "level": rng.choice(["L3-L4", "L4-L5", "L5-S1"], DISCS),
            "label": np.arange(DISCS) % 2,
            "probability": rng.uniform(0, 1, DISCS) if probability is None else probability,
            "note": note,
        }
    )
    rows = rng.permutation(3 * DISCS).reshape(DISCS, 3)
    discs[["slice_1", "slice_2", "slice_3"]] = rows
    images = rng.uniform(0, 1, (3 * DISCS, SIZE, SIZE)).astype(np.float16)
    maps = rng.uniform(0, 1, (DISCS, 3, CELLS, CELLS)).astype(np.float32)
    shares = rng.dirichlet([1, 1, 1], DISCS)
    return viewer.Heat(images, discs, maps, shares, "made-up <numbers>")


@pytest.fixture
def heat():
    return make_heat()


def shown(view: viewer.HeatmapViewer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(view.picture.value)))


def expected(heat: viewer.Heat, row: int, opacity: float) -> np.ndarray:
    slices = heat.images[heat.discs.loc[row, ["slice_1", "slice_2", "slice_3"]].to_numpy(int)]
    return np.asarray(viewer.draw_disc(slices, heat.maps[row], opacity))


def test_the_outcome_follows_label_and_threshold():
    label, probability = np.array([1, 0, 0, 1]), np.array([0.5, 0.9, 0.49, 0.1])
    assert list(viewer.outcome(label, probability)) == list(viewer.OUTCOMES[1:])
    assert list(viewer.outcome(label, probability, threshold=0.05)) == [
        "true positive",
        "false positive",
        "false positive",
        "true positive",
    ]
    assert set(viewer.outcome(label, probability, threshold=0.95)) == {"false negative", "true negative"}


def test_without_opacity_or_heat_both_rows_are_grey():
    rng = np.random.default_rng(1)
    slices = rng.uniform(0, 1, (3, PANEL, PANEL))
    hot = rng.uniform(0, 1, (3, CELLS, CELLS))
    for picture in (viewer.draw_disc(slices, hot, 0), viewer.draw_disc(slices, 0 * hot, 1)):
        pixels = np.asarray(picture)
        assert pixels.shape == (2 * PANEL, 3 * PANEL, 3)
        assert (pixels == pixels[..., :1]).all() and (pixels[:PANEL] == pixels[PANEL:]).all()
        wanted = (np.concatenate(slices, axis=1) * 255).astype(int)
        assert np.abs(pixels[:PANEL, :, 0].astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("color_map", ["inferno", "viridis"])
def test_full_opacity_shows_the_colour_of_the_heat(color_map):
    hot = np.ones((3, CELLS, CELLS)) * np.array([1, 0.5, 0])[:, None, None]
    grey = np.full((3, PANEL, PANEL), 0.25)
    pixels = np.asarray(viewer.draw_disc(grey, hot, 1, color_map)).astype(int)
    assert (pixels[:PANEL] == int(0.25 * 255)).all()  # the upper row never carries heat
    for panel, heat in enumerate([1.0, 0.5, 0.0]):
        color = np.array(mpl.colormaps[color_map](heat)[:3])
        wanted = 255 * (heat * color + (1 - heat) * 0.25)
        middle = pixels[PANEL + PANEL // 2, panel * PANEL + PANEL // 2]
        assert np.abs(middle - wanted).max() <= 2


def test_values_beyond_the_grey_scale_are_cut():
    pixels = np.asarray(viewer.draw_disc(np.full((3, 8, 8), 1.7), np.zeros((3, 2, 2)), 0.5))
    assert (pixels == 255).all()


def test_the_slider_shows_each_disc(heat):
    view = viewer.HeatmapViewer(heat)
    assert (view.slider.min, view.slider.max) == (0, DISCS - 1)
    pictures = set()
    for position in range(DISCS):
        view.slider.value = position
        disc = heat.discs.iloc[position]
        pictures.add(view.picture.value)
        assert f"patient {disc.patient}, {disc.level}" in view.caption.value
        assert f"{disc.probability:.2f}" in view.caption.value
        assert ("herniated" if disc.label else "normal") + " (" in view.caption.value
        assert ", ".join(f"{share:.0%}" for share in heat.slice_weight[position]) in view.caption.value
    assert len(pictures) == DISCS
    for row in (0, 17, DISCS - 1):
        view.slider.value = row
        assert (shown(view) == expected(heat, row, view.opacity.value)).all()


def test_the_opacity_slider_redraws(heat):
    view = viewer.HeatmapViewer(heat)
    before = view.picture.value
    view.opacity.value = 0
    assert view.picture.value != before
    assert (shown(view) == expected(heat, 0, 0)).all()


@pytest.mark.parametrize("chosen", viewer.OUTCOMES[1:])
def test_the_selector_keeps_one_outcome(heat, chosen):
    view = viewer.HeatmapViewer(heat)
    view.slider.value = DISCS - 1
    view.selector.value = chosen
    wanted = np.flatnonzero(viewer.outcome(heat.discs.label, heat.discs.probability) == chosen)
    assert 0 < len(wanted) < DISCS
    assert (view.slider.value, view.slider.max) == (0, len(wanted) - 1)
    for position, row in enumerate(wanted):
        view.slider.value = position
        assert f"patient {heat.discs.patient[row]}," in view.caption.value and f"({chosen})" in view.caption.value
        assert (shown(view) == expected(heat, row, view.opacity.value)).all()
    view.selector.value = "all"
    assert view.slider.max == DISCS - 1 and f"patient {heat.discs.patient[0]}," in view.caption.value


def test_an_empty_outcome_is_one_sentence_and_not_a_dead_end():
    heat = make_heat(probability=np.full(DISCS, 0.9))
    view = viewer.HeatmapViewer(heat)
    view.selector.value = "false negative"
    assert view.caption.value == "No test disc is a false negative." and view.picture.value == b""
    view.opacity.value = 0.1
    view.selector.value = "all"
    assert "patient 0001" in view.caption.value and shown(view).size


def test_a_viewer_without_discs_opens():
    heat = make_heat()
    empty = viewer.Heat(heat.images, heat.discs[:0], heat.maps[:0], heat.slice_weight[:0], heat.data_label)
    view = viewer.HeatmapViewer(empty)
    assert view.picture.value == b"" and view.caption.value.startswith("No test disc")


def test_text_from_files_is_shown_as_text():
    view = viewer.HeatmapViewer(make_heat(note='<script>alert("x")</script> & L5-S1'))
    assert "&lt;script&gt;" in view.caption.value and "&amp; L5-S1" in view.caption.value
    assert "<script" not in view.caption.value
    assert "made-up &lt;numbers&gt;" in view.caption.value


@pytest.mark.parametrize("probability", [0.49, 0.5])
def test_negative_predictions_are_remarked_on(probability):
    view = viewer.HeatmapViewer(make_heat(probability=np.full(DISCS, probability)))
    assert ("no heat for negative predictions" in view.caption.value) == (probability < 0.5)


def test_moving_leaves_nothing_behind(heat):
    view = viewer.HeatmapViewer(heat)
    widgets, seconds = len(widget._instances), []
    for move in range(200):
        started = time.perf_counter()
        view.slider.value = (move + 1) % DISCS
        seconds.append(time.perf_counter() - started)
    for chosen in viewer.OUTCOMES * 4:
        view.selector.value = chosen
    assert len(widget._instances) == widgets
    assert len(view.children) == 3 and len(view.picture.value) < 2e6
    print(f"median time of a move: {1000 * statistics.median(seconds):.0f} ms")
