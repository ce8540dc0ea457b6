"""The network of both stages: ResNet (He et al. 2016, as in ``keras.applications``) and four fully connected blocks
(Fig. 6); the feature extractor ends at the first block (section "Unsupervised pre-training stage").
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import layers

from lhdlib.model.layers import BatchNormalization, Dropout
from lhdlib.profile import Encoder

EPSILON = 1.001e-5  # of the ResNet's batch normalisation, as in keras.applications


@contextlib.contextmanager
def computed_in(precision: str) -> Iterator[None]:
    """Networks built in the body compute in a Keras dtype policy, e.g. "mixed_bfloat16"."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _norm(x, name):
    return BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)


def _bottleneck(x: Any, width: int, stride: int, project: bool, name: str) -> Any:
    """1x1 - 3x3 - 1x1 convolutions with a shortcut; the last 1x1 has four times the channels."""
    shortcut = x
    if project:
        shortcut = _norm(layers.Conv2D(4 * width, 1, strides=stride, name=f"{name}_0_conv")(x), f"{name}_0")
    for number, options in ((1, {"kernel_size": 1, "strides": stride}), (2, {"kernel_size": 3, "padding": "same"})):
        x = _norm(layers.Conv2D(width, name=f"{name}_{number}_conv", **options)(x), f"{name}_{number}")
        x = layers.ReLU(name=f"{name}_{number}_relu")(x)
    x = _norm(layers.Conv2D(4 * width, 1, name=f"{name}_3_conv")(x), f"{name}_3")
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def resnet(x: Any, settings: Encoder) -> Any:
    """Bottleneck ResNet up to the last stage's ReLU; blocks (3, 4, 6, 3), strides (1, 2, 2, 2) and width 64 are
    ResNet-50.

    Parameters
    ----------
    x : keras tensor, shape (batch, W, W, channels)
    settings
        Every stage after the first doubles the width, and its first block divides the resolution by its stride.

    Returns
    -------
    keras tensor, shape (batch, u, v, 4 * width * 2 ** (stages - 1))
        The feature map A of the heatmaps.
    """
    width = settings.width
    # every layer has a name: Keras' own ones count what the process has built before, and would be stored
    x = layers.ZeroPadding2D(3, name="stem_pad")(x)
    x = layers.ReLU(name="stem_relu")(_norm(layers.Conv2D(width, 7, strides=2, name="stem_conv")(x), "stem"))
    x = layers.MaxPooling2D(3, strides=2, name="stem_pool")(layers.ZeroPadding2D(1, name="stem_pool_pad")(x))
    for stage, (count, first) in enumerate(zip(settings.blocks, settings.strides, strict=True)):
        for block in range(count):
            stride = first if block == 0 else 1
            x = _bottleneck(x, width * 2**stage, stride, block == 0, f"stage{stage + 1}_block{block + 1}")
    return x


def stride(settings: Encoder) -> int:
    """Pixels of the image from one cell of the feature map to the next."""
    return 4 * math.prod(settings.strides)  # the stem halves the resolution twice


def build_encoder(size: int, settings: Encoder, drop_rate: float, seed: int) -> keras.Model:
    """The pre-training network: image -> ResNet -> global average pooling -> four fully connected blocks (Fig. 4 to 6).

    Parameters
    ----------
    size
        W = H, pixels.
    drop_rate
        Share that dropout removes, in [0, 1): the paper calls dr a retention probability, yet dr = 0 is its
        unregularised case.
    seed
        For the initial weights and dropout.

    Returns
    -------
    keras.Model
        (batch, W, W, 1) -> (batch, dim); layers "feature_map" (A) and "fc1" (the extractor's output) by name.
    """
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 1), name="image")
    x = layers.Identity(name="feature_map")(resnet(image, settings))
    with computed_in("float32"):  # the loss compares features by inner products, for which half precision is too coarse
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        for number in range(1, 5):  # the paper shows the block as a picture only (Fig. 6); the fourth has no ReLU
            x = layers.Dense(settings.dim, name=f"fc{number}_dense")(x)
            parts = [layers.BatchNormalization(name=f"fc{number}_bn")]
            if number < 4:
                parts.append(layers.ReLU(name=f"fc{number}_relu"))
            for part in parts if settings.fc_block == "dense-norm-relu" else reversed(parts):
                x = part(x)
            x = Dropout(drop_rate, name=f"fc{number}")(x)
    return keras.Model(image, x, name="encoder")


def extractor(encoder: keras.Model) -> keras.Model:
    """The feature extractor f_E: a frozen copy of `encoder` up to the first fully connected block.

    A copy, because freezing shared layers would freeze them in the encoder too.

    Returns
    -------
    keras.Model
        (batch, W, W, 1) -> [features (batch, dim), feature map A (batch, u, v, channels)].
    """
    outputs = [encoder.get_layer("fc1").output, encoder.get_layer("feature_map").output]
    part = keras.Model(encoder.input, outputs, name="extractor")
    model = keras.models.clone_model(part)
    model.set_weights(part.get_weights())
    model.trainable = False
    return model


def build_supervised(size: int, settings: Encoder, seed: int) -> keras.Model:
    """The supervised baseline: the same ResNet on three slices as channels, pooled, and one logit.

    Returns
    -------
    keras.Model
        (batch, W, W, 3) -> (batch, 1).
    """
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 3), name="slices")
    x = layers.GlobalAveragePooling2D(name="pool")(resnet(image, settings))
    return keras.Model(image, layers.Dense(1, name="logit")(x), name="supervised")


def stages(encoder: keras.Model) -> dict[str, list[tuple[str, tuple[int, ...], int]]]:
    """Stages of the networks as built, for Fig. 4: name, output shape and number of parameters.

    Returns
    -------
    dict
        ``extractor`` (kept for fine-tuning), ``head`` (fully connected blocks used in pre-training only) and
        ``classifier`` (of the fine-tuning stage).
    """
    groups: dict[str, list[keras.Layer]] = {}
    for layer in encoder.layers:
        groups.setdefault(_group(layer.name, groups), []).append(layer)
    named = {
        name: (name, tuple(members[-1].output.shape[1:]), sum(layer.count_params() for layer in members))
        for name, members in groups.items()
    }
    head = [named[f"block {number}"] for number in range(2, 5)]
    dim = encoder.output.shape[-1]
    classifier = [("three slices", (3, dim), 0), ("linear unit", (1,), 3 * dim + 1), ("sigmoid", (1,), 0)]
    return {"extractor": [s for s in named.values() if s not in head], "head": head, "classifier": classifier}


def _group(name: str, seen: dict) -> str:
    if name.startswith("fc"):
        return f"block {name[2]}"
    if name.startswith("stage"):
        return f"stage {name[5]}"
    if name in ("image", "pool"):
        return {"image": "slice", "pool": "average pooling"}[name]
    last = list(seen)[-1]  # activations and paddings belong to what they stand in
    return "stem" if last == "slice" else last


def block_layers(encoder: keras.Model, number: int) -> list[tuple[str, int]]:
    """Type and output width of the layers of fully connected block `number` (1 to 4), in order (Fig. 6)."""
    members = [layer for layer in encoder.layers if layer.name.startswith(f"fc{number}")]
    return [(type(layer).__name__, int(layer.output.shape[-1])) for layer in members]
