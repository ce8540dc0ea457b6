"""Random views against constraints (1)-(6), Eq. 9-15, SciPy's interpolation and blur, and hand-made images."""

import threading

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage, stats

from lhdlib import augment, paper, profile

PAPER = {"size": 300, "theta_deg": 18.0, "min_area": 0.1, "sigma": 0.1}


def columns(crops) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centre (m, 2), angle (m,), box (m, 4), skipped (m,)."""
    return (
        np.array(crops.center.tolist(), float),
        crops.angle_deg.to_numpy(),
        np.array(crops.box.tolist(), float),
        crops.skipped.to_numpy(),
    )


def turn_on_screen(x, y, xc, yc, angle_deg):
    """Turn a point anticlockwise as seen on a screen whose y axis points down: mirror, turn, mirror back."""
    turned = (x - xc + 1j * (yc - y)) * np.exp(1j * np.deg2rad(angle_deg))
    return xc + turned.real, yc - turned.imag


def filled_pixels(center, angle_deg, box, size) -> np.ndarray:
    """How far the crop's worst corner lies outside the turned image, a convex polygon (constraint 4); (m,), pixels."""
    xc, yc = center.T
    polygon = [turn_on_screen(x, y, xc, yc, angle_deg) for x, y in ((0, 0), (size, 0), (size, size), (0, size))]
    worst = np.full(len(box), -np.inf)
    for i, j in ((0, 1), (2, 1), (2, 3), (0, 3)):
        px, py = box[:, i], box[:, j]
        for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            outside = -((bx - ax) * (py - ay) - (by - ay) * (px - ax)) / size
            worst = np.maximum(worst, outside)
    return worst


@pytest.fixture(scope="module")
def drawn():
    """10,000 draws at the paper's values."""
    return columns(augment.sample_crops(np.random.default_rng(0), 5_000, **PAPER))


@pytest.fixture(scope="module")
def hard():
    """Draws with far-off centres, large angles and large crops, of which many are given up."""
    settings = {"size": 64, "theta_deg": 45.0, "min_area": 0.35, "sigma": 0.3}
    return columns(augment.sample_crops(np.random.default_rng(1), 5_000, **settings, max_tries=20))


def test_partners_share_the_centre_and_overlap(drawn):
    """Constraints (1) and (3): one centre, and both crops contain it."""
    center, _, box, _ = drawn
    assert len(center) == 10_000
    np.testing.assert_array_equal(center[0::2], center[1::2])
    assert ((box[:, :2] <= center) & (center <= box[:, 2:])).all()
    width, height = (
        np.minimum(box[0::2, k + 2], box[1::2, k + 2]) - np.maximum(box[0::2, k], box[1::2, k]) for k in (0, 1)
    )
    assert (width > 0).all() and (height > 0).all()


@pytest.mark.parametrize("fixture, size, min_area", [("drawn", 300, 0.1), ("hard", 64, 0.35)])
def test_kept_crops_obey_constraints_4_to_6(request, fixture, size, min_area):
    center, angle, box, skipped = request.getfixturevalue(fixture)
    kept = ~skipped
    assert kept.sum() > 1_000
    width, height = box[kept, 2] - box[kept, 0], box[kept, 3] - box[kept, 1]
    assert filled_pixels(center[kept], angle[kept], box[kept], size).max() < 1e-9
    assert (width / height >= 3 / 4).all() and (width / height <= 4 / 3).all()
    assert (width * height > min_area * size**2).all()
    assert box[kept].min() >= 0 and box[kept].max() <= size


def test_the_turned_whole_image_breaks_constraint_4():
    """The check above can fail: the whole image, turned by 5 degrees, has filled corners 12.5 pixels wide."""
    center, angle, box = np.full((1, 2), 150.0), np.array([5.0]), np.array([[0.0, 0.0, 300.0, 300.0]])
    assert filled_pixels(center, angle, box, 300)[0] == pytest.approx(150 * (np.sqrt(2) * np.cos(np.deg2rad(40)) - 1))
    assert not augment.allowed(box, center, angle, 300, 0.1)[0]


