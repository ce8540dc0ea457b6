"""Stage 1: unsupervised contrastive pre-training (section "Unsupervised pre-training stage"), with checkpoints."""

import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator
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
from lhdlib.model.encoder import build_encoder, computed_in
from lhdlib.profile import Pretrain, Profile, setting_key
from lhdlib.progress import progress_bar

VALIDATION_SEED = 7  # the held-out slices are always seen under the same views


def kernels(model: keras.Model) -> list[tf.Variable]:
    """Weights under L2 regularisation: the kernels of all convolutions and dense layers."""
    return [v for v in model.trainable_variables if v.path.rsplit("/", 1)[-1] == "kernel"]


def make_step(model: keras.Model, optimizer: keras.optimizers.Optimizer, profile: Profile) -> Any:
    """One optimisation step: all 2n views in one forward pass, `losses.objective` plus ``w`` times the squared kernels.

    On several devices each passes its share of the views, and the loss is still that of all 2n rows.

    Returns
    -------
    callable
        ``step(batch, groups, labels)`` -> dict of scalars: ``loss`` (per row; of a contrastive one above
        log(2n - 1)), ``accuracy``, and mean and spread of the feature norms. The batch are views, or `augment.Drawn`,
        from which each device computes its own.
    """
    settings = profile.pretrain
    regularised, replicas = kernels(model), distribute.replicas(settings)

    def replica_step(batch, groups, labels):
        own = tf.nest.map_structure(distribute.share, batch)
        views = augment.transform(own) if isinstance(own, augment.Drawn) else own
        with tf.GradientTape() as tape:
            features = distribute.gather(model(views, training=True))
            masked = None if settings.same_patient_negatives else groups
            loss = losses.objective(features, profile, groups=masked, labels=labels)
            total = loss + settings.w * tf.add_n([tf.reduce_sum(k**2) for k in regularised])
            total /= replicas  # each computes the whole loss, and the optimiser adds up their gradients
        optimizer.apply(tape.gradient(total, model.trainable_variables), model.trainable_variables)
        rows = tf.cast(tf.shape(features)[0], tf.float32)
        per_row = loss / rows if settings.reduction == "sum" else loss
        norms = tf.norm(tf.cast(features, tf.float32), axis=1)
        return {
            "loss": per_row - tf.math.log(rows - 1.0) if settings.objective in losses.CONTRASTIVE else per_row,
            "accuracy": losses.contrastive_accuracy(losses.compared(features, settings.objective)),
            "norm": tf.reduce_mean(norms),
            "norm_spread": tf.math.reduce_std(norms),
        }

    @tf.function(jit_compile=settings.jit)
    def step(batch, groups, labels=None):
        with distribute.synchronised(model):
            report = distribute.strategy().run(replica_step, args=(batch, groups, labels))
        return {name: distribute.strategy().experimental_local_results(value)[0] for name, value in report.items()}

    return step


