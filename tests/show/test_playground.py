"""The playground without a browser: its lamps against a check of its own, its views against `augment` and geometry."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from ipywidgets.widgets import widget
from matplotlib.path import Path as Polygon
from PIL import Image
from scipy import ndimage

from lhdlib import augment, profile
from lhdlib.data.dataset import Dataset
from lhdlib.run import workspace
from lhdlib.show import playground
from lhdlib.show.pictures import grey

pytestmark = pytest.mark.slow  # all of them need what is written once for this file

SIZE, SLICES = 32, 6
SETTINGS = profile.load("smoke")
PANEL, MARGIN = playground.PANEL, playground.MARGIN


def made_up(images: np.ndarray) -> Dataset:
    parts = ["validation"] + ["train"] * (len(images) - 1)
    slices = pd.DataFrame({"patient": "<b>7</b>", "weighting": "T2", "pretrain": parts})
    return Dataset(images, slices, pd.DataFrame(), {"data_label": "made-up <numbers>"})


@pytest.fixture
def view() -> playground.ViewPlayground:
    images = np.random.default_rng(0).uniform(0, 1, (SLICES, SIZE, SIZE)).astype(np.float16)
    return playground.ViewPlayground(made_up(images), SETTINGS)


def shown(view: playground.ViewPlayground) -> np.ndarray:
    source = re.search(r'src="data:image/png;base64,([^"]+)"', view.picture.value)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))).astype(int)


def on_screen(points: np.ndarray, center: np.ndarray, degrees: float) -> np.ndarray:
    """Points turned anticlockwise as seen on the screen, by complex numbers."""
    turned = np.conj((points - center) @ [1, 1j]) * np.exp(1j * np.deg2rad(degrees))
    return center + np.stack([turned.real, -turned.imag], axis=-1)


def expected(crop: pd.Series, size: int, theta: float, p_crop: float) -> dict[str, bool | None]:
    """The constraints from the rotated image's side: does the polygon it fills hold the crop? None: too near to say."""
    o, (x0, y0, x1, y1) = np.array(crop.center, float), crop.box
    filled = on_screen(np.array([[0, 0], [size, 0], [size, size], [0, size]], float), o, crop.angle_deg)
    edges = np.roll(filled, -1, axis=0) - filled
    depth = min(  # of the crop's corners within the polygon, pixels
        (edge[0] * (y - start[1]) - edge[1] * (x - start[0])) / size
        for start, edge in zip(filled, edges, strict=True)
        for x, y in ((x0, y0), (x1, y0), (x0, y1), (x1, y1))
    )
    width, height = x1 - x0, y1 - y0
    return {
        "(3)": x0 <= o[0] <= x1 and y0 <= o[1] <= y1,
        "|φ|": -theta <= crop.angle_deg <= theta,
        "(4)": None if abs(depth) < 1e-9 else bool(depth > 0),
        "(5)": 3 * height <= 4 * width and 3 * width <= 4 * height,
        "(6)": width * height / size**2 > p_crop,
        "found": not crop.skipped,
    }


def spoilt(crops: pd.DataFrame, rng: np.random.Generator, size: int) -> pd.DataFrame:
    """One of the two crops with other corners, angle or place, so that any constraint may break."""
    victim = rng.integers(2)
    crops = crops.copy()
    kind = rng.integers(3)
    if kind == 0:
        low, high = rng.uniform(0, size / 2, 2), rng.uniform(size / 2, size, 2)
        crops.at[victim, "box"] = (*low, *high)
    elif kind == 1:
        crops.loc[victim, "angle_deg"] += rng.uniform(-60, 60)
    else:
        crops.at[victim, "box"] = tuple(np.array(crops.box[victim]) + rng.uniform(-size / 3, size / 3))
    return crops


