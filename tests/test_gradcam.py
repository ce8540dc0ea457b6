"""Heatmaps against Eq. 16-20 and Eq. 7-8 written as loops, and the closed-form gradients against a backward pass."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from lhdlib import augment, gradcam, profile
from lhdlib.model.encoder import build_encoder, extractor, stride
from lhdlib.profile import Encoder


def loop_heatmaps(a: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 16-20, one channel after the other."""
    slices, u, v, n = a.shape
    alpha = []
    for s in range(slices):
        for k in range(n):
            alpha.append(sum(abs(float(g[s, i, j, k])) for i in range(u) for j in range(v)) / (u * v))
    mean = sum(alpha) / len(alpha)
    sigma = math.sqrt(sum((value - mean) ** 2 for value in alpha) / len(alpha))
    exponentials = [math.exp(value / sigma) for value in alpha]
    w = [value / sum(exponentials) for value in exponentials]
    maps = np.zeros((slices, u, v))
    for s in range(slices):
        for i in range(u):
            for j in range(v):
                maps[s, i, j] = max(0.0, sum(w[s * n + k] * float(a[s, i, j, k]) for k in range(n)))
        maps[s] /= maps[s].max() if maps[s].max() > 0 else 1
    return maps, np.array([sum(w[s * n : (s + 1) * n]) for s in range(slices)])


def loop_classic(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Eq. 7 and 8, one slice after the other."""
    slices, u, v, n = a.shape
    maps = np.zeros((slices, u, v))
    for s in range(slices):
        for k in range(n):
            maps[s] += sum(float(g[s, i, j, k]) for i in range(u) for j in range(v)) / (u * v) * a[s, :, :, k]
        maps[s] = np.maximum(maps[s], 0)
        maps[s] /= maps[s].max() if maps[s].max() > 0 else 1
    return maps


def draw(seed: int, dtype=np.float64, shape=(3, 4, 5, 7)) -> tuple[np.ndarray, np.ndarray]:
    """Feature maps and gradients; the slices' gradients differ in size."""
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=shape) * np.array([1.0, 3.0, 0.5])[:, None, None, None]
    return rng.normal(0.3, 1, shape).astype(dtype), gradients.astype(dtype)


