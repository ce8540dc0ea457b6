"""The ipywidgets viewer: a slider over the test discs with slices, heat, probability and label.

What shows slabs on a sagittal image and takes a reviewer's verdicts stands in `review` and is found here too.
"""

import html
import io
from dataclasses import dataclass

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image

from lhdlib import gradcam
from lhdlib.review import ReviewWidget, show_slabs

__all__ = ["Heat", "HeatmapViewer", "ReviewWidget", "draw_disc", "outcome", "show_slabs"]
OUTCOMES = ("all", "true positive", "false positive", "true negative", "false negative")
PANEL = 300  # side of one slice on the screen, pixels


@dataclass(frozen=True)
class Heat:
    """The heatmaps of the test discs, as notebook 07 computes them.

    Attributes
    ----------
    images : np.ndarray, shape (N, W, W)
        The slice store.
    discs : pd.DataFrame, n rows
        ``patient, level, label, probability, note`` and ``slice_1 .. slice_3``, rows of the store.
    maps : np.ndarray, shape (n, 3, u, v)
        The paper's heat in [0, 1].
    slice_weight : np.ndarray, shape (n, 3)
        Share of each slice; a disc's add up to 1.
    data_label : str
        On which data: shown with every disc.
    """

    images: np.ndarray
    discs: pd.DataFrame
    maps: np.ndarray
    slice_weight: np.ndarray
    data_label: str


def outcome(label: np.ndarray, probability: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """ "true positive", "false positive", "true negative" or "false negative" of each disc."""
    positive = np.asarray(probability) >= threshold
    right = np.where(positive == np.asarray(label).astype(bool), "true", "false")
    return np.char.add(np.char.add(right, " "), np.where(positive, "positive", "negative"))


def draw_disc(slices: np.ndarray, maps: np.ndarray, opacity: float, color_map: str = "inferno") -> Image.Image:
    """Three slices above the same slices under their heat.

    Parameters
    ----------
    slices : np.ndarray, shape (3, W, W)
        Grey values; [0, 1] is shown.
    maps : np.ndarray, shape (3, u, v)
        Heat in [0, 1]; upsampled bicubically to W x W.
    opacity : float
        Of the hottest place, in [0, 1]; cold places stay grey.
    color_map : str
        A matplotlib colour map.
    """
    grey = np.clip(np.concatenate(slices.astype(np.float32), axis=1), 0, 1)[..., None].repeat(3, axis=2)
    heat = np.concatenate(gradcam.upsample(maps, slices.shape[-1]), axis=1)
    share = (opacity * heat)[..., None]
    overlay = (1 - share) * grey + share * mpl.colormaps[color_map](heat)[..., :3]
    picture = Image.fromarray((np.concatenate([grey, overlay]) * 255).astype(np.uint8))
    return picture.resize((3 * PANEL, 2 * PANEL), Image.Resampling.BILINEAR)


class HeatmapViewer(widgets.VBox):
    """Slider over the test discs; a selector keeps one outcome.

    Parameters
    ----------
    heat : Heat
    """

    def __init__(self, heat: Heat):
        self.heat = heat
        self.outcomes = outcome(heat.discs.label, heat.discs.probability)
        self.chosen = np.arange(len(heat.discs))
        self.slider = widgets.IntSlider(
            description="disc", min=0, max=max(0, len(self.chosen) - 1), layout=widgets.Layout(width="560px")
        )
        self.selector = widgets.Dropdown(description="outcome", options=OUTCOMES)
        self.opacity = widgets.FloatSlider(description="opacity", value=0.6, min=0, max=1, step=0.1)
        self.picture = widgets.Image(format="png", width=3 * PANEL, height=2 * PANEL)
        self.caption = widgets.HTML()
        self.slider.observe(self._show, "value")
        self.opacity.observe(self._show, "value")
        self.selector.observe(self._select, "value")
        super().__init__([widgets.HBox([self.slider, self.selector, self.opacity]), self.picture, self.caption])
        self._show()

    def _select(self, _change=None) -> None:
        keep = self.outcomes == self.selector.value
        self.chosen = np.flatnonzero(keep if self.selector.value != "all" else np.ones_like(keep))
        with self.slider.hold_trait_notifications():
            self.slider.max = max(0, len(self.chosen) - 1)
            self.slider.value = 0
        self._show()

    def _show(self, _change=None) -> None:
        if not len(self.chosen):
            self.picture.value = b""
            self.caption.value = f"No test disc is a {html.escape(self.selector.value)}."
            return
        row = self.chosen[self.slider.value]
        disc = self.heat.discs.iloc[row]
        slices = self.heat.images[disc[["slice_1", "slice_2", "slice_3"]].to_numpy(int)]
        buffer = io.BytesIO()
        draw_disc(slices, self.heat.maps[row], self.opacity.value).save(buffer, "PNG", compress_level=1)
        self.picture.value = buffer.getvalue()
        weights = ", ".join(f"{share:.0%}" for share in self.heat.slice_weight[row])
        remark = "" if disc.probability >= 0.5 else " The paper draws no heat for negative predictions."
        self.caption.value = (
            f"<b>patient {html.escape(str(disc.patient))}, {html.escape(disc.level)}</b>: probability of herniation "
            f"{disc.probability:.2f}, label {'herniated' if disc.label else 'normal'} ({self.outcomes[row]}); "
            f"weight of the three slices, cranial to caudal: {weights}.{remark}<br>"
            f"Note: {html.escape(str(disc.note))}<br><i>Data: {html.escape(self.heat.data_label)}</i>"
        )