def test_lamps_agree_with_a_check_of_their_own():
    rng, seen = np.random.default_rng(1), {}
    for draw in range(300):
        size, theta, p_crop = int(rng.integers(20, 300)), rng.uniform(0, 45), rng.uniform(0.05, 0.7)
        crops = augment.sample_crops(rng, 1, size, theta, p_crop, rng.uniform(0, 0.3))
        untouched = draw % 2 == 0
        crops = crops if untouched else spoilt(crops, rng, size)
        table = playground.constraints(crops, size, theta, p_crop)
        for number, crop in crops.iterrows():
            found = table[table.view == number + 1]
            for name, wanted in expected(crop, size, theta, p_crop).items():
                one = found[found.constraint.str.startswith(name)]
                assert len(one) == 1
                if wanted is not None:
                    assert one.holds.item() == wanted, (name, crop.to_dict(), size, theta, p_crop)
                    seen[name, wanted] = seen.get((name, wanted), 0) + 1
                if untouched and not crop.skipped:
                    assert one.holds.item()
    for name in ("(3)", "|φ|", "(4)", "(5)", "(6)", "found"):
        assert seen[name, True] > 100 and seen[name, False] > 10, seen


def test_the_overlap_is_that_of_the_turned_boxes():
    rng, size, theta = np.random.default_rng(2), 300, 30
    fine = (np.stack(np.meshgrid(*[np.arange(400)] * 2), axis=-1).reshape(-1, 2) + 0.5) * size / 400
    for _ in range(15):
        crops = augment.sample_crops(rng, 1, size, theta, 0.1, 0.2)
        crops = (
            crops if rng.random() < 0.7 else crops.assign(box=[(0.0, 0.0, 60.0, 60.0), (200.0, 200.0, 290.0, 290.0)])
        )
        inside = []
        for _, crop in crops.iterrows():
            box = np.array(crop.box)[[[0, 1], [2, 1], [2, 3], [0, 3]]]
            inside.append(Polygon(on_screen(box, np.array(crop.center), -crop.angle_deg)).contains_points(fine))
        wanted = (inside[0] & inside[1]).sum() / min(map(np.sum, inside))
        row = playground.constraints(crops, size, theta, 0.1).iloc[0]
        assert float(row.measured.split("%")[0]) / 100 == pytest.approx(wanted, abs=0.03)
        assert row.holds == (wanted > 0)


def lamps(view: playground.ViewPlayground) -> dict[str, list[bool]]:
    """From the HTML alone: the lamps of each constraint; sign, colour and words have to agree."""
    found = {}
    for row in re.findall(r'<tr><th scope="row">(.*?)</tr>', view.table.value):
        signs = re.findall(r'<span class="(\w+)" role="img" aria-label="(\w+)">(.)</span>', row)
        assert signs and set(signs) <= {("holds", "holds", "✓"), ("broken", "broken", "✗")}
        found[row.split("</th>")[0]] = [sign == "✓" for _, _, sign in signs]
    return found


def test_an_impossible_area_is_shown_as_skipped_in_red(view):
    view.theta.value, view.min_area.value = 45, 0.95
    assert view.crops().skipped.all()
    found = lamps(view)
    assert found.pop("found within 100 tries") == [False, False]
    assert all(all(values) for values in found.values())  # the whole slice, unturned, obeys the others
    assert "100% of the views" in view.table.value and "broken: found within 100 tries." in view.picture.value
    np.testing.assert_array_equal(view.crops().box.tolist(), [[0, 0, SIZE, SIZE]] * 2)


def test_what_training_sees_breaks_nothing(view):
    skipped = set()
    for _ in range(40):
        view.again.click()
        found = lamps(view)
        wanted = [not s for s in view.crops().skipped]
        assert found.pop("found within 100 tries") == wanted
        skipped |= set(wanted)
        assert len(found) == 7 and all(all(values) for values in found.values())
    assert skipped == {True, False}


def test_it_opens_on_the_first_draw_in_which_all_constraints_hold(view):
    later = 0
    for seed in range(12):
        opened = playground.ViewPlayground(view.data, SETTINGS, seed=seed)
        assert "✗" not in opened.table.value and opened.constraints().holds.all()
        first = opened.draw
        later += first > 0
        for opened.draw in range(first):
            assert not opened.constraints().holds.all()
    assert later  # at least once the first draw would have shown a red lamp


