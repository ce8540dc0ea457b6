"""Random views: rotation, crop, flip, brightness, contrast and blur for pre-training (section "Unsupervised
pre-training stage", constraints (1)-(6), Eq. 9-15), and the crop of the fine-tuning stage.

Geometry is drawn with NumPy (rejection sampling, vectorised over the views still waiting) and applied by one affine
warp in TensorFlow. Coordinates are continuous: an image covers [0, W] x [0, H], x to the right, y downwards, the
centre of pixel (row i, column j) is (j + 0.5, i + 0.5).

A batch's random numbers come from one generator, seeded by (seed, step): a view depends on its place in the batch, not
on its image alone.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import tensorflow as tf

from lhdlib import paper
from lhdlib.profile import Profile

Input = TypeVar("Input")
Output = TypeVar("Output")


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
    cos, sin = np.cos(phi), np.sin(phi)
    offset = points - center
    x, y = offset[..., 0], offset[..., 1]
    return np.concatenate([(cos * x - sin * y)[..., None], (sin * x + cos * y)[..., None]], axis=-1) + center


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
    corners = box[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    sources = rotate_back(corners, center[:, None], angle_deg[:, None])
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
    """Draw rotation and crop of 2n views, partners adjacent (Eq. 9-12, constraints (1)-(6)).

    Parameters
    ----------
    size
        W = H, pixels.
    theta_deg
        Angles are uniform in [-theta, theta].
    min_area
        p_crop, share of the image, in [0, 1).
    sigma
        Standard deviation of the centre O, share of the width.

    Returns
    -------
    pd.DataFrame
        ``center`` (x, y), ``angle_deg``, ``box`` (x0, y0, x1, y1) in pixels of the rotated image, ``skipped``
        (then the whole image).

    Examples
    --------
    >>> crops = sample_crops(np.random.default_rng(0), n=2, size=300, theta_deg=18, min_area=0.1, sigma=0.1)
    >>> crops.center[0] == crops.center[1]
    True
    """
    # Eq. 9-11: O about the image's centre, limited to the image, in whole pixels, the same for both partners
    share = np.clip(rng.normal(0.5, sigma, size=(n, 2)), 0, 1)
    center = np.repeat(np.rint(share * size), 2, axis=0)
    angle = rng.uniform(-theta_deg, theta_deg, size=2 * n)
    box = np.tile([0.0, 0.0, size, size], (2 * n, 1))
    waiting = np.arange(2 * n)
    for _ in range(max_tries):
        o = center[waiting]
        drawn = np.concatenate([rng.random(o.shape) * o, o + rng.random(o.shape) * (size - o)], axis=1)
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


@functools.cache
def compiled(function: Callable) -> Callable:
    """`function` of tensors as a graph.

    Without a GPU, XLA turns its many small operations into one loop over the pixels, several times as fast; a GPU's own
    kernels are fast enough without a compiler.
    """
    jit = tf.test.is_built_with_xla() and not tf.config.get_visible_devices("GPU")
    return tf.function(function, jit_compile=jit, reduce_retracing=True, autograph=False)


def warp(images: tf.Tensor, maps: tf.Tensor, *, margin: int = 0) -> tf.Tensor:
    """Bilinear resampling under affine maps, one per view; outside [0, W] x [0, H] the value is 0.

    Parameters
    ----------
    images : shape (n, H, W, c)
    maps : shape (m, 2, 3)
        See `affine`; m is a multiple of n, and each image has m / n views in a row.
    margin
        Rows and columns by which the views go on beyond each border, mirrored there.

    Returns
    -------
    tf.Tensor, shape (m, H + 2 margin, W + 2 margin, c)
    """
    shape = tf.shape(images)
    count, height, width, channels = shape[0], shape[1], shape[2], shape[3]
    rows, columns = (
        tf.cast(tf.pad(tf.range(length), [[margin, margin]], "SYMMETRIC"), tf.float32) + 0.5
        for length in (height, width)
    )
    x, y = (
        maps[:, k, 0, None, None] * columns + maps[:, k, 1, None, None] * rows[:, None] + maps[:, k, 2, None, None]
        for k in (0, 1)
    )
    right, bottom = tf.cast(width, tf.float32), tf.cast(height, tf.float32)
    tolerance = 1e-3  # pixels; float32 rounding of a corner that lies on the border
    inside = (x >= -tolerance) & (x <= right + tolerance) & (y >= -tolerance) & (y <= bottom + tolerance)
    x, y = tf.clip_by_value(x - 0.5, 0.0, right - 1.0), tf.clip_by_value(y - 0.5, 0.0, bottom - 1.0)
    x0, y0 = tf.cast(tf.floor(x), tf.int32), tf.cast(tf.floor(y), tf.int32)
    x1, y1 = tf.minimum(x0 + 1, width - 1), tf.minimum(y0 + 1, height - 1)
    ax, ay = (x - tf.floor(x))[..., None], (y - tf.floor(y))[..., None]
    # Gathers, which XLA compiles; nested interpolation, which keeps a constant image exactly constant.
    flat = tf.reshape(images, [-1, channels])
    views = tf.shape(maps)[0]
    base = tf.range(views)[:, None, None] // (views // count) * (height * width)
    top, low = base + y0 * width, base + y1 * width
    upper = tf.gather(flat, top + x0)
    upper += ax * (tf.gather(flat, top + x1) - upper)
    lower = tf.gather(flat, low + x0)
    lower += ax * (tf.gather(flat, low + x1) - lower)
    return tf.where(inside[..., None], upper + ay * (lower - upper), 0.0)


def brightness(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiply each image by its factor κ_bright (Eq. 13); not clipped. Shapes (m, H, W, 1) and (m,)."""
    return images * factor[:, None, None, None]


