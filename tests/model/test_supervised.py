"""The supervised baseline on toy data: it learns, and it is read out in inference mode."""

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from lhdlib import augment, profile
from lhdlib.data.dataset import Dataset
from lhdlib.model import supervised
from lhdlib.model.encoder import build_supervised

pytestmark = pytest.mark.slow  # they share trainings

SIZE = 32
SETTINGS = profile.load("smoke").replace(
    encoder={"blocks": (1, 1), "width": 8, "dim": 16}, supervised={"lr": 3e-3, "batch": 8, "epochs": 6}
)


@pytest.fixture(scope="module")
def toy():
    """20 samples of noisy slices; in the positive ones the middle slice is bright in its middle."""
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    images = rng.normal(0.5, 0.1, (60, SIZE, SIZE)).astype(np.float16)
    rows = np.arange(60).reshape(20, 3)
    images[rows[labels == 1, 1], 10:22, 10:22] += 1
    return images, rows, labels


@pytest.fixture(scope="module")
def trained(toy):
    images, rows, labels = toy
    settings = SETTINGS.replace(supervised={"epochs": 60})  # fewer do not fill the moving statistics
    return supervised.train_supervised(images, (rows, labels), (rows, labels), settings, seed=3)


def test_training_reduces_the_loss_in_inference_mode(toy, trained):
    images, rows, labels = toy
    untrained = build_supervised(SIZE, SETTINGS.encoder, 3)
    after, before = (
        supervised.cross_entropy(labels, supervised.supervised_logits(m, images, rows)) for m in (trained, untrained)
    )
    assert after < 0.5 * before


def test_the_epoch_with_the_lowest_validation_loss_is_kept(toy, monkeypatch):
    images, rows, labels = toy
    seen, read = [], supervised.supervised_logits

    def check(model, *arguments):
        logits = read(model, *arguments)
        seen.append((supervised.cross_entropy(labels[:6], logits), model.get_weights()))
        return logits

    monkeypatch.setattr(supervised, "supervised_logits", check)
    model = supervised.train_supervised(images, (rows, labels), (rows[:6], labels[:6]), SETTINGS, seed=3)
    assert len(seen) == SETTINGS.supervised.epochs
    best = min(seen, key=lambda epoch: epoch[0])[1]
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), best, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(seen[0][1], seen[-1][1], strict=True))


def test_the_cross_entropy_is_scikit_learns():
    rng = np.random.default_rng(1)
    labels, logits = rng.integers(0, 2, 50), rng.normal(0, 3, 50)
    assert supervised.cross_entropy(labels, logits) == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-logits))))


def test_logits_are_read_in_inference_mode(toy, trained):
    """A sample's logit does not depend on its batch, and nothing in the model moves."""
    images, rows, _ = toy
    before = trained.get_weights()
    found = supervised.supervised_logits(trained, images, rows, batch=8)
    assert found.shape == (20,)
    alone = [supervised.supervised_logits(trained, images, rows[i : i + 1])[0] for i in range(20)]
    np.testing.assert_allclose(found, alone, atol=1e-4)
    x = np.stack([np.stack([images[i] for i in row], axis=-1) for row in rows]).astype(np.float32)
    np.testing.assert_allclose(found, trained(x, training=False).numpy()[:, 0], atol=1e-4)
    batch_statistics = keras.models.clone_model(trained)
    batch_statistics.set_weights(before)
    assert np.abs(batch_statistics(x, training=True).numpy()[:, 0] - found).max() > 1e-2
    for a, b in zip(trained.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_baseline_trains_once_on_crops_and_reads_whole_slices(toy, tmp_path, monkeypatch):
    images, rows, labels = toy
    samples = pd.DataFrame(rows, columns=["slice_1", "slice_2", "slice_3"])
    samples["label"] = labels
    samples["split_paper"] = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    data = Dataset(images, pd.DataFrame(), samples, {"fingerprint": "f", "splits": "s"})
    settings = SETTINGS.replace(supervised={"epochs": 1}, finetune={"test_crop": "whole"})
    cropped, crop = [], augment.finetune_views
    monkeypatch.setattr(augment, "finetune_views", lambda x, boxes: cropped.append(len(x)) or crop(x, boxes))
    found = supervised.baseline(data, "paper", settings, 0, tmp_path / "baseline.npz")
    assert cropped == [8]  # one full batch of the twelve training samples
    assert found["test_logits"].shape == found["validation_logits"].shape == (1, 4)
    np.testing.assert_array_equal(found["test_labels"], labels[16:])
    monkeypatch.setattr(supervised, "train_supervised", lambda *_: pytest.fail("trained again"))
    again = supervised.baseline(data, "paper", settings, 0, tmp_path / "baseline.npz")
    assert all(np.array_equal(again[name], found[name]) for name in found)
