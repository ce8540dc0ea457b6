"""Classifiers by number of labels, share of wrong ones, and kind of pre-training, to see when pre-training pays.

As in `same_labels` all get the same labels: a linear classifier on the frozen extractor of each pre-training, the
pre-trained extractor of which every weight is trained, and the supervised network from random weights. A draw fixes the
labels, which of them are turned, the pre-training (the draws take turns with them) and the seed.
"""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from lhdlib import augment, cache
from lhdlib.data.dataset import Dataset
from lhdlib.model import finetune, losses, supervised
from lhdlib.model.encoder import build_supervised
from lhdlib.model.same_labels import Trainer, build_tuned, stratified_order
from lhdlib.model.wrong_labels import Labels, turned, turning_order
from lhdlib.profile import Profile
from lhdlib.progress import progress_bar

NONE = "none"  #: the "objective" of a network from scratch


class Cell(NamedTuple):
    """A place in the map."""

    objective: str  #: one of `objectives.OBJECTIVES`, or `NONE`
    way: str  #: "frozen", "tuned" or "scratch"
    labels: int
    wrong: float  #: share of the labels


class Encoders(NamedTuple):
    """The pre-trainings of one objective: encoders, their keys, and their `finetune.dataset_features`."""

    models: Sequence[keras.Model]
    keys: Sequence[str]
    features: Sequence[Mapping[str, np.ndarray]]


def grid(profile: Profile, whole: int) -> tuple[list[int], list[float]]:
    """Numbers of labels below all (`whole`), then all, and shares of wrong ones."""
    return [n for n in profile.beyond.labels if n < whole] + [whole], list(profile.beyond.wrong)


def cells(profile: Profile, names: Sequence[str], whole: int) -> Iterator[Cell]:
    """All places of the map; objectives other than the paper's are tuned on a sparser grid, which has all labels."""
    counts, shares = grid(profile, whole)
    every = profile.beyond.sparse
    few, some = counts[:-1][::every] + counts[-1:], shares[::every]
    for count in counts:
        for share in shares:
            yield Cell(NONE, "scratch", count, share)
            yield from (Cell(name, "frozen", count, share) for name in names)
            for name in names:
                if name == losses.PAPERS or (count in few and share in some):
                    yield Cell(name, "tuned", count, share)


def drawn(labels: Labels, count: int, share: float, seed: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Training samples of a draw, sorted, and their labels, some of them turned; larger numbers hold smaller ones."""
    rows = np.sort(stratified_order(labels.train, np.random.default_rng([seed, 31, draw]))[:count])
    rank = turning_order(labels.log_odds, np.random.default_rng([seed, 32, draw]))
    return rows, turned(labels.train[rows], rank[rows], share)


def train_map(
    data: Dataset,
    split: str,
    labels: Labels,
    encoders: Mapping[str, Encoders],
    profile: Profile,
    seed: int,
    folder: Path,
) -> dict[Cell, np.ndarray]:
    """Test logits of every place of the map, (draws, test samples).

    Parameters
    ----------
    encoders : mapping of objective -> Encoders
    folder
        Keeps the logits of each training: an interrupted run loses one at most.
    """
    todo = [
        (cell, draw)
        for cell in cells(profile, list(encoders), len(labels.train))
        for draw in range(profile.beyond.draws)
    ]
    settings, size = profile.tuned, data.images.shape[1]
    inputs = profile.encoder, profile.finetune, split, data.info["fingerprint"], data.info["splits"]
    code, found = cache.code_key(__name__), defaultdict(list)
    steps = {"frozen": 0, "tuned": settings.steps, "scratch": settings.scratch_steps}
    ways = {NONE: _trainer(lambda start: build_supervised(size, profile.encoder, start), profile, "scratch")}
    for name, trained in encoders.items():
        ways[name] = _trainer(functools.partial(_tuned, trained.models, seed), profile, "tuned")
    with progress_bar(total=sum(steps[cell.way] for cell, _ in todo), desc="labels, whole networks") as bar:
        for cell, draw in sorted(todo):
            rows, own = drawn(labels, cell.labels, cell.wrong, seed, draw)
            trainer, keys = ways[cell.objective], ["scratch"]
            if cell.objective != NONE:
                keys = [encoders[cell.objective].keys[draw % profile.beyond.pretrainings]]
            values = dataclasses.astuple(settings) if cell.way != "frozen" else ()
            key = cache.content_key(*cell, values, *keys, rows.tolist(), own.tolist(), seed + draw, *inputs, code)
            path = folder / f"{cell.objective}_{cell.way}_{cell.labels}_{cell.wrong:g}_{draw}.npz"
            if cell.way == "frozen":
                features = encoders[cell.objective].features[draw % profile.beyond.pretrainings]
                compute = functools.partial(_linear, features, rows, own, profile, seed + draw)
            else:
                compute = functools.partial(_network, trainer, data, split, profile, rows, own, seed + draw, bar.update)
            end = bar.n + steps[cell.way]
            found[cell].append(cache.cached(path, key, compute)["logits"])
            bar.update(end - bar.n)  # of a training that was only read
    return {cell: np.stack(logits) for cell, logits in found.items()}


def _trainer(build: Callable[[int], keras.Model], profile: Profile, way: str) -> Trainer:
    settings = profile.tuned
    rate, steps = (settings.lr, settings.steps) if way == "tuned" else (settings.scratch_lr, settings.scratch_steps)
    return Trainer(build, rate, settings.batch, steps)


def _tuned(models: Sequence[keras.Model], seed: int, start: int) -> keras.Model:
    """The pre-training whose turn it is, with a linear unit on it."""
    return build_tuned(models[(start - seed) % len(models)], start)


def _linear(
    features: Mapping[str, np.ndarray], rows: np.ndarray, labels: np.ndarray, profile: Profile, seed: int
) -> dict[str, np.ndarray]:
    weights, bias, _ = finetune.train_linear(features["train"], labels, profile.finetune, [seed], rows=rows)
    return {"logits": finetune.logits(features["test"], weights, bias)[0]}


def _network(
    trainer: Trainer,
    data: Dataset,
    split: str,
    profile: Profile,
    rows: np.ndarray,
    labels: np.ndarray,
    seed: int,
    report: Callable[[], object],
) -> dict[str, np.ndarray]:
    train, test = data.part("train", split), data.part("test", split)
    model = trainer.train(data.images, (train.rows[rows], labels), seed, report)
    seen = augment.seen(data.images, profile.finetune.test_crop)
    return {"logits": supervised.supervised_logits(model, seen, test.rows)}
