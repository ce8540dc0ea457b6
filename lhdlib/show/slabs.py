"""A study's slabs as lines on its sagittal image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from lhdlib import files
from lhdlib.data import dataset, overrides, resampling, sagittal
from lhdlib.data.discs import MAX_IN_SLAB
from lhdlib.data.marks import Marks
from lhdlib.errors import UserError
from lhdlib.show.pictures import font, mark, write

PANEL = 300  # side of one slice on the screen, pixels; the sagittal image has twice that
GAMMA = 0.6  # of sagittal images: far from the coil, which lies behind the back, they are dark
LINE, CHOSEN = (80, 150, 220), (255, 160, 40)  # colours of slices' lines, and of those that the picture is about
THIN, THICK = 1, 3  # their widths, pixels: the difference does not rest on colour alone
LINES = "Thick orange lines are the three slices that the classifier saw, thin blue lines the other axial T2 slices."
SAGITTAL = 420  # longer side of the sagittal image beside a disc, pixels


class JudgedDiscs:
    """Discs of a dataset under the verdicts given so far, with their sagittal images.

    Parameters
    ----------
    folder
        Of notebook 01's results.
    archive
        That it was built from.

    Attributes
    ----------
    built, judged : pd.DataFrame
        All discs as notebook 01 built them, and as the verdicts have them.
    unmatched : pd.DataFrame
        Verdicts whose slab is not in the dataset.
    everyone : set of str
        All patients' folders.

    Raises
    ------
    UserError
        When the dataset, its notes or the table of verdicts cannot be read.
    """

    def __init__(self, folder: Path, archive: Path):
        self.archive = Path(archive)
        self.labels_path = dataset.find_labels(self.archive)
        self.overrides_path = self.labels_path.with_name(overrides.NAME)
        self.built = dataset.load_discs(Path(folder))
        text = {"path": str, "patient": str, "plane": str}
        self.slices = files.read_table(Path(folder) / "slices.csv", dtype=text)
        self.rejected = files.read_table(Path(folder) / "rejected.csv", dtype=text)
        self.everyone = dataset.patients_of(self.slices, self.rejected)
        self._judge()

    def _judge(self) -> None:
        verdicts = overrides.read_overrides(self.overrides_path)
        self.judged, self.unmatched = overrides.apply_overrides(self.built, verdicts)

    def slabs(self, row: int) -> pd.DataFrame:
        """All T2 slabs of the disc's study, as the verdicts so far have them."""
        study = self.judged.loc[row, ["patient", "study"]]
        same = (self.judged[["patient", "study"]] == study).all(axis=1)
        return self.judged[same & (self.judged.weighting == "T2")]

    def view(self, row: int) -> sagittal.SagittalView:
        """Sagittal image of the disc's study with the places of its `slabs`."""
        return sagittal.sagittal_view(self.archive, self.slabs(row), self.slices, self.rejected)


# Drawing


@dataclass(frozen=True)
class Laid:
    """A sagittal image as large as it is drawn, with its slabs' lines and the room for their names."""

    picture: Image.Image  #: grey
    lines: tuple[np.ndarray, ...]  #: of every slab, (n, 2, 2) as `SagittalView.cuts`, pixels of the picture
    heights: tuple[float | None, ...]  #: at which the slabs' names stand, none above another; None without lines
    marks: Marks  #: of the picture


def lay_out(view: sagittal.SagittalView, *, width: float, height: float, pitch: float = 0.0) -> Laid:
    """Enlarge a sagittal image, and its slabs' lines with it, until it fills the width or the height.

    Parameters
    ----------
    pitch
        Least distance of two names, pixels.
    """
    extent = np.array(view.pixels.shape) * view.spacing  # mm
    high, wide = np.round(extent * min(height / extent[0], width / extent[1])).astype(int)
    grey = np.clip(view.pixels / max(np.percentile(view.pixels, resampling.SCALE_PERCENTILE), 1e-6), 0, 1) ** GAMMA
    picture = Image.fromarray((grey * 255).astype(np.uint8)).resize((wide, high), Image.Resampling.BILINEAR)
    scale = np.array([wide, high]) / view.pixels.shape[::-1]
    lines = tuple((slab + 0.5) * scale for slab in view.cuts)
    heights: list[float | None] = [None] * len(lines)
    last = -pitch / 2
    for slab in sorted((n for n, one in enumerate(lines) if len(one)), key=lambda n: lines[n][:, 1, 1].mean()):
        heights[slab] = last = max(lines[slab][:, 1, 1].mean(), last + pitch)
    return Laid(picture, lines, tuple(heights), Marks(*view.sides, float(extent[1])))