@pytest.mark.parametrize("seed", range(8))
def test_heatmaps_equal_the_loop(seed):
    a, g = draw(seed)
    maps, share = gradcam.heatmaps(a, g)
    expected_maps, expected_share = loop_heatmaps(a, g)
    np.testing.assert_allclose(maps, expected_maps, atol=1e-10)
    np.testing.assert_allclose(share, expected_share, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_classic_heatmap_equals_the_loop(seed):
    a, g = draw(seed)
    np.testing.assert_allclose(gradcam.classic_heatmap(a, g), loop_classic(a, g), atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ranges_and_sum_of_slice_weights(dtype):
    for seed in range(20):
        a, g = draw(seed, dtype)
        maps, share = gradcam.heatmaps(a, g)
        assert maps.shape == (3, 4, 5) and share.shape == (3,)
        assert maps.min() >= 0 and (maps.max(axis=(1, 2)) == 1).all()
        assert share.sum() == pytest.approx(1, abs=1e-5) and (share > 0).all()
        assert share.argmax() == 1  # the slice with the largest gradients
        classic = gradcam.classic_heatmap(a, g)
        assert classic.min() >= 0 and classic.max() <= 1


def test_the_three_slices_have_maps_of_their_own():
    maps, _ = gradcam.heatmaps(*draw(0))
    assert all(np.abs(maps[i] - maps[j]).max() > 0.1 for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("gradients", [0.0, 0.1, -2.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_gradients_weigh_all_channels_equally(gradients, dtype):
    """Eq. 17 divides by zero: the weights stay uniform and the maps are the channels' means."""
    a, _ = draw(1, dtype)
    with np.errstate(all="raise"):
        maps, share = gradcam.heatmaps(a, np.full_like(a, gradients))
    np.testing.assert_allclose(share, 1 / 3, atol=1e-6)
    mean = np.maximum(a.mean(axis=-1), 0)
    np.testing.assert_allclose(maps, mean / mean.max(axis=(1, 2), keepdims=True), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_map_without_positive_values_stays_zero(dtype):
    a, g = draw(2, dtype)
    a[1] = -np.abs(a[1])
    with np.errstate(all="raise"):
        maps, share = gradcam.heatmaps(a, g)
        all_zero = gradcam.heatmaps(np.zeros_like(a), g)[0]
        classic = gradcam.classic_heatmap(np.zeros_like(a), g)
    assert (maps[1] == 0).all() and maps[0].max() == maps[2].max() == 1
    assert np.isfinite(share).all()
    assert (all_zero == 0).all() and (classic == 0).all()


def test_weights_are_one_softmax_over_all_three_slices():
    """A slice's share grows with its gradients; softmaxes slice by slice would give a third each."""
    a, g = draw(3)
    quiet = gradcam.heatmaps(a, g)[1]
    loud = g.copy()
    loud[0] *= 10
    share = gradcam.heatmaps(a, loud)[1]
    assert share[0] > quiet[0] + 0.1 and share[1] < quiet[1] - 0.1
    assert np.ptp(quiet) > 0.1
    weights = gradcam.raw_heatmaps(a, g)[1]
    assert weights.shape == (3, 7) and weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("factor", [1e-12, 7.0, 1e9])
def test_maps_do_not_depend_on_the_scale(factor):
    """Of the gradients (Eq. 17) or of the feature maps (Eq. 20)."""
    a, g = draw(4)
    maps, share = gradcam.heatmaps(a, g)
    for other in (gradcam.heatmaps(a, factor * g), gradcam.heatmaps(factor * a, g)):
        np.testing.assert_allclose(other[0], maps, atol=1e-9)
        np.testing.assert_allclose(other[1], share, atol=1e-9)


def test_the_papers_map_ignores_the_gradients_sign_and_the_classic_one_does_not():
    a, g = draw(5)
    signs = np.random.default_rng(6).choice([-1, 1], g.shape)
    for other in (-g, g * signs):
        np.testing.assert_array_equal(gradcam.heatmaps(a, other)[0], gradcam.heatmaps(a, g)[0])
    assert np.abs(gradcam.classic_heatmap(a, -g) - gradcam.classic_heatmap(a, g)).max() > 0.1


def test_opposite_gradients_do_not_cancel():
    """Absolute values before the mean (Eq. 16), not after."""
    a = np.random.default_rng(7).uniform(0, 1, (3, 2, 2, 2))
    g = np.zeros_like(a)
    g[:, :, 0, 0], g[:, :, 1, 0], g[:, :, :, 1] = 4, -4, 1
    weights = gradcam.raw_heatmaps(a, g)[1]
    assert (weights[:, 0] > weights[:, 1]).all()
    np.testing.assert_allclose(gradcam.classic_heatmap(a, g), loop_classic(a, g))


@pytest.fixture(scope="module", params=["dense-norm-relu", "dense-relu-norm"])
def model(request):
    """A frozen extractor with randomised weights and batch statistics."""
    encoder = build_encoder(32, Encoder(blocks=(1, 1), strides=(1, 2), width=8, dim=16, fc_block=request.param), 0.0, 0)
    rng = np.random.default_rng(8)
    for variable in encoder.weights:
        name = variable.path.rsplit("/", 1)[-1]
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.3, 2.0, variable.shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return extractor(encoder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_closed_form_gradients_equal_automatic_differentiation(model, seed):
    rng = np.random.default_rng([9, seed])
    images = rng.normal(size=(3, 32, 32)).astype(np.float32)
    a = gradcam.sample_feature_maps(model, images, np.arange(3))
    weights = rng.normal(size=(3, 16)).astype(np.float32)
    variable = tf.Variable(a)
    with tf.GradientTape() as tape:
        x = variable
        for name in ("pool", *(layer.name for layer in model.layers if layer.name.startswith("fc1_"))):
            x = model.get_layer(name)(x, training=False) if name == "fc1_bn" else model.get_layer(name)(x)
        h = tf.reduce_sum(x * weights)
    np.testing.assert_allclose(x, model(images[..., None], training=False)[0], atol=1e-4)  # the tail is the model's
    expected = tape.gradient(h, variable).numpy()
    found = gradcam.closed_form_gradients(model, a, weights)
    assert found.shape == a.shape
    z = model.get_layer("fc1_relu").output
    off = keras.Model(model.input, z)(images[..., None], training=False).numpy() == 0
    assert 0 < off.mean() < 1
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_closed_form_gradients_are_the_slope_of_h(model):
    """Finite differences through the whole tail in float64: no layer of it is forgotten."""
    rng = np.random.default_rng(10)
    images = rng.normal(size=(3, 32, 32)).astype(np.float32)
    a = gradcam.sample_feature_maps(model, images, np.arange(3)).astype(float)
    weights = rng.normal(size=(3, 16))
    kernel, bias = model.get_layer("fc1_dense").get_weights()
    gamma, beta, mean, variance = model.get_layer("fc1_bn").get_weights()
    epsilon = model.get_layer("fc1_bn").epsilon
    names = [layer.name for layer in model.layers if layer.name in ("fc1_bn", "fc1_relu")]

    def h(maps):
        z = maps.mean(axis=(1, 2)) @ kernel + bias
        for name in names:
            norm = (z - mean) / np.sqrt(variance.astype(float) + epsilon) * gamma + beta
            z = np.maximum(z, 0) if name == "fc1_relu" else norm
        return (z * weights).sum()

    found = gradcam.closed_form_gradients(model, a, weights)
    for _ in range(20):
        index = tuple(rng.integers(0, s) for s in a.shape)
        shifted = a.copy()
        shifted[index] += 1e-4
        assert found[index] == pytest.approx((h(shifted) - h(a)) / 1e-4, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_of_samples_gives_what_each_gives_alone(seed):
    """Leading axes, among them a sample of equal gradients and one without a positive value."""
    drawn = [draw([14, seed, k]) for k in range(5)]
    a, g = (np.stack(column) for column in zip(*drawn, strict=True))
    g[1] = 0.3
    a[2] = -np.abs(a[2])
    maps, share = gradcam.heatmaps(a, g)
    classic = gradcam.classic_heatmap(a, g)
    assert maps.shape == classic.shape == (5, 3, 4, 5) and share.shape == (5, 3)
    for k in range(5):
        alone = gradcam.heatmaps(a[k], g[k])
        np.testing.assert_allclose(maps[k], alone[0], atol=1e-12)
        np.testing.assert_allclose(share[k], alone[1], atol=1e-12)
        np.testing.assert_allclose(classic[k], gradcam.classic_heatmap(a[k], g[k]), atol=1e-12)


def test_gradients_that_are_the_same_everywhere_may_have_one_position():
    a, g = draw(15)
    g = g[:, :1, :1]
    for function in (lambda g: gradcam.heatmaps(a, g)[0], lambda g: gradcam.classic_heatmap(a, g)):
        np.testing.assert_allclose(function(g), function(np.broadcast_to(g, a.shape)), atol=1e-12)


@pytest.mark.slow
def test_explain_equals_a_backward_pass_for_each_sample_alone(model):
    """Every sample on its own, with its gradients by automatic differentiation; samples share slices, in any order."""
    rng = np.random.default_rng(16)
    images = rng.normal(size=(9, 32, 32)).astype(np.float16)
    rows = np.stack([rng.permutation(9)[:3] for _ in range(11)])
    rows[4], rows[5] = rows[3], rows[3][::-1]
    weights, bias = rng.normal(size=(3, 16)).astype(np.float32), 0.7
    explained = gradcam.explain(model, images, rows, weights, bias, batch=4)
    maps, share, classic = explained.maps, explained.slice_weight, explained.classic
    assert maps.shape == classic.shape == (11, 3, 4, 4) and share.shape == (11, 3) and explained.logits.shape == (11,)
    assert explained.weights.shape == (11, 3, 64)
    for k, row in enumerate(rows):
        with tf.GradientTape() as tape:
            features, a = model(images[row][..., None].astype(np.float32), training=False)
            h = tf.reduce_sum(features * weights) + bias
        g = tape.gradient(h, a).numpy()
        expected, raw = gradcam.heatmaps(a.numpy(), g), gradcam.raw_heatmaps(a.numpy(), g)
        np.testing.assert_allclose(maps[k], expected[0], atol=1e-5)
        np.testing.assert_allclose(share[k], expected[1], atol=1e-5)
        np.testing.assert_allclose(classic[k], gradcam.classic_heatmap(a.numpy(), g), atol=1e-5)
        np.testing.assert_allclose(explained.raw[k], raw[0], rtol=1e-4, atol=1e-5 * raw[0].max())
        np.testing.assert_allclose(explained.weights[k], raw[1], atol=1e-5)
        assert explained.logits[k] == pytest.approx(float(h), abs=1e-5)
    assert np.abs(maps[4] - maps[5][::-1]).max() > 0.01  # the classifier weighs the slices by their place


def test_sample_feature_maps_are_the_slices_in_order(model):
    images = np.random.default_rng(11).normal(size=(6, 32, 32)).astype(np.float16)
    found = gradcam.sample_feature_maps(model, images, np.array([4, 0, 5]))
    assert found.shape == (3, 4, 4, 64) and found.min() == 0
    for one, index in zip(found, (4, 0, 5), strict=True):
        single = model(images[index].astype(np.float32)[None, ..., None], training=False)[1].numpy()[0]
        np.testing.assert_allclose(one, single, atol=1e-5)


def test_upsampled_maps():
    rng = np.random.default_rng(12)
    maps = rng.choice([0.0, 1.0], size=(3, 4, 4)).astype(np.float32)
    large = gradcam.upsample(maps, 64)
    assert large.shape == (3, 64, 64)
    assert large.min() == 0 and large.max() == 1  # cubic overshoot is cut
    assert np.unique(large).size > 100  # smooth, not blocks
    np.testing.assert_allclose(gradcam.upsample(np.full((1, 3, 3), 0.5, np.float32), 20), 0.5, atol=1e-6)
    spot = np.zeros((1, 5, 5), np.float32)
    spot[0, 1, 3] = 1
    row, column = np.unravel_index(gradcam.upsample(spot, 50)[0].argmax(), (50, 50))
    assert 10 <= row < 20 and 30 <= column < 40


@pytest.mark.parametrize("size", [40, 64, 300])
def test_enlarging_is_tensorflows_bicubic_away_from_the_border(size):
    """At the border TensorFlow extrapolates, beyond 1 for a map of ones beside zeros; here the last cell goes on."""
    maps = np.random.default_rng(size).random((4, 10, 10), np.float32)
    wanted = tf.image.resize(maps[..., None], (size, size), method="bicubic").numpy()[..., 0]
    inner = slice(2 * size // 10, -2 * size // 10)
    found = gradcam.upsample(maps, size)
    np.testing.assert_allclose(found[:, inner, inner], np.clip(wanted, 0, 1)[:, inner, inner], atol=2e-3)


@pytest.mark.parametrize("test_crop", ["whole", "central"])
@pytest.mark.parametrize("strides, size", [((1, 2, 1), 64), ((1, 2, 2, 2), 300), ((1, 1), 32)])
def test_cells_lie_where_the_network_looks(strides, size, test_crop):
    """Cell i looks at pixel `stride * i` of what the network sees; a picture's cells divide it evenly."""
    settings = profile.load("smoke").replace(
        data={"image_size": size},
        encoder={"strides": strides, "blocks": (1,) * len(strides), "width": 4},
        finetune={"test_crop": test_crop},
        heatmaps={"cells": "aligned"},
    )
    count = -(-size // stride(settings.encoder))
    where = gradcam.cells(settings, count)
    low, high = augment.seen_side(test_crop)
    for number in range(count):
        pixel = stride(settings.encoder) * number  # of what the network sees
        assert where.first + where.step * number == pytest.approx(low + (high - low) * (pixel + 0.5) / size)
    published = gradcam.cells(settings, count, place="published")
    middles = low + (high - low) * (np.arange(count) + 0.5) / count
    np.testing.assert_allclose(published.first + published.step * np.arange(count), middles)
    heat = gradcam.upsample(np.ones((count, count), np.float32), 200, where=where)
    places = (np.arange(200) + 0.5) / 200
    np.testing.assert_allclose(heat[100], (low <= places) & (places <= high), atol=1e-6)
