"""One disc as a reader sees it: slices, heatmap, probability, slice weights, note.

The viewer, the atlas and the page of a study draw it with the same functions.
"""

import html
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.special import expit
from threadpoolctl import ThreadpoolController

from lhdlib import gradcam
from lhdlib.data import dataset
from lhdlib.data.dataset import SLICES
from lhdlib.data.marks import Marks, slice_marks
from lhdlib.data.sagittal import SagittalView
from lhdlib.errors import UserError
from lhdlib.evidence import localise
from lhdlib.figures.style import opacity
from lhdlib.figures.words import cells_text
from lhdlib.model.kinds import KINDS, load_head
from lhdlib.run.workspace import Workspace
from lhdlib.show.note import marked_note
from lhdlib.show.pictures import mark
from lhdlib.show.slabs import JudgedDiscs, UsedSlices, find_used

OUTCOMES = ("true positive", "false positive", "true negative", "false negative")
COLOR_MAPS = ("inferno", "magma", "viridis", "cividis")  # perceptually uniform, safe for the colour-blind
HEATMAPS = ("paper", "classic", "none")
POSITIONS = ("cranial", "middle", "caudal")
CONTOUR = (0, 229, 255)  # of the truth mask: a hue that none of the colour maps has
LEVELS = (0.5, 0.8)  # of a slice's hottest place: where lines are drawn
FRAME = (160, 160, 160)  # about what the network sees of a slice
BETWEEN = (128, 128, 128)  # slices, on light and dark pages
CACHED = 32  # masks, and studies' sagittal images, that are kept


@dataclass(frozen=True)
class Reading:
    """Discs with the classifier's answer and its heatmaps, all computed once."""

    images: np.ndarray  #: the slice store (N, W, W); may be mapped
    #: n rows of ``patient, level, label, probability, note`` and ``slice_1 .. slice_3``, rows of the store; the label
    #: is missing where nobody knows it
    discs: pd.DataFrame
    maps: np.ndarray  #: the paper's heatmaps (n, 3, u, v), in [0, 1]
    classic: np.ndarray  #: classic Grad-CAM, as `maps`
    slice_weight: np.ndarray  #: share of each slice (n, 3); a disc's add up to 1
    data_label: str  #: on which data: shown with every disc
    threshold: float = 0.5  #: a disc is called abnormal from this probability on
    whose: str = ""  #: which study it is, shown with every disc
    lesion: Callable[[int], np.ndarray] | None = None  #: row -> share of each pixel (3, W, W); of a phantom alone
    sagittal: Callable[[int], UsedSlices] | None = None  #: row -> `slabs.find_used`, or a `UserError` for want of one
    marks: Sequence[Marks] | None = None  #: of every slice of the store; None: nothing is written on them
    where: gradcam.Cells | None = None  #: of the maps on a slice; None: they divide it evenly, as published
    drawn: str = ""  #: how maps lie on slices, in words (`words.cells_text`)
    kinds: pd.DataFrame | None = None  #: probability of each of `KINDS` for each disc; None: the run has no head
    stamp: Mapping[str, Any] = field(default_factory=dict)  #: `workspace.Workspace.stamp`, for every saved view

    def outcomes(self) -> np.ndarray:
        """One of `OUTCOMES` for each disc; see `outcome`."""
        return outcome(self.discs.label, self.discs.probability, threshold=self.threshold)


@dataclass(frozen=True)
class Look:
    """How a disc is drawn."""

    opacity: float = 0.75  #: of the hottest place, in [0, 1]; cold places stay as they are (`style.opacity`)
    color_map: str = "inferno"
    window: tuple[float, float] = (0.0, 1.0)  #: grey values shown as black and as white
    heatmap: str = "paper"  #: one of `HEATMAPS`
    lines: bool = False  #: lines about the heatmap's hottest places (`LEVELS`) in place of its colours
    contour: bool = False  #: outline of the truth mask, where there is one
    always: bool = False  #: a heatmap also where the disc is called normal, for which the paper draws none


