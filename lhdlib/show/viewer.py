"""The viewer: a slider over discs with slices, heatmaps, probability, note and sagittal view."""

import asyncio
import html
import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from lhdlib import cache, files
from lhdlib.errors import UserError
from lhdlib.run.workspace import Workspace
from lhdlib.show import atlas, panel, reader, study
from lhdlib.show.disc import (
    COLOR_MAPS,
    HEATMAPS,
    LEVELS,
    OUTCOMES,
    POSITIONS,
    Look,
    Reading,
    caption,
    draw_disc,
    facts,
    from_workspace,
    has_heatmap,
)
from lhdlib.show.pictures import image_html
from lhdlib.show.slabs import LINES

SIDE = 300  # of one slice, pixels; a narrow page shows it smaller
GAP = 4  # between the slices
HEADS = (
    f"<div class='lhd-heads' style='--width:{3 * SIDE + 2 * GAP}px;column-gap:{GAP}px'>"
    + "".join(f"<span>{name}</span>" for name in POSITIONS)
    + "</div>"
)
ALL = "all"
REST_S = 0.2  # of the slider, before the sagittal view follows
SCREEN: dict[str, Any] = {"kind": "JPEG", "quality": 92, "subsampling": 0}  # on the screen only: saved views are PNG
FACTS = ("model trained on", "profile", "seed", "commit")  # of the stamp, written below a saved view
TEXT, PAPER, INK = 14, (255, 255, 255), (64, 64, 64)  # size of these words in pixels, and what they stand on


def orders(reading: Reading) -> dict[str, np.ndarray]:
    """Ways to go through the discs: name -> rows of `reading.discs`, the first to be shown first.

    "error" is how far the probability lies on the wrong side; discs without a label come last.
    """
    probability = reading.discs.probability.to_numpy()
    wrong = np.abs(probability - reading.discs.label.to_numpy(float))
    keys = {
        "as listed": np.arange(len(probability)),
        "probability": -probability,
        "error": np.where(np.isnan(wrong), np.inf, -wrong),
        "largest slice weight": -reading.slice_weight.max(axis=1),
    }
    return {name: np.argsort(key, kind="stable") for name, key in keys.items()}