def contrast(images: tf.Tensor, factor: tf.Tensor, *, margin: int = 0) -> tf.Tensor:
    """Stretch each image about its mean by κ_contrast (Eq. 14 and 15); not clipped. Shapes (m, H, W, 1) and (m,).

    The mean leaves out `margin` rows and columns along each border.
    """
    shape = tf.shape(images)
    view = images[:, margin : shape[1] - margin, margin : shape[2] - margin]
    mean = tf.reduce_mean(tf.reduce_mean(view, 1, keepdims=True), (2, 3), keepdims=True)  # in two steps: vectorised
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
    weights, margin = _gaussian(sigma, radius), [radius, radius]
    padded = tf.pad(images, [[0, 0], margin, margin, [0, 0]], "SYMMETRIC")
    return _weigh(_weigh(padded, weights, radius, 1), weights, radius, 2)


def _gaussian(sigma: tf.Tensor, radius: int) -> tf.Tensor:
    """Weights of the kernels, shape (2 radius + 1, m)."""
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)[:, None]
    return tf.nn.softmax(-(offsets**2) / (2.0 * sigma**2), axis=0)


def _weigh(images: tf.Tensor, weights: tf.Tensor, radius: int, axis: int) -> tf.Tensor:
    """Weighted sum over neighbours along an axis, which gets shorter by 2 `radius`."""
    length = tf.shape(images)[axis] - 2 * radius
    shifted = (images[:, k : k + length] if axis == 1 else images[:, :, k : k + length] for k in range(2 * radius + 1))
    return tf.add_n([weights[k, :, None, None, None] * image for k, image in enumerate(shifted)])


def _tones(images: tf.Tensor, bright: tf.Tensor, stretch: tf.Tensor, weights: tf.Tensor, radius: int) -> tf.Tensor:
    return _weigh(contrast(brightness(images, bright), stretch, margin=radius), weights, radius, 1)


class Drawn(NamedTuple):
    """Images and the random numbers that make two views of each, still to be computed (`transform`)."""

    images: tf.Tensor  #: shape (n, W, W, 1)
    maps: tf.Tensor  #: rotation, crop and flip as one affine map, see `affine`; shape (2n, 2, 3)
    bright: tf.Tensor  #: κ_bright, shape (2n,)
    stretch: tf.Tensor  #: κ_contrast, shape (2n,)
    sigma: tf.Tensor  #: of the blur, pixels; shape (2n,)


