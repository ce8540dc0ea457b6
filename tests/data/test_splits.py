"""Splits: balanced, disjoint, drawn alike, refused where a class is too small."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from lhdlib import profile as profiles
from lhdlib.data import splits
from lhdlib.errors import UserError
from tests.data.trees import is_sentence

SMOKE = profiles.load("smoke")


def random_samples(rng, patients=60):
    rows = [
        (f"{patient:04d}", int(rng.random() < rng.choice([0.1, 0.8])))
        for patient in range(patients)
        for _ in range(rng.integers(1, 8))
    ]
    return pd.DataFrame(rows, columns=["patient", "label"]).sample(frac=1, random_state=int(rng.integers(99)))


@pytest.mark.slow
@pytest.mark.parametrize("how", splits.SPLITS)
def test_splits_are_balanced_and_disjoint(how):
    rng = np.random.default_rng(3)
    settings = SMOKE.replace(data={"test_per_class": 13, "validation_per_class": 5}).data
    for seed in range(20):
        samples = random_samples(rng).reset_index(drop=True)
        part = splits.assign_split(samples, settings, seed, how)
        for name, each in (("test", 13), ("validation", 5)):
            assert [((part == name) & (samples.label == label)).sum() for label in (0, 1)] == [each, each]
        assert set(part) <= {"train", "test", "validation", "unused"}
        if how == "patient":
            homes = {name: set(samples.patient[part == name]) for name in ("train", "test", "validation")}
            assert (
                not homes["train"] & (homes["test"] | homes["validation"]) and not homes["test"] & homes["validation"]
            )
            assert set(samples.patient[part == "unused"]) <= homes["test"] | homes["validation"]
        else:
            assert (part == "train").sum() == len(samples) - 36
        assert (part == splits.assign_split(samples, settings, seed, how)).all()
        assert (part != splits.assign_split(samples, settings, seed + 1, how)).any()


@pytest.mark.slow
def test_the_published_split_draws_every_sample_alike():
    """Each positive sample lands in the test set with the same chance, whatever its place in the table."""
    settings = SMOKE.replace(data={"test_per_class": 4, "validation_per_class": 2}).data
    samples = pd.DataFrame({"patient": [f"{n // 3:04d}" for n in range(30)], "label": [n % 2 for n in range(30)]})
    tests = sum((splits.assign_split(samples, settings, seed, "paper") == "test").astype(int) for seed in range(300))
    assert tests.sum() == 300 * 8 and np.abs(tests - 300 * 4 / 15).max() < 5 * np.sqrt(300 * 4 / 15)


@pytest.mark.parametrize("how", splits.SPLITS)
def test_too_few_samples_of_a_class(how):
    settings = SMOKE.replace(data={"test_per_class": 2, "validation_per_class": 1}).data
    for labels in ([0] * 20, [1] * 20, [0] * 20 + [1] * 2, [0] * 20 + [1] * 3, []):
        samples = pd.DataFrame({"patient": [f"{n:04d}" for n in range(len(labels))], "label": labels})
        with pytest.raises(UserError, match=f"{sum(labels)} positive and {labels.count(0)} negative") as error:
            splits.assign_split(samples, settings, 0, how)
        assert is_sentence(error)


def test_held_out_slices():
    slices = pd.DataFrame({"path": [f"{n}.ima" for n in range(200)]})
    failed = {"3.ima", "77.ima"}
    part = splits.pretrain_split(slices, failed, 50, 0)
    assert Counter(part) == {"train": 148, "validation": 50, "": 2} and part[3] == part[77] == ""
    assert (part == splits.pretrain_split(slices, failed, 50, 0)).all()
    assert (part != splits.pretrain_split(slices, failed, 50, 1)).any()
    with pytest.raises(UserError) as error:
        splits.pretrain_split(slices, failed, 198, 0)
    assert is_sentence(error)