def draw_slabs(
    view: sagittal.SagittalView,
    names: Sequence[str],
    *,
    chosen: int | None = None,
    size: int = 2 * PANEL,
    used: Sequence[int] | None = None,
    numbered: bool = False,
) -> Image.Image:
    """Draw every slab's slices as lines on the sagittal image, and its level at the right of the image.

    Parameters
    ----------
    names : sequence of str
        Of the view's slabs.
    chosen : int, optional
        The slab to stand out.
    size : int
        Of the longer side, pixels.
    used : sequence of int, optional
        Which of its lines stand out, thick and in another colour; all when None.
    numbered : bool
        Whether its lines carry their slices' numbers.
    """
    large, small = size // 32, size // 44
    margin = math.ceil(max((font(large).getlength(name) for name in names), default=0))
    margin += large // 2 if margin else 0
    laid = lay_out(view, width=size - margin, height=size, pitch=1.2 * large)
    width, height = laid.picture.size
    picture = Image.new("RGB", (width + margin, height))
    picture.paste(laid.picture)
    draw = ImageDraw.Draw(picture)
    order = sorted(range(len(names)), key=lambda slab: slab == chosen)  # the chosen one on top
    for slab in order:
        lines = laid.lines[slab]
        for number, line in enumerate(lines):
            stands_out = slab == chosen and (used is None or number in used)
            crowded = numbered and len(lines) > MAX_IN_SLAB  # thick lines would hide what they cross
            fill, thickness = (CHOSEN, THIN if crowded else THICK) if stands_out else (LINE, THIN)
            draw.line([tuple(end) for end in line], fill=fill, width=thickness)
        if numbered and slab == chosen:
            for number, ends in zip(view.numbers[slab], lines, strict=True):
                x, y = ends[number % 2]  # two slices apart, numbers do not meet
                end, anchor = ((min(x, width - 2), y), "rm") if number % 2 else ((max(x, 2), y), "lm")
                write(draw, end, str(number), CHOSEN, size=small, anchor=anchor)
        if laid.heights[slab] is not None:
            place = width + large // 4, laid.heights[slab]
            draw.text(place, names[slab], CHOSEN if slab == chosen else LINE, font(large), "lm")
    mark(draw, (0, 0, width, height), laid.marks)
    return picture


@dataclass(frozen=True)
class UsedSlices:
    """A study's slabs on its sagittal image, and those of their slices that the classifier saw."""

    view: sagittal.SagittalView
    names: tuple[str, ...]  #: of the view's slabs
    chosen: int | None  #: the slab that the classifier saw slices of
    used: tuple[int, ...]  #: their places in it

    def draw(self) -> Image.Image:
        """Draw all slabs so that these slices stand out."""
        return draw_slabs(self.view, self.names, chosen=self.chosen, size=SAGITTAL, used=self.used)


def find_used(slabs: pd.DataFrame, view: sagittal.SagittalView, used: Sequence[str]) -> UsedSlices:
    """Find the slices that the classifier saw among the slabs of their study.

    Parameters
    ----------
    slabs : pd.DataFrame
        All T2 slabs of the study, of `discs.group_discs`.
    view : SagittalView
        Of these slabs.
    used : sequence of str
        The slices' paths, all of one slab.
    """
    chosen = next((slab for slab, paths in enumerate(slabs.paths) if used[0] in paths), None)
    places: list[int] = []
    if chosen is not None and len(view.cuts[chosen]) == slabs.slices.iloc[chosen]:  # else which cuts are whose?
        places = [slabs.paths.iloc[chosen].index(path) for path in used]
    return UsedSlices(view, tuple(slabs.level), chosen, tuple(places))


def show_slabs(folder: Path, archive: Path, patient: str, *, study: str | None = None) -> Image.Image:
    """Draw a study's T2 slabs as lines on its sagittal image.

    Parameters
    ----------
    folder : Path
        Of a finished dataset (notebook 01's results).
    archive : Path
        That it was built from.
    patient : str
        Such as ``"0037"``.
    study : str, optional
        The patient's first by name when None.

    Raises
    ------
    UserError
        When there is no such study, or no sagittal image that its slabs cut.
    """
    discs = JudgedDiscs(folder, archive)
    t2 = discs.judged[(discs.judged.weighting == "T2") & (discs.judged.patient == patient)]
    chosen = t2 if study is None else t2[t2.study == study]
    if chosen.empty:
        raise UserError(f"The dataset has no T2 disc of patient {patient!r} in that study: see slices.csv in {folder}.")
    row = chosen.study.sort_values(kind="stable").index[0]
    return draw_slabs(discs.view(row), list(discs.slabs(row).level))
