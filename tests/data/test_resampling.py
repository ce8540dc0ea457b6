"""Resampling and scaling against loops, integral images and numpy."""

import functools
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhdlib import profile as profiles
from lhdlib.data import resampling


def by_integration(pixels, spacing, size, side):
    """Area resampling as differences of the integral image: no table of weights."""
    for axis in (0, 1):
        pixels = np.moveaxis(pixels, axis, 0)
        integral = np.vstack([np.zeros_like(pixels[:1]), np.cumsum(pixels, axis=0)]).astype(float)
        length = pixels.shape[0] * spacing[axis]
        at = np.linspace((length - side) / 2, (length + side) / 2, size + 1) / spacing[axis]
        known = np.arange(len(integral))
        upto = np.stack([np.interp(at, known, column) for column in integral.T], axis=1)
        pixels = np.moveaxis(np.diff(upto, axis=0) * size * spacing[axis] / side, 0, axis)
    return pixels


def test_area_weights_share_out_each_pixel_once():
    rng = np.random.default_rng(0)
    for _ in range(300):
        length, size = (int(n) for n in rng.integers(1, 40, 2))
        start = rng.uniform(-10, length - 0.5)
        stop = start + rng.uniform(0.5, 2 * length)
        weights = resampling.area_weights(length, start, stop, size)
        pixel = (stop - start) / size
        edges = np.linspace(start, stop, size + 1)
        inside = np.clip(np.minimum(edges[1:], length) - np.maximum(edges[:-1], 0), 0, None) / pixel
        assert np.allclose(weights.sum(1), inside, atol=1e-4)
        covered = np.clip(np.minimum(np.arange(length) + 1, stop) - np.maximum(np.arange(length), start), 0, None)
        assert np.allclose(weights.sum(0), covered / pixel, atol=1e-4)


def test_area_resampling_against_loops():
    rng = np.random.default_rng(1)
    for _ in range(10):
        rows, columns, size = (int(n) for n in rng.integers(2, 9, 3))
        spacing, side = rng.uniform(0.4, 1.2, 2), rng.uniform(2, 8)
        pixels = rng.uniform(0, 9, (rows, columns))
        wanted = np.zeros((size, size))
        for i, j, k, m in np.ndindex(size, size, rows, columns):
            overlap = 1.0
            for new, old, length, step in ((i, k, rows, spacing[0]), (j, m, columns, spacing[1])):
                low = (length * step - side) / 2 + new * side / size
                overlap *= max(0, min(low + side / size, (old + 1) * step) - max(low, old * step)) * size / side
            wanted[i, j] += overlap * pixels[k, m]
        found = resampling.resample(pixels, tuple(spacing), size, side)
        assert np.allclose(found, wanted, atol=1e-4)
        assert np.allclose(by_integration(pixels, spacing, size, side), wanted, atol=1e-9)


def test_resampling_is_the_product_with_the_weights():
    rng = np.random.default_rng(4)
    for _ in range(100):
        shape, size, side = rng.integers(2, 60, 2), int(rng.integers(1, 40)), rng.uniform(2, 60)
        pixels, spacing = rng.uniform(0, 9, shape), rng.uniform(0.4, 1.2, 2)
        edges = [(n / 2 - side / 2 / step, n / 2 + side / 2 / step) for n, step in zip(shape, spacing, strict=True)]
        rows, columns = (resampling.area_weights(int(n), *e, size) for n, e in zip(shape, edges, strict=True))
        found = resampling.resample(pixels, tuple(spacing), size, side)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, rows.astype(float) @ pixels @ columns.T.astype(float), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_another_processor_makes_the_same_store():
    """OpenBLAS takes other kernels when it is told of another core; matrix products then differ in the last digit."""
    code = """
import hashlib
import numpy as np
from lhdlib import profile as profiles
from lhdlib.data import resampling
pixels = np.random.default_rng(0).gamma(2, 300, (320, 310))
image = resampling.preprocess(pixels, (0.6875, 0.6875), 64, 110.0)
print(hashlib.sha256(image.tobytes()).hexdigest(), hashlib.sha256((image @ image).tobytes()).hexdigest())
"""
    found = []
    for core in ({}, {"OPENBLAS_CORETYPE": "Nehalem"}):
        environment = os.environ | core
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        found.append(done.stdout.split())
    stores, products = (set(column) for column in zip(*found, strict=True))
    assert len(stores) == 1
    if platform.machine() == "x86_64":
        assert len(products) > 1  # the other core was taken


def test_a_narrow_slice_is_padded_about_its_centre():
    """320 x 310 at 0.6875 mm becomes 300 x 300: five columns of zeros on either side, 4.7 new ones."""
    image = resampling.preprocess(np.full((320, 310), 700), (0.6875, 0.6875), 300, 0)
    assert image.shape == (300, 300)
    assert (image[:, :4] == 0).all() and (image[:, -4:] == 0).all()
    assert np.allclose(image[:, 5:-5], 1, atol=1e-5) and np.allclose(image[:, 4], 0.3125, atol=1e-4)
    assert np.allclose(image, image[:, ::-1], atol=1e-5)