def from_workspace(space: Workspace) -> Reading:
    """Test discs of a finished run.

    Raises
    ------
    UserError
        When notebook 01 or 07 has not finished, or a file of theirs is gone, damaged or of another run.
    """
    path = space.results / "07" / "heatmaps.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("raw", "classic_raw", "slice_weight", "probability", "rows")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: run notebook 07 up to its heatmaps first.") from error
    data = dataset.load_dataset(space.results / "01")
    discs = data.part("test", space.profile.data.split).table
    if not np.array_equal(discs[SLICES].to_numpy(), arrays["rows"]):
        raise UserError(f"{path} belongs to another dataset: run notebook 07 again.")
    return Reading(
        data.images,
        discs.assign(probability=arrays["probability"]),
        gradcam.normalise(arrays["raw"]),
        gradcam.normalise(arrays["classic_raw"]),
        arrays["slice_weight"],
        data.info["data_label"],
        lesion=_lesions(space, data, discs),
        sagittal=_sagittal(space, discs, data.slices.path.to_numpy()),
        where=gradcam.cells(space.profile, arrays["raw"].shape[-1]),
        marks=slice_marks(data.slices, dataset.load_discs(space.results / "01"), space.profile.data),
        drawn=cells_text(space.profile),
        kinds=_kinds(space, arrays["rows"]),
        stamp=space.stamp(),
    )


def _kinds(space: Workspace, rows: np.ndarray) -> pd.DataFrame | None:
    """What the head of notebook 09 says of the test discs, where this run has one."""
    kept = load_head(space.results)
    if kept is None or not np.array_equal(kept[1], rows):
        return None
    return pd.DataFrame(expit(kept[2][0]), columns=list(KINDS))


def _lesions(space: Workspace, data: dataset.Dataset, discs: pd.DataFrame) -> Callable[[int], np.ndarray] | None:
    masks = localise.truth_masks(space.data_dir)
    if masks is None:
        return None
    rows = discs[SLICES].to_numpy()

    @lru_cache(CACHED)
    def lesion(row: int) -> np.ndarray:
        with _threads().limit(limits=1):
            return localise.lesion_cover(masks, data.slices, rows[row : row + 1], space.profile.data)[0]

    return lesion


def _sagittal(space: Workspace, discs: pd.DataFrame, paths: np.ndarray) -> Callable[[int], UsedSlices]:
    @lru_cache(1)
    def judged_discs() -> JudgedDiscs:
        return JudgedDiscs(space.results / "01", space.data_dir)

    @lru_cache(CACHED)
    def study(patient: str, name: str) -> tuple[pd.DataFrame, SagittalView]:
        known = judged_discs()
        table = known.judged
        rows = table.index[(table.patient == patient) & (table.study == name) & (table.weighting == "T2")]
        if not len(rows):
            raise UserError(f"The dataset has no T2 slab of patient {patient}, {name}: run notebook 01 again.")
        return known.slabs(rows[0]), known.view(rows[0])

    def sagittal(row: int) -> UsedSlices:
        disc = discs.iloc[row]
        return find_used(*study(disc.patient, disc.study), paths[disc[SLICES].to_numpy(int)])

    return sagittal


def outcome(label: npt.ArrayLike, probability: npt.ArrayLike, *, threshold: float = 0.5) -> np.ndarray:
    """One of `OUTCOMES` for each disc, "called abnormal" or "called normal" where the label is missing."""
    positive = np.asarray(probability) >= threshold
    label = np.asarray(label, float)
    judged = np.char.add(
        np.where(positive == (label == 1), "true ", "false "), np.where(positive, "positive", "negative")
    )
    return np.where(np.isnan(label), np.where(positive, "called abnormal", "called normal"), judged)


# Drawing


def has_heatmap(reading: Reading, row: int, look: Look) -> bool:
    """Whether `draw_disc` lays a heatmap over this disc."""
    return look.heatmap != "none" and (look.always or reading.discs.probability.iloc[row] >= reading.threshold)


