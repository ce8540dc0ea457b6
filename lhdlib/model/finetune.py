"""Stage 2: features of random crops from the frozen extractor -> one linear unit (section "Supervised fine-tuning")."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from lhdlib import augment, workspace
from lhdlib.data.dataset import Dataset
from lhdlib.profile import Finetune
from lhdlib.progress import progress_bar


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
    return _features(_forward(extractor), images, rows, None, batch)


def extract_draws(
    extractor: keras.Model, images: np.ndarray, rows: np.ndarray, draws: int, seed: int, batch: int = 64
) -> np.ndarray:
    """Features of `draws` random crops of each sample; the extractor is frozen, so each is computed once.

    Returns
    -------
    np.ndarray, shape (draws, n, 3, d), float32
    """
    size = images.shape[1]
    boxes = [augment.finetune_crops(np.random.default_rng([seed, 3, k]), len(rows), size) for k in range(draws)]
    forward = _forward(extractor)
    return np.stack([_features(forward, images, rows, b, batch) for b in progress_bar(boxes, desc="features of crops")])


def _forward(extractor):
    """The features as one graph for batches of any size: traced once."""
    compute = tf.function(lambda x: extractor(x, training=False)[0])
    return compute.get_concrete_function(tf.TensorSpec(extractor.input_shape, tf.float32))


def _features(forward, images, rows, boxes, batch):
    found = []
    for start in range(0, len(rows), batch):
        part = slice(start, start + batch)
        slices = images[rows[part]].astype(np.float32)
        if boxes is not None:
            slices = augment.finetune_views(slices, boxes[part])
        flat = np.reshape(slices, (-1, *images.shape[1:], 1))
        found.append(forward(tf.constant(flat)).numpy().reshape(len(rows[part]), 3, -1))
    return np.concatenate(found)


def train_linear(
    features: np.ndarray, labels: np.ndarray, settings: Finetune, seeds: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train one linear unit per seed with Adam on the sigmoid cross-entropy; all seeds run side by side.

    Epoch e sees draw ``e % draws``; each seed has its own order of samples. With as many draws as epochs this is the
    training on fresh crops in every epoch, computed once.

    Parameters
    ----------
    features : np.ndarray, shape (draws, n, 3, d)
    labels : np.ndarray, shape (n,) or (seeds, n)
        0 or 1; a row per seed where they differ (shuffled labels).
    settings : Finetune
    seeds : list of int

    Returns
    -------
    weights : np.ndarray, shape (seeds, 3, d)
    bias : np.ndarray, shape (seeds,)
    losses : np.ndarray, shape (epochs, seeds)
        Mean training cross-entropy of each epoch.
    """
    draws, n, slices, dim = features.shape
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

    flat = tf.constant(features.reshape(draws, n, slices * dim))
    history = [epoch(flat[e % draws], labels, tf.constant(order[e], tf.int32)).numpy() for e in range(settings.epochs)]
    return weights.numpy().reshape(-1, slices, dim), bias.numpy(), np.stack(history)


def logits(features: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Classifier output h before the sigmoid: features (n, 3, d), weights (seeds, 3, d) -> (seeds, n)."""
    return np.einsum("nsd,ksd->kn", features, weights) + bias[:, None]


def dataset_features(
    extractor: keras.Model, data: Dataset, split: str, settings: Finetune, seed: int, path: Path, extractor_key: str
) -> dict[str, np.ndarray]:
    """Features and labels of the three parts of a split, computed once and kept in `path`.

    Returns
    -------
    dict
        ``train`` (draws, n, 3, d), ``validation`` and ``test`` (n, 3, d), and ``<part>_labels`` (n,).
    """

    def compute() -> dict[str, np.ndarray]:
        found = {}
        for part in ("train", "validation", "test"):
            rows, found[f"{part}_labels"] = data.subset(part, split)
            if part == "train":
                found[part] = extract_draws(extractor, data.images, rows, settings.draws, seed)
            else:
                found[part] = extract(extractor, data.images, rows)
        return found

    code = [Path(augment.__file__), Path(__file__)]
    key = workspace.content_key(
        extractor_key, data.info["fingerprint"], data.info["splits"], split, settings.draws, seed, *code
    )
    return workspace.cached(path, key, compute)


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
    weights, bias, losses = train_linear(features["train"][:, rows], labels[..., rows], settings, seeds)
    result = {"weights": weights, "bias": bias, "losses": losses}
    for part in ("validation", "test"):
        result[f"{part}_logits"] = logits(features[part], weights, bias)
        result[f"{part}_labels"] = features[f"{part}_labels"]
    return result
