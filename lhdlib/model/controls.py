"""Control features: how far a classifier gets without the contrastive encoder.

Each is a model in the extractor's place, (batch, W, W, 1) -> [features, slice], so that crops, linear classifier, seeds
and test are the same code; nobody reads the second output, which stands where the extractor has its feature map.
"""

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from lhdlib import cache
from lhdlib.data.dataset import Dataset
from lhdlib.model import finetune
from lhdlib.profile import Profile

BODY = 0.1  #: grey value above which a pixel counts as body, not air
BRIGHT = 0.6  #: and as bright (fat, fluid); 1 is a slice's 99.5th percentile


def pixels(size: int, dim: int) -> keras.Model:
    """Block means of the slice, at most `dim` of them."""
    block = -(-size // int(dim**0.5))
    image = keras.Input((size, size, 1))
    return keras.Model(image, [layers.Flatten()(layers.AveragePooling2D(block, padding="same")(image)), image])


class _Nuisance(keras.layers.Layer):
    def call(self, image):
        body = ops.cast(image > BODY, "float32")
        parts = [ops.mean(image, (1, 2, 3)), ops.std(image, (1, 2, 3))]
        parts += [ops.mean(ops.max(body, axis), (1, 2)) for axis in (1, 2)]  # share of columns, of rows
        parts += [ops.mean(ops.cast(image > level, "float32"), (1, 2, 3)) for level in (BODY, BRIGHT)]
        return ops.stack(parts, axis=1)


def nuisance(size: int) -> keras.Model:
    """Six numbers for each slice that tell patients and scanners apart, not discs.

    Mean and standard deviation of the intensity, width and height of the body, area of the body and of what is bright.
    """
    image = keras.Input((size, size, 1))
    return keras.Model(image, [_Nuisance()(image), image])


def code(autoencoder: keras.Model) -> keras.Model:
    """The code of a trained `autoencoder.build_autoencoder`."""
    return keras.Model(autoencoder.input, [autoencoder.get_layer("code").output, autoencoder.input])


def control_features(
    data: Dataset, autoencoder: keras.Model, split: str, profile: Profile, seed: int, folder: Path
) -> dict[str, dict[str, np.ndarray]]:
    """Features of every control, computed once and kept in `folder`.

    Returns
    -------
    dict
        Name of the control -> features as `finetune.dataset_features` gives them.
    """
    size = profile.data.image_size
    models = {
        "autoencoder": code(autoencoder),
        "raw pixels": pixels(size, profile.encoder.dim),
        "patient nuisance": nuisance(size),
    }
    features = {}
    for name, model in models.items():
        weights = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()
        key = cache.content_key(name, weights, size, profile.encoder.dim, cache.code_key(__name__))
        path = folder / f"features_{name.replace(' ', '_')}.npz"
        features[name] = finetune.dataset_features(model, data, split, profile.finetune, seed, path, key)
    return features


class _Standardised:
    """As much of an array as `finetune.train_linear` asks for; only the crop that is read lies in memory."""

    def __init__(self, features: np.ndarray, mean: np.ndarray, scale: np.ndarray):
        self.features, self.mean, self.scale = features, mean, scale
        self.shape, self.itemsize = features.shape, features.itemsize

    def __getitem__(self, crop: int) -> np.ndarray:
        return (self.features[crop] - self.mean) * self.scale


def standardised(features: dict[str, np.ndarray]) -> dict[str, Any]:
    """Features of `finetune.dataset_features` with mean 0 and standard deviation 1 on the training samples.

    A linear classifier trained for a fixed number of small steps would otherwise judge the scale of features more than
    the features. Constant features become 0. The training features may be a map of a file larger than the memory.

    Returns
    -------
    dict
        As `features`, for `finetune.classify`; ``train`` is indexed by the crop alone.
    """
    train = features["train"]
    mean = np.mean([crop.mean(0, dtype=float) for crop in train], 0)
    spread = np.sqrt(np.mean([((crop - mean) ** 2).mean(0) for crop in train], 0))
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 1e-6 * np.abs(mean))
    mean, scale = mean.astype(train.dtype), scale.astype(train.dtype)
    others = {part: (features[part] - mean) * scale for part in ("validation", "test")}
    return features | {"train": _Standardised(train, mean, scale)} | others
