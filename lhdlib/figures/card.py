"""The dataset card's figures: from files to samples, and how the slices were acquired."""

import re
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lhdlib.figures.style import BLUE, COLUMN, GREEN, MM, ORANGE, PAGE, SMALL, Canvas, described, span, styled
from lhdlib.figures.words import listed

BIN_MM = 0.5  # of histograms
#: What a note's words are drawn on: no finding, another disc's, this disc's (as `show.note` marks them).
MARKS = {0: "none", 1: "#dde3ea", 2: "#ffd45e"}
KEY = (("decides this level", 2, False), ("another level", 1, False), ("denied", 2, True))
LETTER = 0.602 * SMALL * 25.4 / 72  # width of one of `FIXED` in mm: 0.602 of its size
FIXED = "DejaVu Sans Mono"
FARTHEST_MM = 10.0  # what lies beyond is counted in the last bin, and in the legend


@styled
def dataset_flow(steps: pd.DataFrame, split: str) -> Figure:
    """From files to samples: what was kept goes down, what was set aside to the right, with the reason.

    Parameters
    ----------
    steps : pd.DataFrame
        As `data.card.flow` counts them.
    split : str
        "paper" or "patient".
    """
    line, gap, left, right = 2.9, 6, (1, 38), (45, 39)  # mm; x and width of both columns
    rows = []  # of boxes: (title, lines, colour) left and right
    for name in ("files", "axial slices", "T2 slabs", "labelled discs", f"samples, split {split!r}"):
        step = steps[steps.step == name]
        kept, away = step[step["set aside"] == ""], step[step["set aside"] == "yes"]
        what, *condition = name.split(", ")
        main = (f"{step.number.sum():,} {what}", condition + _outcomes(kept, left[1]), BLUE)
        side = (f"{away.number.sum():,} set aside", _outcomes(away, right[1]), ORANGE)
        if name == "axial slices":
            away = steps[steps.step == "axial slices in pre-training"]
            side = ("all of them: pre-training", _outcomes(away, right[1]), GREEN)
        rows.append((main, side))
    heights = [[4 + line * (1 + len(lines)) for _, lines, _ in row] for row in rows]
    page = Canvas(COLUMN, sum(map(max, heights)) + gap * (len(rows) - 1) + 2)
    y = 1.0
    for number, (row, tall) in enumerate(zip(rows, heights, strict=True)):
        for (x, width), (title, lines, color), height in zip((left, right), row, tall, strict=True):
            if lines:
                page.box(x, y, width, height, "", color)
                page.text(x + 2, y + 2 + line / 2, title, ha="left", weight="bold", fontsize=SMALL)
            for place, text in enumerate(lines):
                page.text(x + 2, y + 2 + line * (place + 1.5), text, ha="left", fontsize=SMALL)
        if row[1][1]:
            page.arrow((left[0] + left[1] + 0.4, y + min(tall) / 2), (right[0] - 0.4, y + min(tall) / 2))
        below, middle = y + max(tall) + gap, left[0] + left[1] / 2
        if number + 1 < len(rows):
            page.arrow((middle, y + tall[0] + 0.4), (middle, below - 0.4))
        y = below
    boxes = [title for row in rows for title, lines, _ in row if lines]
    return described(page.fig, f"Flow chart; downwards what was kept, to the right what was not: {'; '.join(boxes)}.")


def _outcomes(steps: pd.DataFrame, width: float) -> list[str]:
    """``number outcome`` of each row, wrapped to a box of `width` millimetres."""
    wrap = textwrap.TextWrapper(int(width / 1.35), subsequent_indent="   ")
    texts = (f"{number:,} {outcome}" for number, outcome in zip(steps.number, steps.outcome, strict=True))
    return [part for text in texts for part in wrap.wrap(text)]