@pytest.mark.parametrize("theta, p_crop, sigma", [(18, 0.4, 0.1), (40, 0.1, 0.3)])
def test_views_are_those_of_training(view, theta, p_crop, sigma):
    view.theta.value, view.min_area.value, view.sigma.value, view.slider.value = theta, p_crop, sigma, 3
    changed = SETTINGS.replace(views={"theta_deg": float(theta), "p_crop": p_crop, "sigma": sigma})
    for draw in range(view.draw, view.draw + 4):
        image = view.data.images[3].astype(np.float32)  # row 0 is held out
        np.testing.assert_array_equal(view.image(), image)
        wanted = np.asarray(augment.contrastive_views(image[None, ..., None], (0, draw), changed))[..., 0]
        np.testing.assert_array_equal(view.views(), wanted)
        middle = np.asarray(Image.fromarray(grey(wanted[1])).resize((PANEL,) * 2, Image.Resampling.BILINEAR))
        left = 2 * PANEL + 2 * MARGIN + playground.GAP
        inner = shown(view)[MARGIN + 3 : MARGIN + PANEL - 3, left + 3 : left + PANEL - 3]
        assert (inner == middle[3:-3, 3:-3, None]).all()
        view.again.click()


def test_the_crops_drawn_are_where_the_views_were_cut():
    """Two ramps seen through the views: their slopes tell angle and sides of the crop that was really cut.

    Brightness and contrast scale both slopes of one view alike, and the flip turns the sign of the horizontal one;
    the blur leaves a ramp as it is.
    """
    across = np.broadcast_to(np.linspace(0, 1, SIZE), (SIZE, SIZE)).astype(np.float32)
    view = playground.ViewPlayground(made_up(np.stack([across] * 2)), SETTINGS)
    seen = 0
    for _ in range(40):
        view.again.click()
        for picture, (_, crop) in zip(view.views(), view.crops().iterrows(), strict=True):
            if crop.skipped:
                continue
            inner = picture[8:-8, 8:-8]
            down, right = (slopes.mean() for slopes in np.gradient(inner))
            x0, y0, x1, y1 = crop.box
            phi = np.deg2rad(crop.angle_deg)
            wanted = -np.sin(phi) * (y1 - y0) / (np.cos(phi) * (x1 - x0))  # x' = cos φ x − sin φ y, Eq. 12
            assert down / abs(right) == pytest.approx(wanted, abs=0.01)
            seen += 1
    assert seen > 40


def test_turning_by_hand_breaks_constraint_4_and_shows_the_filled_pixels():
    view = playground.ViewPlayground(made_up(np.ones((2, SIZE, SIZE), np.float16)), SETTINGS)
    assert view.turn.disabled
    view.bare.value = True
    assert not view.turn.disabled
    seen = {True: 0, False: 0}
    for turn in (0, 0, -30, 15, 45, -45, 0, 25):
        view.again.click()
        view.turn.value = turn
        holds = lamps(view)["(4) no filled pixels"]
        for picture, fits in zip(view.views(), holds, strict=True):
            corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
            assert (picture == 1).all() if fits else set(np.unique(picture)) <= {0, 1}
            seen[fits] += fits or (corners == 0).any()
    assert seen[True] >= 6 and seen[False] >= 4
    view.bare.value = False
    assert view.turn.value == 0 and all(lamps(view)["(4) no filled pixels"])


def test_views_without_intensity_are_the_crop_alone(view):
    """Against SciPy's interpolation."""
    view.bare.value = True
    rows, cols = np.mgrid[:SIZE, :SIZE] + 0.5
    for _ in range(10):
        view.again.click()
        for picture, (_, crop) in zip(view.views(), view.crops().iterrows(), strict=True):
            x0, y0, x1, y1 = crop.box
            points = np.stack([x0 + cols / SIZE * (x1 - x0), y0 + rows / SIZE * (y1 - y0)], axis=-1)
            x, y = np.moveaxis(on_screen(points, np.array(crop.center), -crop.angle_deg), -1, 0)
            wanted = ndimage.map_coordinates(view.image(), [y - 0.5, x - 0.5], order=1, mode="nearest")
            np.testing.assert_allclose(picture, wanted, atol=2e-4)


