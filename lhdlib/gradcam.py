"""The paper's heatmaps (section "Generation of heatmaps", Eq. 16-20) and classic Grad-CAM (Eq. 7 and 8)."""

import keras
import numpy as np
import tensorflow as tf


def heatmaps(feature_maps: np.ndarray, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heatmap of each of a sample's three slices, with the slice's share of the weight (Eq. 16-20).

    Absolute gradients make the map for "abnormal" and for "normal" the same; that is how the paper defines it.

    Parameters
    ----------
    feature_maps : np.ndarray, shape (3, u, v, n)
        A, the output of the last residual stage.
    gradients : np.ndarray, shape (3, u, v, n)
        G = dh/dA, h the classifier's output before the sigmoid.

    Returns
    -------
    maps : np.ndarray, shape (3, u, v)
        In [0, 1], each divided by its own maximum; all zero where a map has no positive value.
    slice_weight : np.ndarray, shape (3,)
        Sum of each slice's channel weights; they add up to 1.
    """
    maps, weights = raw_heatmaps(feature_maps, gradients)
    return normalise(maps), weights.sum(axis=1)


def raw_heatmaps(feature_maps: np.ndarray, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 16-19: maps (3, u, v) before normalisation and channel weights w (3, n)."""
    alpha = np.abs(gradients).mean(axis=(1, 2))  # Eq. 16, over all 3n channels
    spread = alpha.std()
    # Eq. 17 is undefined for equal weights: they stay equal, which is what the softmax makes of any constant
    scaled = alpha / spread if spread > 0 else np.zeros_like(alpha)
    exponentials = np.exp(scaled - scaled.max())
    weights = exponentials / exponentials.sum()  # Eq. 18
    return np.maximum(np.einsum("sk,suvk->suv", weights, feature_maps), 0), weights  # Eq. 19


def classic_heatmap(feature_maps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Classic Grad-CAM of each slice (Eq. 7 and 8), each divided by its own maximum.

    Parameters
    ----------
    feature_maps, gradients : np.ndarray, shape (3, u, v, n)

    Returns
    -------
    np.ndarray, shape (3, u, v)
        In [0, 1].
    """
    weights = gradients.mean(axis=(1, 2))  # Eq. 7
    return normalise(np.maximum(np.einsum("sk,suvk->suv", weights, feature_maps), 0))  # Eq. 8


def normalise(maps: np.ndarray) -> np.ndarray:
    """Divide each map by its maximum (Eq. 20); a map without positive values stays zero."""
    peak = maps.max(axis=(-2, -1), keepdims=True)
    return np.divide(maps, peak, out=np.zeros_like(maps), where=peak > 0)


def closed_form_gradients(extractor: keras.Model, feature_maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """dh/dA without a backward pass.

    Between A and h lie global average pooling, one dense layer, batch normalisation with fixed statistics, ReLU (z is
    its input; it may also stand before the normalisation) and the linear unit, so dh/dA is the same at every position:
    (1/uv) W (scale * [z > 0] * w).

    Parameters
    ----------
    extractor : keras.Model
    feature_maps : np.ndarray, shape (3, u, v, n)
    weights : np.ndarray, shape (3, d)
        The linear unit's.

    Returns
    -------
    np.ndarray, shape (3, u, v, n)
    """
    kernel, bias = (np.asarray(v) for v in extractor.get_layer("fc1_dense").weights)
    norm = extractor.get_layer("fc1_bn")
    gamma, beta, mean, variance = (
        np.asarray(v) for v in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.epsilon)
    u, v = feature_maps.shape[1:3]
    z = feature_maps.mean(axis=(1, 2)) @ kernel + bias
    names = [layer.name for layer in extractor.layers]
    if names.index("fc1_bn") < names.index("fc1_relu"):
        z = (z - mean) * scale + beta
    active = z > 0
    gradients = (active * scale * weights) @ kernel.T / (u * v)
    return np.broadcast_to(gradients[:, None, None, :], feature_maps.shape)


def upsample(maps: np.ndarray, size: int) -> np.ndarray:
    """Bicubic upsampling of maps (m, u, v) to (m, size, size), limited to [0, 1] (cubic overshoot is cut)."""
    large = tf.image.resize(maps[..., None], (size, size), method="bicubic").numpy()[..., 0]
    return np.clip(large, 0, 1)


def sample_feature_maps(extractor: keras.Model, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Feature maps A of one sample's three slices: rows (3,) -> (3, u, v, n)."""
    return extractor(images[rows][..., None].astype(np.float32), training=False)[1].numpy()


def explain(
    extractor: keras.Model, images: np.ndarray, rows: np.ndarray, weights: np.ndarray, bias: float, batch: int = 32
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Heatmaps of many samples in one forward pass each.

    Parameters
    ----------
    extractor : keras.Model
    images : np.ndarray, shape (N, W, W)
        The slice store.
    rows : np.ndarray of int, shape (n, 3)
    weights : np.ndarray, shape (3, d)
        The linear unit's.
    bias : float

    Returns
    -------
    maps : np.ndarray, shape (n, 3, u, v)
        Eq. 20.
    slice_weight : np.ndarray, shape (n, 3)
    classic : np.ndarray, shape (n, 3, u, v)
        Eq. 8.
    logits : np.ndarray, shape (n,)
        h.
    """
    found = []
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        slices = images[chosen].astype(np.float32).reshape(-1, *images.shape[1:], 1)
        outputs = extractor(slices, training=False)
        features, feature_maps = (o.numpy().reshape(len(chosen), 3, *o.shape[1:]) for o in outputs)
        for x, a in zip(features, feature_maps, strict=True):
            gradients = closed_form_gradients(extractor, a, weights)
            found.append((*heatmaps(a, gradients), classic_heatmap(a, gradients), (x * weights).sum() + bias))
    return tuple(np.stack(column) for column in zip(*found, strict=True))
