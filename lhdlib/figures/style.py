"""The one look of all figures: widths, fonts, colours, and the sheet on which diagrams are laid out.

Figures are drawn at the width at which they are printed, so that a point of text is a point on paper. Colours are told
apart by readers with deuteranopia or protanopia, maps rise evenly in lightness (`FEATURES`, `HEAT`) or fall evenly to
both sides (`SIGNED`), and lines that share an axis differ in style or marker as well.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.patheffects import withStroke

from lhdlib.data.marks import Marks

#: Printed widths in millimetres: one column, one and a half, two.
COLUMN, MIDDLE, PAGE = 85, 129, 174
DPI = 200
MM = 1 / 25.4  # inches
SMALL = 6.5  # points, the least
BLUE, ORANGE, GREEN, VERMILION, _, _, _, GREY, *_ = sns.color_palette("colorblind").as_hex()
FEATURES, HEAT, SIGNED = "cividis", "inferno", "PuOr"


def style() -> contextlib.AbstractContextManager[None]:
    """The one style of all figures, as a context manager."""
    settings = {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs on every machine
        "font.size": 7.5,
        "axes.titlesize": 7.5,
        "axes.labelsize": 7.5,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.2,
        "legend.frameon": False,
        "image.cmap": "gray",
        "pdf.fonttype": 42,  # TrueType, embedded
    }
    return mpl.style.context(["default", sns.axes_style("ticks") | settings])


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Run a drawing function in the `style`, whatever the reader's own settings are."""

    @functools.wraps(draw)
    def inside(*args: Any, **kwargs: Any) -> Figure:
        with style():
            return draw(*args, **kwargs)

    return inside


def described(fig: Figure, alt: str) -> Figure:
    """Give the figure its alternative text: what is to be seen, with the numbers that it shows; kept as its label."""
    fig.set_label(alt)
    return fig


class Canvas:
    """A sheet in millimetres, y downwards from the upper left corner, for pictures, boxes and arrows."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.fig = Figure(figsize=(width * MM, height * MM))
        self.ax = self.fig.add_axes((0, 0, 1, 1))
        self.ax.set(xlim=(0, width), ylim=(height, 0))
        self.ax.axis("off")

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Empty axes whose upper left corner is (x, y)."""
        return self.fig.add_axes(
            (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        )

    def picture(self, image: np.ndarray, x: float, y: float, size: float, *, title: str = "", **options: Any) -> Axes:
        """An image in pixel coordinates: it covers [0, W] x [0, W], as in `augment`."""
        ax = self.axes(x, y, size, size)
        show(ax, image, **options)
        ax.set_title(title, pad=3)
        return ax

    def strip(self, values: np.ndarray, x: float, y: float, width: float, height: float, **options: Any) -> None:
        """A vector as a row of colours."""
        ax = self.axes(x, y, width, height)
        ax.imshow(values[None], aspect="auto", interpolation="nearest", **options)
        frame(ax)

    def box(self, x: float, y: float, width: float, height: float, text: str, color: str, **options: Any) -> None:
        """A rounded box with its text in the middle."""
        shape = "round,pad=0,rounding_size=0.8"
        patch = FancyBboxPatch((x, y), width, height, shape, fc=_tint(color), ec=color, lw=0.8, **options)
        self.ax.add_patch(patch)
        self.text(x + width / 2, y + height / 2, text)

    def arrow(
        self,
        start: Sequence[float],
        end: Sequence[float],
        *,
        text: str = "",
        color: str = "0.3",
        both: bool = False,
        **options: Any,
    ) -> None:
        """An arrow with its text above the middle; `both` gives it two heads."""
        kind = "<|-|>" if both else "-|>"
        line = {"lw": 0.9, "mutation_scale": 6, "shrinkA": 0, "shrinkB": 0} | options
        self.ax.add_patch(FancyArrowPatch(start, end, arrowstyle=kind, color=color, **line))
        if text:
            self.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 1, text, va="bottom")

    def text(self, x: float, y: float, text: str, *, ha: str = "center", va: str = "center", **options: Any) -> None:
        """Text about (x, y)."""
        self.ax.text(x, y, text, ha=ha, va=va, **options)


def _tint(color: str) -> tuple[float, ...]:
    return tuple(1 - 0.15 * (1 - np.array(mpl.colors.to_rgb(color))))


def show(ax: Axes, image: np.ndarray, *, edge: str = "0.3", ls: str = "-", **options: Any) -> None:
    """An image, on the scale from 0 to 1 unless `options` have another, in a frame."""
    height, width = np.shape(image)[:2]
    limits = {"vmin": 0, "vmax": 1} if "norm" not in options else {}
    ax.imshow(image, extent=(0, width, height, 0), **limits | options)
    frame(ax, edge=edge, ls=ls)


def frame(ax: Axes, *, edge: str = "0.3", ls: str = "-") -> None:
    """No ticks, a line all round."""
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color=edge, linewidth=0.8, linestyle=ls)


def frame_seen(ax: Axes, size: int, seen: tuple[float, float]) -> None:
    """A thin square about what the network sees of a picture of `size` pixels (`augment.seen_side`), if not all."""
    low, high = (size * share for share in seen)
    if high - low < size:
        ax.add_patch(Rectangle((low, low), high - low, high - low, fill=False, ec="0.65", lw=0.5))


def opacity(heat: Any) -> Any:
    """Opacity of heat in [0, 1] over a slice: it grows with the heat, so that cold places stay as they are."""
    heat = np.clip(heat, 0, 1)
    return heat**2 * (3 - 2 * heat)


def overlay(ax: Axes, image: np.ndarray, heatmap: np.ndarray, *, seen: tuple[float, float] = (0.0, 1.0)) -> None:
    """A slice under its heatmap, in it a frame about what the network sees."""
    show(ax, image)
    height, width = image.shape
    ax.imshow(heatmap, extent=(0, width, height, 0), cmap=HEAT, vmin=0, vmax=1, alpha=0.75 * opacity(heatmap))
    frame_seen(ax, width, seen)


def mark(ax: Axes, marks: Marks) -> None:
    """Write the patient's sides and a scale bar on a slice drawn by `show`, and which slice of how many it is."""
    line = {"color": "w", "path_effects": [withStroke(linewidth=1.5, foreground="k")]}
    text = {"fontsize": SMALL, "transform": ax.transAxes} | line
    ax.text(0.03, 0.5, marks.left, ha="left", va="center", **text)
    ax.text(0.97, 0.5, marks.right, ha="right", va="center", **text)
    ax.text(0.03, 0.97, marks.place, ha="left", va="top", **text)
    if marks.bar_mm:
        ends = [0.04, 0.04 + marks.bar_mm / marks.mm]
        ax.add_line(Line2D(ends, [0.04, 0.04], lw=1.5, solid_capstyle="butt", transform=ax.transAxes, **line))
        ax.text(0.04, 0.06, f"{marks.bar_mm} mm", ha="left", va="bottom", **text)


def span(value: Any, low: Any, high: Any) -> np.ndarray:
    """Lengths of error bars, shape (2, points); a limit may be a rounding off the value."""
    return np.maximum(np.reshape([value - low, high - value], (2, -1)), 0)


def expect(name: str, value: np.ndarray, ndim: int, *, first: int | None = None) -> np.ndarray:
    """The array, whose shape a drawing relies on; `ValueError` for another one."""
    value = np.asarray(value)
    if value.ndim != ndim or (first is not None and len(value) != first):
        wanted = f"{ndim} dimensions" + (f", the first of length {first}" if first is not None else "")
        raise ValueError(f"{name} has shape {value.shape}: it needs {wanted}.")
    return value
