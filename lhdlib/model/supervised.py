"""The fully supervised ResNet baseline of Fig. 9 (section "Effect of the number of labels")."""

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from lhdlib import augment, cache
from lhdlib.data.dataset import Dataset
from lhdlib.model import inference
from lhdlib.model.encoder import build_supervised
from lhdlib.profile import Profile
from lhdlib.progress import progress_bar


def train_supervised(
    images: np.ndarray,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    profile: Profile,
    seed: int,
) -> keras.Model:
    """Train ResNet and linear classifier end to end on the three slices as channels, with the fine-tuning crops.

    The weights of the epoch with the lowest validation cross-entropy, in inference mode, are kept.

    Parameters
    ----------
    images : shape (N, W, W)
        The slice store.
    train, validation : (rows, labels)
        Of int, shape (n, 3), and of 0 or 1, shape (n,).

    Returns
    -------
    keras.Model
        (m, W, W, 3) -> (m, 1), the logit.
    """
    settings = profile.supervised
    model = build_supervised(images.shape[1], profile.encoder, seed)
    step = make_step(model, keras.optimizers.Adam(settings.lr))
    lowest, best = np.inf, model.get_weights()
    seen = augment.seen(images, profile.finetune.test_crop)
    bar = progress_bar(range(settings.epochs), desc="supervised baseline")
    for epoch in bar:
        losses = [float(step(x, y)) for x, y in epoch_batches(images, train, settings.batch, seed, epoch)]
        held_out = cross_entropy(validation[1], supervised_logits(model, seen, validation[0]))
        if held_out < lowest:
            lowest, best = held_out, model.get_weights()
        bar.set_postfix(loss=f"{np.mean(losses):.3f}", validation=f"{held_out:.3f}", refresh=False)
    model.set_weights(best)
    return model


def make_step(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """One optimisation step of a network (m, W, W, 3) -> (m, 1) on the mean sigmoid cross-entropy, which it returns.

    It takes slices (m, W, W, 3) and labels (m,), float32, and is compiled once for batches of any size.
    """
    signature = tf.TensorSpec(model.input_shape, tf.float32), tf.TensorSpec([None], tf.float32)

    @tf.function(input_signature=signature)
    def step(x, y):
        with tf.GradientTape() as tape:
            logits = model(x, training=True)[:, 0]
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(y, logits))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return step


def epoch_batches(
    images: np.ndarray, train: tuple[np.ndarray, np.ndarray], batch: int, seed: int, epoch: int
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """An epoch's batches for `make_step`: samples in random order, each with one random crop of its three slices.

    Fewer samples than `batch` are one batch; those that fill no last batch are left out of the epoch.
    """
    rows, labels = train
    rng = np.random.default_rng([seed, 5, epoch])
    order = rng.permutation(len(rows))
    boxes = augment.finetune_crops(rng, len(rows), images.shape[1])
    batch = min(batch, len(rows))
    for start in range(0, len(rows) - batch + 1, batch):
        chosen = order[start : start + batch]
        x = augment.finetune_views(images[rows[chosen]], boxes[chosen])
        yield tf.transpose(x, [0, 2, 3, 1]), tf.cast(labels[chosen], tf.float32)


def cross_entropy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean sigmoid cross-entropy of logits with labels of 0 or 1."""
    return float(np.mean(np.logaddexp(0, np.where(np.asarray(labels) == 1, -logits, logits))))


def supervised_logits(model: keras.Model, images: np.ndarray, rows: np.ndarray, *, batch: int = 64) -> np.ndarray:
    """Logits, shape (n,), in inference mode."""
    compute = inference.forward(model)
    parts = []
    for start in range(0, len(rows), batch):
        x = images[rows[start : start + batch]].astype(np.float32).transpose(0, 2, 3, 1)
        parts.append(compute(tf.constant(x)).numpy()[:, 0])
    return np.concatenate(parts)


def baseline(data: Dataset, split: str, profile: Profile, seed: int, path: Path) -> dict[str, np.ndarray]:
    """The baseline's logits and labels on the validation and test samples, trained once and kept in `path`.

    Returns
    -------
    dict
        ``validation_logits``, ``test_logits`` (1, n) and ``validation_labels``, ``test_labels`` (n,).
    """

    def compute() -> dict[str, np.ndarray]:
        parts = {part: data.part(part, split) for part in ("train", "validation", "test")}
        known = [(parts[part].rows, parts[part].labels) for part in ("train", "validation")]
        seen = augment.seen(data.images, profile.finetune.test_crop)
        model = train_supervised(data.images, known[0], known[1], profile, seed)
        result = {}
        for part in ("validation", "test"):
            result[f"{part}_labels"] = parts[part].labels
            result[f"{part}_logits"] = supervised_logits(model, seen, parts[part].rows)[None]
        return result

    settings = (
        profile.supervised,
        profile.encoder,
        profile.finetune.test_crop,
        split,
        seed,
        data.info["fingerprint"],
        data.info["splits"],
    )
    return cache.cached(path, cache.content_key(*settings, cache.code_key(__name__)), compute)
