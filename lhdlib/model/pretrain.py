"""Stage 1: unsupervised contrastive pre-training (section "Unsupervised pre-training stage"), with checkpoints."""

import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from lhdlib import augment, cache, files
from lhdlib.data.dataset import Dataset
from lhdlib.errors import UserError
from lhdlib.model import distribute, inference, losses
from lhdlib.model import encoder as networks
from lhdlib.profile import Pretrain, Profile, setting_key
from lhdlib.progress import progress_bar

VALIDATION_SEED = 7  # the held-out slices are always seen under the same views


def kernels(model: keras.Model) -> list[tf.Variable]:
    """Weights under L2 regularisation: the kernels of all convolutions and dense layers."""
    return [v for v in model.trainable_variables if v.path.rsplit("/", 1)[-1] == "kernel"]


def make_step(model: keras.Model, optimizer: keras.optimizers.Optimizer, profile: Profile) -> Any:
    """One optimisation step: all 2n views in one forward pass, loss of Eq. 6 plus ``w`` times the squared kernels.

    On several devices each passes its share of the views, and the loss is still that of all 2n rows.

    Returns
    -------
    callable
        ``step(batch, groups)`` -> dict of scalars: ``loss`` (per row, above log(2n - 1)), ``accuracy``, and mean
        and spread of the feature norms. The batch are views, or `augment.Drawn`: then each device computes its own.
    """
    settings = profile.pretrain
    regularised, replicas = kernels(model), distribute.replicas(settings)

    def replica_step(batch, groups):
        own = tf.nest.map_structure(distribute.share, batch)
        views = augment.transform(own) if isinstance(own, augment.Drawn) else own
        with tf.GradientTape() as tape:
            features = distribute.gather(model(views, training=True))
            masked = None if settings.same_patient_negatives else groups
            loss = losses.contrastive_loss(features, settings.temperature, settings.reduction, masked)
            total = loss + settings.w * tf.add_n([tf.reduce_sum(k**2) for k in regularised])
            total /= replicas  # each computes the whole loss, and the optimiser adds up their gradients
        optimizer.apply(tape.gradient(total, model.trainable_variables), model.trainable_variables)
        rows = tf.cast(tf.shape(features)[0], tf.float32)
        per_row = loss / rows if settings.reduction == "sum" else loss
        norms = tf.norm(tf.cast(features, tf.float32), axis=1)
        return {
            "loss": per_row - tf.math.log(rows - 1.0),
            "accuracy": losses.contrastive_accuracy(features),
            "norm": tf.reduce_mean(norms),
            "norm_spread": tf.math.reduce_std(norms),
        }

    @tf.function(jit_compile=settings.jit)
    def step(batch, groups):
        with distribute.synchronised(model):
            report = distribute.strategy().run(replica_step, args=(batch, groups))
        return {name: distribute.strategy().experimental_local_results(value)[0] for name, value in report.items()}

    return step


