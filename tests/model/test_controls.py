"""The controls' features against plain NumPy, and their place in the fine-tuning."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from lhdlib import profile
from lhdlib.data.dataset import Dataset
from lhdlib.model import autoencoder, controls, finetune

SMOKE = profile.load("smoke")


def slices(n: int = 6, size: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, size, size, 1)).astype(np.float32)


def test_pixels_are_block_means():
    images = slices(2, 64)
    found = controls.pixels(64, 256)(images)[0].numpy()
    assert found == pytest.approx(images.reshape(2, 16, 4, 16, 4).mean((2, 4)).reshape(2, -1), abs=1e-5)


@pytest.mark.parametrize("size, dim, side", [(32, 32, 5), (47, 256, 16), (300, 256, 16), (100, 10, 3)])
def test_pixels_cover_the_slice_with_no_more_blocks_than_allowed(size, dim, side):
    found = controls.pixels(size, dim)(np.full((1, size, size, 1), 0.7, np.float32))[0].numpy()
    assert found.shape == (1, side**2) and side**2 <= dim
    assert found == pytest.approx(0.7, abs=1e-4)  # also in the blocks at the border
    corner = np.zeros((1, size, size, 1), np.float32)
    corner[0, -1, -1] = 1
    assert np.flatnonzero(controls.pixels(size, dim)(corner)[0].numpy()).tolist() == [side**2 - 1]


def test_nuisance_of_a_drawn_body():
    image = np.zeros((1, 32, 32, 1), np.float32)
    image[0, 4:20, 8:16] = 0.5  # 16 rows, 8 columns
    image[0, 4:8, 8:10] = 0.9
    mean, spread, width, height, body, bright = controls.nuisance(32)(image)[0].numpy()[0]
    assert (width, height) == pytest.approx((8 / 32, 16 / 32))
    assert (body, bright) == pytest.approx((16 * 8 / 1024, 4 * 2 / 1024))
    assert (mean, spread) == pytest.approx((image.mean(), image.std()), rel=1e-4)


def test_the_code_is_the_autoencoders():
    net = autoencoder.build_autoencoder(32, 12, seed=0)
    found = controls.code(net)(slices())[0].numpy()
    assert found.shape == (6, 12)
    kernel = net.get_layer("code").get_weights()[1]
    assert kernel.shape == (12,) and np.ptp(found, axis=0).min() > 0


def draws(features) -> np.ndarray:
    return np.stack([features[k] for k in range(features.shape[0])])


def test_standardised_by_the_training_samples_alone():
    rng = np.random.default_rng(1)
    shapes = {"train": (2, 50, 3, 4), "validation": (9, 3, 4), "test": (7, 3, 4)}
    features = {part: rng.normal(3, 0.01, shape) for part, shape in shapes.items()}
    features["train"][..., 3] = features["test"][..., 3] = 5.0  # constant in training
    found = controls.standardised(features | {"test_labels": np.ones(7)})
    train = draws(found["train"])
    assert train.shape == found["train"].shape == (2, 50, 3, 4) and train.nbytes == train.size * found["train"].itemsize
    assert train.mean((0, 1)) == pytest.approx(0, abs=1e-9)
    assert train[..., :3].std((0, 1)) == pytest.approx(1)
    assert (found["validation"][..., 3] == 0).all() and (found["test_labels"] == 1).all()
    moved = controls.standardised(features | {"test": features["test"] + 1})
    assert (draws(moved["train"]) == train).all()
    assert moved["test"][0, 0, 0] - found["test"][0, 0, 0] == pytest.approx(1 / features["train"][..., 0, 0].std())


@pytest.mark.slow
def test_training_features_of_a_file_are_standardised_a_draw_at_a_time(tmp_path):
    """Ten draws of 4 MiB: neither standardising nor training holds more than some of them; the result is the same."""
    rng = np.random.default_rng(2)
    features = {part: rng.normal(3, 2, (700, 3, 50)).astype(np.float32) for part in ("validation", "test")}
    features |= {"train": rng.normal(3, 2, (10, 7000, 3, 50)).astype(np.float32), "train_labels": np.arange(7000) % 2}
    features |= {"validation_labels": np.arange(700) % 2, "test_labels": np.arange(700) % 2}
    np.save(tmp_path / "train.npy", features["train"])
    mapped = features | {"train": np.load(tmp_path / "train.npy", mmap_mode="r")}
    settings = SMOKE.replace(finetune={"epochs": 3, "batch": 700}).finetune
    wanted = finetune.classify(controls.standardised(features), settings, 0)
    whole = features["train"].nbytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "MEMORY_LIMIT", whole - 1)
        tracemalloc.start()
        found = finetune.classify(controls.standardised(mapped), settings, 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 0.7 * whole
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.slow
def test_features_of_all_controls_go_through_the_same_code(tmp_path):
    images = slices(48, 32)[..., 0].astype(np.float16)
    samples = pd.DataFrame({f"slice_{k + 1}": np.arange(16) * 3 + k for k in range(3)})
    samples["label"], samples["split_paper"] = np.arange(16) % 2, ["train"] * 10 + ["validation"] * 2 + ["test"] * 4
    data = Dataset(images, pd.DataFrame(), samples, {"fingerprint": "f", "splits": {}})
    small = SMOKE.replace(finetune={"draws": 2, "epochs": 2, "seeds": 2})
    net = autoencoder.build_autoencoder(32, SMOKE.encoder.dim, seed=0)
    found = controls.control_features(data, net, "paper", small, 0, tmp_path)
    assert {name: values["train"].shape for name, values in found.items()} == {
        "autoencoder": (2, 10, 3, SMOKE.encoder.dim),
        "raw pixels": (2, 10, 3, 25),
        "patient nuisance": (2, 10, 3, 6),
    }
    for features in found.values():
        assert finetune.classify(controls.standardised(features), small.finetune, 0)["test_logits"].shape == (2, 4)
    again = controls.control_features(data, net, "paper", small, 0, tmp_path)
    other = controls.control_features(data, autoencoder.build_autoencoder(32, 32, 1), "paper", small, 0, tmp_path)
    assert (again["autoencoder"]["test"] == found["autoencoder"]["test"]).all()
    assert (other["autoencoder"]["test"] != found["autoencoder"]["test"]).any()  # another network is not read from disk
