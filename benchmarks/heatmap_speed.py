"""Discs per second of `lhdlib.gradcam.explain`, beside `tf.GradientTape` and tf-keras-vis on the same model and discs.

All sides start from the same rows of a slice store and give each disc's classic Grad-CAM, all but tf-keras-vis also the
paper's heatmaps. The discs share no slice; where they do, as the two samples of a disc with four slices, `explain` is
faster still. A compiled tape differentiates the layers behind the feature map alone: it, too, is one forward pass and
little more, where a closed form can save nothing. There `explain` gains by the forward pass itself, which has batch
normalisation folded into the convolutions (`lhdlib.model.inference`). Needs the extra ``[bench]``.
"""

from collections.abc import Iterator
from importlib.metadata import version

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.gradcam import Gradcam

from benchmarks.finetune_cache import frozen_extractor, smooth_slices
from benchmarks.record import record
from benchmarks.side_by_side import alternate, compare, options
from lhdlib import gradcam, profile

BATCH = 32  # discs
Maps = tuple[np.ndarray | None, np.ndarray]  # the paper's maps and the classic ones, (n, 3, u, v)


def flat_batches(images: np.ndarray, rows: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """The slices of `batch` discs at a time, (3 * discs, W, W, 1), float32."""
    for start in range(0, len(rows), batch):
        yield images[rows[start : start + batch].ravel()][..., None].astype(np.float32)


def with_tape(
    extractor: keras.Model, images: np.ndarray, rows: np.ndarray, weights: np.ndarray, batch: int, compiled: bool
) -> Maps:
    """dh/dA by reverse-mode differentiation, `batch` discs at a time, the maps by `gradcam.heatmaps`."""
    differentiate = _compiled if compiled else _differentiate
    found = []
    for flat in flat_batches(images, rows, batch):
        a, gradients = (
            x.numpy().reshape(-1, 3, *x.shape[1:])
            for x in differentiate(extractor, tf.constant(flat), tf.constant(weights))
        )
        found.append((gradcam.heatmaps(a, gradients)[0], gradcam.classic_heatmap(a, gradients)))
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def _differentiate(extractor, flat, weights):
    with tf.GradientTape() as tape:
        features, a = extractor(flat, training=False)
        h = tf.reduce_sum(tf.reshape(features, (-1, *weights.shape)) * weights)  # discs do not touch each other's
    return a, tape.gradient(h, a)


_compiled = tf.function(_differentiate, reduce_retracing=True)


def with_tf_keras_vis(
    extractor: keras.Model, images: np.ndarray, rows: np.ndarray, weights: np.ndarray, batch: int
) -> Maps:
    """Classic Grad-CAM alone: tf-keras-vis has no weights over three slices together."""
    model = keras.Model(extractor.input, extractor.outputs[0])
    visualise = Gradcam(model, model_modifier=None, clone=False)
    found = []
    for flat in flat_batches(images, rows, batch):
        tiled = np.tile(weights, (len(flat) // 3, 1))
        cam = visualise(
            lambda outputs, tiled=tiled: tf.reduce_sum(outputs * tiled, axis=1),
            flat,
            penultimate_layer="feature_map",
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )
        found.append(gradcam.normalise(np.asarray(cam).reshape(-1, 3, *cam.shape[1:])))
    return None, np.concatenate(found)


def main() -> None:
    """Check that all sides give the same maps, time them in turn, record."""
    parser = options(__doc__.splitlines()[0], rounds=9)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--discs", type=int, default=64)
    args = parser.parse_args()
    settings = profile.load(args.profile)
    extractor = frozen_extractor(settings)
    images = smooth_slices(3 * args.discs, settings.data.image_size)
    rows = np.arange(3 * args.discs).reshape(-1, 3)
    weights = np.random.default_rng(2).normal(0, 0.1, (3, settings.encoder.dim)).astype(np.float32)
    store = extractor, images, rows, weights

    def ours():
        found = gradcam.explain(*store, 0.0, batch=BATCH)
        return found.maps, found.classic

    ways = {
        "lhdlib, closed form": ours,
        "tf.GradientTape, one disc at a time": lambda: with_tape(*store, 1, False),
        f"tf.GradientTape, {BATCH} discs at a time": lambda: with_tape(*store, BATCH, False),
        f"tf.GradientTape, {BATCH} discs at a time, tf.function": lambda: with_tape(*store, BATCH, True),
        "tf-keras-vis, one disc at a time": lambda: with_tf_keras_vis(*store, 1),
        f"tf-keras-vis, {BATCH} discs at a time": lambda: with_tf_keras_vis(*store, BATCH),
    }
    wanted = ours()
    apart = [
        np.abs(mine - other).max()
        for way in ways.values()
        for mine, other in zip(wanted, way(), strict=True)
        if other is not None
    ]
    np.testing.assert_array_less(apart, 1e-5)
    seconds = alternate(ways, args.rounds)
    lines = [
        f"- profile {args.profile}: {args.discs} discs of three slices, {settings.data.image_size} pixels wide; "
        f"{args.rounds} alternating rounds",
        f"- largest difference between the sides' maps, which lie in [0, 1]: {max(apart):.1e}",
        *compare(seconds, args.discs, "discs"),
        f"- tf-keras-vis {version('tf-keras-vis')}",
    ]
    record("Heatmaps", lines, args.dry_run)


if __name__ == "__main__":
    main()
