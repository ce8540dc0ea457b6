"""Views per second of `lhdlib.augment.contrastive_views` at 300 x 300, beside albumentations, a tf.data pipeline in the
manner of SimCLR, and Keras' preprocessing layers, all on the same cores. Needs the extra ``[bench]``.

Every side rotates, crops and resizes, flips half of its views, changes brightness and contrast, and blurs with a
kernel of 15 pixels, with the paper's ranges. Only lhdlib turns about a random point and rejects crops that show filled
pixels; SimCLR's operations contain no rotation.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version

import albumentations
import cv2
import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from benchmarks.record import record
from benchmarks.side_by_side import alternate, compare, options
from lhdlib import augment, paper, profile

SETTINGS = profile.load("paper")
SIZE, VIEWS = SETTINGS.data.image_size, SETTINGS.views
KERNEL = 2 * augment.kernel_radius(SIZE) + 1
CHANGE = paper.BRIGHTNESS[1] - 1  # factors of brightness and contrast lie in 1 - CHANGE to 1 + CHANGE
THREADS = 2
BATCHES = 4  # in a row

Side = Callable[[], np.ndarray | tf.Tensor]  # a batch: two views of each of the images (n, W, W, 1) it was built for


def with_lhdlib(images: np.ndarray) -> Side:
    """This package's views, each call with its own seed."""
    steps = itertools.count()
    return lambda: augment.contrastive_views(images, (0, next(steps)), SETTINGS)


