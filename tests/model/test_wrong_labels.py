"""Right labels from a phantom's truth or the notes, and labels turned where readers err."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lhdlib.data.dataset import Dataset
from lhdlib.model import wrong_labels
from lhdlib.phantom.disease import READER_ERROR

SEVERITY = [0.1, -2.0, 1.0, -0.3]


def dataset() -> Dataset:
    samples = pd.DataFrame(
        {
            "patient": ["0002", "0001", "0001", "0002"],
            "level": ["L5-S1", "L4-L5", "L5-S1", "L4-L5"],
            "split_paper": ["train", "train", "test", "train"],
            "label": [0, 0, 0, 1],
        }
    )
    return Dataset(np.zeros((1, 2, 2)), pd.DataFrame(), samples, {})


def archive(folder: Path) -> Path:
    """A phantom's archive with its truth beside it; the rows are in another order than the samples."""
    (folder / "truth").mkdir(parents=True)
    (folder / "archive").mkdir()
    rows = [("0001", "L4-L5", 0, SEVERITY[1]), ("0001", "L5-S1", 1, SEVERITY[2])]
    rows += [("0002", "L4-L5", 0, SEVERITY[3]), ("0002", "L5-S1", 1, SEVERITY[0])]
    discs = pd.DataFrame(rows, columns=["patient", "level", "label", "severity"])
    discs.to_csv(folder / "truth" / "discs.csv", index=False)
    empty = np.zeros(0, np.uint8)
    np.savez(folder / "truth" / "masks.npz", uid=np.array(["1"]), shape=[[0, 0]], stop=[0], bits=empty)
    return folder / "archive"


def test_a_phantoms_truth_is_found_by_patient_and_level(tmp_path):
    found = wrong_labels.right_labels(dataset(), "paper", archive(tmp_path))
    assert found.train.tolist() == [1, 0, 0] and found.test.tolist() == [1]
    expected = np.log(1 - stats.norm.cdf(np.abs([SEVERITY[0], SEVERITY[1], SEVERITY[3]]) / READER_ERROR))
    np.testing.assert_allclose(found.log_odds, expected)
    assert "truth" in found.source


def test_without_truth_the_notes_stand_in(tmp_path):
    found = wrong_labels.right_labels(dataset(), "paper", tmp_path)
    assert found.train.tolist() == [0, 0, 1] and found.test.tolist() == [0]
    assert not found.log_odds.any() and found.source == "the notes"


def test_labels_are_turned_by_their_odds():
    """The first to be turned is i with probability p_i / sum p; the rest as if drawn one after the other."""
    odds = np.array([0.5, 0.3, 0.2])
    ranks = np.array([wrong_labels.turning_order(np.log(odds) - 3, np.random.default_rng([s, 1])) for s in range(4000)])
    assert sorted(ranks[0]) == [0, 1, 2]
    np.testing.assert_allclose((ranks == 0).mean(axis=0), odds, atol=0.03)
    second = (ranks[ranks[:, 0] == 0] == 1).mean(axis=0)
    np.testing.assert_allclose(second, [0, 0.6, 0.4], atol=0.04)


@pytest.mark.parametrize("share, wrong", [(0.0, 0), (0.1, 2), (0.25, 5), (1.0, 20)])
def test_a_share_of_the_labels_is_wrong(share, wrong):
    rng = np.random.default_rng(0)
    labels, rank = rng.integers(0, 2, 20).astype(np.int8), rng.permutation(100)[:20]
    before = labels.copy()
    found = wrong_labels.turned(labels, rank, share)
    differ = found != labels
    assert differ.sum() == wrong and set(np.unique(found)) <= {0, 1}
    assert not wrong or rank[differ].max() <= np.sort(rank)[wrong - 1]  # the first in the order
    np.testing.assert_array_equal(labels, before)
    assert found.dtype == labels.dtype


def test_a_larger_share_holds_the_smaller():
    labels, rank = np.zeros(50, np.int8), np.random.default_rng(1).permutation(50)
    few, many = (wrong_labels.turned(labels, rank, share) for share in (0.1, 0.2))
    assert (many >= few).all() and many.sum() == 10