def test_the_boxes_and_o_are_drawn_where_they_are():
    view = playground.ViewPlayground(made_up(np.zeros((2, SIZE, SIZE), np.float16)), SETTINGS)
    for _ in range(8):
        view.again.click()
        crops, pixels = view.crops(), shown(view)
        place = lambda point: np.round(MARGIN + np.asarray(point) * PANEL / SIZE).astype(int)  # noqa: E731
        x, y = place(crops.center[0])
        assert pixels[y - 2 : y + 3, x - 2 : x + 3].max() > 240
        for crop, color in zip(crops.itertuples(), playground.COLORS, strict=True):
            x0, y0, x1, y1 = crop.box
            box = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
            ends = on_screen(box, np.array(crop.center), -crop.angle_deg)
            near = []
            for start, end in zip(ends, np.roll(ends, -1, axis=0), strict=True):
                for share in np.linspace(0, 1, 200):
                    x, y = place(start + share * (end - start))
                    patch = pixels[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
                    near.append(np.abs(patch - color).max(axis=1).min() < 90)
            assert np.mean(near) > (0.9 if color == playground.COLORS[0] else 0.4)


def test_moving_a_slider_keeps_the_draw(view):
    before = view.crops()
    view.slider.value = 4
    pd.testing.assert_frame_equal(view.crops(), before)
    view.theta.value = SETTINGS.views.theta_deg * 2
    kept = ~(before.skipped | view.crops().skipped)
    np.testing.assert_allclose(view.crops().angle_deg[kept], 2 * before.angle_deg[kept])
    view.theta.value = SETTINGS.views.theta_deg
    view.again.click()
    assert (view.crops().angle_deg != before.angle_deg).all()


def test_every_control_changes_what_is_shown(view):
    pictures = [view.picture.value]
    moves = [("slider", 2), ("theta", 40), ("min_area", 0.2), ("sigma", 0.4), ("bare", True), ("turn", 20)]
    for name, value in moves:
        getattr(view, name).value = value
        pictures.append(view.picture.value)
    view.again.click()
    pictures.append(view.picture.value)
    assert len(set(pictures)) == len(moves) + 2
    assert view.slider.max == SLICES - 1  # the held-out slice is not for training


def test_moves_trace_no_graph_and_leave_nothing_behind(monkeypatch):
    traced, plain = [], augment.warp
    monkeypatch.setattr(augment, "warp", lambda *a, **k: traced.append(1) or plain(*a, **k))
    tf.config.run_functions_eagerly(True)  # nothing is traced once for all: then each move passes here
    try:
        view = playground.ViewPlayground(made_up(np.ones((3, SIZE, SIZE), np.float16)), SETTINGS)
        view.again.click()
        assert len(traced) >= 2
    finally:
        tf.config.run_functions_eagerly(False)
    view.again.click()
    traced.clear()
    widgets = len(widget._instances)
    for move in range(12):
        view.theta.value, view.min_area.value, view.sigma.value = 3 * move, move / 15, move / 30
        view.slider.value = 1 + move % 2
        view.again.click()
    assert not traced and len(widget._instances) == widgets
    assert playground.share_skipped.cache_info().maxsize <= 1000


def test_text_is_escaped_and_the_picture_described(view):
    for text in (view.picture.value, view.table.value):
        assert "<b>7</b>" not in text and "&lt;b&gt;7&lt;/b&gt;" in text
    assert "made-up &lt;numbers&gt;" in view.table.value
    assert re.search(r'<img [^>]*alt="[^"]{40,}"', view.picture.value)
    assert "lhd-playground" in view._dom_classes
    parts = {"slider": view.slider, "picture": view.picture, "constraints": view.table, "message": view.message}
    assert all(f"lhd-{name}" in part._dom_classes for name, part in parts.items())


def test_what_is_missing_is_one_sentence(tmp_path):
    space = workspace.open_workspace("smoke", results=str(tmp_path))
    view = playground.ViewPlayground.from_workspace(space)
    assert re.search(r">[^<]*dataset\.json cannot be read[^<]*\.</", view.message.value) and view.picture.value == ""
    empty = made_up(np.ones((1, SIZE, SIZE), np.float16))
    view = playground.ViewPlayground(empty, SETTINGS)
    assert "run notebook 01.</" in view.message.value and view.picture.value == ""
    view.again.click()
    view.theta.value = 3
