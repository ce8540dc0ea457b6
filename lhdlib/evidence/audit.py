"""Leakage audit: the test samples of a split that share slices, discs, patients or pixels with training.

The published split draws samples at random, so both samples of a four-slice disc, or two discs of one patient, may fall
on both sides; the split by patient forbids it. How much a classifier profits is another question
(`evaluate.compare_sets`).
"""

import hashlib

import numpy as np
import pandas as pd

from lhdlib.data.dataset import SLICES, Dataset

#: Column of `leaks` -> what it says of a test sample.
KINDS = {
    "slice": "one of its slices is in a training sample",
    "disc": "its disc has a training sample",
    "patient": "its patient has a training sample",
    "pixels": "another slice with the same pixels is in a training sample",
    "pretrained": "one of its slices was seen, without its label, in pre-training",
}


def leaks(data: Dataset, split: str, *, part: str = "test") -> pd.DataFrame:
    """Kinds of leak between each sample of a part and the training samples.

    Parameters
    ----------
    split : {"paper", "patient"}
    part : {"test", "validation"}

    Returns
    -------
    pd.DataFrame
        A row per sample, in the order of `Dataset.part`; a boolean column for each of `KINDS`.
    """
    train, held_out = data.part("train", split).table, data.part(part, split).table
    rows, known = held_out[SLICES].to_numpy(), np.unique(train[SLICES])
    same_row = np.isin(rows, known)
    used = np.union1d(rows, known)
    digests = pd.Series([_digest(data.images[row]) for row in used], used)
    same_pixels = np.isin(digests[rows.ravel()].to_numpy().reshape(rows.shape), digests[known].unique())
    disc = ["patient", "study", "level"]
    kinds = {
        "slice": same_row.any(axis=1),
        "disc": pd.MultiIndex.from_frame(held_out[disc]).isin(pd.MultiIndex.from_frame(train[disc])),
        "patient": held_out.patient.isin(train.patient).to_numpy(),
        "pixels": (same_pixels & ~same_row).any(axis=1),
        "pretrained": np.isin(rows, data.pretrain_rows("train")).any(axis=1),
    }
    return pd.DataFrame({kind: kinds[kind] for kind in KINDS})


def _digest(image: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
