"""Stage 2: features of random crops from the frozen extractor -> one linear unit (section "Supervised fine-tuning").

The extractor is frozen: the features of every crop are computed once, whatever is trained on them.
"""

import functools
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from lhdlib import augment, cache, files
from lhdlib.data.dataset import Dataset
from lhdlib.model.inference import forward
from lhdlib.profile import Finetune
from lhdlib.progress import progress_bar

MEMORY_LIMIT = 2 * 2**30  # bytes; more training features than this stay on disk, and training reads a draw at a time


def extract(extractor: keras.Model, images: np.ndarray, rows: np.ndarray, batch: int = 64) -> np.ndarray:
    """Features of each sample's three whole slices; batch normalisation and dropout in inference mode.

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


def extract_draws(
    extractor: keras.Model,
    images: np.ndarray,
    rows: np.ndarray,
    draws: int,
    seed: int,
    batch: int = 64,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Features of `draws` random crops of each sample; the extractor is frozen, so each is computed once.

    Parameters
    ----------
    extractor, images, rows, batch
        As of `extract`.
    draws : int
    seed : int
        Draw k has a generator of its own: the first draws do not depend on how many follow.
    out : np.ndarray, shape (draws, n, 3, d), float32, optional
        Written to and returned, e.g. a map of a file.

    Returns
    -------
    np.ndarray, shape (draws, n, 3, d), float32
    """
    out = np.empty(_shape(extractor, rows, draws), np.float32) if out is None else out
    for k in progress_bar(range(draws), desc="features of crops"):
        boxes = augment.finetune_crops(np.random.default_rng([seed, 3, k]), len(rows), images.shape[1])
        out[k] = _features(forward(extractor), images, rows, boxes, batch)
    return out


def _shape(extractor, rows, draws):
    return draws, *rows.shape, extractor.output_shape[0][-1]


def _features(compute, images, rows, boxes, batch):
    def flat(start):
        part = slice(start, start + batch)
        slices = images[rows[part]]
        views = slices if boxes is None else augment.finetune_views(slices, boxes[part])
        return tf.reshape(tf.cast(views, tf.float32), (-1, *images.shape[1:], 1))

    found = [compute(slices)[0].numpy() for slices in augment.ahead(flat, range(0, len(rows), batch))]
    return np.concatenate(found).reshape(*rows.shape, -1)


