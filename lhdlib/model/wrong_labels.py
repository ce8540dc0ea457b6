"""Training labels that are right, and the same with some of them wrong, where readers err: at discs near the threshold.

On a phantom the right labels are its truth's, in training and in test. On an archive nobody knows them: there the
notes' stand in, which err already, and labels are turned at random.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from lhdlib.data.dataset import Dataset, Part
from lhdlib.phantom import truth
from lhdlib.phantom.disease import READER_ERROR


class Labels(NamedTuple):
    """Labels to start from."""

    train: np.ndarray  #: 0 or 1, shape (n,)
    test: np.ndarray  #: 0 or 1, shape (m,): what is learnt is judged against them
    log_odds: np.ndarray  #: of each training label being turned, up to a constant, shape (n,)
    source: str  #: "the phantom's truth" or "the notes"


def right_labels(data: Dataset, split: str, archive: Path) -> Labels:
    """The labels of a phantom's truth, which lies beside its archive; else those of the notes."""
    train, test, folder = data.part("train", split), data.part("test", split), truth.beside(archive)
    if folder is None:
        return Labels(train.labels, test.labels, np.zeros(len(train.labels)), "the notes")
    discs = truth.load_truth(folder)[0].set_index(["patient", "level"])

    def of(part: Part, column: str) -> np.ndarray:
        return discs.loc[list(zip(part.table.patient, part.table.level, strict=True)), column].to_numpy()

    # a reader whose judgement has this spread calls a disc of this severity wrongly so often
    log_odds = stats.norm.logsf(np.abs(of(train, "severity")) / READER_ERROR)
    return Labels(
        of(train, "label").astype(np.int8), of(test, "label").astype(np.int8), log_odds, "the phantom's truth"
    )


def turning_order(log_odds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of all training labels in the order in which they are turned: drawn one after the other by their odds.

    Sorting by odds with Gumbel noise is drawing without replacement.

    Parameters
    ----------
    log_odds : np.ndarray, shape (n,)

    Returns
    -------
    np.ndarray of int, shape (n,)
        Rank of each label, 0 for the first.
    """
    return np.argsort(np.argsort(-(log_odds + rng.gumbel(size=len(log_odds)))))


def turned(labels: np.ndarray, rank: np.ndarray, share: float) -> np.ndarray:
    """Labels of which a share is wrong: those of the lowest ranks, so that a larger share holds the smaller.

    Parameters
    ----------
    labels, rank : np.ndarray, shape (n,)
        Of the labels in use, all or a part; ranks from `turning_order`.
    """
    wrong = np.argsort(rank)[: round(share * len(labels))]
    labels = labels.copy()
    labels[wrong] = 1 - labels[wrong]
    return labels
