"""The playground of pre-training's random views: two live views of one slice, where they were cut, and the constraints.

Section "Unsupervised pre-training stage", constraints (1)-(6), Eq. 9-15.

All geometry and all pixels come from `augment`; here they are only measured and drawn.
"""

import html
from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image, ImageDraw

from lhdlib import augment, paper
from lhdlib.data import dataset
from lhdlib.errors import UserError
from lhdlib.profile import Profile
from lhdlib.run.workspace import Workspace
from lhdlib.show import panel
from lhdlib.show.pictures import grey, image_html, write

PANEL, MARGIN = 300, 50  # side of a slice on the screen, and what is seen around it, where there are no pixels; pixels
GAP = 16  # pixels between panels
FINE = 2  # lines are drawn so many times larger, and reduced
COLORS = ((86, 180, 233), (230, 159, 0))  # of the two views; told apart without colour vision, and by their dashes
CENTER = (255, 255, 255)
GRID = 64  # points along a side on which the overlap of two crops is measured
OPENING = 50  # draws that are tried for one to begin with
DRAWS = 200  # slices, of which the share of views left as they are is estimated
NAMES = ("view 1", "view 2")


# Geometry and constraints


def corners(box: tuple[float, ...]) -> np.ndarray:
    """Corners of (x0, y0, x1, y1), shape (4, 2), clockwise on the screen from the upper left."""
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def outline(crop: pd.Series) -> np.ndarray:
    """Corners of a crop in the original slice (Eq. 12), shape (4, 2), pixels."""
    return augment.rotate_back(corners(crop.box), np.array(crop.center, float), np.float64(crop.angle_deg))


def covered(crop: pd.Series, points: np.ndarray) -> np.ndarray:
    """Points (m, 2) of the original slice that a crop shows, as a mask of shape (m,)."""
    x, y = augment.rotate_back(points, np.array(crop.center, float), np.float64(-crop.angle_deg)).T
    x0, y0, x1, y1 = crop.box
    return (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)


def constraints(crops: pd.DataFrame, size: int, theta_deg: float, min_area: float) -> pd.DataFrame:
    """The paper's constraints, measured on the two views of one slice.

    Parameters
    ----------
    crops : pd.DataFrame, 2 rows
        Crops as `augment.sample_crops` draws them.
    size : int
        W = H, pixels.
    theta_deg : float
        Largest angle, degrees.
    min_area : float
        p_crop, share of the slice.

    Returns
    -------
    pd.DataFrame
        ``constraint``, ``view`` (1 or 2; 0 for both together), ``measured`` (text) and ``holds`` (bool).
    """
    middle = (np.arange(GRID) + 0.5) * size / GRID
    points = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)
    first, second = (covered(crop, points) for _, crop in crops.iterrows())
    overlap = (first & second).sum() / max(1, min(first.sum(), second.sum()))
    o = np.array(crops.center.iloc[0], float)
    away = np.linalg.norm(o / size - 0.5)
    rows = [
        ("(1) the two crops overlap", 0, f"{overlap:.0%} of the smaller one", overlap > 0),
        ("(2) O lies in the slice", 0, f"{away:.2f} W from its middle", bool(((o >= 0) & (o <= size)).all())),
    ]
    low, high = paper.ASPECT
    for view, (_, crop) in enumerate(crops.iterrows(), 1):
        x0, y0, x1, y1 = crop.box
        width, height = x1 - x0, y1 - y0
        margin = min(o[0] - x0, x1 - o[0], o[1] - y0, y1 - o[1])
        outside = np.maximum(-outline(crop), outline(crop) - size).max()
        large = width * height > min_area * size**2  # not divided, as in `augment.allowed`
        rows += [
            ("(3) the crop contains O", view, f"{margin:.1f} pixels from the nearest side", margin >= 0),
            (f"|φ| ≤ θ = {theta_deg:g}°", view, f"φ = {crop.angle_deg:+.1f}°", abs(crop.angle_deg) <= theta_deg),
            ("(4) no filled pixels", view, f"farthest corner {far(outside)}", outside <= 0),
            ("(5) aspect ratio in [3/4, 4/3]", view, f"{width / height:.2f}", low * height <= width <= high * height),
            (f"(6) area above p_crop = {min_area:g}", view, f"{width * height / size**2:.2f} of the slice", large),
            (
                f"found within {paper.MAX_TRIES} tries",
                view,
                "no: rotation and crop are skipped" if crop.skipped else "yes",
                not crop.skipped,
            ),
        ]
    return pd.DataFrame(rows, columns=["constraint", "view", "measured", "holds"]).astype({"holds": bool})


def far(outside: float) -> str:
    """Distance of a corner outside the slice (negative: inside), in words."""
    return f"{abs(outside):.1f} pixels {'outside' if outside > 0 else 'inside'}"


