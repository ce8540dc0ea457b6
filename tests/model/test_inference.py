"""The forward pass of inference against the Keras model as it was built."""

import numpy as np
import pytest
import tensorflow as tf

from lhdlib.model import inference
from lhdlib.model.encoder import build_encoder, build_supervised, extractor
from lhdlib.profile import Encoder
from tests.model.test_encoder import randomise


@pytest.mark.slow
@pytest.mark.parametrize("fc_block", ["dense-norm-relu", "dense-relu-norm"])
@pytest.mark.parametrize("blocks, width", [((), 4), ((1,), 8), ((2, 1, 2), 4), ((3, 4, 6, 3), 16)])
def test_it_gives_what_the_model_gives(blocks, width, fc_block):
    """Features and feature map A, also of weights and statistics that have changed since the graph was built."""
    model = extractor(build_encoder(40, Encoder(blocks, (1, 2, 2, 2)[: len(blocks)], width, 16, fc_block), 0.5, 0))
    x = tf.constant(np.random.default_rng(9).normal(size=(5, 40, 40, 1)), tf.float32)
    compute, seen = inference.forward(model), []
    for seed in (1, 2):
        randomise(model, seed)
        for found, expected in zip(compute(x), model(x, training=False), strict=True):
            seen.append(np.asarray(expected))
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert np.abs(seen[0] - seen[2]).max() > 0.1 and np.abs(seen[1] - seen[3]).max() > 0.1


@pytest.mark.slow
def test_a_model_in_training_is_followed():
    """Statistics that training moves, and dropout that it alone has."""
    model = build_encoder(32, Encoder((1, 1), (1, 2), 8, 16, "dense-norm-relu"), 0.5, 0)
    x = tf.constant(np.random.default_rng(4).normal(2, 3, size=(8, 32, 32, 1)), tf.float32)
    compute = inference.forward(model)
    before = compute(x)
    for _ in range(3):
        model(x, training=True)
    np.testing.assert_allclose(compute(x), model(x, training=False), rtol=1e-4, atol=1e-6)
    assert np.abs(compute(x) / before - 1).max() > 0.01


@pytest.mark.slow
def test_no_normalisation_is_left_and_the_model_stays_as_it_is():
    model = build_supervised(32, Encoder((2, 1), (1, 2), 4, 16, "dense-norm-relu"), 0)
    randomise(model, 3)
    x, weights = tf.ones((2, 32, 32, 3)), model.get_weights()
    before = model(x, training=False).numpy()

    def normalisations(graph):
        return sum(operation.type.startswith("FusedBatchNorm") for operation in graph.get_operations())

    plain = tf.function(lambda x: model(x, training=False)).get_concrete_function(x)
    assert normalisations(plain.graph) == 1 + 2 + 3 * 3  # stem, two projections, three blocks
    assert normalisations(inference.forward(model).graph) == 0
    np.testing.assert_array_equal(model(x, training=False), before)
    for found, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, expected)
