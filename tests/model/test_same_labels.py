"""Equal labels: how they are drawn, what the tuned network is at first, and a training that can be repeated."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from lhdlib import profile
from lhdlib.data.dataset import Dataset
from lhdlib.model import finetune, same_labels, supervised
from lhdlib.model.encoder import build_encoder, build_supervised, extractor

SIZE, DIM = 32, 6
PROFILE = profile.load("smoke").replace(
    encoder={"blocks": (1,), "strides": (1,), "width": 4, "dim": DIM},
    tuned={"batch": 4, "steps": 3, "lr": 1e-2, "scratch_steps": 5, "scratch_lr": 2e-2},
    finetune={"epochs": 3, "batch": 4},
)


@pytest.fixture(scope="module")
def encoder():
    """Weights and running statistics at random: nothing is at its neutral start."""
    model, rng = build_encoder(SIZE, PROFILE.encoder, 0.0, 0), np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(variable + rng.uniform(0.1, 0.5, variable.shape))
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    samples = pd.DataFrame(np.arange(60).reshape(20, 3), columns=["slice_1", "slice_2", "slice_3"])
    samples["label"] = np.arange(20) % 2
    samples["split_paper"] = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    images = rng.random((60, SIZE, SIZE)).astype(np.float16)
    return Dataset(images, pd.DataFrame(), samples, {"fingerprint": "f", "splits": "s"})


def known(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    train = data.part("train", "paper")
    return train.rows, train.labels


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# Labels


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_every_beginning_of_the_order_has_each_class_in_its_share(share):
    rng = np.random.default_rng(3)
    for _ in range(20):
        labels = (rng.random(rng.integers(20, 300)) < share).astype(int)
        order = same_labels.stratified_order(labels, rng)
        assert sorted(order) == list(range(len(labels)))
        positives = np.cumsum(labels[order])
        assert np.abs(positives - labels.mean() * np.arange(1, len(labels) + 1)).max() <= 1


def test_the_order_within_a_class_is_random():
    labels, rng = np.repeat([0, 1], 5), np.random.default_rng(4)
    firsts = [same_labels.stratified_order(labels, rng)[:2] for _ in range(300)]
    assert {tuple(sorted(pair)) for pair in firsts} == {(a, b) for a in range(5) for b in range(5, 10)}


def test_draws_are_nested_seeded_and_end_with_all_labels():
    labels = (np.random.default_rng(5).random(230) < 0.4).astype(int)
    chosen = same_labels.subsets(labels, 7)
    assert {count: len(draws) for count, draws in chosen.items()} == {25: 3, 50: 3, 100: 3, 200: 1, 230: 1}
    assert all(len(set(rows)) == count for count, draws in chosen.items() for rows in draws)
    for draw in range(3):
        assert set(chosen[25][draw]) < set(chosen[50][draw]) < set(chosen[100][draw])
    assert len({tuple(rows) for rows in chosen[25]}) == 3
    again, other = same_labels.subsets(labels, 7), same_labels.subsets(labels, 8)
    assert all(same(chosen[count], again[count]) for count in chosen)
    assert not np.array_equal(chosen[25][0], other[25][0])


@pytest.mark.parametrize("n, counts", [(20, [20]), (25, [25]), (26, [25, 26]), (100, [25, 50, 100])])
def test_numbers_beyond_the_training_set_are_left_out(n, counts):
    chosen = same_labels.subsets(np.arange(n) % 2, 0)
    assert list(chosen) == counts and len(chosen[n]) == 1


# The tuned network


@pytest.mark.slow
def test_at_first_its_logit_is_the_linear_classifiers_on_frozen_features(data, encoder):
    rows, _ = known(data)
    model = same_labels.build_tuned(encoder, 3)
    kernel, bias = model.get_layer("logit").get_weights()
    assert bias == 0 and 0.003 < kernel.std() < 0.03
    model.get_layer("logit").set_weights([kernel, np.array([0.7], np.float32)])
    features = finetune.extract(extractor(encoder), data.images, rows)
    expected = finetune.logits(features, kernel.reshape(1, 3, DIM), np.array([0.7]))[0]
    assert expected.std() > 1e-3
    np.testing.assert_allclose(supervised.supervised_logits(model, data.images, rows), expected, atol=1e-4)


@pytest.mark.slow
def test_all_of_its_weights_are_trained_and_the_encoder_stays_as_it_was(data, encoder):
    before = encoder.get_weights()
    trainer = same_labels.Trainer(lambda seed: same_labels.build_tuned(encoder, seed), 1e-2, 4, 3)
    start = [variable.numpy() for variable in same_labels.build_tuned(encoder, 0).trainable_variables]
    model = trainer.train(data.images, known(data), 0, lambda: None)
    moved = [not np.array_equal(a, b) for a, b in zip(model.trainable_variables, start, strict=True)]
    kept = [v for v in encoder.trainable_variables if not v.path.startswith(("fc2", "fc3", "fc4"))]
    assert all(moved) and len(moved) == len(kept) + 2  # the extractor's, kernel and bias
    assert same(before, encoder.get_weights())
    assert encoder.trainable and not extractor(encoder).trainable


# Training


def by_hand(model: keras.Model, data: Dataset, seed: int, lr: float, batch: int, steps: int) -> list[np.ndarray]:
    """Adam with a learning rate set anew in each step, on the cross-entropy as Keras computes it."""
    for layer in model.layers:
        if layer.name.endswith("_bn"):
            layer.momentum = 0.9
    optimizer, done, epoch = keras.optimizers.Adam(lr), 0, 0
    optimizer.build(model.trainable_variables)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    while done < steps:
        for x, y in list(supervised.epoch_batches(data.images, known(data), batch, seed, epoch))[: steps - done]:
            optimizer.learning_rate = lr * (1 + np.cos(np.pi * done / steps)) / 2
            with tf.GradientTape() as tape:
                value = loss(y[:, None], model(x, training=True))
            optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
            done += 1
        epoch += 1
    return model.get_weights()


@pytest.mark.slow
def test_it_is_adam_with_a_half_cosine_for_so_many_steps_and_the_last_weights(data):
    build = lambda seed: build_supervised(SIZE, PROFILE.encoder, seed)  # noqa: E731
    calls = []
    trainer = same_labels.Trainer(build, 1e-2, 5, 5)  # two batches an epoch: it ends in the third
    model = trainer.train(data.images, known(data), 4, lambda: calls.append(0))
    expected = by_hand(build(4), data, 4, 1e-2, 5, 5)
    assert len(calls) == 5
    for found, b, start in zip(model.weights, expected, build(4).get_weights(), strict=True):
        # the bias before a normalisation has no gradient: Adam makes steps of its rounding noise, and the mean follows
        noise = found.path.endswith(("conv/bias", "moving_mean"))
        np.testing.assert_allclose(found, b, atol=5 * 1e-2 if noise else 2e-4)
        assert not np.array_equal(found, start)


@pytest.mark.slow
def test_running_statistics_follow_quickly_also_inside_the_extractor(data, encoder):
    trainer = same_labels.Trainer(lambda seed: same_labels.build_tuned(encoder, seed), 0.0, 4, 1)
    model = trainer.train(data.images, known(data), 2, lambda: None)
    x, _ = next(supervised.epoch_batches(data.images, known(data), 4, 2, 0))
    slices = np.concatenate([x.numpy()[..., i : i + 1] for i in range(3)])
    stem = keras.Model(encoder.input, encoder.get_layer("stem_conv").output)(slices).numpy()
    before = encoder.get_layer("stem_bn").moving_mean.numpy()
    after = next(norm for norm in same_labels.normalisations(model) if norm.name == "stem_bn").moving_mean.numpy()
    np.testing.assert_allclose(after, 0.9 * before + 0.1 * stem.mean((0, 1, 2)), atol=1e-5)
    names = {layer.name for layer in extractor(encoder).layers if layer.name.endswith("_bn")}
    assert {norm.name for norm in same_labels.normalisations(model) if norm.momentum == 0.9} == names


@pytest.mark.slow
def test_equal_seeds_give_equal_bytes_whatever_was_trained_before(data):
    build = lambda seed: build_supervised(SIZE, PROFILE.encoder, seed)  # noqa: E731
    rows, labels = known(data)
    trainer = same_labels.Trainer(build, 1e-2, 8, 3)
    first = trainer.train(data.images, (rows, labels), 1, lambda: None).get_weights()
    few = trainer.train(data.images, (rows[:5], labels[:5]), 2, lambda: None).get_weights()  # a smaller batch
    again = trainer.train(data.images, (rows, labels), 1, lambda: None).get_weights()
    anew = same_labels.Trainer(build, 1e-2, 8, 3).train(data.images, (rows, labels), 1, lambda: None).get_weights()
    assert same(first, again) and same(first, anew) and not same(first, few)


def eager(model: keras.Model, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Logits without compiling anything."""
    return model(images[rows].astype(np.float32).transpose(0, 2, 3, 1), training=False).numpy()[:, 0]


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_with_the_training_that_it_lost(data, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(same_labels, "DRAWS", {6: 2})
    path = tmp_path / "features.npz"
    features = finetune.dataset_features(extractor(encoder), data, "paper", PROFILE.finetune, 0, path, "key")
    arguments = data, "paper", features, encoder, "key", PROFILE, 0, tmp_path / "same"
    trained = []

    def untrained(self, images, samples, seed, report):
        if len(trained) == 4:
            raise KeyboardInterrupt
        trained.append((len(samples[1]), seed))
        return self.build(seed)

    monkeypatch.setattr(same_labels.Trainer, "train", untrained)
    monkeypatch.setattr(supervised, "supervised_logits", eager)
    with pytest.raises(KeyboardInterrupt):
        same_labels.compare_ways(*arguments)
    assert trained == [(6, 0), (6, 1), (12, 0), (6, 0)]
    trained.clear()
    found = same_labels.compare_ways(*arguments)
    assert trained == [(6, 1), (12, 0)]
    assert {run: logits.shape for run, logits in found.items()} == {
        (way, count): (draws, 4) for way in ("frozen", "scratch", "tuned") for count, draws in ((6, 2), (12, 1))
    }
    trained.clear()
    again = same_labels.compare_ways(*arguments)
    assert not trained and all(np.array_equal(found[run], again[run]) for run in found)
    alone = finetune.classify(features, PROFILE.replace(finetune={"seeds": 1}).finetune, 0)["test_logits"]
    np.testing.assert_array_equal(found["frozen", 12], alone)
    other = same_labels.compare_ways(*arguments[:4], "another key", *arguments[5:])
    assert trained == [(6, 0), (6, 1), (12, 0)]  # those from the encoder's weights alone
    assert np.array_equal(other["scratch", 6], found["scratch", 6])