def turned(crops: pd.DataFrame, degrees: float) -> pd.DataFrame:
    """Crops turned further about O, unchecked: what training would see without constraint (4)."""
    return crops.assign(angle_deg=crops.angle_deg + degrees)


def bare_views(image: np.ndarray, crops: pd.DataFrame) -> np.ndarray:
    """Rotation and crop alone, without flip, brightness, contrast and blur; shape (2, W, W)."""
    box, center = (np.array(crops[name].tolist(), float) for name in ("box", "center"))
    maps = augment.affine(box, len(image), center, crops.angle_deg.to_numpy(), np.zeros(len(crops), bool))
    images = tf.constant(np.repeat(image[None, ..., None], len(crops), axis=0), tf.float32)
    return augment.warp(images, tf.constant(maps)).numpy()[..., 0]


@lru_cache(maxsize=256)
def share_skipped(size: int, theta_deg: float, min_area: float, sigma: float) -> float:
    """Share of views that stay as they are, estimated on `DRAWS` slices."""
    return augment.sample_crops(np.random.default_rng(0), DRAWS, size, theta_deg, min_area, sigma).skipped.mean()


# Drawing


def draw_views(image: np.ndarray, views: np.ndarray, crops: pd.DataFrame) -> Image.Image:
    """Draw the slice with both crops and O, beside the two views.

    Parameters
    ----------
    image : np.ndarray, shape (W, W)
        Shown on a grey scale from 0 to 1; what lies around it is black, as rotation fills it.
    views : np.ndarray, shape (2, W, W)
    crops : pd.DataFrame, 2 rows
    """
    side = PANEL + 2 * MARGIN
    large = Image.new("RGB", (FINE * side,) * 2)
    large.paste(
        Image.fromarray(grey(image)).resize((FINE * PANEL,) * 2, Image.Resampling.BILINEAR), (FINE * MARGIN,) * 2
    )
    draw = ImageDraw.Draw(large)
    place = lambda points: FINE * (MARGIN + np.asarray(points) * PANEL / len(image))  # noqa: E731
    frame = place([[0, 0], [len(image)] * 2]).ravel()
    draw.rectangle(tuple(frame), outline=(110,) * 3, width=FINE)
    for (_, crop), color, dashes in zip(crops.iterrows(), COLORS, (1, 15), strict=True):
        ends = place(outline(crop))
        for start, end in zip(ends, np.roll(ends, -1, axis=0), strict=True):
            cuts = start + np.linspace(0, 1, 2 * dashes)[:, None] * (end - start)
            for one, other in cuts.reshape(-1, 2, 2):
                draw.line([*one, *other], color, 2 * FINE)
    x, y = place(crops.center.iloc[0])
    arm = 8 * FINE
    for color, width in (((0, 0, 0), 4 * FINE), (CENTER, 2 * FINE)):
        draw.line([x - arm, y, x + arm, y], color, width)
        draw.line([x, y - arm, x, y + arm], color, width)
    picture = Image.new("RGB", (side + 2 * (PANEL + GAP), side))
    picture.paste(large.reduce(FINE))
    draw = ImageDraw.Draw(picture)
    write(draw, (MARGIN, MARGIN - 24), "slice, both crops, + O", CENTER)
    for number, (view, color) in enumerate(zip(views, COLORS, strict=True)):
        left = side + number * (PANEL + GAP)
        picture.paste(Image.fromarray(grey(view)).resize((PANEL,) * 2, Image.Resampling.BILINEAR), (left, MARGIN))
        draw.rectangle((left, MARGIN, left + PANEL - 1, MARGIN + PANEL - 1), outline=color, width=2)
        name = NAMES[number] + " (dashed)" * number + ": skipped" * bool(crops.skipped.iloc[number])
        write(draw, (left, MARGIN - 24), name, color)
    return picture


def constraints_html(table: pd.DataFrame) -> str:
    """The constraints as a table, a lamp for each: green with a tick, or red with a cross."""
    body = ""
    for name, rows in table.groupby("constraint", sort=False):
        span = ' colspan="2"' * (len(rows) == 1)
        cells = "".join(f"<td{span}>{lamp(row.holds)}{html.escape(row.measured)}</td>" for row in rows.itertuples())
        body += f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>'
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("constraint", *NAMES))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def lamp(holds: bool) -> str:
    """A sign that is read without colours too."""
    name, sign, words = ("holds", "✓", "holds") if holds else ("broken", "✗", "broken")
    return f'<span class="{name}" role="img" aria-label="{words}">{sign}</span>'


# The widget


