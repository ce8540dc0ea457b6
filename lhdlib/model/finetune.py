"""Stage 2: a linear classifier on the frozen extractor's features of random crops (section "Supervised fine-tuning").

The extractor is frozen: the features of every crop are computed once, whatever is trained on them.
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from lhdlib import augment, cache, files
from lhdlib.data.dataset import Dataset
from lhdlib.model.inference import forward
from lhdlib.profile import Finetune
from lhdlib.progress import progress_bar

MEMORY_LIMIT = (
    2 * 2**30
)  #: bytes; training features beyond it stay on disk, and training reads one crop of all samples at a time


def extract(extractor: keras.Model, images: np.ndarray, rows: np.ndarray, *, batch: int = 64) -> np.ndarray:
    """Features of each sample's three slices; batch normalisation and dropout in inference mode.

    Parameters
    ----------
    extractor : keras.Model
        (m, W, W, 1) -> [features (m, d), feature map].
    images : np.ndarray, shape (N, W, W)
        The slice store.
    rows : np.ndarray of int, shape (n, 3)
        Each sample's slices, cranial to caudal.

    Returns
    -------
    np.ndarray, shape (n, 3, d), float32
    """
    return _features(forward(extractor), images, rows, None, batch)


def extract_crops(
    extractor: keras.Model,
    images: np.ndarray,
    rows: np.ndarray,
    crops: int,
    seed: int,
    *,
    batch: int = 64,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Features of random crops of each sample, in the manner of `extract`.

    Parameters
    ----------
    crops : int
        Crops of each sample. Crop k has a generator of its own: the first ones do not depend on how many follow.
    out : np.ndarray, shape (crops, n, 3, d), float32, optional
        Written to and returned, e.g. a map of a file.

    Returns
    -------
    np.ndarray, shape (crops, n, 3, d), float32
    """
    out = np.empty(_shape(extractor, rows, crops), np.float32) if out is None else out
    for k in progress_bar(range(crops), desc="features of crops"):
        boxes = augment.finetune_crops(np.random.default_rng([seed, 3, k]), len(rows), images.shape[1])
        out[k] = _features(forward(extractor), images, rows, boxes, batch)
    return out


def _shape(extractor: keras.Model, rows: np.ndarray, crops: int) -> tuple[int, ...]:
    return crops, *rows.shape, extractor.output_shape[0][-1]


def _features(
    compute: Callable, images: np.ndarray, rows: np.ndarray, boxes: np.ndarray | None, batch: int
) -> np.ndarray:
    def flat(start: int) -> tf.Tensor:
        part = slice(start, start + batch)
        slices = images[rows[part]]
        views = slices if boxes is None else augment.finetune_views(slices, boxes[part])
        return tf.reshape(tf.cast(views, tf.float32), (-1, *images.shape[1:], 1))

    parts = [compute(slices)[0].numpy() for slices in augment.ahead(flat, range(0, len(rows), batch))]
    return np.concatenate(parts).reshape(*rows.shape, -1)


