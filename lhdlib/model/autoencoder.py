"""A small convolutional autoencoder (section "Contrast self-supervised learning", Fig. 1) for the same slices."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from lhdlib import cache
from lhdlib.data.dataset import Dataset
from lhdlib.profile import Profile
from lhdlib.progress import progress_bar


def build_autoencoder(size: int, dim: int, seed: int) -> keras.Model:
    """A small convolutional autoencoder (Fig. 1): the code is the layer "code", `dim` wide.

    Returns
    -------
    keras.Model
        (batch, W, W, 1) -> (batch, W, W, 1).
    """
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 1), name="image")
    x = image
    for channels in (16, 32, 64):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu")(x)
    shape = x.shape[1:]
    x = layers.Dense(dim, name="code")(layers.Flatten()(x))
    x = layers.Reshape(shape)(layers.Dense(shape[0] * shape[1] * shape[2], activation="relu")(x))
    for channels in (32, 16, 8):
        x = layers.Conv2DTranspose(channels, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(1, 3, padding="same")(x)
    x = layers.Resizing(size, size)(x)  # 300 is not a multiple of 8
    return keras.Model(image, x, name="autoencoder")


def train_autoencoder(data: Dataset, profile: Profile, seed: int, path: Path) -> keras.Model:
    """Fit the autoencoder to the pre-training slices by mean squared error, or load it when nothing has changed.

    Labels do not touch it: neither a note nor a reviewer's verdict trains it again.

    Parameters
    ----------
    path : Path
        The ``.keras`` file written; its key lies beside it.
    """
    settings, size = profile.autoencoder, data.images.shape[1]
    inputs = settings, profile.encoder.dim, size, seed, data.info["pretrain_fingerprint"]
    key = cache.content_key(*inputs, cache.code_key(__name__))
    stored = cache.load_model(path, key=key)
    if stored is not None:
        return stored
    model = build_autoencoder(size, profile.encoder.dim, seed)
    optimizer = keras.optimizers.Adam(settings.lr)

    @tf.function
    def step(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(batch, training=True) - batch) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    rng, rows = np.random.default_rng([seed, 2]), data.pretrain_rows("train")
    bar = progress_bar(range(settings.steps), desc="autoencoder")
    for _ in bar:
        chosen = np.sort(rng.choice(rows, settings.batch, replace=False))
        loss = step(tf.cast(data.images[chosen][..., None], tf.float32))
        bar.set_postfix(loss=f"{float(loss):.4f}", refresh=False)
    cache.save_model(path, model, key)
    return model