@styled
def acquisition(*, prevalence: pd.DataFrame, distances: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Share of abnormal samples per level, and histograms of the distances that differ; of the others a line.

    Parameters
    ----------
    prevalence : pd.DataFrame
        ``level``, ``samples``, ``share``, ``low``, ``high`` (`data.card.prevalence`).
    distances : mapping of quantity -> mapping of weighting -> np.ndarray
        Millimetres (`data.card.distances`); nan where the header states none.
    """
    spread = {quantity: groups for quantity, groups in distances.items() if _spread(groups) >= BIN_MM}
    alike = [f"{name} ({_listed(groups)})" for name, groups in distances.items() if name not in spread]
    fig = Figure(figsize=(COLUMN * MM, (48 + 38 * len(spread) + 3 * len(alike)) * MM), layout="constrained")
    top, *below = np.atleast_1d(fig.subplots(1 + len(spread), 1))
    places = np.arange(len(prevalence))
    bars = span(prevalence.share, prevalence.low, prevalence.high)
    top.errorbar(places, prevalence.share, bars, fmt="o", color=BLUE, ms=4.5, capsize=2.5)
    top.set_xticks(places, [f"{row.level}\n{row.samples:,}" for row in prevalence.itertuples()])
    top.set(xlim=(-0.5, len(places) - 0.5), ylim=(0, 1), ylabel="share abnormal", xlabel="disc level, samples")
    top.grid(axis="y", lw=0.4, color="0.9")
    seen = [f"{row.level} {row.share:.2f}" for row in prevalence.itertuples()]
    alt = [f"Share of abnormal samples by disc level: {', '.join(seen)}."]
    for ax, (quantity, groups) in zip(below, spread.items(), strict=True):
        stated = [np.clip(values[np.isfinite(values)], 0, FARTHEST_MM) for values in groups.values()]
        bins = np.arange(-BIN_MM / 2, FARTHEST_MM + BIN_MM, BIN_MM)  # around 0, 0.5, 1, ...
        labels = [f"{name}: {_median(values)}" for name, values in groups.items()]
        ax.hist(stated, bins, label=labels, color=[BLUE, ORANGE, GREEN][: len(stated)])
        for container, hatch in zip(ax.containers, ("", "//////", "......"), strict=False):
            for bar in container:
                bar.set(hatch=hatch, edgecolor="white", linewidth=0)
        ax.set(xlabel=f"{quantity} (mm)", ylabel="number")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
        alt.append(f"Histogram of the {quantity}: {'; '.join(labels)}.")
    if alike:
        said = [line for text in alike for line in textwrap.wrap(f"Without spread: {text}.", 62)]
        fig.supxlabel("\n".join(said), fontsize=SMALL, ha="left", x=0.01)
        alt.append(f"Without spread: {'; '.join(alike)}.")
    return described(fig, " ".join(alt))


def _spread(groups: Mapping[str, np.ndarray]) -> float:
    """Range of all values that are stated, mm."""
    stated = np.concatenate([values[np.isfinite(values)] for values in groups.values()])
    return float(np.ptp(stated)) if len(stated) else 0.0


def _listed(groups: Mapping[str, np.ndarray]) -> str:
    return "; ".join(f"{name}: {_median(values)}" for name, values in groups.items())


def _median(values: np.ndarray) -> str:
    stated = values[np.isfinite(values)]
    text = f"{len(stated):,}" + (f", median {np.median(stated):.2f} mm" if len(stated) else "")
    for count, what in (
        (len(values) - len(stated), "unknown"),
        ((stated > FARTHEST_MM).sum(), f"above {FARTHEST_MM:g} mm"),
    ):
        text += f", {count:,} {what}" if count else ""
    return text


@styled
def first_look(
    slices: np.ndarray,
    titles: Sequence[str],
    note: Sequence[tuple[str, int, bool]],
    level: str,
    *,
    told: str = "a note",
) -> Figure:
    """A few slices, and a note with the words from which a label comes.

    Parameters
    ----------
    slices : shape (n, W, W)
    note : sequence of (text, place in `MARKS`, denied)
    level : str
        Of the disc that the note decides here.
    told : str
        Whose words these are (`Dataset.told`).
    """
    side, line = PAGE / len(slices), 4.4  # mm
    rows = _rows(note, int((PAGE - 4) / LETTER))
    page = Canvas(PAGE, side + 14 + line * (len(rows) + 1))
    for number, (image, name) in enumerate(zip(slices, titles, strict=True)):
        page.picture(image, number * side + 0.4, 5, side - 0.8)
        page.text((number + 0.5) * side, 2.5, name, ha="center", fontsize=SMALL)
    page.text(
        0.4,
        side + 8,
        f"{told[0].upper()}{told[1:]}; marked for its disc {level}:",
        ha="left",
        weight="bold",
        fontsize=SMALL,
    )
    for number, row in enumerate(rows):
        _write(page, row, 2, side + 12 + line * (number + 0.5))
    here, elsewhere = (listed([text for text, mark, _ in note if mark == one]) for one in (2, 1))
    key = [piece for text, mark, denied in KEY for piece in ((text, mark, denied), ("    ", 0, False))]
    _write(page, key, 2, side + 12 + line * (len(rows) + 0.7))
    return described(
        page.fig,
        f"{len(slices)} middle slices of discs: {'; '.join(titles)}. Below them {told} with marked words: for {level} "
        f"{here or 'none'}, for other levels {elsewhere or 'none'}; denied ones are struck through.",
    )


Row = list[tuple[str, int, bool]]  # words with their marks


def _rows(note: Sequence[tuple[str, int, bool]], letters: int) -> list[Row]:
    """The note's words in rows of so many letters at most; its own line ends stay."""
    rows: list[Row] = [[]]
    for text, mark, denied in note:
        for word in re.findall(r"\n| *[^ \n]+| +", text):
            if word == "\n" or sum(len(one) for one, *_ in rows[-1]) + len(word) > letters:
                rows.append([])
            if word != "\n":
                rows[-1].append((word, mark, denied))
    return rows


def _write(page: Canvas, row: Row, x: float, y: float) -> None:
    """Draw words from the left, on the colours of their marks; denied ones are struck through."""
    for text, mark, denied in row:
        width = len(text) * LETTER
        if mark:
            page.ax.add_patch(Rectangle((x, y - 1.7), width, 3.4, fc=MARKS[mark], ec="none"))
        page.text(x, y, text, ha="left", fontsize=SMALL, family=FIXED)
        if denied:
            page.ax.plot([x, x + width], [y, y], color="0.2", lw=0.7)
        x += width
