"""The browser of a dataset: every slice, every disc, and every file that was set aside by notebook 01.

Slices are read from the archive when they are shown, and only a few are kept; a file that is gone is one sentence.
"""

import html
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from threadpoolctl import ThreadpoolController

from lhdlib import files
from lhdlib.data import dataset, dicom, discs, labels, resampling
from lhdlib.data.marks import Marks, sides
from lhdlib.data.splits import SPLITS
from lhdlib.errors import UserError
from lhdlib.run.workspace import Workspace
from lhdlib.show import panel
from lhdlib.show.note import marked_note
from lhdlib.show.pictures import grey, image_html, mark, write

PANEL = 400  # side of a slice on the screen, pixels
TILE, ACROSS = 200, 5  # side of a slice among those of its slab, and how many stand side by side
MOST = 4 * ACROSS  # slices of one slab that are shown
PAGE = 15  # rejected files on one page
CACHE = 64  # slices kept as they are drawn, at most 160 kB each
GAP = 8  # pixels between panels
MARKS = ((255, 176, 0), (100, 180, 255))  # of a disc's first and second sample
SLICES, DISCS, REJECTED = "slices", "discs", "rejected files"
LABELS = ("normal", "abnormal")
T1_ONLY = "T1, pre-training only"


class Catalogue:
    """Slices, slabs and rejected files of a finished dataset.

    Parameters
    ----------
    folder
        Of notebook 01's results.
    archive
        That it was built from.

    Attributes
    ----------
    slices : pd.DataFrame
        ``data.slices`` with ``slab`` (row of `slabs`, -1 for none) and ``place`` in it (from 0, cranial first).
    slabs : pd.DataFrame
        ``discs.csv`` with ``rows`` (cranial to caudal) and ``status``.
    rejected : pd.DataFrame
        ``rejected.csv`` with ``kind``.
    notes : pd.Series
        By patient's folder; empty, with a sentence in ``remark``, when they are gone.

    Raises
    ------
    UserError
        When the dataset cannot be read.
    """

    def __init__(self, folder: Path, archive: Path):
        self.archive = Path(archive)
        self.data = dataset.load_dataset(Path(folder))
        text = {"dtype": str, "keep_default_na": False}
        self.rejected = files.read_table(Path(folder) / "rejected.csv", **text)
        slabs = files.read_table(Path(folder) / "discs.csv", **text)
        aside = files.read_table(Path(folder) / "set_aside.csv", **text)
        try:
            # the reason without what belongs to the single file
            self.rejected["kind"] = self.rejected.reason.str.split(":").str[0].replace("", "no reason recorded")
            self.slabs, self.slices = _placed(slabs, self.data.slices)
            self.slabs["status"] = statuses(self.slabs, self.slices, self.data.samples, aside)
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(f"The tables in {folder} do not fit together: run notebook 01 again.") from error
        self.remark = ""
        try:
            everyone = dataset.patients_of(self.slices, self.rejected)
            self.notes = labels.notes_by_patient(everyone, labels.read_source(dataset.find_labels(self.archive)))
        except UserError as error:
            self.notes, self.remark = pd.Series(dtype=str), str(error)
        self._threads = ThreadpoolController()  # small products: threads would wait for each other on a busy machine
        self.acquired = lru_cache(maxsize=CACHE)(self._acquired)

    def _acquired(self, row: int, size: int, field_of_view_mm: float) -> np.ndarray:
        """Slice `row` as the archive has it, see `resampling.preprocess`; shape (size, size), uint8.

        Raises
        ------
        UserError
            When its file cannot be read.
        """
        one = self.slices.loc[row]
        try:
            with self._threads.limit(limits=1):
                pixels = dicom.read_pixels(self.archive / one.path)
                return grey(
                    resampling.preprocess(pixels, (one.row_spacing, one.column_spacing), size, field_of_view_mm)
                )
        except ValueError as error:
            raise UserError(f"{one.path} cannot be shown ({error}): put the file back into {self.archive}.") from error

    def stored(self, row: int) -> np.ndarray:
        """Slice `row` as the store has it, shape (W, W), uint8."""
        return grey(self.data.images[row])

    def samples_of(self, *rows: int) -> pd.DataFrame:
        """Samples of which any of these slices is one of the three."""
        samples = self.data.samples
        return samples[samples[dataset.SLICES].isin(rows).any(axis=1)]

    def side_mm(self, row: int) -> float:
        """Longer side of slice `row`, mm."""
        one = self.slices.loc[row]
        return max(one.row_spacing * one["rows"], one.column_spacing * one["columns"])

    def marks(self, row: int, field_of_view_mm: float) -> Marks:
        """Marks of slice `row` where its central square of that many mm is shown; 0 mm: all of it."""
        one = self.slices.loc[row]
        number, of = (one.place + 1, len(self.slabs.rows[one.slab])) if one.slab >= 0 else (0, 0)
        return Marks(*sides((one.row_x, one.row_y, one.row_z)), field_of_view_mm or self.side_mm(row), number, of)

    def slice_facts(self, row: int) -> dict[str, str]:
        """Place of slice `row`, and what it is used for, by name."""
        one = self.slices.loc[row]
        slab = self.slabs.loc[one.slab] if one.slab >= 0 else None
        tilt = np.degrees(np.arccos(min(1.0, abs(one.normal_z))))
        used = [
            f"slice {list(sample[dataset.SLICES]).index(row) + 1} of 3 in {sample_text(sample)}"
            for _, sample in self.samples_of(row).iterrows()
        ]
        return {
            "file": one.path,
            "position": f"x {one.x:.1f}, y {one.y:.1f}, z {one.z:.1f} mm (first pixel, patient coordinates)",
            "tilt": f"{tilt:.1f}° from the body's transverse plane",
            "thickness": millimetres(one.thickness),
            "spacing": "no neighbour" if slab is None else f"{millimetres(slab.spacing)} from slice to slice",
            "pixels": f"{one['rows']} × {one['columns']} of {one.row_spacing:g} × {one.column_spacing:g} mm",
            "disc": "none" if slab is None else f"{slab.level}, slice {one.place + 1} of {slab.slices}: {slab.status}",
            "samples": "; ".join(used) or "none",
            "pre-training": f"{one.pretrain} set" if one.pretrain else "not used: the pixels are unreadable",
        }

    def slab_facts(self, number: int) -> dict[str, str]:
        """Slices of slab `number`, and what became of it, by name."""
        slab = self.slabs.loc[number]
        samples = [sample_text(sample) for _, sample in self.samples_of(*slab.rows).iterrows()]
        return {
            "study": slab.study,
            "slices": f"{slab.slices}, {millimetres(slab.spacing)} from slice to slice",
            "status": slab.status,
            "flag": slab.flag or "none",
            "samples": "; ".join(samples) or "none",
            "verdict of a review": slab.verdict or "none",
        }