def batch_rows(rows: np.ndarray, batch: int, seed: int, step: int) -> np.ndarray:
    """Slices of optimisation step `step`: every pass over the data has its own shuffle, which only the seed decides."""
    per_pass = len(rows) // batch
    shuffled = np.random.default_rng([seed, 1, step // per_pass]).permutation(rows)
    start = step % per_pass * batch
    return np.sort(shuffled[start : start + batch])


def validation_accuracy(model: keras.Model, images: np.ndarray, rows: np.ndarray, profile: Profile) -> float:
    """Top-1 contrastive accuracy over all held-out slices at once, in inference mode."""
    batch, compute = profile.pretrain.batch, inference.forward(model)
    features = []
    for start in range(0, len(rows), batch):
        chosen = images[rows[start : start + batch]][..., None]
        views = augment.contrastive_views(chosen, (VALIDATION_SEED, start), profile)
        features.append(compute(views))
    return float(losses.contrastive_accuracy(tf.concat(features, 0)))


@distribute.watched()
def pretrain(
    images: np.ndarray,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    patients: np.ndarray,
    profile: Profile,
    seed: int,
    folder: Path,
    data_key: str,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train the encoder, go on from a checkpoint, or load the finished one when nothing has changed.

    Training ends when the validation accuracy has not improved for `patience` looks, or after `max_epochs`; the
    weights of the best look are kept. The environment decides which devices take part (`distribute`); the result is
    the same up to rounding, so its key does not name them, and a checkpoint goes on wherever it is found.

    Parameters
    ----------
    images : np.ndarray, shape (N, W, W)
        The slice store.
    train_rows, validation_rows : np.ndarray of int
        Slices to train on and slices held out.
    patients : np.ndarray of int, shape (N,)
        Patient of each slice, to count (or mask) negatives of the same patient.
    profile : Profile
    seed : int
    folder : Path
        Gets ``encoder.keras``, ``history.csv`` and, while training, ``checkpoint.npz``.
    data_key : str
        Fingerprint of the slices and of what is held out.

    Returns
    -------
    encoder : keras.Model
    history : pd.DataFrame
        A row per look: mean loss per row above log(2n - 1), training and validation accuracy, feature norm and its
        spread, pairs of one patient per batch.

    Raises
    ------
    UserError
        For fewer slices than a batch, a batch that the devices cannot share equally, a checkpoint that is damaged or
        belongs to another training, or a worker that was lost.
    """
    settings = profile.pretrain
    strategy = distribute.strategy()  # must be chosen before anything is computed
    if len(train_rows) < settings.batch:
        raise UserError(
            f"Pre-training needs at least {settings.batch} slices, {len(train_rows)} were found: add studies, or lower "
            f"'batch' in [pretrain] of profile {profile.name!r}."
        )
    code = cache.code_key(__name__)
    key = cache.content_key(
        profile.views, profile.encoder, settings, images.shape[1], seed, data_key, [len(train_rows)], code
    )
    finished = cache.load_model(folder / "encoder.keras", key)
    distribute.same(finished is None, folder)
    if finished is not None:
        return finished, files.read_table(folder / "history.csv")

    with strategy.scope():
        with networks.computed_in(settings.precision):
            model = networks.build_encoder(images.shape[1], profile.encoder, settings.drop_rate, seed)
        optimizer = keras.optimizers.Adam(settings.lr)
        optimizer.build(model.trainable_variables)
    state = _State(model, optimizer, folder / "checkpoint.npz", key)
    state.restore()
    distribute.same(len(state.history), folder)
    train = make_step(model, optimizer, profile)
    steps = settings.steps_per_epoch or len(train_rows) // settings.batch
    name = f"pre-training w={settings.w:g} dr={settings.drop_rate:g}"

    make = augment.draw if distribute.accelerated() else augment.contrastive_views

    def next_batch(number: int) -> tuple[np.ndarray, augment.Drawn | tf.Tensor]:
        rows = batch_rows(train_rows, settings.batch, seed, number)
        return rows, make(images[rows][..., None], (seed, 0, number), profile)

    total, done = settings.max_epochs * steps, len(state.history) * steps
    bar = progress_bar(total=total, initial=done, desc=name, disable=not distribute.is_chief())
    while len(state.history) < settings.max_epochs and state.epochs_without_gain() < settings.patience:
        epoch = len(state.history)
        records = []
        for rows, batch in augment.ahead(next_batch, range(epoch * steps, (epoch + 1) * steps)):
            groups = np.repeat(patients[rows], 2)
            record = {k: float(v) for k, v in train(batch, tf.constant(groups)).items()}
            record["same_patient_pairs"] = same_patient_pairs(patients[rows])
            records.append(record)
            bar.update()
        means = pd.DataFrame(records).mean().to_dict()
        if not math.isfinite(means["loss"]):
            raise UserError(f"{name}: the loss is not finite in epoch {epoch + 1}: lower 'lr' in [pretrain].")
        accuracy = validation_accuracy(model, images, validation_rows, profile)
        means["validation_accuracy"] = distribute.from_chief(accuracy)
        state.end_epoch({"epoch": epoch + 1, "steps": (epoch + 1) * steps, **means})
        bar.set_postfix(loss=f"{means['loss']:.3f}", accuracy=f"{means['validation_accuracy']:.3f}")
    bar.close()
    # The encoder computes in float32 whatever trained it: features and heatmaps need not know.
    model = networks.build_encoder(images.shape[1], profile.encoder, settings.drop_rate, seed)
    model.set_weights(state.best)
    history = pd.DataFrame(state.history)
    if distribute.is_chief():
        files.write_table(folder / "history.csv", history)
        cache.save_model(folder / "encoder.keras", model, key)
        state.path.unlink(missing_ok=True)
    distribute.from_chief(0)  # the others wait until all is written
    return model, files.read_table(folder / "history.csv")


def training_folder(root: Path, settings: Pretrain) -> Path:
    """Folder of `root` that a regularisation (w, dr) names."""
    return root / setting_key(settings.w, settings.drop_rate)


def pretrained(data: Dataset, profile: Profile, seed: int, root: Path) -> tuple[keras.Model, pd.DataFrame, str]:
    """`pretrain` on a dataset, in its `training_folder`.

    Returns
    -------
    encoder : keras.Model
    history : pd.DataFrame
    key : str
        Names the result: settings, data and code.
    """
    folder = training_folder(root, profile.pretrain)
    parts = data.pretrain_rows("train"), data.pretrain_rows("validation"), data.patients()
    encoder, history = pretrain(data.images, *parts, profile, seed, folder, data.info["pretrain_fingerprint"])
    return encoder, history, (folder / "encoder.key").read_text(encoding="utf-8")


def calibrate(model: keras.Model, images: np.ndarray, rows: np.ndarray, batches: int = 20, batch: int = 64) -> None:
    """Set batch normalisation's statistics to averages over some slices, leaving all weights as they are.

    For the untrained control: with its initial statistics (mean 0, variance 1) a random network's features are so
    small that a classifier's failure would say more about their scale than about the features.

    Parameters
    ----------
    model : keras.Model
    images : np.ndarray, shape (N, W, W)
        The slice store.
    rows : np.ndarray of int
        Slices to use, in random order.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for number in range(batches):
        for layer in norms:
            layer.momentum = number / (number + 1)  # the running mean of all batches so far
        chosen = np.sort(np.take(rows, range(number * batch, (number + 1) * batch), mode="wrap"))
        model(images[chosen][..., None].astype(np.float32), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def same_patient_pairs(patients: np.ndarray) -> int:
    """Pairs of different slices of one patient in a batch: negatives in Eq. 5 that resemble each other."""
    counts = np.unique(patients, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


class _State:
    """Everything that a resumed run needs: weights, optimiser, history, and the best look's weights."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, path: Path, key: str):
        self.model, self.optimizer, self.path, self.key = model, optimizer, path, key
        self.history: list[dict] = []
        self.best: list[np.ndarray] = []

    def epochs_without_gain(self) -> int:
        scores = [epoch["validation_accuracy"] for epoch in self.history]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0

    def end_epoch(self, record: dict) -> None:
        self.history.append(record)
        if self.epochs_without_gain() == 0:
            self.best = self.model.get_weights()
        if not distribute.is_chief():
            return
        current = [np.asarray(v) for v in self._variables()]
        with files.replacing(self.path) as temporary, open(temporary, "wb") as file:
            arrays = {f"v{i}": v for i, v in enumerate(current)} | {f"b{i}": v for i, v in enumerate(self.best)}
            np.savez(file, key=np.array(self.key), history=np.array(json.dumps(self.history)), **arrays)
            file.flush()
            os.fsync(file.fileno())

    def restore(self) -> None:
        if not self.path.is_file():
            return
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                if str(stored["key"]) != self.key:  # days of training may lie in it: not ours to overwrite
                    raise UserError(
                        f"Checkpoint {self.path} belongs to other settings, data, seed or code: delete it to train "
                        "afresh, or return to what it was made with to go on."
                    )
                self.history = json.loads(str(stored["history"]))
                for i, variable in enumerate(self._variables()):
                    variable.assign(stored[f"v{i}"])
                self.best = [stored[f"b{i}"] for i in range(len(self.model.weights))]
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise UserError(f"Checkpoint {self.path} is damaged: delete it to start this training afresh.") from error

    def _variables(self) -> list:
        return [*self.model.variables, *self.optimizer.variables]
