"""Fine-tuning: features slice by slice, a frozen extractor, and Adam written out in NumPy."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from benchmarks.finetune_cache import train_recomputing
from lhdlib.data.dataset import Dataset
from lhdlib.model import finetune
from lhdlib.model.encoder import build_encoder, extractor
from lhdlib.profile import Encoder, Finetune

SIZE, DIM = 32, 16
SETTINGS = Finetune(lr=0.01, batch=8, w=0.0, epochs=6, test_crop="whole", draws=6, encoders=1, seeds=3)


@pytest.fixture(scope="module")
def frozen():
    """An encoder with moved batch statistics, its extractor, 30 slices, and 11 samples of three slices."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(30, SIZE, SIZE))
    images = np.stack([ndimage.gaussian_filter(image, 2.0) for image in noise])
    images = (images / images.std() / 4 + 0.5).astype(np.float16)
    encoder = build_encoder(
        SIZE, Encoder(blocks=(1, 1), strides=(1, 2), width=8, dim=DIM, fc_block="dense-norm-relu"), 0.5, 1
    )
    for variable in encoder.non_trainable_variables:
        if "moving_mean" in variable.path:
            variable.assign(rng.normal(0, 0.2, variable.shape))
        elif "moving_variance" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    rows = np.stack([rng.choice(30, 3, replace=False) for _ in range(11)])
    return encoder, extractor(encoder), images, rows


def single(model, image: np.ndarray) -> np.ndarray:
    return model(image.astype(np.float32)[None, ..., None], training=False)[0].numpy()[0]


