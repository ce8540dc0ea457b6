"""The paper's heatmaps (section "Generation of heatmaps", Eq. 16-20) and classic Grad-CAM (Eq. 7 and 8)."""

import functools
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from threadpoolctl import ThreadpoolController

from lhdlib import augment
from lhdlib.model import inference
from lhdlib.model.encoder import stride
from lhdlib.profile import Profile


class Explained(NamedTuple):
    """Heatmaps of many samples as computed; `maps` and `classic`, in [0, 1], are for the eye."""

    raw: np.ndarray  #: the paper's maps H of Eq. 19, (n, 3, u, v)
    classic_raw: np.ndarray  #: classic Grad-CAM of Eq. 8, (n, 3, u, v)
    weights: np.ndarray  #: w of Eq. 18, (n, 3, channels); a sample's add up to 1
    logits: np.ndarray  #: h, (n,)

    @property
    def maps(self) -> np.ndarray:
        """Eq. 20: each map divided by its own maximum."""
        return normalise(self.raw)

    @property
    def classic(self) -> np.ndarray:
        """Classic Grad-CAM, each map divided by its own maximum."""
        return normalise(self.classic_raw)

    @property
    def slice_weight(self) -> np.ndarray:
        """Sum of each slice's channel weights, (n, 3)."""
        return self.weights.sum(axis=-1)


