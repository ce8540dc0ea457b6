"""Random views: rotation, crop, flip, brightness, contrast and blur for pre-training (section "Unsupervised
pre-training stage", constraints (1)-(6), Eq. 9-15), and the crop of the fine-tuning stage.

Geometry is drawn with NumPy (rejection sampling, vectorised over the views still waiting) and applied by one affine
warp in TensorFlow. Coordinates are continuous: an image covers [0, W] x [0, H], x to the right, y downwards, the
centre of pixel (row i, column j) is (j + 0.5, i + 0.5).
"""

import numpy as np
import pandas as pd
import tensorflow as tf

from lhdlib import paper
from lhdlib.profile import Profile


def rotate_back(points: np.ndarray, center: np.ndarray, angle_deg: np.ndarray) -> np.ndarray:
    """Place in the original image of a point of the rotated one (Eq. 12).

    Parameters
    ----------
    points : np.ndarray, shape (..., 2)
        (x, y) in the rotated image, pixels.
    center : np.ndarray, shape (..., 2)
        Operation centre O.
    angle_deg : np.ndarray, shape (...)
        Rotation φ in degrees; positive is anticlockwise as seen on the screen.

    Returns
    -------
    np.ndarray, shape (..., 2)
    """
    phi = np.deg2rad(angle_deg)
    x, y = np.moveaxis(points - center, -1, 0)
    turned = np.stack([np.cos(phi) * x - np.sin(phi) * y, np.sin(phi) * x + np.cos(phi) * y], axis=-1)
    return turned + center


