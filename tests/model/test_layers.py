"""Fused batch normalisation against Keras' own layer: outputs, gradients, statistics, and the layer as a layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lhdlib.model.encoder import EPSILON, computed_in
from lhdlib.model.layers import BatchNormalization

SHAPES = [(2, 3, 5, 4), (7, 1, 1, 3), (4, 9, 2, 16), (1, 6, 6, 1), (1, 1, 1, 2)]


def pair(channels: int, seed: int) -> tuple[keras.Layer, keras.Layer]:
    """Our layer and Keras', with the same random weights."""
    rng = np.random.default_rng(seed)
    weights = [rng.uniform(0.5, 1.5, channels), *rng.normal(0, 1, (2, channels)), rng.uniform(0.5, 2, channels)]
    layers = BatchNormalization(epsilon=EPSILON), keras.layers.BatchNormalization(epsilon=EPSILON)
    for layer in layers:
        layer.build((None, None, None, channels))
        layer.set_weights(weights)  # gamma, beta, moving mean, moving variance
    return layers


def passed(layer: keras.Layer, x: tf.Tensor, target: np.ndarray) -> list[np.ndarray]:
    """Output in training, and gradients of a random sum of it with respect to input, gamma and beta."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(y * target)
    return [np.asarray(v) for v in (y, *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value]))]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_does_what_keras_does(shape):
    """Several steps of training and, after them, inference."""
    rng = np.random.default_rng(sum(shape))
    ours, theirs = pair(shape[-1], 1)
    for _ in range(4):
        x, target = tf.constant(rng.normal(3, 2, shape), tf.float32), rng.normal(0, 1, shape).astype(np.float32)
        for found, expected in zip(passed(ours, x, target), passed(theirs, x, target), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-4)
    for found, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours(x, training=False), theirs(x, training=False), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_statistics_by_hand(jit):
    """The batch's mean and biased variance, one hundredth of the way, in a graph and compiled."""
    layer, _ = pair(3, 2)
    *_, mean, variance = layer.get_weights()
    x = np.random.default_rng(3).normal(1, 2, (2, 3, 4, 3)).astype(np.float32)
    y = tf.function(lambda x: layer(x, training=True), jit_compile=jit)(tf.constant(x))
    *_, moved_mean, moved_variance = layer.get_weights()
    own_mean, own_variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    np.testing.assert_allclose(moved_mean, 0.99 * mean + 0.01 * own_mean, rtol=1e-5)
    np.testing.assert_allclose(moved_variance, 0.99 * variance + 0.01 * own_variance, rtol=1e-5)
    gamma, beta, *_ = layer.get_weights()
    expected = (x - own_mean) / np.sqrt(own_variance + EPSILON) * gamma + beta
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_a_frozen_layer_keeps_its_statistics():
    layer, reference = pair(4, 4)
    layer.trainable = False
    before = layer.get_weights()
    x = np.random.default_rng(5).normal(size=(2, 3, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(layer(x, training=True), reference(x, training=False), rtol=1e-5, atol=1e-6)
    for found, expected in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_stored_model_comes_back_in_safe_mode(tmp_path):
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, BatchNormalization(epsilon=EPSILON, name="norm")(image))
    x = np.random.default_rng(6).normal(size=(2, 4, 4, 3)).astype(np.float32)
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    found = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(found.get_layer("norm")) is BatchNormalization
    np.testing.assert_array_equal(found(x, training=False), model(x, training=False))


def test_mixed_precision_keeps_weights_and_statistics_in_float32():
    x = np.random.default_rng(7).normal(2, 1, (8, 5, 5, 4)).astype(np.float32)
    with computed_in("mixed_bfloat16"):
        layer = BatchNormalization(epsilon=EPSILON)
    reference = keras.layers.BatchNormalization(epsilon=EPSILON)
    y, expected = layer(x, training=True), reference(x, training=True)
    assert y.dtype == tf.bfloat16 and {w.dtype for w in layer.weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, atol=0.05)
    for found, wanted in zip(layer.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3)