def batch_rows(rows: np.ndarray, batch: int, seed: int, step: int) -> np.ndarray:
    """Slices of optimisation step `step`: every pass over the data has its own shuffle, which only the seed decides."""
    per_pass = len(rows) // batch
    shuffled = np.random.default_rng([seed, 1, step // per_pass]).permutation(rows)
    start = step % per_pass * batch
    return np.sort(shuffled[start : start + batch])


def validation_accuracy(model: keras.Model, images: np.ndarray, rows: np.ndarray, profile: Profile) -> float:
    """Top-1 contrastive accuracy over all held-out slices at once, in inference mode, by the objective's similarity."""
    batch, compute = profile.pretrain.batch, inference.forward(model)
    features = []
    for start in range(0, len(rows), batch):
        chosen = images[rows[start : start + batch]][..., None]
        views = augment.contrastive_views(chosen, (VALIDATION_SEED, start), profile)
        features.append(compute(views))
    return float(losses.contrastive_accuracy(losses.compared(tf.concat(features, 0), profile.pretrain.objective)))


def same_patient_pairs(patients: np.ndarray) -> int:
    """Pairs of different slices of one patient in a batch: negatives in Eq. 5 that resemble each other."""
    counts = np.unique(patients, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


class Batches:
    """The batches of every epoch: two views of each slice, and the slices; patients and labels are of all slices."""

    def __init__(
        self,
        images: np.ndarray,
        rows: np.ndarray,
        patients: np.ndarray,
        profile: Profile,
        seed: int,
        *,
        labels: np.ndarray | None = None,
    ):
        self.images, self.rows, self.profile, self.seed = images, rows, profile, seed
        self.patients, self.labels = patients, labels
        self.steps = profile.pretrain.steps_per_epoch or len(rows) // profile.pretrain.batch  #: of an epoch

    def epoch(self, number: int) -> Iterator[tuple[tf.Tensor | augment.Drawn, np.ndarray]]:
        """Batches of an epoch (from 0); a thread makes the next one while the device trains on the last."""
        return augment.ahead(self._make, range(number * self.steps, (number + 1) * self.steps))

    def _make(self, step: int) -> tuple[tf.Tensor | augment.Drawn, np.ndarray]:
        rows = batch_rows(self.rows, self.profile.pretrain.batch, self.seed, step)
        arguments = self.images[rows][..., None], (self.seed, 0, step), self.profile
        views = augment.draw(*arguments)[0] if distribute.accelerated() else augment.contrastive_views(*arguments)
        return views, rows


def train(state: "State", batches: Batches, check: Callable[[keras.Model], float]) -> None:
    """Minimise the objective with the L2 term until the validation accuracy improves no more, or for ``max_epochs``.

    Parameters
    ----------
    state : State
        Goes on from its last epoch.
    batches : Batches
    check : callable
        Network -> validation accuracy; called once an epoch.

    Raises
    ------
    UserError
        When the loss is not finite.
    """
    settings, steps = batches.profile.pretrain, batches.steps
    step = make_step(state.model, state.optimizer, batches.profile)
    name = f"pre-training w={settings.w:g} dr={settings.drop_rate:g}"
    total, quiet = settings.max_epochs * steps, not distribute.is_chief()
    with progress_bar(total=total, initial=state.epochs * steps, desc=name, disable=quiet) as bar:
        while state.epochs < settings.max_epochs and state.epochs_without_gain() < settings.patience:
            reports = []
            for views, rows in batches.epoch(state.epochs):
                patients = batches.patients[rows]
                labels = None if batches.labels is None else tf.constant(np.repeat(batches.labels[rows], 2))
                report = step(views, tf.constant(np.repeat(patients, 2)), labels)
                reports.append({name: float(value) for name, value in report.items()})
                reports[-1]["same_patient_pairs"] = same_patient_pairs(patients)
                bar.update()
            means = pd.DataFrame(reports).mean().to_dict()
            epoch = state.epochs + 1
            if not math.isfinite(means["loss"]):
                raise UserError(f"{name}: the loss is not finite in epoch {epoch}: lower 'lr' in [pretrain].")
            accuracy = distribute.from_chief(check(state.model))
            state.end_epoch({"epoch": epoch, "steps": epoch * steps, **means, "validation_accuracy": accuracy})
            bar.set_postfix(loss=f"{means['loss']:.3f}", accuracy=f"{accuracy:.3f}")


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
    *,
    labels: np.ndarray | None = None,
) -> tuple[keras.Model, pd.DataFrame]:
    """Pre-trained encoder: read when finished with the same inputs, else trained, from a checkpoint if any.

    Parameters
    ----------
    images : shape (N, W, W)
    patients, labels : shape (N,)
        Labels (`known_labels`) are for "supcon" alone.
    folder
        Gets ``encoder.keras``, ``history.csv`` and, meanwhile, ``checkpoint.npz``.
    data_key
        Fingerprint of slices and split.

    Returns
    -------
    encoder : keras.Model
        Weights of the best validation check.
    history : pd.DataFrame
        A row per check.

    Raises
    ------
    UserError
        For too few slices, an indivisible batch, a non-finite loss, another's checkpoint, a lost worker.
    """
    settings, size = profile.pretrain, images.shape[1]
    distribute.strategy()  # must be chosen before anything is computed
    if len(train_rows) < settings.batch:
        raise UserError(
            f"Pre-training needs at least {settings.batch} slices, {len(train_rows)} were found: add studies, or lower "
            f"'batch' in [pretrain] of profile {profile.name!r}."
        )
    inputs: list[Any] = [profile.views, profile.encoder, settings, size, seed, data_key, [len(train_rows)]]
    if settings.objective != losses.PAPERS:  # the paper's must not depend on values that it does not use
        inputs += [losses.hyperparameters(profile), [] if labels is None else labels.tolist()]
    # Devices (`distribute`) change the result by rounding alone: they are not in the key, and any goes on from any.
    key = cache.content_key(*inputs, cache.code_key(__name__))
    finished = cache.load_model(folder / "encoder.keras", key=key)
    distribute.same(finished is None, folder)
    if finished is None:
        batches = Batches(images, train_rows, patients, profile, seed, labels=labels)
        state = State(*_untrained(size, profile, seed, batches.steps), folder / "checkpoint.npz", key)
        state.restore()
        distribute.same(state.epochs, folder)
        train(state, batches, lambda model: validation_accuracy(model, images, validation_rows, profile))
        # The encoder computes in float32 whatever trained it: features and heatmaps need not know.
        finished = build_encoder(size, profile.encoder, settings.drop_rate, seed)
        finished.set_weights(state.best)
        if distribute.is_chief():
            files.write_table(folder / "history.csv", pd.DataFrame(state.history))
            cache.save_model(folder / "encoder.keras", finished, key)
            state.path.unlink(missing_ok=True)
        distribute.from_chief(0)  # the others wait until all is written
    return finished, files.read_table(folder / "history.csv")


def _untrained(size: int, profile: Profile, seed: int, steps: int) -> tuple[keras.Model, keras.optimizers.Optimizer]:
    settings = profile.pretrain
    cosine = keras.optimizers.schedules.CosineDecay(settings.lr, settings.max_epochs * steps)
    rate = cosine if settings.decay == "cosine" else settings.lr
    with distribute.strategy().scope():
        with computed_in(settings.precision):
            model = build_encoder(size, profile.encoder, settings.drop_rate, seed)
        optimizer = keras.optimizers.Adam(rate)
        optimizer.build(model.trainable_variables)
    return model, optimizer


class State:
    """Everything that a resumed training needs: weights, optimiser, history, and the best epoch's weights."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, path: Path, key: str):
        self.model, self.optimizer, self.path, self.key = model, optimizer, path, key
        self.history: list[dict] = []
        self.best: list[np.ndarray] = []

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    def epochs_without_gain(self) -> int:
        """Number of epochs since the best validation accuracy."""
        scores = [epoch["validation_accuracy"] for epoch in self.history]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0

    def end_epoch(self, record: dict) -> None:
        """Add an epoch to the history, keep its weights when they are the best, and write the checkpoint."""
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
        """Go on from the checkpoint, if there is one.

        Raises
        ------
        UserError
            For a checkpoint of another training, or a damaged one.
        """
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


def training_folder(root: Path, settings: Pretrain) -> Path:
    """Folder of `root` that a regularisation (w, dr) names."""
    return root / setting_key(settings.w, settings.drop_rate)


def known_labels(data: Dataset, split: str) -> np.ndarray:
    """Label of each slice that belongs to a training disc and to no validation or test disc; else `losses.UNKNOWN`.

    Returns
    -------
    np.ndarray of int32, shape (N,)
    """
    labels = np.full(len(data.images), losses.UNKNOWN, np.int32)
    train = data.part("train", split)
    labels[train.rows] = train.labels[:, None]
    for part in ("validation", "test"):
        labels[data.part(part, split).rows] = losses.UNKNOWN
    return labels


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
    labels = known_labels(data, profile.data.split) if profile.pretrain.objective == "supcon" else None
    fingerprint = data.info["pretrain_fingerprint"]
    encoder, history = pretrain(data.images, *parts, profile, seed, folder, fingerprint, labels=labels)
    return encoder, history, (folder / "encoder.key").read_text(encoding="utf-8")


def repeated(data: Dataset, profile: Profile, seed: int, root: Path) -> list[tuple[keras.Model, pd.DataFrame, str]]:
    """`pretrained` with as many seeds as `finetune.encoders` says: what varies between them is luck.

    Parameters
    ----------
    seed
        Of the first, whose folder lies in `root`; those of the others follow, in a folder ``seed<number>`` each.
    """
    roots = [root, *(root / f"seed{seed + k}" for k in range(1, profile.finetune.encoders))]
    return [pretrained(data, profile, seed + k, folder) for k, folder in enumerate(roots)]


def set_statistics(
    model: keras.Model, images: np.ndarray, rows: np.ndarray, *, batches: int = 20, batch: int = 64
) -> None:
    """Set batch normalisation's statistics to averages over some slices, leaving all weights as they are.

    For the untrained control: with its initial statistics (mean 0, variance 1) a random network's features are so
    small that a classifier's failure would say more about their scale than about the features.

    Parameters
    ----------
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