class HeatmapViewer(panel.Panel):
    """Slider over discs, with selectors, controls of the picture, and a button that saves what is shown.

    Everything was computed before: a move draws one disc. The slider takes the arrow keys once it has the focus.

    Parameters
    ----------
    folder : Path, optional
        Where views are saved; without it there is no button.
    """

    def __init__(self, reading: Reading, *, folder: Path | None = None):
        self.reading, self.folder = reading, folder
        self.outcomes, self.orders = reading.outcomes(), orders(reading)
        self.chosen = np.arange(len(reading.discs))  #: rows of the discs that the selectors leave, in their order
        self._waiting: asyncio.TimerHandle | None = None
        self._make_selectors()
        self._make_looks()
        self.picture, self.sagittal, self.place = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.caption = widgets.HTML()
        looks = (self.heatmap, self.color_map, self.opacity, self.window, self.always, self.lines, self.contour)
        controls = panel.wrapped(*looks, self.save)
        stage = widgets.Box([self.picture, controls, self.caption, self.sagittal])
        self.message = panel.Message()
        super().__init__(
            "viewer",
            [
                panel.wrapped(*self.selectors),
                panel.wrapped(self.previous, self.slider, self.next, self.place, self.play),
                self.message,
                stage,
            ],
            slider=self.slider,
            outcome=self.outcome,
            picture=self.picture,
            sagittal=self.sagittal,
            caption=self.caption,
            place=self.place,
            save=self.save,
            looks=controls,
            stage=stage,
        )
        self.follow([*self.selectors, self.slider, *looks])
        self.update()

    @classmethod
    def from_workspace(cls, space: Workspace) -> widgets.Widget:
        """Viewer of a finished run; one sentence in its place where the run has no heatmaps."""
        try:
            return cls(from_workspace(space), folder=space.results / "07" / "views")
        except UserError as error:
            return panel.alone(error)

    @classmethod
    def from_study(cls, folder: str | Path, run: str | Path, *, key: str = "") -> widgets.Widget:
        """Viewer of one DICOM study as a finished run reads it, and below it all discs, read or not.

        One sentence in its place where the study or the run cannot be read, or no disc gives three slices.

        Parameters
        ----------
        folder : path
            Holds the study; see `study.find_study`, also about `key`.
        run : path
            ``results/<profile>`` of a finished run.
        """
        try:
            finished = study.finished_run(run)
            found = study.find_study(folder, key=key, duplicates=finished.profile.data.duplicates)
            read = reader.read_study(found, reader.load_model(finished))
            if read.reading.discs.empty:
                reasons = "; ".join(f"{disc.level}: {disc.flag}" for disc in read.table.itertuples())
                raise UserError(
                    f"{folder} has no disc that can be read ({reasons or 'none found'}): name another study."
                )
        except UserError as error:
            return panel.alone(error)
        view = cls(read.reading, folder=study.study_folder(study.default_parent(run), found) / "views")
        heading = f"<p>{html.escape(str(found))}. <b>{html.escape(read.warning)}</b> {atlas.NOT_CLINICAL}</p>"
        return widgets.VBox([widgets.HTML(heading), view, widgets.HTML(reader.details(read))])

    def _make_selectors(self) -> None:
        discs = self.reading.discs
        room = widgets.Layout(flex="1 1 220px", width="auto", max_width="480px")
        self.slider = widgets.IntSlider(description="disc", min=0, max=0, readout=False, layout=room)
        self.previous, self.next = (
            panel.wide(widgets.Button(description=name, icon=icon, tooltip=tip), 100)
            for name, icon, tip in (
                ("previous", "chevron-left", "the disc before"),
                ("next", "chevron-right", "the next disc"),
            )
        )
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))
        self.play = widgets.Play(min=0, max=0, interval=700, show_repeat=False, description="play through the discs")
        widgets.jsdlink((self.play, "value"), (self.slider, "value"))  # one way: a move of the slider is one message
        self.play.observe(self._start_here, "playing")
        judged = OUTCOMES if discs.label.notna().any() else ()
        self.filters = {  #: name -> the names offered, and every disc's
            "outcome": ([*dict.fromkeys([*judged, *self.outcomes])], np.asarray(self.outcomes, str)),
            **{
                name: (sorted(set(discs[name].astype(str))), discs[name].to_numpy(str)) for name in ("level", "patient")
            },
        }
        self.outcome, self.level, self.patient = (
            panel.dropdown(name, panel.counted(offered, own, every=ALL))
            for name, (offered, own) in self.filters.items()
        )
        self.order = panel.dropdown("sorted by", self.orders)
        self.selectors = (self.outcome, self.level, self.patient, self.order)

    def _make_looks(self) -> None:
        default = Look()
        self.heatmap = panel.dropdown("heatmap", HEATMAPS, value=default.heatmap)
        self.color_map = panel.dropdown("colours", COLOR_MAPS, value=default.color_map)
        self.opacity = panel.number("opacity", default.opacity, 0, 1, 0.05, width=300)
        self.window = widgets.FloatRangeSlider(
            description="window", value=default.window, min=0, max=1.5, step=0.05, readout_format=".2f"
        )
        self.always = panel.switch("heatmap for discs called normal too", value=default.always)
        levels = " and ".join(f"{level:.0%}" for level in LEVELS)
        self.lines = panel.switch(f"lines at {levels} in place of colours", value=default.lines)
        self.contour = panel.switch("outline of the lesion (truth)", value=default.contour)
        self.contour.layout.display = None if self.reading.lesion else "none"
        self.save = widgets.Button(
            description="save this view", icon="download", tooltip="PNG, and its numbers as JSON"
        )
        self.save.layout.display = None if self.folder else "none"
        self.save.on_click(self._save)

    def look(self) -> Look:
        """How the controls say that discs are drawn."""
        return Look(
            opacity=self.opacity.value,
            color_map=self.color_map.value,
            window=tuple(self.window.value),
            heatmap=self.heatmap.value,
            lines=self.lines.value,
            contour=self.contour.value,
            always=self.always.value,
        )

    def row(self) -> int | None:
        """Row of the disc that is shown; None when the selection is empty."""
        return int(self.chosen[self.slider.value]) if len(self.chosen) else None

    def refresh(self, changed: widgets.Widget | None = None) -> None:
        """Choose the discs that the selectors leave, from the first one on, and draw the one at the slider."""
        if changed is None or changed in self.selectors:
            fits = self._fits()
            order = self.orders[self.order.value]
            self.chosen = order[np.all(fits, axis=0)[order]]
            self._offer(fits)
            last = max(0, len(self.chosen) - 1)
            self.slider.value = self.play.value = 0
            self.slider.max = self.play.max = last
        self._show()

    def _fits(self) -> list[np.ndarray]:
        """Which discs each of the filters leaves."""
        lists = zip(self.selectors, self.filters.values(), strict=False)  # the last selector is the order
        return [(own == part.value) | (part.value == ALL) for part, (_, own) in lists]

    def _offer(self, fits: list[np.ndarray]) -> None:
        """Count in each list what the other two leave."""
        for place, (part, (offered, own)) in enumerate(zip(self.selectors, self.filters.values(), strict=False)):
            others = np.all(fits[:place] + fits[place + 1 :], axis=0)
            panel.offer(part, panel.counted(offered, own[others], every=ALL))

    def _step(self, by: int) -> None:
        self.slider.value = int(np.clip(self.slider.value + by, self.slider.min, self.slider.max))

    def _start_here(self, change: dict[str, Any]) -> None:
        """Play from the disc that is shown."""
        if change["new"]:
            self.play.value = self.slider.value

    def _show(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        row = self.row()
        if row is None:
            self.picture.value = self.sagittal.value = self.caption.value = self.place.value = ""
            self.message.say("No disc fits this selection: choose 'all' in one of the lists.")
            return
        self.message.say()
        said, look = facts(self.reading, row), self.look()
        heatmap = has_heatmap(self.reading, row, look)
        try:
            picture = draw_disc(self.reading, row, look, side=SIDE, gap=GAP)
            scale = _scale(look, self.reading.drawn, heatmap)
            self.picture.value = HEADS + image_html(picture, _alt(said, heatmap), **SCREEN) + scale
        except UserError as error:
            self.picture.value = ""
            self.message.say(error)
        self.place.value = f"{self.slider.value + 1} of {len(self.chosen)}"
        self.caption.value = f"<div aria-live='polite' style='line-height:1.4'>{caption(said)}</div>"
        self._show_sagittal_at_rest(row, said["level"])

    def _show_sagittal_at_rest(self, row: int, level: str) -> None:
        """Once the slider rests, since the first look at a patient reads files; at once outside a kernel."""
        try:
            self._waiting = asyncio.get_running_loop().call_later(REST_S, self._show_sagittal, row, level)
        except RuntimeError:
            self._show_sagittal(row, level)

    def _show_sagittal(self, row: int, level: str) -> None:
        if self.reading.sagittal is None:
            return
        try:
            alt = f"Sagittal view with the slices of disc {level} as lines."
            self.sagittal.value = f"{image_html(self.reading.sagittal(row).draw(), alt, **SCREEN)}<div>{LINES}</div>"
        except UserError as error:
            self.sagittal.value = ""
            self.message.add(error)

    def _save(self, _button: Any = None) -> None:
        row = self.row()
        if row is None or self.folder is None:
            return
        try:
            path = save_view(self.reading, row, self.look(), self.folder)
            self.message.say(f"Saved {path} and its numbers beside it.", role="status")
        except (UserError, OSError) as error:
            self.message.say(f"The view was not saved: {error}")


def save_view(reading: Reading, row: int, look: Look, folder: Path) -> Path:
    """Write a disc's picture as PNG and its facts, look, stamp and maps as JSON; returns the picture's path.

    The data's label is drawn below the slices, the stamp is inside both files. What differs in anything has another
    name: no view takes another's place.

    Raises
    ------
    UserError
        When the disk is full, or the truth has no mask that fits a slice.
    """
    said, stamp = facts(reading, row), dict(reading.stamp)
    maps = {"paper": reading.maps[row].tolist(), "classic": reading.classic[row].tolist()}
    cells = reading.where._asdict() if reading.where else None
    numbers = {**said, "look": asdict(look), "stamp": stamp, "maps": maps, "cells": cells}
    name = f"disc{row:04d}-{said['patient']}-{said['level']}-{look.heatmap}-{cache.content_key(numbers)[:8]}"
    path = folder / f"{''.join(c if c.isalnum() or c in '-.' else '_' for c in name)}.png"
    label = f"Data: {said['data']}."
    whose = [f"{said['whose']}."] if said["whose"] else []
    made = " · ".join(f"{key} {stamp[key]}" for key in FACTS if key in stamp)
    heatmap = has_heatmap(reading, row, look)
    drawn = [reading.drawn] if heatmap and reading.drawn else []
    picture = _labelled(draw_disc(reading, row, look), [*whose, label, *drawn, made])
    inside = PngInfo()
    inside.add_text("Description", f"{' '.join([_alt(said, heatmap), *whose, *drawn, label])}")
    inside.add_text("Comment", json.dumps(stamp, sort_keys=True))
    with files.replacing(path) as temporary:
        picture.save(temporary, pnginfo=inside)
    files.write_json(path.with_suffix(".json"), numbers)
    return path


def _labelled(picture: Image.Image, texts: Sequence[str]) -> Image.Image:
    """A picture above a strip with the texts, so that no copy of it loses them."""
    font, pitch = ImageFont.load_default(TEXT), round(1.4 * TEXT)
    widest = int(picture.width / font.getlength("n"))  # in words most letters are narrower
    lines = [line for text in texts for line in textwrap.wrap(text, widest)]
    sheet = Image.new("RGB", (picture.width, picture.height + pitch * len(lines) + TEXT), PAPER)
    sheet.paste(picture)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((TEXT // 2, picture.height + TEXT // 2 + pitch * number), line, INK, font)
    return sheet


def _alt(said: dict[str, Any], heatmap: bool) -> str:
    below = "under their heatmap" if heatmap else "again, without heatmap"
    return (
        f"Three slices of disc {said['level']} of patient {said['patient']}, and below the same {below}; "
        f"probability {said['probability']:.2f}, {said['outcome']}."
    )


def _scale(look: Look, drawn: str, heatmap: bool) -> str:
    """Meaning of the colours and of the places, below the picture; without a heatmap it stays there, pale."""
    colors = ", ".join(mpl.colors.to_hex(color) for color in mpl.colormaps[look.color_map](np.linspace(0, 1, 9)))
    ramp = f"<span class='lhd-ramp' style='background:linear-gradient(90deg, {colors})'></span>"
    pale = "" if heatmap else " lhd-pale"
    return f"<div class='lhd-scale{pale}'>cold {ramp} hot, of the slice's own maximum. {html.escape(drawn)}</div>"
