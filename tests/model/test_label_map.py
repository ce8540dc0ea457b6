"""The map's grid, its draws of labels, and a run that goes on with the training that it lost."""

import numpy as np
import pytest

from lhdlib.model import finetune, label_map, supervised
from lhdlib.model.encoder import build_encoder, extractor
from lhdlib.model.label_map import NONE, Cell
from lhdlib.model.same_labels import Trainer
from lhdlib.model.wrong_labels import Labels
from tests.model.test_same_labels import PROFILE, SIZE, data, eager

__all__ = ["data"]  # a fixture

NAMES = ("inner-product", "vicreg")
MAP = PROFILE.replace(
    beyond={"labels": (4, 6, 8, 90), "wrong": (0.0, 0.1, 0.2), "sparse": 2, "draws": 3, "pretrainings": 2}
)


def labels(n: int = 12) -> Labels:
    return Labels(np.arange(n) % 2, np.array([0, 1, 0, 1]), np.linspace(-3, 0, n), "made up")


def test_the_grid_has_scratch_and_frozen_everywhere_and_others_tuned_on_a_part():
    found = list(label_map.cells(MAP, NAMES, 12))
    assert len(set(found)) == len(found)
    places = {(count, share) for count in (4, 6, 8, 12) for share in (0.0, 0.1, 0.2)}

    def of(objective: str, way: str) -> set:
        return {(cell.labels, cell.wrong) for cell in found if (cell.objective, cell.way) == (objective, way)}

    assert of(NONE, "scratch") == of("inner-product", "frozen") == of("vicreg", "frozen") == places
    assert of("inner-product", "tuned") == places
    assert of("vicreg", "tuned") == {(count, share) for count in (4, 8, 12) for share in (0.0, 0.2)}
    assert len(found) == 4 * len(places) + 6


def test_draws_differ_are_nested_and_seeded():
    found = {(n, k): label_map.drawn(labels(), n, 0.25, 7, k) for n in (4, 8) for k in (0, 1)}
    for k in (0, 1):
        few, many = found[4, k], found[8, k]
        assert set(few[0]) < set(many[0]) and (np.diff(many[0]) > 0).all()
        assert (few[1] != labels().train[few[0]]).sum() == 1 and (many[1] != labels().train[many[0]]).sum() == 2
    assert not np.array_equal(found[4, 0][0], found[4, 1][0])
    again = label_map.drawn(labels(), 4, 0.25, 7, 1)
    assert all(np.array_equal(a, b) for a, b in zip(again, found[4, 1], strict=True))


def test_the_labels_that_are_turned_are_those_at_the_threshold():
    sure = Labels(np.arange(12) % 2, np.zeros(4), np.where(np.arange(12) < 3, 0.0, -50.0), "made up")
    for draw in range(5):
        rows, own = label_map.drawn(sure, 12, 0.25, 0, draw)
        assert np.flatnonzero(own != sure.train[rows]).tolist() == [0, 1, 2]


@pytest.fixture
def encoders(data, tmp_path):
    def one(name: str) -> label_map.Encoders:
        models = [build_encoder(SIZE, PROFILE.encoder, 0.0, seed) for seed in (0, 1)]
        keys = [f"{name} {seed}" for seed in (0, 1)]
        arguments = data, "paper", PROFILE.finetune, 0
        features = [
            finetune.dataset_features(extractor(m), *arguments, tmp_path / f"{k}.npz", k)
            for m, k in zip(models, keys, strict=True)
        ]
        return label_map.Encoders(models, keys, features)

    return {name: one(name) for name in NAMES}


@pytest.mark.slow
def test_an_interrupted_map_goes_on_and_another_pre_training_is_trained_again(data, encoders, tmp_path, monkeypatch):
    chosen = MAP.replace(beyond={"labels": (6,), "wrong": (0.0, 0.2), "draws": 3})
    trained: list = []
    stop = 20

    def untrained(self, images, samples, seed, report):
        if len(trained) == stop:
            raise KeyboardInterrupt
        trained.append((len(samples[1]), seed, tuple(samples[1])))
        return self.build(seed)

    monkeypatch.setattr(Trainer, "train", untrained)
    monkeypatch.setattr(supervised, "supervised_logits", eager)
    arguments = data, "paper", labels(), encoders, chosen, 5, tmp_path / "map"
    with pytest.raises(KeyboardInterrupt):
        label_map.train_map(*arguments)
    stop = 99
    trained.clear()
    found = label_map.train_map(*arguments)
    assert len(trained) == 3 * (4 + 4 + 2) - 20  # scratch, and both tuned; the sparser grid has one share of two
    assert set(found) == set(label_map.cells(chosen, NAMES, 12))
    assert all(logits.shape == (3, 4) for logits in found.values())
    trained.clear()
    again = label_map.train_map(*arguments)
    assert not trained and all(np.array_equal(found[cell], again[cell]) for cell in found)
    other = encoders | {"vicreg": encoders["vicreg"]._replace(keys=("vicreg 0", "new"))}
    changed = label_map.train_map(*arguments[:3], other, *arguments[4:])
    assert [seed for _, seed, _ in trained] == [6, 6]  # the second draw has the second pre-training
    assert all(np.array_equal(found[cell], changed[cell]) for cell in found)


@pytest.mark.slow
def test_a_frozen_place_is_the_linear_classifier_on_the_draws_pre_training(data, encoders, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "train", lambda self, images, samples, seed, report: self.build(seed))
    monkeypatch.setattr(supervised, "supervised_logits", eager)
    chosen = MAP.replace(beyond={"labels": (6,), "wrong": (0.2,), "draws": 3})
    found = label_map.train_map(data, "paper", labels(), encoders, chosen, 5, tmp_path / "map")
    for draw in range(3):
        rows, own = label_map.drawn(labels(), 6, 0.2, 5, draw)
        features = encoders["vicreg"].features[draw % 2]
        weights, bias, _ = finetune.train_linear(features["train"], own, PROFILE.finetune, [5 + draw], rows=rows)
        expected = finetune.logits(features["test"], weights, bias)[0]
        np.testing.assert_allclose(found[Cell("vicreg", "frozen", 6, 0.2)][draw], expected, rtol=1e-6)
    scratch, tuned = found[Cell(NONE, "scratch", 6, 0.2)], found[Cell("inner-product", "tuned", 6, 0.2)]
    assert not np.allclose(scratch, tuned)