def train_linear(
    features: np.ndarray, labels: np.ndarray, settings: Finetune, seeds: list[int], *, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train linear classifiers, one per seed, side by side, with Adam on the sigmoid cross-entropy.

    Epoch e sees crop ``e % crops`` of every sample, in an order of each seed.

    Parameters
    ----------
    features : shape (crops, m, 3, d)
    labels : shape (n,) or (seeds, n)
        0 or 1.
    rows : shape (n,), optional
        Samples to train on, all when None.

    Returns
    -------
    weights : shape (seeds, 3, d)
    bias : shape (seeds,)
    losses : shape (epochs, seeds)
        Mean training cross-entropy.
    """
    rows = np.arange(features.shape[1]) if rows is None else rows
    (crops, _, slices, dim), n = features.shape, len(rows)
    batch = min(settings.batch, n)
    per_epoch = n // batch
    labels = np.broadcast_to(labels, (len(seeds), n)).astype(np.float32)
    rngs = [np.random.default_rng([seed, 4]) for seed in seeds]
    # As many crops as epochs are the training on fresh crops in every epoch, computed once.
    order = np.stack([[rng.permutation(n)[: per_epoch * batch] for _ in range(settings.epochs)] for rng in rngs], 1)
    order = order.reshape(settings.epochs, len(seeds), per_epoch, batch).transpose(0, 2, 1, 3)
    initial = np.stack([rng.normal(0, 0.01, slices * dim) for rng in rngs]).astype(np.float32)
    weights, bias = keras.Variable(initial), keras.Variable(np.zeros(len(seeds), np.float32))
    optimizer = keras.optimizers.Adam(settings.lr)
    optimizer.build([weights, bias])

    @tf.function
    def epoch(x, y, batches):
        total = tf.zeros(len(seeds))
        for chosen in batches:  # (seeds, batch)
            with tf.GradientTape() as tape:
                logits = tf.einsum("sbf,sf->sb", tf.gather(x, chosen), weights.value) + bias.value[:, None]
                truth = tf.gather(y, chosen, batch_dims=1)
                losses = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(truth, logits), axis=1)
                objective = tf.reduce_sum(losses) + settings.w * tf.reduce_sum(weights.value**2)
            optimizer.apply(tape.gradient(objective, [weights.value, bias.value]), [weights, bias])
            total += losses
        return total / per_epoch

    def flat(crop):
        return tf.constant(features[crop][rows].reshape(n, slices * dim))

    if crops * n * slices * dim * features.itemsize <= MEMORY_LIMIT:  # beyond, an epoch reads its own crop alone
        flat = functools.cache(flat)
    history = [epoch(flat(e % crops), labels, tf.constant(order[e], tf.int32)).numpy() for e in range(settings.epochs)]
    return weights.numpy().reshape(-1, slices, dim), bias.numpy(), np.stack(history)


def logits(features: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Classifier output h before the sigmoid: features (n, 3, d), weights (seeds, 3, d) -> (seeds, n)."""
    return np.einsum("nsd,ksd->kn", features, weights) + bias[:, None]


class CropStore:
    """Training features: kept with those of the other parts, or, beyond `MEMORY_LIMIT`, in a file that is mapped.

    Parameters
    ----------
    path : Path
        The ``.npz`` of the other parts; the file of its own lies beside it.
    shape : (int, int, int, int)
        (crops, n, 3, d).
    """

    def __init__(self, path: Path, shape: tuple[int, ...]):
        self.path, self.shape, self.file = path, shape, path.with_suffix(".npy")
        self.apart = math.prod(shape) * np.dtype(np.float32).itemsize > MEMORY_LIMIT
        if self.apart and self.read() is None:
            path.unlink(missing_ok=True)  # the other parts alone are of no use

    def write(self, compute: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays that `compute` fills in: ``train``, for the ``.npz``, or nothing where the file of its own has it."""
        if not self.apart:
            return {"train": compute(np.empty(self.shape, np.float32))}
        self.path.unlink(missing_ok=True)  # its key must not vouch for other features
        with files.replacing(self.file) as temporary:
            compute(files.mapped(temporary, np.float32, self.shape)).flush()
        return {}

    def read(self) -> np.ndarray | None:
        """The file mapped; None when it is absent or damaged."""
        try:
            return np.load(self.file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None


def dataset_features(
    extractor: keras.Model, data: Dataset, split: str, settings: Finetune, seed: int, path: Path, extractor_key: str
) -> dict[str, np.ndarray]:
    """Features and labels of the three parts of a split, computed once and kept in `path` (`CropStore`).

    Returns
    -------
    dict
        ``train`` (crops, n, 3, d), ``validation`` and ``test`` (n, 3, d), and ``<part>_labels`` (n,).
    """
    parts = {name: data.part(name, split) for name in ("train", "validation", "test")}
    crops, rows = settings.draws, parts["train"].rows
    store = CropStore(path, _shape(extractor, rows, crops))

    def crops_of_train(out: np.ndarray) -> np.ndarray:
        return extract_crops(extractor, data.images, rows, crops, seed, out=out)

    def compute() -> dict[str, np.ndarray]:
        arrays, seen = {}, augment.seen(data.images, settings.test_crop)
        for name, part in parts.items():
            arrays[f"{name}_labels"] = part.labels
            arrays |= store.write(crops_of_train) if name == "train" else {name: extract(extractor, seen, part.rows)}
        return arrays

    inputs = extractor_key, data.info["fingerprint"], data.info["splits"], split, crops, settings.test_crop, seed
    features = cache.cached(path, cache.content_key(*inputs, cache.code_key(__name__)), compute)
    return features | {"train": store.read()} if store.apart else features


def repeated_features(
    extractors: Sequence[tuple[keras.Model, str]], data: Dataset, split: str, settings: Finetune, seed: int, path: Path
) -> list[dict[str, np.ndarray]]:
    """`dataset_features` of several extractors, each with its key; the second's lie in ``<path>_2.npz``, and so on."""
    return [
        dataset_features(extractor, data, split, settings, seed, _numbered(path, number), key)
        for number, (extractor, key) in enumerate(extractors, start=1)
    ]


def _numbered(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_stem(f"{path.stem}_{number}")


def classify(
    features: dict[str, np.ndarray],
    settings: Finetune,
    seed: int,
    *,
    rows: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Train one classifier per seed on (a part of) the training samples; logits of validation and test samples.

    Parameters
    ----------
    features
        From `dataset_features`.
    seed
        The repetitions have the seeds ``seed .. seed + settings.seeds - 1``.
    rows : np.ndarray of int, optional
        Training samples to use.
    labels : shape (n,) or (seeds, n)
        In place of the training labels (controls).

    Returns
    -------
    dict
        ``weights`` (seeds, 3, d), ``bias`` (seeds,), ``losses`` (epochs, seeds), ``<part>_logits`` (seeds, n) and
        ``<part>_labels`` (n,) of validation and test.
    """
    rows = np.arange(features["train"].shape[1]) if rows is None else rows
    labels = features["train_labels"] if labels is None else labels
    seeds = list(range(seed, seed + settings.seeds))
    # The last epoch's: no epoch is chosen by looking at the test set.
    weights, bias, losses = train_linear(features["train"], labels[..., rows], settings, seeds, rows=rows)
    result = {"weights": weights, "bias": bias, "losses": losses}
    for part in ("validation", "test"):
        result[f"{part}_logits"] = logits(features[part], weights, bias)
        result[f"{part}_labels"] = features[f"{part}_labels"]
    return result


def classify_each(
    repeated: Sequence[dict[str, np.ndarray]],
    settings: Finetune,
    seed: int,
    *,
    rows: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """`classify` on the features of several extractors: all classifiers, those of one extractor after the other's."""
    runs = [classify(features, settings, seed, rows=rows, labels=labels) for features in repeated]
    shared = {name: value for name, value in runs[0].items() if name.endswith("_labels")}
    axes = dict.fromkeys(runs[0], 0) | {"losses": 1}  # an epoch's losses stand in a row
    each = {name: np.concatenate([run[name] for run in runs], axis=axis) for name, axis in axes.items()}
    return each | shared
