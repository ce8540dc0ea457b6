"""Three classifiers that learn from the same few labels: whether pre-training pays where labels are scarce.

The paper sets its classifier, given fewer labels, beside a supervised network that has all of them (Fig. 9). Here all
get the same labels: (a) the paper's linear classifier on the frozen extractor; (b) the supervised network from random
weights; (c), an addition to the paper, the pre-trained extractor with the linear classifier, of which every weight is
trained. (b) and (c) are trained alike, with no look at validation labels: the same steps however few the labels, a
learning rate that falls to 0, the last weights.
"""

import dataclasses
import functools
import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from lhdlib import augment, cache
from lhdlib.data.dataset import Dataset
from lhdlib.model import finetune, supervised
from lhdlib.model.encoder import build_supervised, extractor
from lhdlib.profile import Profile
from lhdlib.progress import progress_bar

#: Of batch normalisation's running statistics. With Keras' 0.99 those of a network from scratch are still on their way
#: after some hundred steps, and its calls, more than its ranks, suffer in inference.
MOMENTUM = 0.9
DRAWS = {25: 3, 50: 3, 100: 3, 200: 1}  #: numbers of labels, each with its number of draws; then all labels, once


def stratified_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random order of samples in which every beginning holds each class in its share, to within one sample.

    Parameters
    ----------
    labels : np.ndarray, shape (n,)
        0 or 1.
    """
    place = np.empty(len(labels))
    for label in (0, 1):
        members = rng.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)  # spread evenly from the first to the last
    return np.argsort(place, kind="stable")


def subsets(labels: np.ndarray, seed: int) -> dict[int, list[np.ndarray]]:
    """Training samples of each number of labels of `DRAWS` below n, and of all n: sorted rows, one array per draw.

    Draw k has the same `stratified_order` for all numbers: its 50 samples contain its 25.
    """
    orders = [stratified_order(labels, np.random.default_rng([seed, 31, draw])) for draw in range(max(DRAWS.values()))]
    draws = {count: times for count, times in DRAWS.items() if count < len(labels)} | {len(labels): 1}
    return {count: [np.sort(order[:count]) for order in orders[:times]] for count, times in draws.items()}


def build_tuned(encoder: keras.Model, seed: int) -> keras.Model:
    """A trainable copy of the pre-trained extractor on each of three slices, and one linear unit on their features.

    The unit starts as `finetune.train_linear`'s does: normal, standard deviation 0.01, no bias.

    Returns
    -------
    keras.Model
        (batch, W, W, 3) -> (batch, 1), the logit; the slices share their weights.
    """
    keras.utils.set_random_seed(seed)
    part = extractor(encoder)
    part.trainable = True
    height, width, _ = part.input_shape[1:]
    slices = keras.Input((height, width, 3), name="slices")
    features, _ = part(ops.reshape(ops.transpose(slices, (0, 3, 1, 2)), (-1, height, width, 1)))
    start = keras.initializers.RandomNormal(stddev=0.01)
    unit = keras.layers.Dense(1, kernel_initializer=start, name="logit")
    return keras.Model(slices, unit(ops.reshape(features, (-1, 3 * features.shape[-1]))), name="tuned")


def normalisations(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Every batch normalisation of a network, and of the networks that are its layers."""
    parts = [model, *(layer for layer in model.layers if isinstance(layer, keras.Model))]
    return [norm for part in parts for norm in part.layers if isinstance(norm, keras.layers.BatchNormalization)]