def draw_disc(
    reading: Reading, row: int, look: Look, *, side: int = 300, gap: int = 0, marked: bool = True
) -> Image.Image:
    """Draw the three slices, cranial to caudal, above the same slices under their heatmap.

    Parameters
    ----------
    row : int
        Of the disc.
    side : int
        Of one slice in the picture, pixels; the picture has 3 x 2 of them.
    gap : int
        Pixels between the slices.
    marked : bool
        Whether sides, scale and the slices' places are written on them.

    Raises
    ------
    UserError
        When the truth has no mask that fits a slice.
    """
    low, high = look.window
    rows = reading.discs[SLICES].iloc[row].to_numpy(int)
    slices = np.asarray(reading.images[rows], np.float32)
    above = _strip(_enlarged((slices - low) / max(high - low, 1e-6), side)).convert("RGB")
    below = above.copy()
    if has_heatmap(reading, row, look):
        below = _heated(above, enlarged_map(reading, row, look.heatmap, side), look)
        _frame_seen(below, reading.where, side)
    if look.contour and reading.lesion is not None:
        below.paste(CONTOUR, mask=_strip(outline(reading.lesion(row), side)))
    picture = Image.new("RGB", (3 * side + 2 * gap, 2 * side + gap), BETWEEN)
    for line, strip in enumerate((above, below)):
        for column in range(3):
            tile = strip.crop((column * side, 0, (column + 1) * side, side))
            picture.paste(tile, (column * (side + gap), line * (side + gap)))
    if marked and reading.marks is not None:
        draw = ImageDraw.Draw(picture)
        for place in range(6):
            x, y = place % 3 * (side + gap), place // 3 * (side + gap)
            mark(draw, (x, y, x + side, y + side), reading.marks[rows[place % 3]], sides_only=place > 2)
    return picture


def enlarged_map(reading: Reading, row: int, heatmap: str, side: int) -> np.ndarray:
    """The disc's heatmap, "paper" or "classic", as it lies on its slices: (3, side, side)."""
    maps = reading.maps if heatmap == "paper" else reading.classic
    with _threads().limit(limits=1):
        return gradcam.upsample(maps[row], side, where=reading.where)


@lru_cache(1)
def _threads() -> ThreadpoolController:
    """For small products, whose threads would wait for each other on a busy machine."""
    return ThreadpoolController()


