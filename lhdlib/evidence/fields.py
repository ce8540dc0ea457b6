"""Where the cells of a feature map look, and where an enlarged picture of the map draws them."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from lhdlib import gradcam
from lhdlib.model import encoder
from lhdlib.profile import Encoder, Profile

SLICE_MM = 220.0  #: side of the archive's slices: 320 pixels of 0.6875 mm


def centroids(settings: Encoder, size: int, *, margin: int = 0) -> np.ndarray:
    """Centroid of each cell's receptive field along a side, computed on the built network by its gradients.

    Kernels are plain means, pooling averages, and batch normalisation leaves its input as it is: a pixel's weight is
    its positive share in the cell.

    Parameters
    ----------
    settings
        Blocks and strides.
    size
        W, pixels.
    margin
        Cells by which the image goes on beyond each border, so that no field is cut there.

    Returns
    -------
    np.ndarray, shape (u,)
        In pixels: the first pixel's middle is 0.
    """
    step = encoder.stride(settings)
    # all channels are alike, so one is built
    network = _averaging(replace(settings, width=1), size + 2 * margin * step)
    found = _fields(network, margin)
    return np.array([weight @ np.arange(len(weight)) / weight.sum() for weight in found]) - margin * step


def _fields(network: keras.Model, margin: int) -> np.ndarray:
    """What each row of pixels is worth to the cells of the middle column without `margin`, shape (cells, rows)."""
    numbers = np.arange(margin, network.output_shape[1] - margin)
    middle = network.output_shape[1] // 2

    @tf.function  # leaves out the kernels' gradients, which oneDNN gets wrong in so narrow a network (`profile`)
    def gradients(images):
        feature_map = network(images, training=False)  # an image for each cell
        places = np.stack([np.arange(len(numbers)), numbers, np.full(len(numbers), middle)], axis=1)
        return tf.gradients(tf.gather_nd(feature_map, places), images)[0]

    return gradients(tf.ones((len(numbers), *network.input_shape[1:]))).numpy()[..., 0].sum(axis=2)


def _averaging(settings: Encoder, size: int) -> keras.Model:
    """The ResNet of `encoder.resnet` with the same windows, strides and borders, in which everything averages."""
    image = keras.Input((size, size, 1))
    built = keras.Model(image, encoder.resnet(image, settings))

    def clone(layer: keras.Layer) -> keras.Layer:
        values = layer.get_config()
        if isinstance(layer, keras.layers.MaxPooling2D):  # the largest of equal values is the first
            return keras.layers.AveragePooling2D.from_config(values)
        if isinstance(layer, keras.layers.Conv2D):
            fan_in = layer.kernel.shape[0] * layer.kernel.shape[1] * layer.kernel.shape[2]
            return keras.layers.Conv2D.from_config(
                values | {"kernel_initializer": keras.initializers.Constant(1 / fan_in), "bias_initializer": "zeros"}
            )
        return layer.__class__.from_config(values)

    return keras.models.clone_model(built, clone_function=clone)


def cell_places(profile: Profile) -> pd.DataFrame:
    """Where a profile's maps are drawn as published, and where the network looks.

    Returns
    -------
    pd.DataFrame, a row per cell along a side
        In mm from the border of what the network sees of a slice, taken to be `SLICE_MM` wide: ``drawn``; ``centre`` of
        the whole receptive field; ``centroid`` of its part on the slice (`centroids`); ``drawn - centre``,
        ``drawn - centroid``.
    """
    size = profile.data.image_size
    seen = centroids(profile.encoder, size)
    pixel, cells = SLICE_MM / size, np.arange(len(seen))
    table = pd.DataFrame({"cell": cells + 1})
    published, aligned = (gradcam.cells(profile, len(seen), place=place).of_view() for place in gradcam.PLACES)
    table["drawn"] = SLICE_MM * (published.first + published.step * cells)
    table["centre"] = SLICE_MM * (aligned.first + aligned.step * cells)
    table["centroid"] = pixel * (seen + 0.5)
    for other in ("centre", "centroid"):
        table[f"drawn - {other}"] = table.drawn - table[other]
    return table
