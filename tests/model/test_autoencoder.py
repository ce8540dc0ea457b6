"""The autoencoder of Fig. 1: shapes, learning, and what trains it again."""

import numpy as np
import pandas as pd
import pytest

from lhdlib import cache, profile
from lhdlib.data.dataset import Dataset
from lhdlib.model import autoencoder

pytestmark = pytest.mark.slow  # all of them need what is written once for this file

SIZE = 32
SETTINGS = profile.load("smoke").replace(encoder={"dim": 12}, autoencoder={"lr": 3e-3, "batch": 8, "steps": 60})


def made_up(**info: str) -> Dataset:
    """Slices with a bright square somewhere; the last four are held out."""
    rng = np.random.default_rng(0)
    images = np.full((24, SIZE, SIZE), 0.1, np.float16)
    for image in images:
        row, column = rng.integers(0, SIZE - 8, 2)
        image[row : row + 8, column : column + 8] = 1
    slices = pd.DataFrame({"patient": "0001", "pretrain": ["train"] * 20 + ["validation"] * 4})
    return Dataset(images, slices, pd.DataFrame(), {"pretrain_fingerprint": "p", "fingerprint": "f"} | info)


@pytest.mark.parametrize("size", [32, 45])  # 45 is no multiple of 8
def test_a_slice_goes_through_the_code(size):
    model = autoencoder.build_autoencoder(size, 12, seed=0)
    assert model.output_shape == (None, size, size, 1) and model.get_layer("code").output.shape == (None, 12)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "autoencoder.keras"
    return autoencoder.train_autoencoder(made_up(), SETTINGS, 0, path), path


def test_training_lowers_the_error(trained):
    data = made_up()
    slices = data.images[data.pretrain_rows("train")][..., None].astype(np.float32)
    fresh = autoencoder.build_autoencoder(SIZE, 12, seed=0)
    error, before = (float(np.mean((net(slices).numpy() - slices) ** 2)) for net in (trained[0], fresh))
    assert error < 0.7 * before


class Trains(Exception):
    """Training has begun."""


@pytest.fixture
def refusing(monkeypatch):
    def refuse(*_):
        raise Trains

    monkeypatch.setattr(autoencoder, "build_autoencoder", refuse)


def test_a_reviewers_verdict_trains_it_not_again(trained, refusing):
    """Verdicts and notes change samples, labels and the data's fingerprint, not what pre-training sees."""
    net, path = trained
    again = autoencoder.train_autoencoder(made_up(fingerprint="other labels"), SETTINGS, 0, path)
    for mine, other in zip(again.get_weights(), net.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("changed", ["slices", "seed", "settings", "code"])
def test_what_it_sees_trains_it_again(trained, refusing, monkeypatch, changed):
    data = made_up(pretrain_fingerprint="other slices") if changed == "slices" else made_up()
    settings = SETTINGS.replace(autoencoder={"steps": 61}) if changed == "settings" else SETTINGS
    if changed == "code":
        monkeypatch.setattr(cache, "code_key", lambda *_: "other code")
    with pytest.raises(Trains):
        autoencoder.train_autoencoder(data, settings, int(changed == "seed"), trained[1])