@pytest.mark.parametrize("field_of_view", [0, 110.0])
def test_constant_and_zero_slices(field_of_view):
    ones = resampling.preprocess(np.full((320, 320), 1234), (0.6875, 0.6875), 300, field_of_view)
    assert np.allclose(ones, 1, atol=1e-5)
    zeros = resampling.preprocess(np.zeros((320, 320)), (0.6875, 0.6875), 300, field_of_view)
    assert (zeros == 0).all()


def test_the_scale_is_the_995th_percentile_of_the_new_image():
    pixels = np.random.default_rng(2).gamma(2, 300, (320, 320))
    image = resampling.preprocess(pixels, (0.6875, 0.6875), 64, 110.0)
    assert np.isclose(np.percentile(image, 99.5), 1, atol=1e-5) and (image > 1).sum() == 21  # 0.5 % of 4096
    assert np.allclose(image, resampling.preprocess(17 * pixels, (0.6875, 0.6875), 64, 110.0), rtol=1e-4)


@pytest.mark.slow
def test_the_percentile_is_that_of_numpy_to_rounding():
    rng = np.random.default_rng(7)
    draws = (rng.standard_normal, functools.partial(rng.gamma, 2, 300), functools.partial(rng.integers, 0, 9))
    for number in range(600):
        image = draws[number % 3](size=rng.integers(2, 320, 2)).astype(np.float32)
        found, wanted = resampling._percentile(image), np.percentile(image, resampling.SCALE_PERCENTILE)
        assert found == pytest.approx(wanted, rel=1e-4) and found.dtype == np.float32
    image[0, 0] = np.nan
    assert np.isnan(resampling._percentile(image))


def test_other_scalings():
    pixels = np.random.default_rng(3).gamma(2, 300, (320, 320))
    make = functools.partial(resampling.preprocess, pixels, (0.6875, 0.6875), 64, 110.0)
    assert make(scaling="maximum").max() == 1 and make(scaling="maximum").min() > 0
    assert np.allclose([make(scaling="standard").mean(), make(scaling="standard").std()], [0, 1], atol=1e-5)
    for one in ("maximum", "standard"):
        assert np.corrcoef(make(scaling=one).ravel(), make().ravel())[0, 1] > 1 - 1e-9
    assert (resampling.preprocess(np.zeros((320, 320)), (0.6875, 0.6875), 64, 110.0, scaling="standard") == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_slice_without_a_finite_scale_is_listed_not_stored(bad, monkeypatch, tmp_path):
    pixels = np.zeros((320, 320), np.float32)
    pixels[100, 100] = bad
    monkeypatch.setattr(resampling, "read_pixels", lambda _: pixels)
    assert str(resampling.load_slice(("a.ima", (0.6875, 0.6875), profiles.load("smoke").data))).startswith("pixels un")


# --- properties ---

GRIDS = st.tuples(
    st.tuples(st.integers(2, 70), st.integers(2, 70)),  # rows, columns
    st.tuples(st.floats(0.3, 1.5), st.floats(0.3, 1.5)),  # mm
    st.integers(1, 60),  # pixels of the new image
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(GRIDS, st.floats(0.05, 1.0), st.floats(0.1, 4000))
def test_a_constant_stays_constant_inside_the_image(grid, share, value):
    """Wherever a new pixel lies wholly on old ones: in a field of view no larger than the slice, that is everywhere."""
    shape, spacing, size = grid
    side = share * min(np.array(shape) * spacing)
    found = resampling.resample(np.full(shape, value, np.float32), spacing, size, side)
    np.testing.assert_allclose(found, value, rtol=2e-5)
    if size > 1:
        scaled = resampling.preprocess(np.full(shape, value, np.float32), spacing, size, side)
        np.testing.assert_allclose(scaled, 1, rtol=4e-5)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(GRIDS, st.floats(1.0, 3.0), st.integers(0, 2**32 - 1))
def test_the_area_of_a_mask_is_kept(grid, share, seed):
    """In mm², wherever the field of view holds the whole slice; and a mask's complement takes the rest."""
    shape, spacing, size = grid
    side = share * max(np.array(shape) * spacing)
    mask = np.random.default_rng(seed).random(shape) < 0.3
    cover, rest = (resampling.resample(part, spacing, size, side) for part in (mask, ~mask))
    pixel = (side / size) ** 2
    assert np.isclose(cover.sum(dtype=float) * pixel, mask.sum() * np.prod(spacing), rtol=1e-4, atol=1e-4 * pixel)
    assert np.isclose((cover + rest).sum(dtype=float) * pixel, mask.size * np.prod(spacing), rtol=1e-4)
    assert cover.min() >= 0 and cover.max() <= 1 + 1e-5