def draw(images: np.ndarray, seed: int | tuple[int, ...], profile: Profile) -> tuple[Drawn, pd.DataFrame]:
    """The random numbers of `contrastive_views`, on the host; they depend on `seed` and the images' size alone.

    Returns
    -------
    drawn : Drawn
        For `transform`, in any graph.
    crops : pd.DataFrame, 2n rows
        Where the views are cut (`sample_crops`), for whoever draws or measures it.
    """
    rng = np.random.default_rng(seed)
    n, size = images.shape[:2]
    settings = profile.views
    crops = sample_crops(rng, n, size, settings.theta_deg, settings.p_crop, settings.sigma)
    flip = rng.random(2 * n) < 0.5
    uniform = [rng.uniform(*span, 2 * n) for span in (paper.BRIGHTNESS, paper.CONTRAST, settings.blur_sigma)]
    maps = affine(np.array(crops.box.tolist()), size, np.array(crops.center.tolist()), crops.angle_deg.values, flip)
    return Drawn(tf.constant(images), maps, *(tf.cast(u, tf.float32) for u in uniform)), crops


@tf.function(reduce_retracing=True, autograph=False)
def _apply(drawn: Drawn, radius: int) -> tf.Tensor:
    # Three loops over the pixels. In a single one XLA would compute each source again for every weight of the blur.
    weights = _gaussian(drawn.sigma, radius)
    views = compiled(warp)(
        tf.cast(drawn.images, tf.float32), drawn.maps, margin=radius
    )  # with the margin that the blur sees
    views = compiled(_tones)(views, drawn.bright, drawn.stretch, weights, radius)
    return compiled(_weigh)(views, weights, radius, 2)


def transform(drawn: Drawn) -> tf.Tensor:
    """The views that were drawn, in any graph: shape (2n, W, W, 1), float32."""
    return _apply(drawn, kernel_radius(drawn.images.shape[1]))


def contrastive_views(images: np.ndarray, seed: int | tuple[int, ...], profile: Profile) -> tf.Tensor:
    """Two random views of each image, in the paper's order: rotation, crop, flip, brightness, contrast, blur.

    Parameters
    ----------
    images : np.ndarray, shape (n, W, W, 1), float
    seed
        The views depend on nothing else, e.g. (seed, step).
    profile
        Its section `views`.

    Returns
    -------
    tf.Tensor, shape (2n, W, W, 1), float32
        Rows 2h and 2h + 1 (from 0) are the views of image h.

    Examples
    --------
    >>> from lhdlib import profile
    >>> contrastive_views(np.ones((4, 32, 32, 1)), 0, profile.load("smoke")).shape
    TensorShape([8, 32, 32, 1])
    """
    drawn, _ = draw(images, seed, profile)
    return transform(drawn)


def ahead(make: Callable[[Input], Output], inputs: Iterable[Input]) -> Iterator[Output]:
    """`make` of each input in order, e.g. the views of each step, so that training need not wait for them.

    A thread makes the next while the caller uses the last; an error in it is raised when its turn has come.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = None
        for value in inputs:
            last, coming = coming, thread.submit(make, value)
            if last is not None:
                yield last.result()
        if coming is not None:
            yield coming.result()


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
    return tf.transpose(compiled(warp)(channels_last, maps), [0, 3, 1, 2])


CENTRAL = (0.125, 0.875)  #: from and to, shares of the slice: the mean of `finetune_crops`


def seen_side(test_crop: str) -> tuple[float, float]:
    """From where to where the network sees a side of a validation or test slice, in shares of it."""
    return CENTRAL if test_crop == "central" else (0.0, 1.0)


class CentralCrops:
    """A slice store (N, W, W) seen through the mean crop of the fine-tuning stage; slices are cropped when asked for.

    Training crops enlarge the anatomy by a third: a network that is shown whole slices afterwards meets other sizes
    than it has learnt.
    """

    def __init__(self, images: np.ndarray):
        self.images, self.shape = images, images.shape

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Crops of the slices that `rows` chooses, in the shape of the slices, float32."""
        slices = np.asarray(self.images[rows])
        size = slices.shape[-1]
        flat = slices.reshape(-1, 1, size, size)
        boxes = np.repeat([[CENTRAL[0], CENTRAL[0], CENTRAL[1], CENTRAL[1]]], len(flat), axis=0) * size
        return finetune_views(flat, boxes).numpy().reshape(slices.shape)


def seen(images: np.ndarray, test_crop: str) -> Any:
    """The slice store as validation and test slices are shown to the network: itself, or its `CentralCrops`."""
    return CentralCrops(images) if test_crop == "central" else images