def crop(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Crop and upsample with SciPy."""
    x0, y0, x1, y1 = box
    rows, cols = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    coordinates = [y0 + rows * (y1 - y0) - 0.5, x0 + cols * (x1 - x0) - 0.5]
    return ndimage.map_coordinates(image.astype(float), coordinates, order=1, mode="nearest")


def boxes_of_draw(seed: int, draw: int, n: int) -> np.ndarray:
    """The crop of section "Supervised fine-tuning" from draw `draw`'s own generator."""
    rng = np.random.default_rng([seed, 3, draw])
    upper_left, lower_right = rng.uniform(0, 0.25, (n, 2)), rng.uniform(0.75, 1, (n, 2))
    return np.concatenate([upper_left, lower_right], axis=1) * SIZE


def adam_loop(features, labels, settings: Finetune, seed: int):
    """A linear classifier trained in NumPy on `features(epoch)`, (n, 3 d). Order and start as documented per seed."""
    rng = np.random.default_rng([seed, 4])
    n, count = features(0).shape
    batch = min(settings.batch, n)
    per_epoch = n // batch
    orders = [rng.permutation(n) for _ in range(settings.epochs)]
    w, b = rng.normal(0, 0.01, count), 0.0
    m, v, losses, t = np.zeros(count + 1), np.zeros(count + 1), [], 0
    for epoch, order in enumerate(orders):
        x = features(epoch).astype(float)
        total = 0.0
        for k in range(per_epoch):
            chosen = order[k * batch : (k + 1) * batch]
            h = x[chosen] @ w + b
            y = labels[chosen].astype(float)
            total += np.mean(np.log1p(np.exp(-np.abs(h))) + np.maximum(h, 0) - h * y)
            error = (1 / (1 + np.exp(-h)) - y) / batch
            gradient = np.append(x[chosen].T @ error + 2 * settings.w * w, error.sum())
            t += 1
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            move = settings.lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
            w, b = w - move[:-1], b - move[-1]
        losses.append(total / per_epoch)
    return w, b, np.array(losses)


@pytest.fixture(scope="module")
def toy():
    """Features of 37 samples in 6 draws, and labels that they tell in part."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 37)
    features = rng.normal(size=(6, 37, 3, 5)) + 0.5 * (labels[:, None, None] - 0.5)
    return features.astype(np.float32), labels


@pytest.mark.slow
def test_extract_equals_a_loop_over_single_slices(frozen):
    _, model, images, rows = frozen
    found = finetune.extract(model, images, rows, batch=4)
    assert found.shape == (11, 3, DIM) and found.dtype == np.float32
    for sample, row in zip(found, rows, strict=True):
        for features, index in zip(sample, row, strict=True):
            np.testing.assert_allclose(features, single(model, images[index]), atol=1e-5)
    assert found.std(axis=(0, 1)).max() > 0.01


@pytest.mark.slow
def test_extract_crops_equals_cropping_one_slice_at_a_time(frozen):
    """The three slices of a sample share the draw's box; every draw has its own boxes."""
    _, model, images, rows = frozen
    found = finetune.extract_crops(model, images, rows, crops=3, seed=5, batch=4)
    assert found.shape == (3, 11, 3, DIM)
    for draw in range(3):
        for sample, box in enumerate(boxes_of_draw(5, draw, 11)):
            for position in range(3):
                expected = single(model, crop(images[rows[sample, position]], box))
                np.testing.assert_allclose(found[draw, sample, position], expected, atol=1e-3)
    assert np.abs(found[0] - found[1]).max() > 0.01
    np.testing.assert_array_equal(found, finetune.extract_crops(model, images, rows, crops=3, seed=5, batch=4))
    assert np.abs(found - finetune.extract_crops(model, images, rows, crops=3, seed=6, batch=4)).max() > 0.01


@pytest.mark.slow
def test_features_at_test_time_are_of_whole_slices(frozen):
    """Augmentation is off: no draw gives what `extract` gives."""
    _, model, images, rows = frozen
    whole = finetune.extract(model, images, rows)
    drawn = finetune.extract_crops(model, images, rows, crops=2, seed=5)
    assert np.abs(drawn - whole).max(axis=(1, 2, 3)).min() > 0.01


@pytest.mark.slow
def test_every_frozen_tensor_is_bit_identical_after_finetuning(frozen):
    encoder, model, images, rows = frozen
    before = [v.numpy().copy() for v in encoder.variables]
    assert any("moving_mean" in v.path for v in encoder.variables)
    features = finetune.extract_crops(model, images, rows, crops=2, seed=0)
    weights, bias, _ = finetune.train_linear(features, np.arange(11) % 2, SETTINGS, [0, 1])
    finetune.logits(finetune.extract(model, images, rows), weights, bias)
    for variable, value in zip(encoder.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)


@pytest.mark.slow
@pytest.mark.parametrize("w", [0.0, 0.05])
@pytest.mark.parametrize("draws, batch", [(6, 8), (4, 8), (1, 100)])
def test_train_linear_equals_adam_in_numpy(toy, draws, batch, w):
    """37 samples: four full batches of 8 an epoch, or one of all; epoch e sees draw e modulo draws."""
    features, labels = toy
    settings = dataclasses.replace(SETTINGS, batch=batch, w=w)
    weights, bias, losses = finetune.train_linear(features[:draws], labels, settings, [7])
    assert weights.shape == (1, 3, 5) and bias.shape == (1,) and losses.shape == (6, 1)
    expected = adam_loop(lambda epoch: features[epoch % draws].reshape(37, -1), labels, settings, 7)
    np.testing.assert_allclose(weights[0].ravel(), expected[0], atol=1e-4)
    assert bias[0] == pytest.approx(expected[1], abs=1e-4)
    np.testing.assert_allclose(losses[:, 0], expected[2], atol=1e-4)


@pytest.mark.slow
def test_as_many_draws_as_epochs_is_training_on_fresh_crops(frozen):
    """Features computed once against features recomputed from the pixels in every epoch."""
    _, model, images, rows = frozen
    labels = np.arange(11) % 2
    settings = dataclasses.replace(SETTINGS, epochs=3, batch=4)
    found = finetune.train_linear(finetune.extract_crops(model, images, rows, 3, seed=4), labels, settings, [4])

    def fresh(epoch):
        boxes = boxes_of_draw(4, epoch, 11)
        samples = zip(rows, boxes, strict=True)
        return np.stack([np.concatenate([single(model, crop(images[i], box)) for i in row]) for row, box in samples])

    expected = adam_loop(fresh, labels, settings, 4)
    np.testing.assert_allclose(found[0][0].ravel(), expected[0], atol=2e-4)
    np.testing.assert_allclose(found[2][:, 0], expected[2], atol=2e-4)


@pytest.mark.slow
def test_the_exact_mode_gives_the_weights_of_recomputing_in_every_epoch(frozen):
    """Twin runs: features computed once, and cropped and extracted anew within the training loop."""
    _, model, images, rows = frozen
    labels = np.arange(11) % 2
    settings = dataclasses.replace(SETTINGS, epochs=8, batch=4, w=1e-3)
    features = finetune.extract_crops(model, images, rows, settings.epochs, seed=4)
    found = finetune.train_linear(features, labels, settings, [4])[0][0]
    np.testing.assert_allclose(found, train_recomputing(model, images, rows, labels, settings, 4)[0], rtol=0, atol=1e-5)
    fewer = finetune.train_linear(features[:2], labels, settings, [4])[0][0]
    assert np.abs(found - fewer).max() > 1e-3  # other draws, other weights


@pytest.mark.slow
def test_rows_choose_samples_as_copying_them_does(toy):
    features, labels = toy
    rows = np.random.default_rng(8).permutation(37)[:20]
    found = finetune.train_linear(features, labels[rows], SETTINGS, [1, 2], rows=rows)
    for mine, other in zip(
        found, finetune.train_linear(features[:, rows], labels[rows], SETTINGS, [1, 2]), strict=True
    ):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
def test_seeds_side_by_side_equal_seeds_alone(toy):
    features, labels = toy
    weights, bias, losses = finetune.train_linear(features, labels, SETTINGS, [3, 0, 11])
    for k, seed in enumerate([3, 0, 11]):
        alone = finetune.train_linear(features, labels, SETTINGS, [seed])
        np.testing.assert_allclose(weights[k], alone[0][0], atol=1e-5)
        np.testing.assert_allclose(bias[k], alone[1][0], atol=1e-5)
        np.testing.assert_allclose(losses[:, k], alone[2][:, 0], atol=1e-5)
    assert np.abs(weights[0] - weights[1]).max() > 1e-3


@pytest.mark.slow
def test_labels_may_differ_between_seeds(toy):
    features, labels = toy
    both = finetune.train_linear(features, np.stack([labels, 1 - labels]), SETTINGS, [3, 3])
    for k, y in enumerate([labels, 1 - labels]):
        np.testing.assert_allclose(both[0][k], finetune.train_linear(features, y, SETTINGS, [3])[0][0], atol=1e-5)
    assert np.abs(both[0][0] - both[0][1]).max() > 1e-2


@pytest.mark.slow
def test_separable_data_are_separated():
    rng = np.random.default_rng(3)
    labels = np.arange(40) % 2
    features = rng.normal(0, 0.3, (2, 40, 3, 4)).astype(np.float32)
    features[:, :, 1, 2] += 4 * labels - 2  # one feature of the middle slice tells
    settings = dataclasses.replace(SETTINGS, lr=0.05, epochs=30)
    weights, bias, losses = finetune.train_linear(features, labels, settings, [0, 1])
    assert (losses[-1] < 0.2 * losses[0]).all()
    h = finetune.logits(features[0], weights, bias)
    assert h.shape == (2, 40)
    assert ((h > 0) == labels).all()
    assert (np.abs(weights).reshape(2, -1).argmax(axis=1) == 6).all()


def test_logits_are_a_dot_product_over_all_three_slices():
    rng = np.random.default_rng(4)
    features, weights, bias = rng.normal(size=(5, 3, 4)), rng.normal(size=(2, 3, 4)), rng.normal(size=2)
    found = finetune.logits(features, weights, bias)
    for k in range(2):
        for i in range(5):
            assert found[k, i] == pytest.approx(sum((features[i] * weights[k]).ravel()) + bias[k])


@pytest.fixture(scope="module")
def dataset(frozen):
    _, _, images, _ = frozen
    rng = np.random.default_rng(5)
    samples = pd.DataFrame(rng.integers(0, 30, (20, 3)), columns=["slice_1", "slice_2", "slice_3"])
    samples["label"] = np.arange(20) % 2
    parts = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    samples["split_paper"], samples["split_patient"] = parts, parts[::-1]
    return Dataset(images, pd.DataFrame(), samples, {"fingerprint": "f", "splits": "s"})


@pytest.mark.slow
def test_dataset_features_augment_the_training_part_alone_and_are_kept(frozen, dataset, tmp_path, monkeypatch):
    _, model, images, _ = frozen
    settings = dataclasses.replace(SETTINGS, draws=2)
    arguments = model, dataset, "paper", settings, 0, tmp_path / "features.npz"
    found = finetune.dataset_features(*arguments, "key")
    rows = dataset.samples[["slice_1", "slice_2", "slice_3"]].to_numpy()
    np.testing.assert_array_equal(found["train"], finetune.extract_crops(model, images, rows[:12], 2, 0))
    np.testing.assert_array_equal(found["validation"], finetune.extract(model, images, rows[12:16]))
    np.testing.assert_array_equal(found["test"], finetune.extract(model, images, rows[16:]))
    np.testing.assert_array_equal(found["test_labels"], [0, 1, 0, 1])

    calls = []
    monkeypatch.setattr(finetune, "extract", lambda *a: calls.append(a) or np.zeros((4, 3, DIM)))
    again = finetune.dataset_features(*arguments, "key")
    assert not calls and all(np.array_equal(again[name], found[name]) for name in found)
    finetune.dataset_features(*arguments, "another extractor")
    assert len(calls) == 2


@pytest.mark.slow
def test_features_beyond_the_memory_limit_lie_in_a_file_and_change_nothing(frozen, dataset, tmp_path, monkeypatch):
    _, model, _, _ = frozen
    settings = dataclasses.replace(SETTINGS, draws=3)
    whole = finetune.dataset_features(model, dataset, "paper", settings, 0, tmp_path / "a.npz", "key")
    wanted = finetune.classify(whole, settings, 2, rows=np.arange(2, 12))
    assert not isinstance(whole["train"], np.memmap) and not (tmp_path / "a.npy").exists()

    monkeypatch.setattr(finetune, "MEMORY_LIMIT", whole["train"].nbytes - 1)
    arguments = model, dataset, "paper", settings, 0, tmp_path / "b.npz"
    mapped = finetune.dataset_features(*arguments, "key")
    assert isinstance(mapped["train"], np.memmap) and mapped.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(mapped[name], values)
    found = finetune.classify(mapped, settings, 2, rows=np.arange(2, 12))
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)

    calls = []
    monkeypatch.setattr(finetune, "extract_crops", lambda *a, out, **k: calls.append(1) or out)
    finetune.dataset_features(*arguments, "key")
    assert not calls
    with pytest.raises(ZeroDivisionError):  # ended while the features under another key were being written
        monkeypatch.setattr(finetune, "extract", lambda *a: 1 / 0)
        finetune.dataset_features(*arguments, "another key")
    assert len(calls) == 1
    with pytest.raises(ZeroDivisionError):  # what lies there now is not what the first key stands for
        finetune.dataset_features(*arguments, "key")
    assert len(calls) == 2


