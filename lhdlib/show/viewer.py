"""The ipywidgets viewer: a slider over the test discs with slices, heatmaps, probability, note and sagittal view."""

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
from lhdlib.show import atlas, study
from lhdlib.show.disc import (
    COLOR_MAPS,
    HEATS,
    OUTCOMES,
    POSITIONS,
    Look,
    Reading,
    caption,
    draw_disc,
    facts,
    from_workspace,
    has_heat,
)
from lhdlib.show.pictures import image_html

SIDE = 180  # of one slice on the screen, pixels
GAP = 4  # between the slices
HEADS = (
    f"<div style='display:grid;grid-template-columns:repeat(3, {SIDE}px);column-gap:{GAP}px;text-align:center'>"
    + "".join(f"<span>{name}</span>" for name in POSITIONS)
    + "</div>"
)
ALL = "all"
REST_S = 0.2  # of the slider, before the sagittal view follows
SCREEN: dict[str, Any] = {"kind": "JPEG", "quality": 92, "subsampling": 0}  # on the screen only: saved views are PNG
LINES = "Thick orange lines are the three slices that the classifier saw, thin blue lines the other axial T2 slices."
FACTS = ("model trained on", "profile", "seed", "commit")  # of the stamp, written below a saved view
TEXT, PAPER, INK = 14, (255, 255, 255), (64, 64, 64)  # size of these words in pixels, and what they stand on


def orders(found: Reading) -> dict[str, np.ndarray]:
    """Ways to go through the discs: name -> rows of `found.discs`, the first to be shown first.

    "error" is how far the probability lies on the wrong side; discs without a label come last.
    """
    probability = found.discs.probability.to_numpy()
    wrong = np.abs(probability - found.discs.label.to_numpy(float))
    keys = {
        "as listed": np.arange(len(probability)),
        "probability": -probability,
        "error": np.where(np.isnan(wrong), np.inf, -wrong),
        "largest slice weight": -found.slice_weight.max(axis=1),
    }
    return {name: np.argsort(key, kind="stable") for name, key in keys.items()}


