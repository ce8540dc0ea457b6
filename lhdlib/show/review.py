"""The review of discs that the build could not decide: what to look at, and a widget that takes the verdicts.

Each verdict is on the disk, in the table that the build applies last, before the next disc is shown.
"""

import argparse
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from lhdlib.data import dicom, discs, labels, overrides, resampling, sagittal
from lhdlib.data.marks import Marks, sides
from lhdlib.errors import UserError
from lhdlib.run.workspace import Workspace, open_workspace
from lhdlib.show import panel
from lhdlib.show.note import marked_note
from lhdlib.show.pictures import image_html, mark
from lhdlib.show.slabs import PANEL, JudgedDiscs, draw_slabs

FIELD_MM = 140.0  # side of what is shown of a slice
KEYS = {
    "d": ("abnormal", "danger", "An abnormal disc at the chosen level."),
    "n": ("normal", "success", "A normal disc at the chosen level."),
    "a": (overrides.AS_NOTED, "info", "The chosen level is right; the label is the note's."),
    "x": (overrides.EXCLUDE, "warning", "No sample is made of these slices."),
    "o": (overrides.OPEN, "", "Withdraw the verdict given earlier."),
    "s": ("skip", "", "Leave it undecided for now."),
    "b": ("back", "", "The disc before, to look again or to correct: the last verdict counts."),
}


class Review(JudgedDiscs):
    """Discs of a dataset that a person should look at.

    Attributes
    ----------
    notes : pd.DataFrame
        Notes, or one's own labels, as `labels.read_source` gives them.
    doubts : pd.Series of str
        Why a person should look at a disc; empty when nothing is open.
    remarks : pd.Series of str
        Of blocks over several discs, which of their slices lie at a disc's centre (`discs.block_remarks`).

    Raises
    ------
    UserError
        When the dataset, the notes or the table of verdicts cannot be read.
    """

    def __init__(self, folder: Path, archive: Path):
        super().__init__(folder, archive)
        self.notes = labels.read_source(self.labels_path)
        self._texts = labels.notes_by_patient(self.everyone, self.notes)
        self.doubts = pd.Series("", self.built.index)
        self.remarks = discs.block_remarks(self.built, self.slices)
        self._ask(self.built.index)

    def _ask(self, rows: pd.Index) -> None:
        self.doubts = self.doubts.copy()
        self.doubts[rows] = open_questions(self.judged.loc[rows], self.notes, everyone=self.everyone)

    def items(self) -> list[int]:
        """Rows to go through: discs with an open question, and discs with a verdict, which may be corrected."""
        return list(self.judged.index[(self.doubts != "") | (self.judged.verdict != "")])

    def pending(self) -> list[int]:
        """Rows that wait for a verdict."""
        return list(self.doubts.index[self.doubts != ""])

    def judge(self, row: int, verdict: str, level: str, who: str, *, why: str = "") -> None:
        """Keep a verdict; see `overrides.append_verdict`.

        Raises
        ------
        UserError
            When it cannot be kept, or leaves the label open.
        """
        disc = self.built.loc[row]
        if verdict == overrides.AS_NOTED:
            place = self.built.loc[[row]].assign(level=level)
            open_label = labels.note_labels(place, self.notes, everyone=self.everyone).reason.iloc[0]
            if open_label:
                raise UserError(f"The note does not say it ({open_label}): choose abnormal, normal or exclude.")
        level = level if verdict in overrides.KEPT else ""
        overrides.append_verdict(self.overrides_path, disc, verdict, level, who, why=why)
        self._judge()
        self._ask(self.built.index[self.built.patient == disc.patient])

    def note(self, row: int) -> str:
        """Notes about the disc's patient; empty where there is none, or more than one patient could be meant."""
        return self._texts.get(self.built.patient[row], "")

    def _shown(self, row: int) -> range:
        """Places in the slab, from 0, of the slices that samples are made of."""
        starts = discs.sample_starts(self.built.slices[row]) or [0]
        return range(min(starts), min(max(starts) + 3, len(self.built.paths[row])))

    def marks(self, row: int) -> list[Marks]:
        """Marks of the `images`."""
        paths, table = self.built.paths[row], self.slices.set_index("path")
        rows = [table.loc[paths[place], ["row_x", "row_y", "row_z"]].to_numpy(float) for place in self._shown(row)]
        places = zip(self._shown(row), rows, strict=True)
        return [Marks(*sides(direction), FIELD_MM, place + 1, len(paths)) for place, direction in places]

    def images(self, row: int) -> list[np.ndarray]:
        """Slices that samples are made of, cranial to caudal, shape (PANEL, PANEL) each, grey in [0, 1].

        Raises
        ------
        UserError
            When one cannot be read.
        """
        table = self.slices.set_index("path")
        images = []
        for path in (self.built.paths[row][place] for place in self._shown(row)):
            spacing = tuple(table.loc[path, ["row_spacing", "column_spacing"]])
            try:
                image = resampling.preprocess(dicom.read_pixels(self.archive / path), spacing, PANEL, FIELD_MM)
            except ValueError as error:
                raise UserError(f"{self.archive / path} cannot be shown ({error}): put the file back.") from error
            images.append(np.clip(image, 0, 1))
        return images