class ViewPlayground(panel.Panel):
    """Sliders for θ, p_crop and σ; two views of one slice as training would see them, and the constraints as lamps.

    Parameters
    ----------
    data : dataset.Dataset or None
        Its slices of the pre-training set are shown; None shows `trouble` alone.
    profile : Profile
        Where the sliders start, and the range of the blur (section `views`).
    seed : int
        Of the first draw; every further one has another seed.
    trouble : str
        A sentence for the message line.
    """

    def __init__(self, data: dataset.Dataset | None, profile: Profile, *, seed: int = 0, trouble: str = ""):
        self.data, self.profile, self.seed, self.draw = data, profile, seed, 0
        self.rows = data.pretrain_rows("train") if data else np.empty(0, int)
        settings = profile.views
        self.slider = panel.wide(widgets.IntSlider(min=1, max=max(1, len(self.rows)), description="slice"), 420)
        self.theta = panel.number("θ (°)", settings.theta_deg, 0, 90, 1, readout_format=".0f")
        self.min_area = panel.number("p_crop", settings.p_crop, 0, 0.95, 0.05)
        self.sigma = panel.number("σ (of W)", settings.sigma, 0, 0.5, 0.01)
        self.again = widgets.Button(description="another draw", tooltip="New angles, crops, flips and intensities.")
        self.bare = panel.switch("rotation and crop alone")
        self.turn = panel.number("turn (°)", 0, -45, 45, 1, readout_format=".0f", disabled=True)
        self.picture, self.table, self.message = widgets.HTML(), widgets.HTML(), panel.Message()
        left = widgets.VBox([self.slider, self.theta, self.min_area, self.sigma])
        right = widgets.VBox([self.again, self.bare, self.turn])
        super().__init__(
            "playground",
            [widgets.HBox([left, right]), self.picture, self.table, self.message],
            slider=self.slider,
            picture=self.picture,
            constraints=self.table,
        )
        if not len(self.rows):
            self.message.say(trouble or "The dataset has no slices for pre-training: run notebook 01.")
            return
        self.draw = next((draw for draw in range(OPENING) if self._holds(draw)), 0)
        self.follow([self.slider, self.theta, self.min_area, self.sigma, self.bare, self.turn])
        self.again.on_click(lambda _: self._draw_again())
        self.update()

    @classmethod
    def from_workspace(cls, space: Workspace) -> "ViewPlayground":
        """Playground of a run's slices and settings."""
        try:
            return cls(dataset.load_dataset(space.results / "01"), space.profile, seed=space.seed)
        except UserError as error:
            return cls(None, space.profile, seed=space.seed, trouble=str(error))

    def _draw_again(self) -> None:
        self.draw += 1
        self.update()

    def _holds(self, draw: int) -> bool:
        """Whether all constraints hold in a draw."""
        self.draw = draw
        return self.constraints().holds.all()

    def constraints(self) -> pd.DataFrame:
        """Constraints as the views on show keep them (`constraints`)."""
        return constraints(self.crops(), self.data.images.shape[1], self.theta.value, self.min_area.value)

    def drawn(self) -> tuple[augment.Drawn, pd.DataFrame]:
        """Random numbers of training for the slice on show: two views to be computed, and their crops."""
        profile = self.profile.replace(
            views={"theta_deg": self.theta.value, "p_crop": self.min_area.value, "sigma": self.sigma.value}
        )
        return augment.draw(self.image()[None, ..., None], (self.seed, self.draw), profile)

    def crops(self) -> pd.DataFrame:
        """Crops of the two views on show."""
        return turned(self.drawn()[1], self.turn.value)

    def views(self) -> np.ndarray:
        """Views on show, shape (2, W, W)."""
        if self.bare.value:
            return bare_views(self.image(), self.crops())
        return np.asarray(augment.transform(self.drawn()[0]))[..., 0]

    def image(self) -> np.ndarray:
        """Slice on show, shape (W, W)."""
        return self.data.images[self.rows[self.slider.value - 1]].astype(np.float32)

    def refresh(self, changed: widgets.Widget | None = None) -> None:
        """Draw the views and measure the constraints; only bare views can be turned by hand."""
        self.turn.disabled = not self.bare.value
        if not self.bare.value:
            self.turn.value = 0
        crops, size = self.crops(), self.data.images.shape[1]
        table = self.constraints()
        one = self.data.slices.iloc[self.rows[self.slider.value - 1]]
        broken = ", ".join(table.constraint[~table.holds].unique()) or "none"
        title = f"patient {one.patient}, {one.weighting} slice of the pre-training set, draw {self.draw + 1}"
        alt = f"A slice with both crops and the operation centre O, and its two views: {title}; broken: {broken}."
        self.picture.value = image_html(draw_views(self.image(), self.views(), crops), alt)
        skipped = share_skipped(size, self.theta.value, self.min_area.value, self.sigma.value)
        kind = (
            "Rotation and crop alone, turned further by hand and unchecked."
            if self.turn.value
            else "Rotation and crop alone."
            if self.bare.value
            else "Views as training sees them."
        )
        self.table.value = (
            f"<b>{html.escape(title)}</b>. {kind} With these values {skipped:.0%} of the views of {DRAWS} other draws "
            f"stay as they are.{constraints_html(table)}<i>Data: {html.escape(self.data.info['data_label'])}</i>"
        )