def test_allowed_agrees_with_the_polygon_on_arbitrary_boxes():
    """Constraint (4) alone, both ways: no good crop is refused, no bad one passes."""
    rng = np.random.default_rng(2)
    m, size = 20_000, 100
    center, angle = rng.uniform(0, size, (m, 2)), rng.uniform(-60, 60, m)
    corner, side = rng.uniform(0, size, (m, 2)), rng.uniform(1, 60, (m, 1))
    box = np.concatenate([corner, corner + side], axis=1)  # squares: constraints (5) and (6) hold
    outside = filled_pixels(center, angle, box, size)
    clear = np.abs(outside) > 1e-9
    allowed = augment.allowed(box, center, angle, size, 0.0)
    np.testing.assert_array_equal(allowed[clear], outside[clear] < 0)
    assert 0.1 < allowed.mean() < 0.9


@pytest.mark.parametrize(
    "box, min_area, expected",
    [
        ((10, 10, 50, 50), 0.15, True),
        ((10, 10, 50, 50), 0.17, False),  # 1600 of 10,000 pixels
        ((10, 10, 50, 50), 0.16, False),  # "larger than"
        ((10, 10, 50, 40), 0.0, True),  # 4 : 3, "within"
        ((10, 10, 40, 50), 0.0, True),  # 3 : 4
        ((10, 10, 50, 39), 0.0, False),
        ((10, 10, 39, 50), 0.0, False),
        ((0, 0, 100, 100), 0.9, True),  # the border belongs to the image
        ((-1, 10, 40, 50), 0.0, False),
        ((60, 60, 101, 101), 0.0, False),
    ],
)
def test_allowed_at_the_limits(box, min_area, expected):
    arguments = np.array([box], float), np.array([[30.0, 30.0]]), np.zeros(1), 100, min_area
    assert augment.allowed(*arguments)[0] == expected


def test_skipped_views_keep_the_whole_image(hard):
    _, angle, box, skipped = hard
    assert 0.05 < skipped.mean() < 0.95
    assert (angle[skipped] == 0).all()
    assert (box[skipped] == [0, 0, 64, 64]).all()
    assert (angle[~skipped] != 0).all()


def test_angles_are_uniform(drawn):
    _, angle, _, skipped = drawn
    assert skipped.mean() < 1e-3
    assert stats.kstest(angle, stats.uniform(-18, 36).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(angle[0::2], angle[1::2])[0, 1]) < 0.05  # each view has its own


def test_centres_are_gaussian_and_whole_pixels(drawn):
    """Eq. 9-11; rounding is undone by spreading each centre over its pixel."""
    center = drawn[0][0::2]
    assert (center == np.rint(center)).all()
    spread = center + np.random.default_rng(3).uniform(-0.5, 0.5, center.shape)
    for axis in (0, 1):
        assert stats.kstest(spread[:, axis], stats.norm(150, 30).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(center.T)[0, 1]) < 0.05


def test_centres_beyond_the_image_lie_on_its_border():
    center = columns(augment.sample_crops(np.random.default_rng(4), 4_000, 40, 10, 0.1, sigma=0.5, max_tries=1))[0]
    share = stats.norm.cdf(-1)  # s < 0 and s > 1 are one standard deviation away
    for side in (0, 40):
        assert (center == side).mean() == pytest.approx(share, abs=0.03)
    assert center.min() == 0 and center.max() == 40


def loop_acceptance(
    rng: np.random.Generator, count: int, size: int, theta: float, min_area: float, sigma: float
) -> float:
    """Share of single tries that obey constraints (4)-(6), one at a time in Python's own arithmetic."""
    good = 0
    for _ in range(count):
        xc, yc = (round(size * min(max(rng.normal(0.5, sigma), 0), 1)) for _ in range(2))
        phi = np.deg2rad(rng.uniform(-theta, theta))
        x0, y0 = rng.uniform(0, xc), rng.uniform(0, yc)
        x1, y1 = rng.uniform(xc, size), rng.uniform(yc, size)
        if not (3 * (y1 - y0) <= 4 * (x1 - x0) and 3 * (x1 - x0) <= 4 * (y1 - y0)):
            continue
        if (x1 - x0) * (y1 - y0) <= min_area * size * size:
            continue
        back = [
            (np.cos(phi) * (x - xc) - np.sin(phi) * (y - yc) + xc, np.sin(phi) * (x - xc) + np.cos(phi) * (y - yc) + yc)
            for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        ]
        good += all(0 <= x <= size and 0 <= y <= size for x, y in back)
    return good / count


@pytest.mark.slow
def test_share_of_skipped_views():
    """One try is given up as often as a single draw breaks a constraint; a hundred hardly ever."""
    rng = np.random.default_rng(5)
    once, always = (augment.sample_crops(rng, 5_000, **PAPER, max_tries=k).skipped.mean() for k in (1, 100))
    accepted = loop_acceptance(np.random.default_rng(6), 6_000, 300, 18, 0.1, 0.1)
    assert once == pytest.approx(1 - accepted, abs=4 * np.sqrt(accepted * (1 - accepted) / 4_000))
    assert always < 1e-3
    assert augment.sample_crops(rng, 50, **PAPER).skipped.dtype == bool


