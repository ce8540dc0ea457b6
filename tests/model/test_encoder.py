"""The network against ``keras.applications.ResNet50``, and the fully connected blocks written out in NumPy."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.training_step import our_name
from lhdlib import profile
from lhdlib.model.encoder import build_encoder, build_supervised, computed_in, extractor
from lhdlib.model.layers import Dropout
from lhdlib.profile import Encoder

RESNET50 = Encoder(blocks=(3, 4, 6, 3), strides=(1, 2, 2, 2), width=64, dim=256, fc_block="dense-norm-relu")
SMALL = Encoder(blocks=(1, 1), strides=(1, 2), width=8, dim=16, fc_block="dense-norm-relu")
SIZE = 32


def randomise(model: keras.Model, seed: int) -> None:
    """Random weights and, above all, moving statistics, in ranges that keep activations near 1."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        name, shape = variable.path.rsplit("/", 1)[-1], tuple(variable.shape)
        if name == "kernel":
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        elif name in ("gamma", "moving_variance"):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.normal(0, 0.3, shape)
        variable.assign(values)


@pytest.fixture(scope="module")
def small():
    """A small encoder with trained-looking statistics, and images."""
    model = build_encoder(SIZE, SMALL, 0.0, 0)
    randomise(model, 1)
    return model, np.random.default_rng(2).normal(size=(6, SIZE, SIZE, 1)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_resnet50_is_keras_resnet50(channels):
    """Same weights in, same features out; every weight of either network has its counterpart in the other."""
    reference = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(64, 64, channels), pooling="avg"
    )
    randomise(reference, channels)
    network = build_encoder(64, RESNET50, 0.0, 0) if channels == 1 else build_supervised(64, RESNET50, 0)
    ours = keras.Model(network.input, network.get_layer("pool").output)
    assert ours.count_params() == reference.count_params()
    copied = 0
    for layer in reference.layers:
        if layer.weights:
            target = ours.get_layer(our_name(layer.name))
            assert [tuple(w.shape) for w in target.weights] == [tuple(w.shape) for w in layer.weights]
            target.set_weights(layer.get_weights())
            copied += len(layer.weights)
    assert copied == len(ours.weights)
    x = np.random.default_rng(3).normal(size=(3, 64, 64, channels)).astype(np.float32)
    expected, found = reference(x, training=False).numpy(), ours(x, training=False).numpy()
    assert expected.shape == (3, 2048) and expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_paper_profile_network():
    """ResNet-50 on one channel (7 x 7 x 64 stem weights instead of three times as many) and four blocks of 256."""
    settings = profile.load("paper")
    model = build_encoder(settings.data.image_size, settings.encoder, settings.pretrain.drop_rate, 0)
    resnet50 = 23_587_712  # of keras.applications, three channels, without top
    dense = (2048 + 1) * 256 + 3 * (256 + 1) * 256
    assert model.count_params() == resnet50 - 2 * 7 * 7 * 64 + dense + 4 * 4 * 256
    assert model.input.shape == (None, 300, 300, 1) and model.output.shape == (None, 256)
    assert model.get_layer("feature_map").output.shape == (None, 10, 10, 2048)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 1 + 3 * (3 + 4 + 6 + 3) + 4  # with the four projection shortcuts


@pytest.mark.slow
def test_layer_names_and_widths(small):
    model, _ = small
    names = [layer.name for layer in model.layers]
    for expected in (
        "image",
        "feature_map",
        "pool",
        "fc1",
        "fc1_dense",
        "fc1_bn",
        "fc1_relu",
        "fc4",
        "fc4_dense",
        "fc4_bn",
    ):
        assert names.count(expected) == 1
    assert model.get_layer("feature_map").output.shape[1:] == (4, 4, 4 * 8 * 2)
    for number in range(1, 5):
        assert model.get_layer(f"fc{number}").output.shape == (None, 16)


@pytest.mark.slow
def test_fully_connected_blocks(small):
    """Dense, batch normalisation in inference mode, ReLU but in the fourth, written out in NumPy."""
    model, images = small
    outputs = [model.get_layer(name).output for name in ("pool", "fc1", "fc2", "fc3", "fc4")]
    pooled, *blocks = (np.asarray(v) for v in keras.Model(model.input, outputs)(images, training=False))
    x = pooled.astype(float)
    for number, found in enumerate(blocks, start=1):
        kernel, bias = model.get_layer(f"fc{number}_dense").get_weights()
        gamma, beta, mean, variance = model.get_layer(f"fc{number}_bn").get_weights()
        x = (x @ kernel + bias - mean) / np.sqrt(variance + model.get_layer(f"fc{number}_bn").epsilon) * gamma + beta
        x = np.maximum(x, 0) if number < 4 else x
        np.testing.assert_allclose(found, x, atol=1e-4)
    assert (blocks[3] < 0).any() and (blocks[3] > 0).any()
    assert all((block >= 0).all() and (block == 0).any() for block in blocks[:3])
    np.testing.assert_array_equal(model(images, training=False), blocks[3])