@pytest.mark.slow
@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_lost_or_damaged_file_of_features_is_made_again(harm, frozen, dataset, tmp_path, monkeypatch):
    _, model, _, _ = frozen
    monkeypatch.setattr(finetune, "MEMORY_LIMIT", 0)
    arguments = model, dataset, "paper", dataclasses.replace(SETTINGS, draws=1), 0, tmp_path / "b.npz", "key"
    wanted = np.array(finetune.dataset_features(*arguments)["train"])
    harm(tmp_path / "b.npy")
    np.testing.assert_array_equal(finetune.dataset_features(*arguments)["train"], wanted)


def toy_parts(toy, rng):
    parts = dict(zip(("train", "train_labels"), toy, strict=True))
    for part, n in (("validation", 4), ("test", 9)):
        parts[part], parts[f"{part}_labels"] = rng.normal(size=(n, 3, 5)), rng.integers(0, 2, n)
    return parts


@pytest.mark.slow
def test_classify_trains_on_the_rows_and_labels_it_is_given(toy):
    features, labels = toy
    rng = np.random.default_rng(6)
    parts = toy_parts(toy, rng)
    rows = np.arange(5, 30)
    found = finetune.classify(parts, SETTINGS, 2, rows=rows)
    weights, bias, losses = finetune.train_linear(features[:, rows], labels[rows], SETTINGS, [2, 3, 4])
    np.testing.assert_array_equal(found["weights"], weights)
    np.testing.assert_array_equal(found["losses"], losses)
    np.testing.assert_allclose(found["test_logits"], finetune.logits(parts["test"], weights, bias))
    assert found["validation_logits"].shape == (3, 4)
    np.testing.assert_array_equal(found["test_labels"], parts["test_labels"])
    shuffled = np.stack([rng.permutation(labels) for _ in range(3)])
    control = finetune.classify(parts, SETTINGS, 2, labels=shuffled)
    np.testing.assert_array_equal(control["weights"], finetune.train_linear(features, shuffled, SETTINGS, [2, 3, 4])[0])


@pytest.mark.slow
def test_the_classifiers_of_several_extractors_stand_one_after_the_other(toy):
    one = toy_parts(toy, np.random.default_rng(7))
    other = one | {name: one[name] + 0.5 for name in ("train", "validation", "test")}
    found = finetune.classify_each([one, other], SETTINGS, 2)
    runs = [finetune.classify(features, SETTINGS, 2) for features in (one, other)]
    for name in ("weights", "bias", "validation_logits", "test_logits"):
        np.testing.assert_array_equal(found[name], np.concatenate([run[name] for run in runs]))
    assert found["losses"].shape == (SETTINGS.epochs, 2 * SETTINGS.seeds)
    np.testing.assert_array_equal(found["test_labels"], runs[1]["test_labels"])
