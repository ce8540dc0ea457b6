"""Which slices and samples are held out: the published split at random, and the one by patient."""

import numpy as np
import pandas as pd

from lhdlib import profile as profiles
from lhdlib.errors import UserError

SPLITS = ("paper", "patient")


def pretrain_split(slices: pd.DataFrame, failed: set[str], held_out: int, seed: int) -> np.ndarray:
    """Part of each slice: `held_out` at random are "validation" (512 in the paper), others "train"; unreadable ""."""
    part = np.where(slices.path.isin(failed), "", "train").astype(object)
    usable = np.flatnonzero(part == "train")
    if len(usable) <= held_out:
        raise UserError(f"{len(usable)} axial slices are too few to hold out {held_out}: add studies.")
    part[np.random.default_rng([seed, 10]).choice(usable, held_out, replace=False)] = "validation"
    return part


def assign_split(samples: pd.DataFrame, settings: profiles.Data, seed: int, how: str) -> np.ndarray:
    """Test and validation sets balanced by label, the rest for training.

    Parameters
    ----------
    samples
        With ``patient`` and ``label``.
    settings
        ``test_per_class`` and ``validation_per_class``.
    how : {"paper", "patient"}
        "paper": samples at random, as published: two samples of one disc, or two discs of one patient, may fall on
        both sides. "patient": whole patients; what a test or validation patient has beyond the balanced number is
        "unused".

    Returns
    -------
    np.ndarray of str, shape (n,)

    Raises
    ------
    UserError
        When a class has too few samples.
    """
    rng = np.random.default_rng([seed, 11])
    wanted = {"test": settings.test_per_class, "validation": settings.validation_per_class}
    part = np.full(len(samples), "train", object)
    labels = samples.label.to_numpy()
    units = samples.patient.to_numpy() if how == "patient" else np.arange(len(samples))
    order = rng.permutation(np.unique(units))
    members = pd.Series(np.arange(len(samples))).groupby(units).apply(np.array)
    position = 0
    for name, per_class in wanted.items():
        taken: dict[int, list[int]] = {0: [], 1: []}
        while min(map(len, taken.values())) < per_class:
            if position == len(order):
                raise _too_few(samples, wanted)
            rows = members[order[position]]
            position += 1
            full = all(len(taken[label]) >= per_class for label in np.unique(labels[rows]))
            if full:
                continue  # this unit adds nothing to the set: it stays in training
            for row in rows:
                if len(taken[labels[row]]) < per_class:
                    taken[labels[row]].append(row)
                    part[row] = name
                else:
                    part[row] = "unused"
    if not {0, 1} <= set(labels[part == "train"]):
        raise _too_few(samples, wanted)
    return part.astype(str)


def _too_few(samples: pd.DataFrame, wanted: dict[str, int]) -> UserError:
    return UserError(
        f"{(samples.label == 1).sum()} positive and {(samples.label == 0).sum()} negative samples of "
        f"{samples.patient.nunique()} patients are too few for {sum(wanted.values())} of each outside training: add "
        "studies and notes, or lower test_per_class in the profile."
    )
