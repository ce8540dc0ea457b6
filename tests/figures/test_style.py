"""The look of all figures: legible in print, told apart without colour."""

import itertools
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D

from lhdlib import figures
from lhdlib.figures import style
from tests.figures.drawing import every_figure, placed

PRINTED = (style.COLUMN, style.MIDDLE, style.PAGE)


SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(colors: np.ndarray, seen: str) -> np.ndarray:
    """CIELAB (D65) of sRGB colours, shape (..., 3), as `seen`."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(SEEN[seen]).T, 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = linear @ np.array(to_xyz).T / [0.95047, 1, 1.08883]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def apart(first: str, second: str, seen: str) -> float:
    pair = np.array([mpl.colors.to_rgb(color) for color in (first, second)])
    return float(np.linalg.norm(np.subtract(*lab(pair, seen))))


@pytest.mark.parametrize("seen", SEEN)
def test_colours_are_told_apart(seen):
    names = ("BLUE", "ORANGE", "GREEN", "VERMILION", "GREY")
    palette = [getattr(style, name) for name in names] + ["0.2"]
    for one, other in itertools.combinations(palette, 2):
        assert apart(one, other, seen) > 10, f"{one} and {other}"


def test_the_colour_test_finds_red_and_green():
    assert apart("#b04040", "#547a30", "all cones") > 60 and apart("#b04040", "#547a30", "protanopia") < 30
    assert apart("#c08050", "#96913f", "deuteranopia") < 10 < apart("#c08050", "#96913f", "all cones")


@pytest.mark.parametrize("seen", SEEN)
def test_maps_rise_in_lightness_or_fall_to_both_sides(seen):
    places = np.linspace(0, 1, 64)
    for name in (style.FEATURES, style.HEAT, "gray"):
        lightness = lab(mpl.colormaps[name](places)[:, :3], seen)[:, 0]
        assert (np.diff(lightness) > 0).all() and np.ptp(lightness) > 70, name
    signed = lab(mpl.colormaps[style.SIGNED](places)[:, :3], seen)
    assert (np.diff(signed[:31, 0]) > 0).all() and (np.diff(signed[33:, 0]) < 0).all()
    assert np.linalg.norm(signed[8] - signed[-9]) > 40, "its two sides look alike"


def test_no_drawing_names_a_rainbow():
    source = "".join(path.read_text(encoding="utf-8") for path in Path(figures.__file__).parents[1].rglob("*.py"))
    assert not re.search(r"[\"'](jet|rainbow|hsv|turbo|nipy_spectral|gist_rainbow|RdYlGn|RdGy)(_r)?[\"']", source)


def _look(handle) -> tuple | None:
    """What tells a line or error bar from another one without colour."""
    if isinstance(handle, ErrorbarContainer):
        line, _, bars = handle
        return (line.get_marker(), line.get_linestyle()) if line else (None, bars[0].get_linewidth()[0])
    if isinstance(handle, Line2D):
        return handle.get_marker(), handle.get_linestyle(), handle.get_linewidth()
    return None


@pytest.mark.slow
@every_figure
def test_lines_differ_by_more_than_colour(name, saved):
    fig = saved(name)[0]
    named = [(h, label) for ax in fig.axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)]
    named += [(h, t.get_text()) for box in fig.legends for h, t in zip(box.legend_handles, box.texts, strict=True)]
    looks = {}
    for handle, label in named:
        if _look(handle) is not None and not isinstance(handle, mpl.collections.LineCollection):
            looks.setdefault(_look(handle), set()).add(label.split(":")[0].split(" (")[0])
    assert all(len(labels) == 1 for labels in looks.values()), looks


@pytest.mark.slow
@every_figure
def test_text_is_large_enough_in_print_and_neither_cut_nor_covered(name, saved):
    fig = saved(name)[0]
    width, height = fig.get_size_inches()
    assert round(25.4 * width, 6) in PRINTED and 25.4 * height <= 230, "does not fit a page at its printed width"
    found = placed(fig)
    for i, (text, box) in enumerate(found):
        assert box.x0 >= 0 and box.x1 <= width * fig.dpi and box.y1 <= height * fig.dpi, f"{text!r} leaves the sheet"
        assert box.y0 >= 0 or text.startswith("Data:"), f"{text!r} leaves the sheet"
        for other, rival in found[i + 1 :]:
            overlap = min(box.x1, rival.x1) - max(box.x0, rival.x0), min(box.y1, rival.y1) - max(box.y0, rival.y0)
            assert min(overlap) <= 2, f"{text!r} and {other!r} overlap"
    for frame in filter(mpl.artist.Artist.get_visible, fig.findobj(mpl.patches.FancyBboxPatch)):
        room = frame.get_window_extent()
        for text, box in found:
            if room.contains(*box.get_points().mean(axis=0)):
                assert room.x0 < box.x0 - 2 and box.x1 + 2 < room.x1, f"{text!r} fills its box"
    sizes = [t.get_fontsize() for t in fig.findobj(mpl.text.Text) if t.get_text().strip()]
    assert min(sizes) >= style.SMALL >= 6
    for ax in fig.axes:
        box = ax.get_tightbbox()
        if box is not None and ax.axison:
            assert min(box.x0, box.y0) >= -1 and box.x1 <= width * fig.dpi + 1 and box.y1 <= height * fig.dpi + 1