class HeatmapViewer(widgets.VBox):
    """Slider over discs, with selectors, controls of the picture, and a button that saves what is shown.

    Everything was computed before: a move draws one disc. The slider takes the arrow keys once it has the focus.

    Parameters
    ----------
    found : Reading
    folder : Path, optional
        Where views are saved; without it there is no button.
    """

    def __init__(self, found: Reading, folder: Path | None = None):
        self.reading, self.folder = found, folder
        self.outcomes, self.orders = found.outcomes(), orders(found)
        self.chosen = np.arange(len(found.discs))
        self._waiting: asyncio.TimerHandle | None = None
        self._selectors()
        self._looks()
        self.picture, self.sagittal = widgets.HTML(), widgets.HTML()
        self.caption = widgets.HTML(layout=widgets.Layout(flex="1 1 320px", min_width="320px", margin="0 0 0 16px"))
        self.message, self.place = widgets.HTML(), widgets.HTML()
        classes = {
            self: "lhd-viewer",
            self.slider: "lhd-slider",
            self.outcome: "lhd-outcome",
            self.picture: "lhd-picture",
            self.sagittal: "lhd-sagittal",
            self.caption: "lhd-caption",
            self.message: "lhd-message",
            self.place: "lhd-place",
            self.save: "lhd-save",
        }
        super().__init__(
            [
                _wrapped([self.outcome, self.level, self.patient, self.order]),
                widgets.HBox([self.previous, self.slider, self.next, self.place, self.play]),
                self.message,
                _wrapped([self.picture, self.caption]),
                _wrapped([self.heat, self.color_map, self.opacity, self.window]),
                _wrapped([self.always, self.contour, self.save]),
                self.sagittal,
            ]
        )
        for part, name in classes.items():
            part.add_class(name)
        self._select()

    @classmethod
    def from_workspace(cls, space: Workspace) -> widgets.Widget:
        """The viewer of a finished run; one sentence in its place where the run has no heatmaps."""
        try:
            return cls(from_workspace(space), space.results / "07" / "views")
        except UserError as error:
            return _alone(error)

    @classmethod
    def from_study(cls, folder: str | Path, run: str | Path) -> widgets.Widget:
        """The viewer of one DICOM study as a finished run reads it, and below it all discs, read or not.

        One sentence in its place where the study or the run cannot be read, or no disc gives three slices.

        Parameters
        ----------
        folder : path
            Holds the study; see `study.read_study`.
        run : path
            ``results/<profile>`` of a finished run.
        """
        try:
            found = study.read_study(folder, study.open_run(run))
            if found.reading.discs.empty:
                reasons = "; ".join(f"{disc.level}: {disc.flag}" for disc in found.table.itertuples())
                raise UserError(
                    f"{folder} has no disc that can be read ({reasons or 'none found'}): name another study."
                )
        except UserError as error:
            return _alone(error)
        view = cls(found.reading, study.out_folder(run, folder) / "views")
        warning = f"<p><b>{html.escape(found.warning)}</b> {atlas.NOT_CLINICAL}</p>"
        return widgets.VBox([widgets.HTML(warning), view, widgets.HTML(study.details(found))])

    def _selectors(self) -> None:
        discs = self.reading.discs
        self.slider = widgets.IntSlider(
            description="disc", min=0, max=0, readout=False, layout=widgets.Layout(width="480px")
        )
        self.previous, self.next = (
            widgets.Button(icon=icon, tooltip=tip, layout=widgets.Layout(width="40px"))
            for icon, tip in (("chevron-left", "the disc before"), ("chevron-right", "the next disc"))
        )
        self.play = widgets.Play(min=0, max=0, interval=700, show_repeat=False, description="play through the discs")
        widgets.jslink((self.play, "value"), (self.slider, "value"))
        judged = OUTCOMES if discs.label.notna().any() else ()
        self.outcome = _dropdown("outcome", [ALL, *dict.fromkeys([*judged, *self.outcomes])])
        self.level = _dropdown("level", [ALL, *sorted(set(discs.level))])
        self.patient = _dropdown("patient", [ALL, *sorted(set(discs.patient.astype(str)))])
        self.order = _dropdown("sorted by", list(self.orders))
        for part in (self.outcome, self.level, self.patient, self.order):
            part.observe(self._select, "value")
        self.slider.observe(self._show, "value")
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))

    def _looks(self) -> None:
        default = Look()
        self.heat = _dropdown("heat", HEATS, default.heat)
        self.color_map = _dropdown("colours", COLOR_MAPS, default.color_map)
        self.opacity = widgets.FloatSlider(description="opacity", value=default.opacity, min=0, max=1, step=0.05)
        self.window = widgets.FloatRangeSlider(
            description="window", value=default.window, min=0, max=1.5, step=0.05, readout_format=".2f"
        )
        self.always = widgets.Checkbox(
            description="heat for discs called normal too", value=default.always, indent=False
        )
        self.contour = widgets.Checkbox(
            description="outline of the lesion (truth)", value=default.contour, indent=False
        )
        self.contour.layout.display = None if self.reading.lesion else "none"
        self.save = widgets.Button(
            description="save this view", icon="download", tooltip="PNG, and its numbers as JSON"
        )
        self.save.layout.display = None if self.folder else "none"
        for part in (self.heat, self.color_map, self.opacity, self.window, self.always, self.contour):
            part.observe(self._show, "value")
        self.save.on_click(self._save)

    def look(self) -> Look:
        """How the controls say that discs are drawn."""
        return Look(
            opacity=self.opacity.value,
            color_map=self.color_map.value,
            window=tuple(self.window.value),
            heat=self.heat.value,
            contour=self.contour.value,
            always=self.always.value,
        )

    def row(self) -> int | None:
        """Row of the disc that is shown; None when the selection is empty."""
        return int(self.chosen[self.slider.value]) if len(self.chosen) else None

    def _step(self, by: int) -> None:
        self.slider.value = int(np.clip(self.slider.value + by, self.slider.min, self.slider.max))

    def _select(self, _change: Any = None) -> None:
        discs, wanted = self.reading.discs, np.ones(len(self.reading.discs), bool)
        for part, values in ((self.outcome, self.outcomes), (self.level, discs.level), (self.patient, discs.patient)):
            if part.value != ALL:
                wanted &= np.asarray(values, str) == part.value
        order = self.orders[self.order.value]
        self.chosen = order[wanted[order]]
        last = max(0, len(self.chosen) - 1)
        self.slider.unobserve(self._show, "value")
        self.slider.value, self.slider.max, self.play.max = 0, last, last
        self.slider.observe(self._show, "value")
        self._show()

    def _show(self, _change: Any = None) -> None:
        row, message = self.row(), ""
        if self._waiting is not None:
            self._waiting.cancel()
        if row is None:
            self.picture.value = self.sagittal.value = self.caption.value = self.place.value = ""
            self.message.value = _sentence("No disc fits this selection: choose 'all' in one of the lists.")
            return
        said, look = facts(self.reading, row), self.look()
        heat = has_heat(self.reading, row, look)
        try:
            picture = draw_disc(self.reading, row, look, SIDE, GAP)
            scale = _scale(look.color_map) if heat else ""
            self.picture.value = HEADS + image_html(picture, _alt(said, heat), **SCREEN) + scale
        except UserError as error:
            self.picture.value, message = "", _sentence(error)
        self.place.value = f"{self.slider.value + 1} of {len(self.chosen)}"
        self.caption.value = f"<div aria-live='polite' style='line-height:1.4'>{caption(said)}</div>"
        self.message.value = message
        self._show_slabs_at_rest(row, said["level"])

    def _show_slabs_at_rest(self, row: int, level: str) -> None:
        """Once the slider rests, since the first look at a patient reads files; at once outside a kernel."""
        try:
            self._waiting = asyncio.get_running_loop().call_later(REST_S, self._show_slabs, row, level)
        except RuntimeError:
            self._show_slabs(row, level)

    def _show_slabs(self, row: int, level: str) -> None:
        if self.reading.slabs is None:
            return
        try:
            alt = f"Sagittal view with the slices of disc {level} as lines."
            self.sagittal.value = f"{image_html(self.reading.slabs(row), alt, **SCREEN)}<div>{LINES}</div>"
        except UserError as error:
            self.sagittal.value, self.message.value = "", self.message.value or _sentence(error)

    def _save(self, _button: Any = None) -> None:
        row = self.row()
        if row is None:
            return
        try:
            path = save_view(self.reading, row, self.look(), self.folder)
            self.message.value = f"<span>Saved {html.escape(str(path))} and its numbers beside it.</span>"
        except (UserError, OSError) as error:
            self.message.value = _sentence(f"The view was not saved: {error}")