def test_hundred_tries_is_the_default():
    few = {"size": 50, "theta_deg": 40.0, "min_area": 0.5, "sigma": 0.2}
    default, explicit = (
        augment.sample_crops(np.random.default_rng(7), 300, **few, **more) for more in ({}, {"max_tries": 100})
    )
    assert default.equals(explicit)
    assert not default.equals(augment.sample_crops(np.random.default_rng(7), 300, **few, max_tries=99))


@pytest.mark.parametrize("seed", range(4))
def test_a_seed_gives_the_draws_of_the_plain_rule(seed):
    """What a seed means must not change with the code's speed: every number in its order, one view at a time."""
    n, size, theta, p_crop, sigma, tries = 5, 80, 25.0, 0.3, 0.2, 30
    found = columns(augment.sample_crops(np.random.default_rng(seed), n, size, theta, p_crop, sigma, tries))

    rng = np.random.default_rng(seed)
    center = np.repeat(np.round(np.clip(rng.normal(0.5, sigma, (n, 2)), 0, 1) * size), 2, axis=0)
    angle = rng.uniform(-theta, theta, 2 * n)
    box = np.tile([0.0, 0, size, size], (2 * n, 1))
    waiting = list(range(2 * n))
    for _ in range(tries):
        first, last = rng.uniform(size=(len(waiting), 2)), rng.uniform(size=(len(waiting), 2))
        left = []
        for k, u, v in zip(waiting, first, last, strict=True):
            (x0, y0), (x1, y1) = u * center[k], center[k] + v * (size - center[k])
            drawn, width, height = np.array([[x0, y0, x1, y1]]), x1 - x0, y1 - y0
            inside = filled_pixels(center[[k]], angle[[k]], drawn, size)[0] <= 0
            if inside and 0.75 * height <= width <= 4 / 3 * height and width * height > p_crop * size**2:
                box[k] = drawn
            else:
                left.append(k)
        waiting = left
    angle[waiting] = 0
    assert 0 < len(waiting) < 2 * n  # both outcomes are seen
    for ours, plain in zip(found, (center, angle, box, np.isin(range(2 * n), waiting)), strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_rotate_back_is_eq_12():
    rng = np.random.default_rng(8)
    points, center, angle = rng.uniform(0, 300, (50, 2)), rng.uniform(0, 300, (50, 2)), rng.uniform(-180, 180, 50)
    found = augment.rotate_back(points, center, angle)
    for (x, y), (xc, yc), degrees, result in zip(points, center, angle, found, strict=True):
        matrix = [[np.cos(np.pi * degrees / 180), -np.sin(np.pi * degrees / 180)]]
        matrix.append([-matrix[0][1], matrix[0][0]])
        np.testing.assert_allclose(result, np.array(matrix) @ [x - xc, y - yc] + [xc, yc], atol=1e-9)
    back = np.array(turn_on_screen(*found.T, *center.T, angle)).T  # forth and back again
    np.testing.assert_allclose(back, points, atol=1e-9)


def whole(size: int) -> np.ndarray:
    return np.array([[0.0, 0.0, size, size]])


def test_a_positive_angle_turns_the_image_anticlockwise():
    """A bright pixel to the right of the centre moves up; on a screen y points down."""
    image = np.zeros((1, 21, 21, 1), np.float32)
    image[0, 10, 18, 0] = 1
    center = np.array([[10.5, 10.5]])
    for angle, (row, column) in {90: (2, 10), -90: (18, 10), 180: (10, 2)}.items():
        maps = augment.affine(whole(21), 21, center, np.array([float(angle)]), np.array([False]))
        turned = augment.warp(tf.constant(image), tf.constant(maps)).numpy()[0, ..., 0]
        assert np.unravel_index(turned.argmax(), turned.shape) == (row, column)
        assert turned.max() == pytest.approx(1, abs=1e-4)


def test_rotation_and_crop_put_a_known_point_where_geometry_says():
    """A blob's centre of mass after an off-centre rotation, a crop and a flip."""
    size, x, y = 120, 70.0, 40.0
    rows, cols = np.mgrid[:size, :size] + 0.5
    image = np.exp(-((cols - x) ** 2 + (rows - y) ** 2) / 18)[None, ..., None].astype(np.float32)
    center, angle, box = np.array([[55.0, 62.0]]), np.array([13.0]), np.array([[30.0, 20.0, 105.0, 90.0]])
    tx, ty = turn_on_screen(x, y, 55, 62, 13)
    for flip in (False, True):
        maps = augment.affine(box, size, center, angle, np.array([flip]))
        view = augment.warp(tf.constant(image), tf.constant(maps)).numpy()[0, ..., 0]
        found_y, found_x = (float((c * view).sum() / view.sum()) for c in (rows, cols))
        expected_x = (tx - 30) * size / 75
        assert found_x == pytest.approx(size - expected_x if flip else expected_x, abs=0.02)
        assert found_y == pytest.approx((ty - 20) * size / 70, abs=0.02)


def scipy_warp(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear warp of one image (H, W, c) with SciPy, and where it looks inside the image."""
    height, width = image.shape[:2]
    rows, cols = np.mgrid[:height, :width] + 0.5
    x, y = (matrix[k, 0] * cols + matrix[k, 1] * rows + matrix[k, 2] for k in (0, 1))
    coordinates = np.stack([y, x]) - 0.5
    view = np.stack(
        [ndimage.map_coordinates(image[..., k], coordinates, order=1, mode="nearest") for k in range(image.shape[2])],
        -1,
    )
    return view, (x > 0.01) & (x < width - 0.01) & (y > 0.01) & (y < height - 0.01)


@pytest.mark.parametrize("shape", [(24, 24, 1), (20, 33, 2)])
def test_warp_equals_scipy(shape):
    rng = np.random.default_rng(9)
    height, width, _ = shape
    m = 40
    images = rng.normal(size=(m, *shape)).astype(np.float32)
    angle, scale = rng.uniform(-np.pi, np.pi, m), rng.uniform(0.3, 1.3, (m, 2))
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    linear = turn * scale[:, None]
    middle = np.array([width, height]) / 2
    offset = middle + rng.normal(0, 2, (m, 2)) - linear @ middle
    maps = np.concatenate([linear, offset[..., None]], axis=-1).astype(np.float32)
    views = augment.warp(tf.constant(images), tf.constant(maps)).numpy()
    seen = 0
    for image, matrix, view in zip(images, maps.astype(float), views, strict=True):
        expected, inside = scipy_warp(image, matrix)
        np.testing.assert_allclose(view[inside], expected[inside], atol=2e-4)
        seen += inside.mean()
    assert seen / m > 0.5


def test_warp_fills_zeros_outside_the_image():
    image = np.ones((1, 16, 16, 1), np.float32)
    shifted = augment.warp(tf.constant(image), tf.constant([[[1.0, 0, 5], [0, 1, 0]]])).numpy()[0, ..., 0]
    np.testing.assert_array_equal(shifted, np.repeat([[1.0] * 11 + [0.0] * 5], 16, axis=0))


def test_identity_map_returns_the_image():
    images = np.random.default_rng(10).normal(size=(3, 17, 17, 1)).astype(np.float32)
    maps = augment.affine(np.repeat(whole(17), 3, axis=0), 17, np.full((3, 2), 4.0), np.zeros(3), np.zeros(3, bool))
    np.testing.assert_array_equal(augment.warp(tf.constant(images), tf.constant(maps)), images)


def test_flip_mirrors_left_and_right():
    images = np.random.default_rng(11).normal(size=(2, 16, 16, 1)).astype(np.float32)
    maps = augment.affine(np.repeat(whole(16), 2, axis=0), 16, np.zeros((2, 2)), np.zeros(2), np.array([True, False]))
    views = augment.warp(tf.constant(images), tf.constant(maps)).numpy()
    np.testing.assert_allclose(views[0], images[0, :, ::-1], atol=1e-5)
    np.testing.assert_array_equal(views[1], images[1])


@pytest.mark.slow
def test_warp_compiles_under_xla():
    images = np.random.default_rng(12).normal(size=(2, 12, 12, 1)).astype(np.float32)
    maps = augment.affine(
        np.array([[1.0, 2, 9, 10], [0, 0, 12, 12]]), 12, np.full((2, 2), 6.0), np.array([9.0, 0]), np.zeros(2, bool)
    )
    compiled = tf.function(augment.warp, jit_compile=True)
    np.testing.assert_allclose(compiled(images, maps), augment.warp(tf.constant(images), tf.constant(maps)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size, n, theta, p_crop", [(32, 2_500, 18, 0.1), (32, 500, 45, 0.2), (300, 12, 18, 0.1)])
def test_a_constant_image_stays_exactly_constant(size, n, theta, p_crop):
    """No filled pixel reaches a view: constraint (4), seen from the pixels."""
    rng = np.random.default_rng(13)
    center, angle, box, _ = columns(augment.sample_crops(rng, n, size, theta, p_crop, 0.1))
    maps = augment.affine(box, size, center, angle, rng.random(2 * n) < 0.5)
    views = augment.warp(tf.ones((2 * n, size, size, 1)), tf.constant(maps)).numpy()
    assert views.min() == 1 and views.max() == 1


def test_a_crop_that_breaks_constraint_4_shows_zeros():
    """The planted fault that the test above must see."""
    n, size = 200, 32
    rng = np.random.default_rng(14)
    angle = rng.uniform(6, 18, n) * rng.choice([-1, 1], n)
    maps = augment.affine(np.repeat(whole(size), n, axis=0), size, np.full((n, 2), 16.0), angle, np.zeros(n, bool))
    views = augment.warp(tf.ones((n, size, size, 1)), tf.constant(maps)).numpy()
    assert (views.min(axis=(1, 2, 3)) == 0).all()


def random_maps(rng, n: int, size: int) -> np.ndarray:
    """Allowed maps of 2n views."""
    center, angle, box, _ = columns(augment.sample_crops(rng, n, size, 18.0, 0.1, 0.1))
    return augment.affine(box, size, center, angle, rng.random(2 * n) < 0.5)


def test_views_of_one_image_follow_each_other():
    rng = np.random.default_rng(25)
    images, maps = rng.normal(size=(4, 20, 20, 2)).astype(np.float32), random_maps(rng, 4, 20)
    expected = augment.warp(tf.constant(np.repeat(images, 2, axis=0)), tf.constant(maps))
    np.testing.assert_array_equal(augment.warp(tf.constant(images), tf.constant(maps)), expected)


@pytest.mark.parametrize("margin", [1, 3])
def test_the_margin_mirrors_the_view(margin):
    rng = np.random.default_rng(26)
    images, maps = tf.constant(rng.normal(size=(3, 16, 16, 1)), tf.float32), tf.constant(random_maps(rng, 3, 16))
    around = [(0, 0), (margin, margin), (margin, margin), (0, 0)]
    expected = np.pad(augment.warp(images, maps), around, mode="symmetric")
    np.testing.assert_array_equal(augment.warp(images, maps, margin=margin), expected)


@pytest.mark.slow
def test_compiled_and_plain_warp_agree():
    """Smooth images: coordinates are rounded to some 1e-5 pixels in either."""
    rng = np.random.default_rng(27)
    images, maps = tf.constant(smooth_images(3, 48, 28), tf.float32), tf.constant(random_maps(rng, 3, 48))
    np.testing.assert_allclose(augment.compiled(augment.warp)(images, maps), augment.warp(images, maps), atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size, n", [(32, 2_500), (300, 12)])
def test_a_constant_image_stays_exactly_constant_when_compiled(size, n):
    maps = random_maps(np.random.default_rng(29), n, size)
    radius = augment.kernel_radius(size)
    views = augment.compiled(augment.warp)(tf.ones((n, size, size, 1)), tf.constant(maps), margin=radius).numpy()
    assert views.shape == (2 * n, size + 2 * radius, size + 2 * radius, 1)
    assert views.min() == 1 and views.max() == 1


def test_warp_and_blur_equal_opencv():
    pytest.importorskip("cv2")
    pytest.importorskip("albumentations")
    views = pytest.importorskip("benchmarks.views")
    assert max(views.differences().values()) < 2e-5


def test_brightness_is_eq_13_and_not_clipped():
    images = np.random.default_rng(15).normal(0.8, 0.5, (4, 6, 6, 1)).astype(np.float32)
    factor = np.array([0.6, 1.0, 1.4, 1.2], np.float32)
    found = augment.brightness(tf.constant(images), tf.constant(factor)).numpy()
    np.testing.assert_allclose(found, images * factor.reshape(4, 1, 1, 1), rtol=1e-6)
    assert found.max() > 1 and found.min() < 0


def test_contrast_is_eq_14_and_15_and_not_clipped():
    images = np.random.default_rng(16).normal(0.8, 0.5, (4, 6, 6, 1)).astype(np.float32)
    factor = np.array([0.6, 1.0, 1.4, 1.2], np.float32)
    found = augment.contrast(tf.constant(images), tf.constant(factor)).numpy()
    for image, kappa, result in zip(images.astype(float), factor, found, strict=True):
        average = sum(image.ravel()) / image.size  # each image has its own mean
        np.testing.assert_allclose(result, (image - average) * kappa + average, atol=2e-6)
    assert found.max() > 1 and found.min() < 0


def test_contrast_takes_the_mean_of_the_view_alone():
    images = np.random.default_rng(30).normal(size=(3, 10, 10, 1)).astype(np.float32)
    padded = tf.pad(images, [[0, 0], [2, 2], [2, 2], [0, 0]], constant_values=50.0)
    factor = tf.constant([0.6, 1.1, 1.4])
    found = augment.contrast(padded, factor, margin=2)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(found, augment.contrast(tf.constant(images), factor), atol=1e-6)


@pytest.mark.parametrize("size, radius", [(300, 7), (100, 2), (64, 1), (32, 1), (96, 2), (220, 5)])
def test_blur_kernel_is_a_twentieth_of_the_width(size, radius):
    assert augment.kernel_radius(size) == radius
    assert abs(2 * radius + 1 - 0.05 * size) <= 1.4  # the nearest odd number, at least 3


@pytest.mark.parametrize("size", [40, 60, 100])
def test_blur_equals_scipy(size):
    sigma = np.array([0.1, 0.5, 1.0, 2.0, 7.0], np.float32)
    images = np.random.default_rng(17).normal(size=(5, size, size, 1)).astype(np.float32)
    found = augment.blur(tf.constant(images), tf.constant(sigma)).numpy()[..., 0]
    radius = augment.kernel_radius(size)
    for image, s, result in zip(images[..., 0].astype(float), sigma, found, strict=True):
        expected = ndimage.gaussian_filter(image, float(s), mode="reflect", radius=radius)
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_blur_with_the_papers_smallest_sigma_changes_nothing():
    images = np.random.default_rng(18).normal(size=(2, 20, 20, 1)).astype(np.float32)
    np.testing.assert_allclose(augment.blur(tf.constant(images), tf.constant([0.1, 0.1])), images, atol=1e-5)


@pytest.fixture(scope="module")
def settings():
    """Larger sigmas than a 32-pixel image asks for, so that the blur shows."""
    return profile.load("smoke").replace(views={"blur_sigma": (0.3, 2.0)})


def smooth_images(n: int, size: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(n, size, size))
    images = np.stack([ndimage.gaussian_filter(image, 2.0) for image in noise])
    return (images / images.std() + 1)[..., None]


@pytest.mark.slow
def test_views_are_rotation_crop_flip_brightness_contrast_blur(settings):
    """Each view taken apart and put together again with NumPy and SciPy from the same draws."""
    n, size = 6, 32
    images = smooth_images(n, size, 19)
    views = augment.contrastive_views(images, 20, settings).numpy()[..., 0]

    rng = np.random.default_rng(20)
    s = settings.views
    center, angle, box, _ = columns(augment.sample_crops(rng, n, size, s.theta_deg, s.p_crop, s.sigma))
    flip = rng.random(2 * n) < 0.5
    bright, stretch, sigma = (rng.uniform(*span, 2 * n) for span in ((0.6, 1.4), (0.6, 1.4), s.blur_sigma))
    assert 0 < flip.sum() < 2 * n
    assert views.shape == (2 * n, size, size) and views.dtype == np.float32
    rows, cols = np.mgrid[:size, :size] + 0.5
    for k, view in enumerate(views):
        x0, y0, x1, y1 = box[k]
        x, y = x0 + cols / size * (x1 - x0), y0 + rows / size * (y1 - y0)  # crop, upsampled to W x H
        x, y = turn_on_screen(x, y, *center[k], -angle[k])  # back to the image as it was before the rotation
        expected = ndimage.map_coordinates(images[k // 2, ..., 0], [y - 0.5, x - 0.5], order=1, mode="nearest")
        expected = expected[:, ::-1] if flip[k] else expected
        expected = expected * bright[k]
        expected = (expected - expected.mean()) * stretch[k] + expected.mean()
        expected = ndimage.gaussian_filter(expected, sigma[k], mode="reflect", radius=1)
        np.testing.assert_allclose(view, expected, atol=2e-4)


@pytest.mark.slow
def test_views_in_another_graph_are_the_same(settings):
    """As the training step computes them on an accelerator: from what was drawn, compiled or not."""
    images = smooth_images(4, 32, 23).astype(np.float16)
    (drawn, _), expected = augment.draw(images, 24, settings), augment.contrastive_views(images, 24, settings)
    assert drawn.images.dtype == tf.float16  # as stored: half the bytes travel
    for jit in (False, True):
        found = tf.function(augment.transform, jit_compile=jit)(drawn)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def misfit(view: np.ndarray, image: np.ndarray, crop) -> float:
    """How far a view is from its image cut at a crop, flipped or not, each brought to mean 0 and variance 1."""
    rows, cols = (np.mgrid[: len(view), : len(view)] + 0.5) / len(view)
    x0, y0, x1, y1 = crop.box
    x, y = turn_on_screen(x0 + cols * (x1 - x0), y0 + rows * (y1 - y0), *crop.center, -crop.angle_deg)
    cut = ndimage.map_coordinates(image.astype(float), [y - 0.5, x - 0.5], order=1, mode="nearest")
    return min(np.abs(stats.zscore(view, axis=None) - stats.zscore(c, axis=None)).max() for c in (cut, cut[:, ::-1]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_crops_handed_out_are_those_of_the_views(settings, seed):
    """Tones only scale and shift grey values, so a view shows where it was cut; another view's crop does not fit."""
    sharp = settings.replace(views={"blur_sigma": (0.01, 0.02)})
    images = smooth_images(6, 32, 40 + seed).astype(np.float32)
    drawn, crops = augment.draw(images, seed, sharp)
    views = augment.transform(drawn).numpy()[..., 0]
    np.testing.assert_array_equal(views, augment.contrastive_views(images, seed, sharp).numpy()[..., 0])
    for k, (view, crop) in enumerate(zip(views, crops.itertuples(), strict=True)):
        image = images[k // 2, ..., 0]
        assert misfit(view, image, crop) < 0.01
        wrong = [misfit(view, image, other) for other in crops.itertuples() if other.box != crop.box]
        assert min(wrong) > 0.05


@pytest.mark.slow
def test_partners_are_adjacent_and_values_are_not_clipped(settings):
    """Constant images keep their level up to the brightness factor."""
    levels = 10.0 ** np.arange(5)
    images = np.ones((5, 32, 32, 1)) * levels[:, None, None, None]
    views = augment.contrastive_views(images, 1, settings).numpy()
    factors = views / np.repeat(levels, 2)[:, None, None, None]
    assert factors.min() > 0.6 - 1e-4 and factors.max() < 1.4 + 1e-4
    assert np.ptp(factors, axis=(1, 2, 3)).max() < 1e-5
    assert len(np.unique(factors[:, 0, 0, 0].round(5))) == 10  # each view has its own factor


@pytest.mark.slow
def test_brightness_factors_are_uniform(settings):
    views = augment.contrastive_views(np.ones((1_000, 32, 32, 1)), 2, settings).numpy()
    assert stats.kstest(views[:, 5, 5, 0], stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, (3, 0, 17)])
def test_views_depend_on_the_seed_alone(settings, seed):
    images = smooth_images(4, 32, 21)
    first = augment.contrastive_views(images, seed, settings).numpy()
    np.random.default_rng(99).normal(size=10)
    tf.random.set_seed(99)
    np.testing.assert_array_equal(first, augment.contrastive_views(images, seed, settings))
    for other in (4, (3, 0, 18), (3, 1, 17)):
        assert np.abs(first - augment.contrastive_views(images, other, settings).numpy()).max() > 0.1


@pytest.mark.slow
def test_profile_values_reach_the_views():
    """Without rotation, with crops of nearly all, an image with a left-right gradient keeps it up to flips."""
    still = profile.load("smoke").replace(views={"theta_deg": 0.0, "p_crop": 0.9, "sigma": 0.0})
    gradient = np.broadcast_to(np.linspace(-1, 1, 32), (20, 32, 32))[..., None]
    views = augment.contrastive_views(gradient, 5, still).numpy()[..., 0]
    assert np.abs(views - views[:, :1]).max() < 1e-4  # all rows alike: nothing was turned
    slopes = views[:, 0, -1] - views[:, 0, 0]
    assert 8 < (slopes < 0).sum() < 32  # half are flipped
    assert np.abs(slopes).min() > 0.8 * 2 * 0.6 * 0.6 * 0.85


@pytest.mark.slow
def test_one_process_may_use_several_sizes(settings):
    for size in (32, 110):
        views = augment.contrastive_views(smooth_images(3, size, size), 1, settings)
        assert views.shape == (6, size, size, 1) and np.isfinite(views).all()


def test_ahead_makes_the_next_while_the_last_is_used():
    made = [threading.Event() for _ in range(5)]

    def make(number):
        made[number].set()
        return number, threading.current_thread()

    for expected, (number, thread) in enumerate(augment.ahead(make, range(5))):
        assert number == expected and thread is not threading.current_thread()
        assert number == 4 or made[number + 1].wait(10)  # without being asked for
        assert number >= 3 or not made[number + 2].wait(0.05)  # no more than one is kept
    assert list(augment.ahead(make, [])) == []


def test_ahead_raises_an_error_in_its_turn():
    views = augment.ahead(lambda number: 1 / (2 - number), range(4))
    assert [next(views), next(views)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(views)


@pytest.mark.slow
def test_views_made_ahead_are_the_same(settings):
    images = smooth_images(4, 32, 31)
    views = augment.ahead(lambda step: augment.contrastive_views(images, (3, step), settings), range(3))
    for step, found in enumerate(views):
        np.testing.assert_array_equal(found, augment.contrastive_views(images, (3, step), settings))


def test_finetune_crops_have_their_corners_in_their_quarters():
    boxes = augment.finetune_crops(np.random.default_rng(22), 10_000, 300)
    assert boxes.shape == (10_000, 4)
    for k, (low, high) in enumerate([(0, 75), (0, 75), (225, 300), (225, 300)]):
        assert boxes[:, k].min() >= low and boxes[:, k].max() <= high
        assert stats.kstest(boxes[:, k], stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(boxes.T) - np.eye(4)).max() < 0.05


@pytest.mark.slow
def test_finetune_views_share_one_box_per_sample():
    rng = np.random.default_rng(23)
    size, n = 24, 5
    base = rng.normal(size=(n, 1, size, size)).astype(np.float32)
    images = np.concatenate([base, base * 2, base + 1], axis=1)
    boxes = augment.finetune_crops(rng, n, size)
    views = augment.finetune_views(images, boxes).numpy()
    np.testing.assert_allclose(views[:, 1], views[:, 0] * 2, atol=1e-5)
    np.testing.assert_allclose(views[:, 2], views[:, 0] + 1, atol=1e-5)
    rows, cols = np.mgrid[:size, :size] + 0.5
    for image, (x0, y0, x1, y1), view in zip(images[:, 0], boxes, views[:, 0], strict=True):
        coordinates = [y0 + rows / size * (y1 - y0) - 0.5, x0 + cols / size * (x1 - x0) - 0.5]
        np.testing.assert_allclose(
            view, ndimage.map_coordinates(image, coordinates, order=1, mode="nearest"), atol=1e-4
        )
    assert views.dtype == np.float32


def test_the_papers_ranges():
    assert paper.BRIGHTNESS == paper.CONTRAST == (0.6, 1.4)
    assert paper.ASPECT == (0.75, 4 / 3)
    assert (paper.MAX_TRIES, paper.BLUR_KERNEL, paper.BLUR_SIGMA) == (100, 0.05, (0.1, 2.0))


def test_the_central_crop_is_the_mean_of_the_random_ones_and_keeps_its_place():
    boxes = augment.finetune_crops(np.random.default_rng(0), 20_000, 1)
    low, high = augment.seen_side("central")
    np.testing.assert_allclose(boxes.mean(axis=0), [low, low, high, high], atol=0.003)
    assert augment.seen_side("whole") == (0.0, 1.0)


@pytest.mark.slow
def test_a_store_is_seen_as_its_central_crops():
    images = np.random.default_rng(1).random((5, 32, 32)).astype(np.float16)
    assert augment.seen(images, "whole") is images
    store = augment.seen(images, "central")
    rows = np.array([[3, 1, 4], [0, 0, 2]])
    found = store[rows]
    assert store.shape == images.shape and found.shape == (2, 3, 32, 32) and found.dtype == np.float32
    boxes = np.tile(np.array([4.0, 4.0, 28.0, 28.0]), (2, 1))
    np.testing.assert_array_equal(found, augment.finetune_views(images[rows], boxes))
    np.testing.assert_array_equal(store[3], found[0, 0])
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32), (1, 32, 32))
    np.testing.assert_allclose(
        augment.seen(ramp, "central")[0][5, 1:-1], (np.arange(1, 31) + 0.5) * 0.75 + 3.5, atol=1e-4
    )
