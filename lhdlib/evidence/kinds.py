"""Which lesion? The answers of `model.kinds` beside the phantom's truth and beside the notes."""

from typing import Any

import numpy as np
import pandas as pd

from lhdlib import evaluate
from lhdlib.model.kinds import KINDS

MISSING = 0.3  #: share of the notes' mentions that are taken away, to see what notes that say less would give
FEWEST = 5  #: patients with a kind, and without it, from which on an AUC is stated
DISPLACED = tuple(KINDS)[:3]  #: kinds of which a disc has one


def true_kinds(known: pd.DataFrame) -> np.ndarray:
    """Which of `KINDS` each disc truly has; nan for a compression, of which the phantom's truth says nothing.

    Parameters
    ----------
    known : pd.DataFrame
        From `reach.truth_of`.

    Returns
    -------
    np.ndarray, shape (n, kinds)
    """
    columns = {kind: known.lesion.isin(found).to_numpy(float) for kind, found in KINDS.items()}
    columns["annular tear"] = known.tear.to_numpy(float)
    columns["nerve root or sac compression"] = np.full(len(known), np.nan)
    return np.stack(list(columns.values()), axis=1)


def less_said(kinds: np.ndarray, seed: int) -> np.ndarray:
    """The notes' kinds, of which each mention is missing with the chance `MISSING`."""
    return kinds & (np.random.default_rng([seed, 70]).random(kinds.shape) >= MISSING)


def measure(kinds: np.ndarray, logits: np.ndarray, patients: np.ndarray) -> dict[str, dict[str, Any]]:
    """AUC of each kind, among all discs and among those with any kind, whose rest tells lesions from normal discs.

    Parameters
    ----------
    kinds : shape (n, kinds)
        1 or 0; nan where not known.
    logits : shape (m, n, kinds)
    patients : shape (n,)

    Returns
    -------
    dict
        Kind -> ``discs`` that have it (None: not known), ``all`` and ``abnormal`` (`evaluate.Estimate` as a mapping;
        None with fewer than `FEWEST` patients on either side).
    """
    kinds = np.asarray(kinds, float)
    any_kind = (kinds == 1).any(axis=1)
    found: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(KINDS):
        own = kinds[:, number]
        if np.isnan(own).any():
            found[name] = {"discs": None, "all": None, "abnormal": None}
            continue
        parts = {"all": np.ones(len(own), bool), "abnormal": any_kind}
        aucs = {part: _auc(own[of], logits[:, of, number], patients[of]) for part, of in parts.items()}
        found[name] = {"discs": int(own.sum()), **aucs}
    return found


def _auc(labels: np.ndarray, logits: np.ndarray, patients: np.ndarray) -> dict[str, float] | None:
    if min(len(np.unique(patients[labels == side])) for side in (0, 1)) < FEWEST:
        return None
    return evaluate.by_patient(labels, logits, patients)["AUC"]._asdict()


def confusion(kinds: np.ndarray, logits: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Discs that have one of `DISPLACED` by the one whose logit lies highest above its share's in training.

    The log odds of a kind's share are taken off: otherwise a rare kind would never be called.

    Parameters
    ----------
    kinds : shape (n, kinds)
    logits : shape (m, n, kinds)
    trained : shape (k, kinds)
        Kinds of the training discs.

    Returns
    -------
    np.ndarray of int, shape (3, 3)
        Row: the kind that it is; column: what it is called.
    """
    count = len(DISPLACED)
    own = np.asarray(kinds, float)[:, :count] == 1
    named = trained[:, :count].sum(axis=0)
    raised = logits.mean(axis=0)[:, :count] - np.log((named + 0.5) / (len(trained) - named + 0.5))
    one = own.sum(axis=1) == 1
    table = np.zeros((count, count), int)
    np.add.at(table, (own[one].argmax(axis=1), raised[one].argmax(axis=1)), 1)
    return table