def save_view(found: Reading, row: int, look: Look, folder: Path) -> Path:
    """Write a disc's picture as PNG and its facts, look, stamp and maps as JSON; returns the picture's path.

    The data's label is drawn below the slices, the stamp is inside both files. What differs in anything has another
    name: no view takes another's place.

    Raises
    ------
    UserError
        When the disk is full, or the truth has no mask that fits a slice.
    """
    said, stamp = facts(found, row), dict(found.stamp)
    maps = {"paper": found.maps[row].tolist(), "classic": found.classic[row].tolist()}
    numbers = {**said, "look": asdict(look), "stamp": stamp, "maps": maps}
    name = f"disc{row:04d}-{said['patient']}-{said['level']}-{look.heat}-{cache.content_key(numbers)[:8]}"
    path = folder / f"{''.join(c if c.isalnum() or c in '-.' else '_' for c in name)}.png"
    label = f"Data: {said['data']}."
    made = " · ".join(f"{key} {stamp[key]}" for key in FACTS if key in stamp)
    picture = _labelled(draw_disc(found, row, look), [label, made])
    inside = PngInfo()
    inside.add_text("Description", f"{_alt(said, has_heat(found, row, look))} {label}")
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


def _dropdown(name: str, options: Any, value: str | None = None) -> widgets.Dropdown:
    options = list(options)
    return widgets.Dropdown(
        description=name, options=options, value=value or options[0], layout=widgets.Layout(width="220px")
    )


def _wrapped(parts: list[widgets.Widget]) -> widgets.HBox:
    return widgets.HBox(parts, layout=widgets.Layout(flex_flow="row wrap"))


def _alt(said: dict[str, Any], heat: bool) -> str:
    below = "under their heat" if heat else "again, without heat"
    return (
        f"Three slices of disc {said['level']} of patient {said['patient']}, and below the same {below}; "
        f"probability {said['probability']:.2f}, {said['outcome']}."
    )


def _scale(color_map: str) -> str:
    """What the colours mean, below the picture."""
    colors = ", ".join(mpl.colors.to_hex(color) for color in mpl.colormaps[color_map](np.linspace(0, 1, 9)))
    bar = f"display:inline-block;width:120px;height:0.7em;background:linear-gradient(90deg, {colors})"
    return f"<div>cold <span style='{bar}'></span> hot, of the slice's own maximum</div>"


def _alone(error: UserError) -> widgets.HTML:
    """A sentence in the place of a viewer."""
    message = widgets.HTML(_sentence(error))
    message.add_class("lhd-message")
    return message


def _sentence(text: object) -> str:
    return f"<span role='alert'>{html.escape(str(text))}</span>"