def open_questions(judged: pd.DataFrame, notes: pd.DataFrame, *, everyone: Iterable[str] = ()) -> pd.Series:
    """Reason why a person should look at each disc; empty for those that are decided or can give no sample.

    Parameters
    ----------
    judged : pd.DataFrame
        Discs under the verdicts (`overrides.apply_overrides`).
    notes : pd.DataFrame
        As `labels.read_source` gives them.
    everyone : iterable of str, optional
        All patients' folders, as in `labels.note_labels`.
    """
    noted = labels.note_labels(judged, notes, everyone=everyone).reason
    noted = noted.mask(judged.verdict.isin(list(overrides.LABELS)), "")
    reasons = judged.flag.where(judged.flag != "", noted)
    closed = (judged.weighting != "T2") | (judged.slices < 3) | (judged.verdict == overrides.EXCLUDE)
    return reasons.mask(closed, "")


def draw_review(images: Sequence[np.ndarray], slabs: Image.Image | None, marks: Sequence[Marks]) -> Image.Image:
    """Draw the sagittal view beside at most four slices in reading order, cranial first, with their marks."""
    picture = Image.new("RGB", (4 * PANEL, 2 * PANEL))
    if slabs is not None:
        picture.paste(slabs, ((2 * PANEL - slabs.width) // 2, (2 * PANEL - slabs.height) // 2))
    draw = ImageDraw.Draw(picture)
    for place, (image, own) in enumerate(zip(images, marks, strict=True)):
        x, y = (2 + place % 2) * PANEL, place // 2 * PANEL
        picture.paste(Image.fromarray((image * 255).astype(np.uint8)), (x, y))
        mark(draw, (x, y, x + PANEL, y + PANEL), own)
    return picture


# The widget


class ReviewWidget(panel.Panel):
    """Goes through the discs that wait for a verdict; a click, or a letter and Enter, gives one.

    Parameters
    ----------
    folder : Path
        Of a finished dataset (notebook 01's results).
    archive : Path
        That it was built from; the verdicts go beside its notes.
    who : str
        The reviewer, kept with every verdict; may be filled in later.
    """

    def __init__(self, folder: Path, archive: Path, *, who: str = ""):
        self.progress, self.caption, self.note, self.picture = (widgets.HTML() for _ in range(4))
        self.message = panel.Message()
        levels = [("choose", ""), *[(level, level) for level in reversed(discs.LEVELS)]]
        self.level = panel.dropdown("level", levels, width=300)
        self.who = widgets.Text(description="who", value=who, placeholder="name or initials")
        self.why = panel.wide(widgets.Text(description="why", placeholder="optional"), 400)
        letters = ", ".join(f"{key} {name}" for key, (name, _, _) in KEYS.items())
        self.key = widgets.Text(
            description="key", placeholder="letter, Enter", tooltip=letters, continuous_update=False
        )
        self.buttons = {}
        for key, (name, style, tooltip) in KEYS.items():
            button = widgets.Button(description=f"{name} ({key})", button_style=style, tooltip=tooltip)
            button.on_click(lambda _, key=key: self._press(key))
            self.buttons[name] = button
        self.row: int | None = None  #: the disc on show
        self._view: tuple[tuple[str, str], sagittal.SagittalView] | None = None
        super().__init__(
            "review",
            [
                self.progress,
                self.picture,
                self.caption,
                self.note,
                panel.wrapped(self.level, self.who, self.why),
                panel.wrapped(*self.buttons.values()),
                self.key,
                self.message,
            ],
            picture=self.picture,
            caption=self.caption,
        )
        self._enable()
        try:
            self.review = Review(folder, archive)
        except UserError as error:
            self.message.say(error)
            return
        lost = len(self.review.unmatched)
        if lost:
            self.message.say(
                f"{lost} earlier verdicts match no slab of this dataset: their slices have changed or are not here."
            )
        self.follow([self.level])
        self.key.observe(self._type, "value")
        self.go(next(iter(self.review.pending() or self.review.items()), None))

    @classmethod
    def from_workspace(cls, space: Workspace, *, who: str = "") -> "ReviewWidget":
        """Review of a run's dataset."""
        return cls(space.results / "01", space.data_dir, who=who)

    def go(self, row: int | None) -> None:
        """Show a disc; None when there is nothing to review."""
        self.row = row
        self.update()

    def _type(self, change: dict) -> None:
        letter = change["new"].strip().lower()
        if letter:
            self.key.value = ""
            self._press(letter)

    def _press(self, key: str) -> None:
        """Do what a button or its letter says."""
        if self.row is None:
            return
        if key not in KEYS:
            self.message.say(f"The letters are {', '.join(KEYS)}.")
            return
        name = KEYS[key][0]
        self.message.say()
        if name == "back":
            before = [row for row in self.review.items() if row < self.row]
            self.go((before or self.review.items() or [self.row])[-1])
            return
        if name != "skip":
            try:
                self.review.judge(self.row, name, self.level.value, self.who.value, why=self.why.value)
            except UserError as error:
                self.message.say(error)
                return
            self.why.value = ""
        waiting = [row for row in self.review.pending() if row != self.row]
        after = [row for row in waiting if row > self.row]
        self.go(next(iter(after or waiting), self.row))

    def refresh(self, changed: widgets.Widget | None = None) -> None:
        """Show the disc of `row`; another level marks other words of its note."""
        if changed is None:
            self._show_progress()
        self._enable()
        if self.row is None:
            return
        if changed is None:
            disc = self.review.judged.loc[self.row]
            self.level.value = disc.level if disc.level in discs.LEVELS else ""
            self._show_caption(disc)
            self._show_picture(self.row, disc)
        note = self.review.note(self.row)
        self.note.value = f"Note: {marked_note(note, self.level.value)}" if note else "There is no note."

    def _enable(self) -> None:
        """Take verdicts where there is a disc to judge."""
        for control in (*self.buttons.values(), self.key, self.level, self.why):
            control.disabled = self.row is None

    def _show_progress(self) -> None:
        items, pending = self.review.items(), self.review.pending()
        left = f"{len(pending)} of {len(items)} to review" if items else "Nothing to review"
        done = "" if pending else ": run notebook 01 again, which applies the verdicts" if items else ""
        self.progress.value = f"<b>{left}</b>{done}."

    def _show_caption(self, disc: pd.Series) -> None:
        verdict = f"; verdict so far: {disc.verdict}" * bool(disc.verdict)
        question = self.review.doubts[self.row] or disc.found_flag or "decided"
        place = f"patient {disc.patient}, {disc.level}, {disc.slices} slices, study {disc.study}"
        remark = f"; {self.review.remarks[self.row]}" * bool(self.review.remarks[self.row])
        self.caption.value = f"<b>{html.escape(place)}</b>{html.escape(f': {question}{verdict}{remark}')}"

    def _show_picture(self, row: int, disc: pd.Series) -> None:
        images, drawn = [], None
        try:
            images = self.review.images(row)
        except UserError as error:
            self.message.add(error)
        try:
            slabs = self.review.slabs(row)
            study = (disc.patient, disc.study)
            if self._view is None or self._view[0] != study:  # a study's discs follow each other
                self._view = study, self.review.view(row)
            drawn = draw_slabs(self._view[1], list(slabs.level), chosen=slabs.index.get_loc(row), numbered=True)
        except UserError as error:
            self.message.add(error)
        seen = "a sagittal image with its study's T2 slices as lines" if drawn else "no sagittal image"
        alt = f"Disc {disc.level} of patient {disc.patient}: {seen}, and {len(images)} of its slices, cranial first."
        marks = self.review.marks(row) if images else []
        self.picture.value = image_html(draw_review(images, drawn, marks), alt)


# The command

OPENING = """To give one, start JupyterLab (.venv/bin/jupyter lab notebooks), run 01_build_dataset.ipynb up to
where it opens its workspace, and then a cell of your own:
    from lhdlib.show import review
    review.ReviewWidget.from_workspace(ws, who="your initials")
Verdicts go to {}."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``lhdlib review``."""
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--data", default="", metavar="DIR", help="the real archive; without it, the phantom")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", default="", metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Run ``lhdlib review``: list the discs that wait for a verdict, and say where to give one."""
    space = open_workspace(args.profile, data_dir=args.data, seed=args.seed, results=args.results)
    review = Review(space.part("01"), space.data_dir)
    for row in review.pending():
        disc = review.judged.loc[row]
        why = "; ".join(filter(None, [review.doubts[row], review.remarks[row]]))
        print(f"patient {disc.patient}, study {disc.study}, {disc.level}: {why}")
    print(f"{len(review.pending())} of {len(review.items())} discs wait for a verdict.")
    if review.pending():
        print(OPENING.format(review.overrides_path))
    return 0