def _corners(box: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = np.moveaxis(box, -1, 0)
    return np.stack([np.stack(c, -1) for c in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], axis=-2)


def allowed(box: np.ndarray, center: np.ndarray, angle_deg: np.ndarray, size: int, min_area: float) -> np.ndarray:
    """Whether crops obey constraints (4) no filled pixels, (5) aspect ratio, and (6) area.

    Parameters
    ----------
    box : np.ndarray, shape (m, 4)
        (x0, y0, x1, y1), pixels, in the rotated image.
    center, angle_deg : np.ndarray, shapes (m, 2) and (m,)
    size : int
        W = H, pixels.
    min_area : float
        p_crop, share of the image.

    Returns
    -------
    np.ndarray of bool, shape (m,)
    """
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    sources = rotate_back(_corners(box), center[:, None], angle_deg[:, None])
    inside = ((sources >= 0) & (sources <= size)).all(axis=(1, 2))
    low, high = paper.ASPECT
    shape = (width >= low * height) & (width <= high * height) & (width * height > min_area * size**2)
    return inside & shape


def sample_crops(
    rng: np.random.Generator,
    n: int,
    size: int,
    theta_deg: float,
    min_area: float,
    sigma: float,
    max_tries: int = paper.MAX_TRIES,
) -> pd.DataFrame:
    """Draw rotation and crop for the 2n views of n images (Eq. 9-12, constraints (1)-(6)).

    The two views of an image share the operation centre O, drawn from a Gaussian about the image's centre, limited
    to the image and rounded to integers. Each view has its own angle and its own crop that contains O; a crop that
    breaks constraint (4), (5) or (6) is drawn again, and after `max_tries` the view is left as it is.

    Parameters
    ----------
    rng : np.random.Generator
    n : int
        Number of images.
    size : int
        W = H, pixels.
    theta_deg : float
        Angles are uniform in [-theta, theta], degrees.
    min_area : float
        p_crop, share of the image, in [0, 1).
    sigma : float
        Standard deviation of O, share of the width (not given in the paper).
    max_tries : int

    Returns
    -------
    pd.DataFrame, 2n rows, partners adjacent
        ``center`` (x, y), ``angle_deg``, ``box`` (x0, y0, x1, y1) in pixels of the rotated image, ``skipped``
        (then the angle is 0 and the box the whole image).
    """
    share = np.clip(rng.normal(0.5, sigma, size=(n, 2)), 0, 1)  # Eq. 9-11
    center = np.repeat(np.rint(share * size), 2, axis=0)
    angle = rng.uniform(-theta_deg, theta_deg, size=2 * n)
    box = np.tile([0.0, 0.0, size, size], (2 * n, 1))
    waiting = np.arange(2 * n)
    for _ in range(max_tries):
        o = center[waiting]
        drawn = np.concatenate([rng.uniform(0, 1, o.shape) * o, o + rng.uniform(0, 1, o.shape) * (size - o)], axis=1)
        good = allowed(drawn, o, angle[waiting], size, min_area)
        box[waiting[good]] = drawn[good]
        waiting = waiting[~good]
        if not waiting.size:
            break
    skipped = np.zeros(2 * n, bool)
    skipped[waiting] = True
    angle[skipped] = 0.0
    return pd.DataFrame(
        {
            "center": list(map(tuple, center)),
            "angle_deg": angle,
            "box": list(map(tuple, box)),
            "skipped": skipped,
        }
    )


def finetune_crops(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Draw the fine-tuning stage's crops: P_ul in the upper left quarter-square, P_br in the lower right one.

    Returns
    -------
    np.ndarray, shape (n, 4)
        (x0, y0, x1, y1) in pixels; the three slices of a sample share one.
    """
    return np.concatenate([rng.uniform(0, 0.25, (n, 2)), rng.uniform(0.75, 1, (n, 2))], axis=1) * size


def affine(box: np.ndarray, size: int, center: np.ndarray, angle_deg: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """One affine map per view from output to source coordinates: flip, then crop box, then Eq. 12.

    Returns
    -------
    np.ndarray, shape (m, 2, 3), float32
        Source (x, y) of the output point (x, y, 1), pixels.
    """
    corner, side = box[:, :2], box[:, 2:] - box[:, :2]
    sign = np.where(flip, -1.0, 1.0)
    scale = np.stack([sign * side[:, 0], side[:, 1]], -1) / size
    start = np.stack([np.where(flip, box[:, 2], box[:, 0]), corner[:, 1]], -1)
    origin = rotate_back(start, center, angle_deg)
    phi = np.deg2rad(angle_deg)
    turn = np.stack([np.stack([np.cos(phi), -np.sin(phi)], -1), np.stack([np.sin(phi), np.cos(phi)], -1)], -2)
    return np.concatenate([turn * scale[:, None, :], origin[..., None]], axis=-1).astype(np.float32)


def warp(images: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
    """Bilinear resampling under one affine map per image; outside [0, W] x [0, H] the value is 0.

    Written with gathers, so that it compiles under XLA, and with nested interpolation, so that a constant image
    stays that constant exactly.

    Parameters
    ----------
    images : tf.Tensor, shape (m, H, W, c)
    maps : tf.Tensor, shape (m, 2, 3)
        See `affine`.

    Returns
    -------
    tf.Tensor, shape (m, H, W, c)
    """
    shape = tf.shape(images)
    count, height, width, channels = shape[0], shape[1], shape[2], shape[3]
    columns = tf.cast(tf.range(width), tf.float32) + 0.5
    rows = tf.cast(tf.range(height), tf.float32) + 0.5
    x = maps[:, 0, 0, None, None] * columns + maps[:, 0, 1, None, None] * rows[:, None] + maps[:, 0, 2, None, None]
    y = maps[:, 1, 0, None, None] * columns + maps[:, 1, 1, None, None] * rows[:, None] + maps[:, 1, 2, None, None]
    right, bottom = tf.cast(width, tf.float32), tf.cast(height, tf.float32)
    tolerance = 1e-3  # pixels; float32 rounding of a corner that lies on the border
    inside = (x >= -tolerance) & (x <= right + tolerance) & (y >= -tolerance) & (y <= bottom + tolerance)
    x, y = tf.clip_by_value(x - 0.5, 0.0, right - 1.0), tf.clip_by_value(y - 0.5, 0.0, bottom - 1.0)
    x0, y0 = tf.cast(tf.floor(x), tf.int32), tf.cast(tf.floor(y), tf.int32)
    x1, y1 = tf.minimum(x0 + 1, width - 1), tf.minimum(y0 + 1, height - 1)
    ax, ay = (x - tf.floor(x))[..., None], (y - tf.floor(y))[..., None]
    flat = tf.reshape(images, [-1, channels])
    base = tf.range(count)[:, None, None] * (height * width)
    top, low = base + y0 * width, base + y1 * width
    upper = tf.gather(flat, top + x0)
    upper += ax * (tf.gather(flat, top + x1) - upper)
    lower = tf.gather(flat, low + x0)
    lower += ax * (tf.gather(flat, low + x1) - lower)
    return tf.where(inside[..., None], upper + ay * (lower - upper), 0.0)


def brightness(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiply each image by its factor κ_bright (Eq. 13); not clipped. Shapes (m, H, W, 1) and (m,)."""
    return images * factor[:, None, None, None]


def contrast(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Stretch each image about its mean by κ_contrast (Eq. 14 and 15); not clipped. Shapes (m, H, W, 1) and (m,)."""
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    return (images - mean) * factor[:, None, None, None] + mean


def kernel_radius(size: int) -> int:
    """Radius of the blur's kernel, whose size is 0.05 W rounded to an odd number (at least 3)."""
    return max(1, round((paper.BLUR_KERNEL * size - 1) / 2))


def blur(images: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Gaussian blur with one sigma per image, kernel 0.05 W wide, mirrored at the border.

    Parameters
    ----------
    images : tf.Tensor, shape (m, W, W, 1)
    sigma : tf.Tensor, shape (m,)
        Pixels, positive.
    """
    radius = kernel_radius(images.shape[1])
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)[:, None]
    weights = tf.nn.softmax(-(offsets**2) / (2.0 * sigma**2), axis=0)  # (kernel size, m)
    stacked = tf.transpose(images, [3, 1, 2, 0])  # each image is a channel: its own kernel, one depthwise convolution
    stacked = tf.pad(stacked, [[0, 0], [radius, radius], [radius, radius], [0, 0]], "SYMMETRIC")
    for kernel in (weights[:, None, :, None], weights[None, :, :, None]):
        stacked = tf.nn.depthwise_conv2d(stacked, kernel, strides=[1, 1, 1, 1], padding="VALID")
    return tf.transpose(stacked, [3, 1, 2, 0])


@tf.function(reduce_retracing=True)
def _apply(images, maps, bright, stretch, sigma):
    views = warp(tf.repeat(images, 2, axis=0), maps)
    views.set_shape([None, *images.shape[1:]])
    return blur(contrast(brightness(views, bright), stretch), sigma)


def contrastive_views(images: np.ndarray, seed: int | tuple[int, ...], profile: Profile) -> tf.Tensor:
    """Two random views of each image, in the paper's order: rotation, crop, flip, brightness, contrast, blur.

    Parameters
    ----------
    images : np.ndarray, shape (n, W, W, 1), float
    seed : int or tuple of int
        The views depend on nothing else, e.g. (seed, step).
    profile : Profile
        Its section `views`.

    Returns
    -------
    tf.Tensor, shape (2n, W, W, 1), float32
        Rows 2h and 2h + 1 (from 0) are the views of image h.
    """
    rng = np.random.default_rng(seed)
    n, size = images.shape[:2]
    settings = profile.views
    crops = sample_crops(rng, n, size, settings.theta_deg, settings.p_crop, settings.sigma)
    flip = rng.random(2 * n) < 0.5
    uniform = [rng.uniform(*span, 2 * n) for span in (paper.BRIGHTNESS, paper.CONTRAST, settings.blur_sigma)]
    maps = affine(np.array(crops.box.tolist()), size, np.array(crops.center.tolist()), crops.angle_deg.values, flip)
    return _apply(tf.cast(images, tf.float32), maps, *(tf.cast(u, tf.float32) for u in uniform))


@tf.function(reduce_retracing=True)
def _crop(images, maps):
    return warp(images, maps)


def finetune_views(images: np.ndarray, boxes: np.ndarray) -> tf.Tensor:
    """Crop each sample's three slices by the sample's box and resample to the full size.

    Parameters
    ----------
    images : np.ndarray, shape (n, 3, W, W)
    boxes : np.ndarray, shape (n, 4)
        See `finetune_crops`.

    Returns
    -------
    tf.Tensor, shape (n, 3, W, W), float32
    """
    n, size = len(images), images.shape[-1]
    maps = affine(boxes, size, np.zeros((n, 2)), np.zeros(n), np.zeros(n, bool))
    channels_last = tf.transpose(tf.cast(images, tf.float32), [0, 2, 3, 1])
    return tf.transpose(_crop(channels_last, maps), [0, 3, 1, 2])
