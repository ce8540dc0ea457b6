"""The leakage audit on small datasets with leaks planted by hand."""

import numpy as np
import pandas as pd
import pytest

from lhdlib.data.dataset import SLICES, Dataset
from lhdlib.data.splits import SPLITS
from lhdlib.evidence import audit


def build(parts: str = "tttttthhv", seed: int = 0) -> Dataset:
    """A sample per letter (t: train, h: held-out test, v: validation), each of its own patient and slices."""
    n = len(parts)
    images = np.random.default_rng(seed).random((3 * n, 8, 8)).astype(np.float16)
    names = {"t": "train", "h": "test", "v": "validation"}
    samples = pd.DataFrame(
        {
            "patient": [f"{k:04d}" for k in range(n)],
            "study": "L-SPINE",
            "level": "L4-L5",
            "part": 0,
            "label": np.arange(n) % 2,
            **{f"slice_{s + 1}": np.arange(n) * 3 + s for s in range(3)},
            **{f"split_{split}": [names[letter] for letter in parts] for split in SPLITS},
        }
    )
    return Dataset(images, pd.DataFrame({"pretrain": ["validation"] * 3 * n}), samples, {})


def counts(data: Dataset, part: str = "test") -> dict[str, int]:
    found = audit.leaks(data, "paper", part=part)
    assert list(found) == list(audit.KINDS) and len(found) == (data.samples.split_paper == part).sum()
    return found.sum().to_dict()


def expected(**numbers: int) -> dict[str, int]:
    return dict.fromkeys(audit.KINDS, 0) | numbers


def test_a_clean_split_is_clean():
    assert counts(build()) == expected()


def test_a_test_slice_copied_into_training_is_found():
    data = build()
    data.images[4] = data.images[3 * 6 + 1]  # the pixels, under another row of the store
    assert counts(data) == expected(pixels=1)
    assert audit.leaks(data, "paper").pixels.tolist() == [True, False]


def test_one_changed_pixel_is_another_slice():
    data = build()
    data.images[4] = data.images[3 * 6 + 1]
    data.images[4, 0, 0] += 0.5
    assert counts(data) == expected()


def test_two_samples_of_a_four_slice_disc():
    data = build()
    data.samples.loc[6, ["patient", "slice_1", "slice_2"]] = data.samples.loc[
        0, ["patient", "slice_2", "slice_3"]
    ].values
    assert counts(data) == expected(slice=1, disc=1, patient=1)


def test_two_discs_of_a_patient():
    data = build()
    data.samples.loc[6, ["patient", "level"]] = ["0000", "L5-S1"]
    data.samples.loc[7, ["patient", "study"]] = ["0001", "another study"]
    assert counts(data) == expected(patient=2)


def test_slices_seen_in_pretraining():
    data = build()
    data.slices.loc[3 * 7 + 2, "pretrain"] = "train"
    assert counts(data) == expected(pretrained=1)


def test_each_part_and_split_is_looked_at_by_itself():
    data = build()
    data.samples.loc[8, ["patient", "level"]] = ["0000", "L5-S1"]  # the validation sample
    data.samples.loc[0, "split_patient"] = "unused"
    assert counts(data) == expected() and counts(data, "validation") == expected(patient=1)
    assert not audit.leaks(data, "patient", part="validation").patient.any()


@pytest.mark.parametrize("seed", range(5))
def test_counts_equal_a_count_by_hand(seed):
    rng = np.random.default_rng([seed, 3])
    data = build("".join(rng.choice(list("thv"), 60)))
    rows = rng.integers(0, 60, (60, 3))
    data.samples[SLICES] = rows
    data.samples["patient"] = rng.integers(0, 30, 60).astype(str)
    train, test = (np.flatnonzero(data.samples.split_paper == part) for part in ("train", "test"))
    found = audit.leaks(data, "paper")
    for place, sample in enumerate(test):
        assert found.slice[place] == bool(set(rows[sample]) & set(rows[train].ravel()))
        assert found.patient[place] == any(data.samples.patient[sample] == data.samples.patient[k] for k in train)