@pytest.mark.slow
@pytest.mark.parametrize("order", [("dense", "bn", "relu"), ("dense", "relu", "bn")])
def test_order_within_a_block(order):
    settings = dataclasses.replace(SMALL, fc_block="-".join(order).replace("bn", "norm"))
    names = [layer.name for layer in build_encoder(SIZE, settings, 0.5, 0).layers]
    for number in (1, 2, 3):
        assert [n for n in names if n.startswith(f"fc{number}")] == [*(f"fc{number}_{p}" for p in order), f"fc{number}"]
    assert [n for n in names if n.startswith("fc4")] == ["fc4_dense", "fc4_bn", "fc4"]


def test_feature_map_follows_a_relu(small):
    model, images = small
    feature_map = np.asarray(keras.Model(model.input, model.get_layer("feature_map").output)(images, training=False))
    assert feature_map.min() == 0 and feature_map.max() > 0
    pooled = keras.Model(model.input, model.get_layer("pool").output)(images, training=False)
    np.testing.assert_allclose(feature_map.mean(axis=(1, 2)), pooled, atol=1e-5)


@pytest.mark.slow
def test_extractor_is_the_encoder_up_to_the_first_block():
    encoder = build_encoder(SIZE, SMALL, 0.5, 0)
    randomise(encoder, 4)
    images = np.random.default_rng(5).normal(size=(4, SIZE, SIZE, 1)).astype(np.float32)
    outputs = [encoder.get_layer(name).output for name in ("fc1", "feature_map")]
    expected = [np.asarray(v) for v in keras.Model(encoder.input, outputs)(images, training=False)]
    model = extractor(encoder)
    found = [np.asarray(v) for v in model(images, training=False)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[0].shape == (4, 16) and found[1].shape == (4, 4, 4, 64)
    assert "fc2_dense" not in [layer.name for layer in model.layers]


@pytest.mark.slow
def test_extractor_is_frozen():
    """No trainable weight is left, and a call in training mode leaves the moving statistics alone."""
    encoder = build_encoder(SIZE, SMALL, 0.0, 0)
    images = np.random.default_rng(6).normal(3, 1, (4, SIZE, SIZE, 1)).astype(np.float32)
    before = encoder.get_weights()
    encoder(images, training=True)
    assert any((a != b).any() for a, b in zip(encoder.get_weights(), before, strict=True))  # what must not happen below
    model = extractor(encoder)
    assert model.trainable_variables == []
    before = model.get_weights()
    model(images, training=True)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_drop_rate_is_the_share_removed(rate):
    """Not the share kept; what is left is scaled up, and inference drops nothing."""
    model = build_encoder(SIZE, SMALL, rate, 0)
    head = keras.Model(model.get_layer("fc4_bn").output, model.get_layer("fc4").output)
    x = np.ones((500, 16), np.float32)
    dropped = head(x, training=True).numpy()
    assert (dropped == 0).mean() == pytest.approx(rate, abs=0.03)
    np.testing.assert_allclose(dropped[dropped != 0], 1 / (1 - rate), rtol=1e-6)
    np.testing.assert_array_equal(head(x, training=False), x)


def test_dropout_on_one_device_is_keras_own():
    x = np.random.default_rng(8).normal(size=(9, 16)).astype(np.float32)
    ours, theirs = Dropout(0.25, seed=3), keras.layers.Dropout(0.25, seed=3)
    for _ in range(3):
        np.testing.assert_array_equal(ours(x, training=True), theirs(x, training=True))


@pytest.mark.slow
def test_mixed_precision_is_for_feature_maps():
    """The features leave the fully connected blocks with more digits than bfloat16 has."""
    with computed_in("mixed_bfloat16"):
        model = build_encoder(SIZE, SMALL, 0.0, 0)
    computed = {layer.name: layer.compute_dtype for layer in model.layers}
    assert computed["stem_conv"] == computed["feature_map"] == "bfloat16"
    assert {kind for name, kind in computed.items() if name.startswith("fc")} == {"float32"}
    features = model(np.random.default_rng(9).normal(size=(6, SIZE, SIZE, 1)), training=True)
    assert features.dtype == "float32"
    assert (features != tf.cast(tf.cast(features, "bfloat16"), "float32")).numpy().mean() > 0.9


@pytest.mark.slow
def test_without_dropout_training_output_is_deterministic(small):
    _, images = small
    for rate, same in ((0.0, True), (0.5, False)):
        model = build_encoder(SIZE, SMALL, rate, 0)
        first, second = (model(images, training=True).numpy() for _ in range(2))
        assert np.array_equal(first, second) == same


@pytest.mark.slow
def test_seed_decides_the_initial_weights():
    first, again, other = (build_encoder(SIZE, SMALL, 0.0, seed).get_weights() for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.slow
def test_supervised_baseline_sees_three_channels():
    model = build_supervised(SIZE, SMALL, 0)
    assert model.input.shape == (None, SIZE, SIZE, 3) and model.output.shape == (None, 1)
    images = np.random.default_rng(7).normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
    logits = model(images, training=False).numpy()
    for channel in range(3):
        changed = images.copy()
        changed[..., channel] += 1
        assert np.abs(model(changed, training=False).numpy() - logits).max() > 1e-6