def _heated(slices: Image.Image, heatmap: np.ndarray, look: Look) -> Image.Image:
    """The strip of slices under the colours of their heatmap, or with its lines."""
    if look.lines:
        heated = slices.copy()
        for level in LEVELS:
            inside = heatmap >= level
            around = np.stack([ndimage.binary_dilation(one) & ~one for one in inside])
            heated.paste((0, 0, 0), mask=_strip(around))
            heated.paste((255, 255, 255), mask=_strip(np.stack([one & ~ndimage.binary_erosion(one) for one in inside])))
        return heated
    values = _strip(heatmap)
    share = values.point(np.round(255 * look.opacity * opacity(np.arange(256) / 255)).astype(int).tolist())
    colors = values.copy()
    colors.putpalette((mpl.colormaps[look.color_map](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes())
    return Image.composite(colors.convert("RGB"), slices, share)


def _frame_seen(strip: Image.Image, where: gradcam.Cells | None, side: int) -> None:
    """Draw a thin frame about what the network sees of each of the three slices, where that is not all."""
    if where is None or where.high - where.low == 1:
        return
    low, high = round(where.low * side), round(where.high * side) - 1
    for left in (0, side, 2 * side):
        ImageDraw.Draw(strip).rectangle((left + low, low, left + high, high), outline=FRAME)


def outline(cover: np.ndarray, side: int) -> np.ndarray:
    """Edge of what is at least half covered, one or two pixels wide: (3, W, W) -> (3, side, side) of bool."""
    inside = _enlarged(cover, side) >= 0.5
    return np.stack([one & ~ndimage.binary_erosion(one, iterations=max(1, side // 200)) for one in inside])


def _enlarged(images: np.ndarray, side: int) -> np.ndarray:
    """Bicubic, limited to [0, 1]: (3, W, W) -> (3, side, side)."""
    pictures = (Image.fromarray(image.astype(np.float32)) for image in images)
    return np.clip([np.asarray(p.resize((side, side), Image.Resampling.BICUBIC)) for p in pictures], 0, 1)


def _strip(images: np.ndarray) -> Image.Image:
    """Three images in [0, 1] side by side, as bytes."""
    return Image.fromarray((np.concatenate(list(images), axis=1) * 255).round().astype(np.uint8))


# Words


def facts(reading: Reading, row: int) -> dict[str, Any]:
    """Numbers and words about a disc, ready for JSON.

    Returns
    -------
    dict
        ``patient, level, study, part, read, probability, threshold, called, label, outcome, slice_weight, kinds, note,
        flag, whose, data``; None where something is not known.
    """
    disc = reading.discs.iloc[row]
    known = lambda name: None if name not in disc or pd.isna(disc[name]) else disc[name]  # noqa: E731
    label, part = known("label"), known("part")
    judged = outcome([np.nan if label is None else label], [disc.probability], threshold=reading.threshold)
    return {
        "patient": str(disc.patient),
        "study": known("study"),
        "level": str(disc.level),
        "part": None if part is None else int(part),
        "read": known("read"),
        "probability": float(disc.probability),
        "threshold": reading.threshold,
        "called": "abnormal" if disc.probability >= reading.threshold else "normal",
        "label": None if label is None else ("abnormal" if label else "normal"),
        "outcome": str(judged[0]),
        "slice_weight": [float(share) for share in reading.slice_weight[row]],
        "kinds": None if reading.kinds is None else {k: float(p) for k, p in reading.kinds.iloc[row].items()},
        "note": known("note"),
        "flag": known("flag"),
        "whose": reading.whose or None,
        "data": reading.data_label,
    }


def caption(said: Mapping[str, Any]) -> str:
    """Caption of a disc from its `facts`, as HTML; bars and marks also say in words what they show."""
    label = "label not known" if said["label"] is None else f"label {said['label']} ({said['outcome']})"
    weights = "".join(
        f"<span>{name}</span>{_bar(share, f'{share:.0%}')}"
        for name, share in zip(POSITIONS, said["slice_weight"], strict=True)
    )
    kinds = "".join(
        f"<span>{html.escape(kind)}</span>{_bar(share, f'{share:.2f}')}"
        for kind, share in (said["kinds"] or {}).items()
    )
    which = f"<span>kind of lesion</span><span></span>{kinds}" if kinds else ""
    read = f"<p>{html.escape(said['read'])}</p>" if said["read"] else ""
    remark = "" if said["called"] == "abnormal" else "<p>The paper draws no heat for discs called normal.</p>"
    flag = f"<p>To be looked at: {html.escape(said['flag'])}</p>" if said["flag"] else ""
    whose = f"<p>{html.escape(said['whose'])}</p>" if said["whose"] else ""
    note = f"<p><b>Note</b> {marked_note(said['note'], said['level'])}</p>" if said["note"] else ""
    return (
        f"<div class='lhd-facts'><p><b>Patient {html.escape(said['patient'])}, {html.escape(said['level'])}</b>: "
        f"called {said['called']}, {label}</p>"
        f"<div style='display:grid;grid-template-columns:7.5em 1fr;gap:2px 8px;max-width:40em'>"
        f"<span>probability</span>{_bar(said['probability'], _probability(said), said['threshold'])}"
        f"<span>slice weight</span><span></span>{weights}{which}</div>"
        f"{read}{remark}{flag}{note}{whose}<p><i>Data: {html.escape(said['data'])}</i></p></div>"
    )


def _probability(said: Mapping[str, Any]) -> str:
    return f"{said['probability']:.3f} (threshold {said['threshold']:g})"


def _bar(share: float, words: str, mark: float | None = None) -> str:
    tick = (
        f"<span style='position:absolute;left:{mark:.1%};top:0;bottom:0;border-left:2px solid'></span>" if mark else ""
    )
    return (
        "<span style='display:flex;gap:8px'><span style='position:relative;flex:0 0 min(12em,45%);height:1em;"
        "border:1px solid currentColor'>"
        f"<span style='position:absolute;left:0;top:0;bottom:0;width:{share:.1%};background:#4c8bc9'></span>{tick}"
        f"</span>{words}</span>"
    )