class Trainer:
    """Trains one network several times, each time from new weights; its step is compiled once, which takes seconds.

    Parameters
    ----------
    build : callable
        Seed -> network (m, W, W, 3) -> (m, 1), the logit, with the weights to start from.
    lr : float
        Of Adam at first; half a cosine takes it to 0 in `steps`.
    """

    def __init__(self, build: Callable[[int], keras.Model], lr: float, batch: int, steps: int):
        self.build, self.lr, self.batch, self.steps = build, lr, batch, steps

    @functools.cached_property
    def _compiled(self) -> tuple[keras.Model, Callable, list[tuple[Any, np.ndarray]]]:
        """Network, step, and every variable with its first value: the optimiser's and dropout's among them."""
        model = self.build(0)
        for norm in normalisations(model):
            norm.momentum = MOMENTUM
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(self.lr, self.steps))
        optimizer.build(model.trainable_variables)
        first = [(variable, variable.numpy()) for variable in (*model.variables, *optimizer.variables)]
        return model, supervised.make_step(model, optimizer), first

    def train(
        self, images: np.ndarray, train: tuple[np.ndarray, np.ndarray], seed: int, report: Callable[[], object]
    ) -> keras.Model:
        """The network with the weights of the last step; the next training changes them.

        Parameters
        ----------
        images : shape (N, W, W)
            The slice store.
        train : (rows, labels)
            Of int, shape (n, 3), and of 0 or 1, shape (n,).
        report : callable
            Called after each step.
        """
        model, step, first = self._compiled
        for variable, value in first:
            variable.assign(value)
        model.set_weights(self.build(seed).get_weights())
        epochs = (supervised.epoch_batches(images, train, self.batch, seed, epoch) for epoch in itertools.count())
        for x, y in itertools.islice(itertools.chain.from_iterable(epochs), self.steps):
            step(x, y)
            report()
        return model


def compare_ways(
    data: Dataset,
    split: str,
    features: dict[str, np.ndarray],
    encoder: keras.Model,
    encoder_key: str,
    profile: Profile,
    seed: int,
    folder: Path,
) -> dict[tuple[str, int], np.ndarray]:
    """Test logits of the three classifiers on `subsets` of the training samples; draw k has the seed ``seed + k``.

    Parameters
    ----------
    features
        Of the extractor, by `finetune.dataset_features`.
    folder
        Keeps the logits of each network that was trained whole: an interrupted run loses one training at most.

    Returns
    -------
    dict
        ("frozen", "scratch" or "tuned", number of labels) -> (draws, test samples).
    """
    size, settings = data.images.shape[1], profile.tuned

    def scratch(start: int) -> keras.Model:
        return build_supervised(size, profile.encoder, start)

    def tuned(start: int) -> keras.Model:
        return build_tuned(encoder, start)

    trainers = {
        "scratch": (Trainer(scratch, settings.scratch_lr, settings.batch, settings.scratch_steps), ""),
        "tuned": (Trainer(tuned, settings.lr, settings.batch, settings.steps), encoder_key),
    }
    inputs = profile.encoder, profile.finetune.test_crop, split, data.info["fingerprint"], data.info["splits"]
    once, code = dataclasses.replace(profile.finetune, seeds=1), cache.code_key(__name__)
    chosen = subsets(data.part("train", split).labels, seed)
    draws = [(count, draw, rows) for count, parts in chosen.items() for draw, rows in enumerate(parts)]
    found: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    for count, draw, rows in draws:
        found["frozen", count] += [finetune.classify(features, once, seed + draw, rows=rows)["test_logits"][0]]
    steps = len(draws) * (settings.steps + settings.scratch_steps)
    with progress_bar(total=steps, desc="equal labels, whole networks") as bar:
        for (way, (trainer, origin)), (count, draw, rows) in itertools.product(trainers.items(), draws):
            training = way, origin, trainer.lr, trainer.batch, trainer.steps, rows.tolist(), seed + draw
            path, key = folder / f"{way}_{count}_{draw}.npz", cache.content_key(*training, *inputs, code)
            compute = functools.partial(_logits, trainer, data, split, profile, rows, seed + draw, bar.update)
            end = bar.n + trainer.steps
            found[way, count] += [cache.cached(path, key, compute)["logits"]]
            bar.update(end - bar.n)  # of a training that was only read
            bar.set_postfix_str(f"{way}, {count} labels", refresh=False)
    return {run: np.stack(logits) for run, logits in found.items()}


def _logits(
    trainer: Trainer, data: Dataset, split: str, profile: Profile, rows: np.ndarray, seed: int, report: Callable
) -> dict[str, np.ndarray]:
    """Train on some of the training samples; logits of the test samples."""
    train, test = data.part("train", split), data.part("test", split)
    model = trainer.train(data.images, (train.rows[rows], train.labels[rows]), seed, report)
    seen = augment.seen(data.images, profile.finetune.test_crop)
    return {"logits": supervised.supervised_logits(model, seen, test.rows)}