def heatmaps(feature_maps: np.ndarray, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heatmaps of a sample's three slices (Eq. 16-20).

    Parameters
    ----------
    feature_maps : shape (..., 3, u, v, n)
        A, the last residual stage.
    gradients : shape (..., 3, u, v, n) or (..., 3, 1, 1, n)
        G = dh/dA, h before the sigmoid.

    Returns
    -------
    maps : shape (..., 3, u, v)
        In [0, 1]; all zero where nothing is positive.
    slice_weight : shape (..., 3)
        Adds up to 1.

    Examples
    --------
    >>> A = np.ones((3, 2, 2, 8))
    >>> heatmaps(A, A)[1].round(2).tolist()
    [0.33, 0.33, 0.33]
    """
    maps, weights = raw_heatmaps(feature_maps, gradients)
    return normalise(maps), weights.sum(axis=-1)


def raw_heatmaps(feature_maps: np.ndarray, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 16-19: maps (..., 3, u, v) before normalisation and channel weights w (..., 3, n)."""
    alpha = np.abs(gradients).mean(axis=(-3, -2))  # Eq. 16: without signs "abnormal" and "normal" have one map
    channels = {"axis": (-2, -1), "keepdims": True}  # all 3n of a sample
    spread = alpha.std(**channels)
    # Eq. 17 is undefined for equal weights: they stay equal, which is what the softmax makes of any constant
    scaled = np.divide(alpha, spread, out=np.zeros_like(alpha), where=spread > 0)
    exponentials = np.exp(scaled - scaled.max(**channels))
    weights = exponentials / exponentials.sum(**channels)  # Eq. 18
    return _weighted(weights, feature_maps), weights  # Eq. 19


def _weighted(weights: np.ndarray, feature_maps: np.ndarray) -> np.ndarray:
    """Positive part of the weighted sum over channels: (..., 3, n), (..., 3, u, v, n) -> (..., 3, u, v)."""
    *slices, u, v, n = feature_maps.shape
    summed = feature_maps.reshape(*slices, u * v, n) @ weights[..., None]
    return np.maximum(summed.reshape(*slices, u, v), 0)


def classic_heatmap(feature_maps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Classic Grad-CAM of each slice (Eq. 7 and 8), each divided by its own maximum.

    Parameters
    ----------
    feature_maps, gradients : np.ndarray, shape (..., 3, u, v, n)
        A and G, see `heatmaps`.

    Returns
    -------
    np.ndarray, shape (..., 3, u, v)
        In [0, 1].

    Examples
    --------
    >>> A = np.zeros((3, 2, 2, 1))
    >>> A[:, 0, 1] = 5.0
    >>> classic_heatmap(A, np.ones_like(A))[0].tolist(), bool(classic_heatmap(A, -np.ones_like(A)).any())
    ([[0.0, 1.0], [0.0, 0.0]], False)
    """
    return normalise(raw_classic(feature_maps, gradients))


def raw_classic(feature_maps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Eq. 7 and 8: maps (..., 3, u, v) before normalisation."""
    return _weighted(gradients.mean(axis=(-3, -2)), feature_maps)


def normalise(maps: np.ndarray) -> np.ndarray:
    """Divide each map by its maximum (Eq. 20); a map without positive values stays zero."""
    peak = maps.max(axis=(-2, -1), keepdims=True)
    return np.divide(maps, peak, out=np.zeros_like(maps), where=peak > 0)


def closed_form_gradients(extractor: keras.Model, feature_maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """dh/dA without a backward pass.

    Between A and h lie global average pooling, one dense layer, batch normalisation with fixed statistics, ReLU (z is
    its input; it may also stand before the normalisation) and the linear classifier. So dh/dA is the same at every
    position: (1/uv) W (scale * [z > 0] * w).

    Parameters
    ----------
    feature_maps : shape (..., 3, u, v, n)
    weights : shape (3, d)
        Those of the linear classifier.

    Returns
    -------
    np.ndarray, shape (..., 3, u, v, n)
    """
    return np.broadcast_to(_channel_gradients(extractor, feature_maps, weights), feature_maps.shape)


def _channel_gradients(extractor: keras.Model, feature_maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The value of `closed_form_gradients` that is the same at every position, shape (..., 3, 1, 1, n)."""
    kernel, bias = (np.asarray(v) for v in extractor.get_layer("fc1_dense").weights)
    norm = extractor.get_layer("fc1_bn")
    gamma, beta, mean, variance = (
        np.asarray(v) for v in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.epsilon)
    *samples, slices, u, v, n = feature_maps.shape
    # in two dimensions: one matrix product instead of one per sample
    z = (feature_maps.mean(axis=(-3, -2)).reshape(-1, n) @ kernel + bias).reshape(*samples, slices, -1)
    names = [layer.name for layer in extractor.layers]
    if names.index("fc1_bn") < names.index("fc1_relu"):
        z = (z - mean) * scale + beta
    active = z > 0
    slopes = (active * scale * weights).reshape(-1, kernel.shape[1]) @ kernel.T / (u * v)
    return slopes.reshape(*samples, slices, 1, 1, n)


PLACES = ("published", "aligned")  #: of the cells; see `cells`


class Cells(NamedTuple):
    """Where the cells of a map lie along a side of the slice; all in shares of the side."""

    first: float  #: centre of the first cell
    step: float  #: from a cell's centre to the next one's
    low: float = 0.0  #: what the network sees begins here
    high: float = 1.0  #: and ends here

    def of_view(self) -> "Cells":
        """The same cells in shares of what the network sees."""
        side = self.high - self.low
        return Cells((self.first - self.low) / side, self.step / side)


def cells(profile: Profile, count: int, *, place: str = "") -> Cells:
    """Where the `count` cells in a row of this profile's maps lie.

    "published": the maps are enlarged like a picture, as in the paper. "aligned": each cell lies at the centre of its
    receptive field. Every stride of the network keeps the first of two positions and every convolution is padded
    evenly, so that cell i looks at pixel ``stride * i`` of what the network sees.

    Parameters
    ----------
    place
        "published" or "aligned" in place of the profile's.
    """
    low, high = augment.seen_side(profile.finetune.test_crop)
    first, step = 0.5 / count, 1 / count
    if (place or profile.heatmaps.cells) == "aligned":
        size = profile.data.image_size
        first, step = 0.5 / size, stride(profile.encoder) / size
    return Cells(low + (high - low) * first, (high - low) * step, low, high)


def upsample(maps: np.ndarray, size: int, *, where: Cells | None = None) -> np.ndarray:
    """Bicubic interpolation between the cells, limited to [0, 1] (cubic overshoot is cut).

    Parameters
    ----------
    maps : shape (..., u, u)
    size
        Side of the slice as it is drawn, pixels.
    where
        The cells' places; None: they divide the slice evenly.

    Returns
    -------
    np.ndarray, shape (..., size, size), float32
        0 where the network sees nothing.
    """
    weights = cell_weights(maps.shape[-1], size, where=where)
    return np.clip(weights @ maps.astype(np.float32) @ weights.T, 0, 1)


def cell_weights(count: int, size: int, *, where: Cells | None = None) -> np.ndarray:
    """Weights (size, count) of `upsample` along a side: pixels are sums of `count` cells."""
    return _cubic(count, size, where or Cells(0.5 / count, 1 / count))


@functools.lru_cache(maxsize=16)
def _cubic(count: int, size: int, where: Cells) -> np.ndarray:
    """Weights (size, count) of Keys' cubic convolution (1981, doi:10.1109/TASSP.1981.1163711, a = -1/2) along a side.

    Beyond the outermost cells their value goes on.
    """
    pixels = (np.arange(size) + 0.5) / size
    place = np.clip((pixels - where.first) / where.step, 0, count - 1)
    start = np.floor(place).astype(int)
    weights = np.zeros((size, count))
    for offset in (-1, 0, 1, 2):
        distance = np.abs(place - start - offset)
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
        np.add.at(weights, (np.arange(size), np.clip(start + offset, 0, count - 1)), weight)
    weights[(pixels < where.low) | (pixels > where.high)] = 0
    return weights.astype(np.float32)


def sample_feature_maps(extractor: keras.Model, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Feature maps A of one sample's three slices: rows (3,) -> (3, u, v, n)."""
    return extractor(images[rows][..., None].astype(np.float32), training=False)[1].numpy()


def explain(
    extractor: keras.Model, images: np.ndarray, rows: np.ndarray, weights: np.ndarray, bias: float, *, batch: int = 32
) -> Explained:
    """Heatmaps of many samples in one forward pass; a slice that samples of a batch share goes through it once.

    Parameters
    ----------
    extractor : keras.Model
    images : np.ndarray, shape (N, W, W)
        The slice store.
    rows : np.ndarray of int, shape (n, 3)
    weights : np.ndarray, shape (3, d)
        Those of the linear classifier; `bias` is its bias.
    """
    compute = inference.forward(extractor)
    batches = []
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        slices, place = np.unique(chosen, return_inverse=True)
        outputs = compute(tf.constant(images[slices][..., None].astype(np.float32)))
        features, feature_maps = (o.numpy()[place.reshape(chosen.shape)] for o in outputs)
        with _threads().limit(limits=1):  # small products, whose threads would wait for TensorFlow's
            gradients = _channel_gradients(extractor, feature_maps, weights)
            logits = (features * weights).sum(axis=(-2, -1)) + bias
            raw, channel_weights = raw_heatmaps(feature_maps, gradients)
            batches.append((raw, raw_classic(feature_maps, gradients), channel_weights, logits))
    return Explained(*(np.concatenate(column) for column in zip(*batches, strict=True)))


@functools.cache  # looking for the libraries takes longer than the heatmaps of a batch
def _threads() -> ThreadpoolController:
    return ThreadpoolController()