def with_albumentations(images: np.ndarray, threads: int) -> Side:
    """One view after the other, or in a pool of threads; OpenCV uses its own threads within each operation."""
    pipeline = albumentations.Compose(
        [
            albumentations.Rotate((-VIEWS.theta_deg, VIEWS.theta_deg), p=1),
            albumentations.RandomResizedCrop((SIZE, SIZE), scale=(VIEWS.p_crop, 1), ratio=paper.ASPECT, p=1),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.RandomBrightnessContrast((-CHANGE, CHANGE), (-CHANGE, CHANGE), p=1),
            albumentations.GaussianBlur(blur_limit=(KERNEL, KERNEL), sigma_limit=VIEWS.blur_sigma, p=1),
        ]
    )
    run = map if threads == 1 else ThreadPoolExecutor(threads).map
    return lambda: np.stack(list(run(lambda k: pipeline(image=images[k // 2])["image"], range(2 * len(images)))))


def with_tf_data(images: np.ndarray) -> Side:
    """SimCLR's operations for TensorFlow 2, for grey images: bicubic crops, colour jitter, depthwise blur.

    One pipeline without end, as in training: it makes a batch ahead while the other sides are timed.
    """
    radius = KERNEL // 2

    def view(image):
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image),
            tf.zeros([1, 0, 4]),
            aspect_ratio_range=paper.ASPECT,
            area_range=(VIEWS.p_crop, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        image = tf.image.resize(tf.slice(image, begin, size), (SIZE, SIZE), "bicubic")
        image = tf.image.random_flip_left_right(image)
        image *= tf.random.uniform([], *paper.BRIGHTNESS)
        image = tf.clip_by_value(tf.image.random_contrast(image, *paper.CONTRAST), 0.0, 1.0)
        weights = tf.nn.softmax(-(tf.range(-radius, radius + 1.0) ** 2) / (2 * _sigma() ** 2))
        image = tf.nn.depthwise_conv2d(image[None], weights[None, :, None, None], [1] * 4, "SAME")
        return tf.nn.depthwise_conv2d(image, weights[:, None, None, None], [1] * 4, "SAME")[0]

    data = tf.data.Dataset.from_tensor_slices(np.repeat(images, 2, axis=0)).repeat()
    batches = iter(data.map(view, num_parallel_calls=THREADS).batch(2 * len(images)))
    return lambda: next(batches)


def _sigma() -> tf.Tensor:
    return tf.random.uniform([], *VIEWS.blur_sigma)


def with_keras(images: np.ndarray) -> Side:
    """Keras' layers, in a graph, on the whole batch; a translation and a zoom stand for the crop."""
    inside = {"value_range": (0, 1)}
    layers = [
        keras.layers.RandomRotation(VIEWS.theta_deg / 360),
        keras.layers.RandomTranslation(0.2, 0.2),
        keras.layers.RandomZoom((-0.6, 0.0)),
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomBrightness(CHANGE, **inside),
        keras.layers.RandomContrast(CHANGE, **inside),
        keras.layers.RandomGaussianBlur(1.0, KERNEL, VIEWS.blur_sigma, **inside),
    ]

    @tf.function
    def views(images):
        images = tf.repeat(images, 2, axis=0)
        for layer in layers:
            images = layer(images, training=True)
        return images

    return lambda: views(tf.constant(images))


def sides(images: np.ndarray) -> dict[str, Side]:
    """All sides by name, this package's first."""
    return {
        "lhdlib": with_lhdlib(images),
        "albumentations, one thread": with_albumentations(images, 1),
        f"albumentations, pool of {THREADS} threads": with_albumentations(images, THREADS),
        "SimCLR-style tf.data pipeline (no rotation)": with_tf_data(images),
        "Keras preprocessing layers": with_keras(images),
    }


def smooth_images(n: int) -> np.ndarray:
    """Blurred noise in [0, 1], shape (n, W, W, 1), float32."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random((n, SIZE, SIZE, 1)), (0, 5, 5, 0))
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def differences() -> dict[str, float]:
    """Largest difference between lhdlib and OpenCV, for the same geometry and the same sigmas, in grey levels of 1."""
    rng = np.random.default_rng(1)
    images = smooth_images(8)
    crops = augment.sample_crops(rng, 8, SIZE, VIEWS.theta_deg, VIEWS.p_crop, VIEWS.sigma)
    box, center = np.array(crops.box.tolist()), np.array(crops.center.tolist())
    maps = augment.affine(box, SIZE, center, crops.angle_deg.to_numpy(), rng.random(16) < 0.5)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV's origin is the centre of the first pixel
    found = augment.compiled(augment.warp)(images, maps).numpy()[..., 0]
    warped = [
        cv2.warpAffine(
            images[k // 2, ..., 0],
            (np.linalg.inv(half) @ np.vstack([matrix, [0, 0, 1]]) @ half)[:2],
            (SIZE, SIZE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for k, matrix in enumerate(maps.astype(float))
    ]
    sigma = np.linspace(*VIEWS.blur_sigma, 8)
    blurred = [
        cv2.GaussianBlur(image, (KERNEL, KERNEL), s, borderType=cv2.BORDER_REFLECT)
        for image, s in zip(images[..., 0], sigma, strict=True)
    ]
    ours = augment.blur(images, tf.constant(sigma, tf.float32)).numpy()[..., 0]
    return {"warp": float(np.abs(found - warped).max()), "blur": float(np.abs(ours - blurred).max())}


def ramps(n: int) -> np.ndarray:
    """Images that grow brighter from left to right, shape (n, W, W, 1), float32."""
    return np.tile(np.linspace(0.3, 0.7, SIZE, dtype=np.float32)[:, None], (n, SIZE, 1, 1))


def shares(side: Side) -> dict[str, float]:
    """Shares of flipped and of rotated views, seen from the views of `ramps` alone."""
    middle = slice(SIZE // 2 - 20, SIZE // 2 + 20)  # away from filled pixels
    views = np.asarray(side())[:, middle, middle, 0]
    across, down = np.diff(views, axis=2).mean((1, 2)), np.diff(views, axis=1).mean((1, 2))
    return {"flipped": float((across < 0).mean()), "rotated": float((abs(down) > 1e-3 * abs(across)).mean())}


def main() -> None:
    """Check that the sides do the same, time them in turn, record."""
    parser = options(__doc__.splitlines()[0], rounds=15)
    parser.add_argument("--batch", type=int, default=SETTINGS.pretrain.batch, help="images, two views each")
    args = parser.parse_args()
    apart = differences()
    seen = {name: shares(side) for name, side in sides(ramps(64)).items()}
    ways = sides(smooth_images(args.batch))
    seconds = alternate(
        {name: lambda side=side: [side() for _ in range(BATCHES)] for name, side in ways.items()}, args.rounds
    )
    lines = [
        f"- {args.batch} images of {SIZE} x {SIZE}, float32, two views each; {args.rounds} alternating rounds of "
        f"{BATCHES} batches, one of which the tf.data pipeline has made before its turn",
        f"- largest difference from OpenCV on smooth images in [0, 1]: warp {apart['warp']:.1e}, "
        f"blur {apart['blur']:.1e}",
        "- shares of views flipped, rotated: "
        + "; ".join(f"{name} {s['flipped']:.2f}, {s['rotated']:.2f}" for name, s in seen.items()),
        *compare(seconds, 2 * args.batch * BATCHES, "views"),
        f"- albumentations {albumentations.__version__}, OpenCV {cv2.__version__} ({cv2.getNumThreads()} threads)",
    ]
    record("Views", lines, args.dry_run)


if __name__ == "__main__":
    main()