def train_linear(
    features: np.ndarray, labels: np.ndarray, settings: Finetune, seeds: list[int], rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train one linear unit per seed with Adam on the sigmoid cross-entropy; all seeds run side by side.

    Epoch e sees draw ``e % draws``; each seed has its own order of samples. With as many draws as epochs this is the
    training on fresh crops in every epoch, computed once.

    Parameters
    ----------
    features : np.ndarray, shape (draws, m, 3, d)
        Beyond `MEMORY_LIMIT` (then best a map of a file) an epoch reads its own draw alone.
    labels : np.ndarray, shape (n,) or (seeds, n)
        0 or 1; a row per seed where they differ (shuffled labels).
    settings : Finetune
    seeds : list of int
    rows : np.ndarray of int, shape (n,), optional
        The samples to train on, all m when None.

    Returns
    -------
    weights : np.ndarray, shape (seeds, 3, d)
    bias : np.ndarray, shape (seeds,)
    losses : np.ndarray, shape (epochs, seeds)
        Mean training cross-entropy of each epoch.
    """
    rows = np.arange(features.shape[1]) if rows is None else rows
    (draws, _, slices, dim), n = features.shape, len(rows)
    batch = min(settings.batch, n)
    per_epoch = n // batch
    labels = np.broadcast_to(labels, (len(seeds), n)).astype(np.float32)
    rngs = [np.random.default_rng([seed, 4]) for seed in seeds]
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

    def flat(draw):
        return tf.constant(features[draw][rows].reshape(n, slices * dim))

    if draws * n * slices * dim * features.itemsize <= MEMORY_LIMIT:
        flat = functools.cache(flat)
    history = [epoch(flat(e % draws), labels, tf.constant(order[e], tf.int32)).numpy() for e in range(settings.epochs)]
    return weights.numpy().reshape(-1, slices, dim), bias.numpy(), np.stack(history)


def logits(features: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Classifier output h before the sigmoid: features (n, 3, d), weights (seeds, 3, d) -> (seeds, n)."""
    return np.einsum("nsd,ksd->kn", features, weights) + bias[:, None]


def dataset_features(
    extractor: keras.Model, data: Dataset, split: str, settings: Finetune, seed: int, path: Path, extractor_key: str
) -> dict[str, np.ndarray]:
    """Features and labels of the three parts of a split, computed once and kept in `path`.

    Training features of more than `MEMORY_LIMIT` lie in a file of their own beside it and are mapped, not read.

    Returns
    -------
    dict
        ``train`` (draws, n, 3, d), ``validation`` and ``test`` (n, 3, d), and ``<part>_labels`` (n,).
    """
    apart = path.with_suffix(".npy")
    shape = _shape(extractor, data.part("train", split).rows, settings.draws)
    large = math.prod(shape) * np.dtype(np.float32).itemsize > MEMORY_LIMIT

    def draw(rows: np.ndarray) -> dict[str, np.ndarray]:
        if not large:
            return {"train": extract_draws(extractor, data.images, rows, settings.draws, seed)}
        path.unlink(missing_ok=True)  # its key must not vouch for another draw's features
        with files.replacing(apart) as temporary:
            out = files.mapped(temporary, np.float32, shape)
            extract_draws(extractor, data.images, rows, settings.draws, seed, out=out).flush()
        return {}

    def compute() -> dict[str, np.ndarray]:
        found = {}
        for part in ("train", "validation", "test"):
            samples = data.part(part, split)
            found[f"{part}_labels"] = samples.labels
            found |= draw(samples.rows) if part == "train" else {part: extract(extractor, data.images, samples.rows)}
        return found

    code = cache.code_key(__name__)
    key = cache.content_key(
        extractor_key, data.info["fingerprint"], data.info["splits"], split, settings.draws, seed, code
    )
    if large and _mapped(apart) is None:
        path.unlink(missing_ok=True)
    found = cache.cached(path, key, compute)
    return found | {"train": _mapped(apart)} if large else found


def _mapped(path):
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # absent or damaged
        return None


def classify(
    features: dict[str, np.ndarray],
    settings: Finetune,
    seed: int,
    rows: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Train one classifier per seed on (a part of) the training samples; logits of validation and test samples.

    The weights are those of the last epoch: no epoch is chosen by looking at the test set.

    Parameters
    ----------
    features : dict
        Of `dataset_features`.
    settings : Finetune
    seed : int
        The repetitions have the seeds ``seed .. seed + settings.seeds - 1``.
    rows : np.ndarray of int, optional
        Training samples to use, all when None.
    labels : np.ndarray, shape (n,) or (seeds, n), optional
        In place of the training labels (controls).

    Returns
    -------
    dict
        ``weights`` (seeds, 3, d), ``bias`` (seeds,), ``losses`` (epochs, seeds), ``validation_logits`` and
        ``test_logits`` (seeds, n), ``validation_labels``, ``test_labels``.
    """
    rows = np.arange(features["train"].shape[1]) if rows is None else rows
    labels = features["train_labels"] if labels is None else labels
    seeds = list(range(seed, seed + settings.seeds))
    weights, bias, losses = train_linear(features["train"], labels[..., rows], settings, seeds, rows)
    result = {"weights": weights, "bias": bias, "losses": losses}
    for part in ("validation", "test"):
        result[f"{part}_logits"] = logits(features[part], weights, bias)
        result[f"{part}_labels"] = features[f"{part}_labels"]
    return result