def millimetres(value: float) -> str:
    """A length to a hundredth of a millimetre."""
    return f"{value:.2f} mm" if np.isfinite(value) else "not stated"


def sample_text(sample: pd.Series) -> str:
    """Name, label and place in the splits of a sample."""
    splits = ", ".join(f"{sample[f'split_{split}']} (split {split!r})" for split in SPLITS)
    return f"sample {sample.part + 1} of {sample.level}, {LABELS[sample.label]}, {splits}"


def _placed(slabs: pd.DataFrame, slices: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Slabs with the rows of their slices, and slices with the slab that each belongs to."""
    paths = slabs.paths.str.split("//").explode().rename("path").rename_axis("slab").reset_index()
    members = paths.assign(place=paths.groupby("slab").cumcount()).set_index("path")
    slices = (
        slices.join(members, on="path")
        .fillna({"slab": -1, "place": -1, "pretrain": ""})
        .astype({"slab": int, "place": int})
    )
    of_path = pd.Series(slices.index, slices.path)
    numbers = {name: pd.to_numeric(slabs[name], errors="coerce") for name in ("slices", "spacing", "z")}
    rows = [tuple(of_path[p.split("//")]) for p in slabs.paths]
    return slabs.assign(**numbers, rows=pd.Series(rows, slabs.index, dtype=object)), slices


def statuses(slabs: pd.DataFrame, slices: pd.DataFrame, samples: pd.DataFrame, aside: pd.DataFrame) -> pd.Series:
    """Status of each slab: the label of its samples, or why there are none."""
    place = ["patient", "study", "level"]
    reasons = aside.groupby(place).reason.agg(lambda several: "; ".join(dict.fromkeys(several)))
    keys = pd.MultiIndex.from_frame(slabs[place])
    status = pd.Series(reasons.reindex(keys).to_numpy(), slabs.index, dtype=object).fillna("no sample")
    status = status.mask(slabs.weighting == "T1", T1_ONLY)
    labels = samples.label.map(dict(enumerate(LABELS))).set_axis(slices.slab.loc[samples.slice_1])
    return status.where(~status.index.isin(labels.index), labels[~labels.index.duplicated()].reindex(status.index))


# Drawing


def draw_slice(
    acquired: np.ndarray | None, stored: np.ndarray, share: float, *, marks: Sequence[Marks] = (Marks(), Marks())
) -> Image.Image:
    """Draw a slice as acquired, with the square that the dataset keeps, beside the slice as stored.

    Parameters
    ----------
    acquired : np.ndarray, shape (PANEL, PANEL), uint8, or None
        None when there is no file: its place stays dark.
    stored : np.ndarray, shape (W, W), uint8
        Its pixels are shown as squares.
    share : float
        Of the slice's side that the square has; from 1 on, all of it.
    marks : sequence of Marks
        Of the slice as acquired, and as stored.
    """
    picture = Image.new("RGB", (2 * PANEL + GAP, PANEL))
    draw = ImageDraw.Draw(picture)
    if acquired is not None:
        picture.paste(Image.fromarray(acquired))
        if share < 1:
            low, high = PANEL * (1 - share) / 2, PANEL * (1 + share) / 2
            draw.rectangle((low, low, high, high), outline=MARKS[0], width=2)
    picture.paste(Image.fromarray(stored).resize((PANEL, PANEL), Image.Resampling.NEAREST), (PANEL + GAP, 0))
    for left, own in ((0, marks[0]), (PANEL + GAP, marks[1])):
        mark(draw, (left, 0, left + PANEL, PANEL), own)
    write(draw, (PANEL - 6, 5), "no file" if acquired is None else "as acquired", MARKS[0], anchor="ra")
    name = f"as stored, {len(stored)} by {len(stored)} pixels"
    write(draw, (2 * PANEL + GAP - 6, 5), name, MARKS[0], anchor="ra")
    return picture


def draw_slab(
    images: Sequence[np.ndarray | None], samples: Sequence[Sequence[int]], marks: Sequence[Marks]
) -> Image.Image:
    """Draw the slices of a slab, cranial first, with a bar under the three of each sample.

    Parameters
    ----------
    images : sequence of np.ndarray, shape (TILE, TILE), uint8, or None for a slice without a file
    samples : sequence of sequences of int
        Places (from 0) of each sample's slices.
    marks : sequence of Marks
        Of the slices.
    """
    lines, across = -(-len(images) // ACROSS), min(ACROSS, len(images))
    bars = 10 * len(samples)
    pitch = TILE + bars + GAP
    picture = Image.new("RGB", (across * (TILE + GAP) - GAP, lines * pitch - GAP))
    draw = ImageDraw.Draw(picture)
    for place, image in enumerate(images):
        x, y = place % ACROSS * (TILE + GAP), place // ACROSS * pitch
        if image is None:
            write(draw, (x + TILE - 6, y + 4), "no file", MARKS[0], anchor="ra")
        else:
            picture.paste(Image.fromarray(image), (x, y))
        mark(draw, (x, y, x + TILE, y + TILE), marks[place])
        for number in (number for number, places in enumerate(samples) if place in places):
            top, joined = y + TILE + 2 + 10 * number, (place + 1 in samples[number]) * GAP
            draw.rectangle((x, top, x + TILE - 1 + joined, top + 5), fill=MARKS[number % len(MARKS)])
    return picture


# The widget


class DatasetBrowser(panel.Panel):
    """Browses a dataset: its slices, its discs, and the files that were rejected.

    Parameters
    ----------
    folder : Path
        Of a finished dataset (notebook 01's results).
    archive : Path
        That it was built from; slices are read from it as they are looked at.
    field_of_view_mm : float
        Side of the square that the dataset keeps of a slice (profile, ``data.field_of_view_mm``); 0: all of it.
    """

    def __init__(self, folder: Path, archive: Path, *, field_of_view_mm: float = 0.0):
        self.field_of_view_mm = field_of_view_mm
        self.kind = widgets.ToggleButtons(options=[SLICES, DISCS, REJECTED])
        widths = {"patient": 180, "study": 520, "series": 330, "level": 230, "status": 560, "reason": 560}
        self.patient, self.study, self.series, self.level, self.status, self.reason = (
            panel.dropdown(name, ("",), width=width) for name, width in widths.items()
        )
        self.selectors = {
            SLICES: [self.patient, self.study, self.series],
            DISCS: [self.level, self.status],
            REJECTED: [self.reason],
        }
        self.lists = panel.wrapped()
        self.slider = panel.wide(widgets.IntSlider(min=1, max=1), 560)
        self.picture, self.caption, self.message = widgets.HTML(), widgets.HTML(), panel.Message()
        self.rows: Sequence[int] = []  #: what the slider goes through
        super().__init__(
            "browser",
            [self.kind, self.lists, self.slider, self.picture, self.caption, self.message],
            slider=self.slider,
            picture=self.picture,
            caption=self.caption,
        )
        try:
            self.catalogue = Catalogue(folder, archive)
        except UserError as error:
            self.message.say(error)
            return
        self._fill_lists()
        lists = [control for controls in self.selectors.values() for control in controls]
        self.follow([self.kind, *lists, self.slider])
        self.update()

    @classmethod
    def from_workspace(cls, space: Workspace) -> "DatasetBrowser":
        """Browser of a run's dataset."""
        return cls(space.results / "01", space.data_dir, field_of_view_mm=space.profile.data.field_of_view_mm)

    def _fill_lists(self) -> None:
        slabs, rejected = self.catalogue.slabs, self.catalogue.rejected
        levels = [level for level in [*reversed(discs.LEVELS)] if level in set(slabs.level)]
        self.levels = levels + sorted(set(slabs.level) - set(levels))
        self.statuses = by_number(slabs.status)
        self._offer_discs()
        self.reason.options = panel.counted(by_number(rejected.kind), rejected.kind)
        self.patient.options = sorted(self.catalogue.slices.patient.unique())

    def refresh(self, changed: widgets.Widget | None = None) -> None:
        """Give the slider what the selectors leave, and show the one that it stands at."""
        if changed is not self.slider:
            kind = self.kind.value
            self._offer_series()
            self._offer_discs()
            self.lists.children = self.selectors[kind]
            self.rows = {SLICES: self._slices, DISCS: self._discs, REJECTED: self._pages}[kind]()
            self.slider.description = {SLICES: "slice", DISCS: "disc", REJECTED: "page"}[kind]
            self.slider.value, self.slider.max = 1, max(1, len(self.rows))
        self._show()

    def _offer_series(self) -> None:
        """Offer the chosen patient's studies, and the chosen study's series; equal offers keep the choice."""
        table = self.catalogue.slices
        table = table[table.patient == self.patient.value]
        self.study.options = sorted(table.study.unique())
        groups = table[table.study == self.study.value].groupby(["weighting", "series"])
        ordered = sorted(groups, key=lambda group: (group[0][0] != "T2", group[1].series_number.iloc[0]))
        self.series.options = [
            (f"{weighting}, series {one.series_number.iloc[0]:g} ({len(one)} slices)", series)
            for (weighting, series), one in ordered
        ]

    def _offer_discs(self) -> None:
        """Count in each of the two lists what the other leaves."""
        slabs = self.catalogue.slabs
        here = slabs.level[slabs.status == self.status.value] if self.status.value else slabs.level
        panel.offer(self.level, panel.counted(self.levels, here))
        here = slabs.status[slabs.level == self.level.value] if self.level.value else slabs.status
        panel.offer(self.status, panel.counted(self.statuses, here))

    def _slices(self) -> list[int]:
        """Slices of the chosen series, slabs from the top; slices without one last."""
        table, chosen = self.catalogue.slices, [self.patient.value, self.study.value, self.series.value]
        table = table[(table[["patient", "study", "series"]] == chosen).all(axis=1)]
        heights = self.catalogue.slabs.z.reindex(table.slab).to_numpy()
        return list(table.assign(down=-heights).sort_values(["down", "place"], kind="stable").index)

    def _discs(self) -> list[int]:
        """Slabs of the chosen level and status, T2 before T1, from the top."""
        slabs = self.catalogue.slabs
        kept = slabs.level.isin([self.level.value] if self.level.value else slabs.level)
        kept &= slabs.status.isin([self.status.value] if self.status.value else slabs.status)
        order = ["patient", "study", "weighting", "z"]
        return list(slabs[kept].sort_values(order, ascending=[True, True, False, False]).index)

    def _pages(self) -> Sequence[int]:
        """First rejected file of each page."""
        return range(0, len(self._rejected()), PAGE)

    def _rejected(self) -> pd.DataFrame:
        table, kind = self.catalogue.rejected, self.reason.value
        return table[table.kind == kind] if kind else table

    def _show(self) -> None:
        self.message.say()
        if not self.rows:
            self.picture.value, self.caption.value = "", f"There are no {html.escape(self.kind.value)} of this kind."
            return
        row = self.rows[self.slider.value - 1]
        {SLICES: self._show_slice, DISCS: self._show_disc, REJECTED: self._show_rejected}[self.kind.value](row)

    def _read(self, row: int, size: int, field_of_view_mm: float) -> np.ndarray | None:
        """A slice as acquired; None, and a sentence, when its file is gone."""
        try:
            return self.catalogue.acquired(row, size, field_of_view_mm)
        except UserError as error:
            if not self.message.value:  # one sentence is enough
                self.message.say(error)
            return None

    def _show_slice(self, row: int) -> None:
        one, kept_mm = self.catalogue.slices.loc[row], self.field_of_view_mm
        share = kept_mm / self.catalogue.side_mm(row) or 1.0
        place = f"{self.slider.value} of {len(self.rows)}, cranial to caudal"
        title = f"patient {one.patient}, {one.weighting} axial slice {place}"
        marks = [self.catalogue.marks(row, width) for width in (0, kept_mm)]
        picture = draw_slice(self._read(row, PANEL, 0), self.catalogue.stored(row), share, marks=marks)
        self.picture.value = image_html(picture, f"{title}: as acquired, and as stored in the dataset.")
        kept = f"the frame, {kept_mm:g} mm wide, is" if share < 1 else "all of it is"
        self._describe(title, f"Left: the slice as acquired; {kept} kept.", self.catalogue.slice_facts(row))

    def _show_disc(self, number: int) -> None:
        slab = self.catalogue.slabs.loc[number]
        rows = slab.rows[:MOST]
        triples = self.catalogue.samples_of(*rows).sort_values("part")[dataset.SLICES].to_numpy()
        places = [[rows.index(row) for row in triple if row in rows] for triple in triples]
        width = self.field_of_view_mm
        marks = [self.catalogue.marks(row, width) for row in rows]
        picture = draw_slab([self._read(row, TILE, width) for row in rows], places, marks)
        title = f"patient {slab.patient}, {slab.level}, {slab.weighting}: {slab.status}"
        bars = [f"sample {n + 1}: slices {', '.join(str(p + 1) for p in own)}" for n, own in enumerate(places)]
        shown = f"The first {MOST} of {slab.slices} slices" if len(slab.rows) > MOST else "The slab's slices"
        legend = f"{shown}, cranial to caudal; {'a bar marks ' + '; '.join(bars) if bars else 'no sample'}."
        self.picture.value = image_html(picture, f"{title}. {legend}")
        note = self.catalogue.notes.get(slab.patient, "")
        noted = f"Note: {marked_note(note, slab.level)}" if note else "There is no note."
        self._describe(title, legend, self.catalogue.slab_facts(number), noted)
        if self.catalogue.remark and not self.message.value:
            self.message.say(self.catalogue.remark)

    def _show_rejected(self, start: int) -> None:
        table = self._rejected()
        page = table[["path", "reason"]].iloc[start : start + PAGE]
        with pd.option_context("display.max_colwidth", None):
            self.picture.value = page.to_html(index=False, border=0)  # escapes
        title = f"Files {start + 1} to {start + len(page)} of {len(table)}"
        legend = f"Of {len(self.catalogue.rejected)} rejected in all; paths are relative to the archive."
        self._describe(title, legend, {})

    def _describe(self, title: str, legend: str, facts: Mapping[str, str], more: str = "") -> None:
        """The caption: everything but `more`, which is HTML, is escaped here."""
        text = f"<b>{html.escape(title)}</b>. {html.escape(legend)}{panel.facts_html(facts)}{more}"
        data = f"Data: {self.catalogue.data.info['data_label']}"
        self.caption.value = f"{text}<div><i>{html.escape(data)}</i></div>"


def by_number(values: pd.Series) -> list[str]:
    """Each value once, the most frequent first."""
    return list(values.value_counts().sort_index().sort_values(ascending=False, kind="stable").index)
