"""Pre-training: one optimisation step by hand, batches, validation, checkpoints, and real slices."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import ndimage

from lhdlib import augment, profile
from lhdlib.data.dataset import Dataset
from lhdlib.errors import UserError
from lhdlib.model import losses, pretrain
from lhdlib.model.encoder import build_encoder, computed_in

SIZE = 32
SETTINGS = profile.load("smoke").replace(
    encoder={"blocks": (1, 1), "width": 8, "dim": 16},
    pretrain={"batch": 8, "steps_per_epoch": 3, "max_epochs": 2, "patience": 2, "drop_rate": 0.25, "w": 1e-4},
)


def smooth_images(n: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(n, SIZE, SIZE))
    images = np.stack([ndimage.gaussian_filter(image, 2.0) for image in noise])
    return (images / images.std() / 4 + 0.5).astype(np.float16)


def build(drop_rate: float = 0.0) -> keras.Model:
    return build_encoder(SIZE, SETTINGS.encoder, drop_rate, 3)


def statistics(model: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: v.numpy() for v in model.non_trainable_variables if "moving" in v.path}


@pytest.fixture(scope="module")
def views():
    """16 views of 8 images; the two views of an image differ in brightness, as they do in training."""
    return augment.contrastive_views(smooth_images(8, 0)[..., None], 1, SETTINGS)


@pytest.fixture(scope="module")
def stepped(views):
    """Weights before and after one step of plain gradient descent, without and with the L2 term, and its report."""
    groups = tf.constant(np.repeat(np.arange(8), 2))
    runs = {}
    for w in (0.0, 0.5):
        model = build()
        before = {v.path: v.numpy() for v in model.trainable_variables}
        settings = SETTINGS.replace(pretrain={"w": w})
        step = pretrain.make_step(model, keras.optimizers.SGD(1e-2), settings)
        report = {name: float(value) for name, value in step(views, groups).items()}
        after = {v.path: v.numpy() for v in model.trainable_variables}
        runs[w] = before, after, statistics(model), report
    return runs


@pytest.mark.slow
def test_a_step_moves_batch_statistics_as_one_pass_over_both_views_does(stepped, views):
    once, split = build(), build()
    once(views, training=True)
    for half in (views[0::2], views[1::2]):
        split(half, training=True)
    expected, wrong = statistics(once), statistics(split)
    found = stepped[0.0][2]
    assert found.keys() == expected.keys() and len(found) == 2 * 13
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert all(np.abs(wrong[name] - expected[name]).max() > 1e-3 for name in found if "variance" in name)


@pytest.mark.slow
def test_stem_statistics_by_hand(stepped, views):
    """Moving mean and variance move by one hundredth towards those of the stem's output on all 2n views."""
    model = build()
    kernel, bias = model.get_layer("stem_conv").get_weights()
    padded = np.pad(views, ((0, 0), (3, 3), (3, 3), (0, 0)))
    activations = tf.nn.conv2d(padded, kernel, strides=2, padding="VALID").numpy() + bias
    found = stepped[0.0][2]
    np.testing.assert_allclose(found["stem_bn/moving_mean"], 0.01 * activations.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(
        found["stem_bn/moving_variance"], 0.99 + 0.01 * activations.var(axis=(0, 1, 2)), atol=1e-6
    )


@pytest.mark.slow
def test_l2_term_is_w_times_the_squared_kernels(stepped):
    """Gradient descent with rate r moves each kernel K by another -2 r w K, and nothing else."""
    before, plain, _, _ = stepped[0.0]
    _, regularised, _, _ = stepped[0.5]
    moved = 0
    for name, start in before.items():
        extra = regularised[name] - plain[name]
        kernel = name.endswith("kernel")
        moved += kernel
        expected = -2 * 1e-2 * 0.5 * start if kernel else np.zeros_like(start)
        np.testing.assert_allclose(extra, expected, atol=2e-5, err_msg=name)
    convolutions_and_dense = [
        layer for layer in build().layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    ]
    assert moved == len(convolutions_and_dense) == 1 + 2 * 4 + 4
    assert any(np.abs(plain[name] - before[name]).max() > 1e-4 for name in before)


@pytest.mark.slow
def test_a_step_descends_the_gradient_of_eq_6(stepped, views):
    """SGD's move is the gradient of the loss summed over the rows, in training mode."""
    model = build()
    with tf.GradientTape() as tape:
        loss = losses.contrastive_loss(model(views, training=True), SETTINGS.pretrain.temperature, "sum")
    kernel = model.get_layer("fc4_dense").kernel
    gradient = tape.gradient(loss, kernel.value).numpy()
    before, after, _, report = stepped[0.0]
    moved = after[kernel.path] - before[kernel.path]
    np.testing.assert_allclose(moved, -1e-2 * gradient, atol=1e-2 * 1e-3 * np.abs(gradient).max() + 1e-7)
    assert report["loss"] == pytest.approx(float(loss) / 16 - np.log(15), abs=1e-4)


@pytest.mark.slow
def test_report_of_a_step(stepped, views):
    features = build()(views, training=True).numpy()
    norms = np.sqrt((features**2).sum(axis=1))
    for w in stepped:
        report = stepped[w][3]  # the loss is reported without the L2 term
        assert report["loss"] == pytest.approx(stepped[0.0][3]["loss"], abs=1e-5)
        assert report["norm"] == pytest.approx(norms.mean(), rel=1e-4)
        assert report["norm_spread"] == pytest.approx(norms.std(), rel=1e-3)
        assert report["accuracy"] == pytest.approx(float(losses.contrastive_accuracy(features)), abs=1e-6)


def test_batches_cover_each_slice_at_most_once_per_pass():
    rows = np.arange(100, 143)  # 43 slices: five batches of eight, three slices left out
    passes = []
    for number in range(6):
        batches = [pretrain.batch_rows(rows, 8, 5, step) for step in range(5 * number, 5 * number + 5)]
        assert all(len(b) == 8 for b in batches)
        seen = np.concatenate(batches)
        assert len(np.unique(seen)) == 40 and np.isin(seen, rows).all()
        passes.append(tuple(seen))
    assert len(set(passes)) == 6  # every pass has its own shuffle
    assert set(np.concatenate(passes)) == set(rows)  # and leaves out other slices


def test_batches_depend_on_seed_and_step_alone():
    rows = np.arange(43)
    first = pretrain.batch_rows(rows, 8, 5, 13)
    pretrain.batch_rows(rows, 8, 5, 0)
    np.testing.assert_array_equal(pretrain.batch_rows(rows, 8, 5, 13), first)
    assert not np.array_equal(pretrain.batch_rows(rows, 8, 6, 13), first)
    assert not np.array_equal(pretrain.batch_rows(rows, 8, 5, 14), first)


@pytest.mark.parametrize("patients, pairs", [([1, 2, 3], 0), ([4, 4], 1), ([4, 1, 4, 1, 4], 4), ([7] * 6, 15), ([], 0)])
def test_pairs_of_one_patient(patients, pairs):
    assert pretrain.same_patient_pairs(np.array(patients, int)) == pairs


@pytest.mark.slow
def test_validation_accuracy_is_over_all_held_out_slices_at_once():
    model = build(drop_rate=0.5)
    model(smooth_images(16, 8).astype(np.float32)[..., None], training=True)
    images, rows = smooth_images(30, 2), np.arange(4, 25)  # two batches of eight and one of five
    before = model.get_weights()
    found = pretrain.validation_accuracy(model, images, rows, SETTINGS)
    assert found == pretrain.validation_accuracy(model, images, rows, SETTINGS)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    features = []
    for start in (0, 8, 16):
        chosen = images[rows[start : start + 8]][..., None]
        seen = augment.contrastive_views(chosen, (pretrain.VALIDATION_SEED, start), SETTINGS)
        features.append(model(seen, training=False).numpy())
    products = np.concatenate(features) @ np.concatenate(features).T
    np.fill_diagonal(products, -np.inf)
    assert found == pytest.approx((products.argmax(axis=1) == np.arange(42) ^ 1).mean(), abs=1.5 / 42)
    assert 0 <= found <= 1


def run(folder: Path, settings: profile.Profile = SETTINGS, seed: int = 0, data_key: str = "data"):
    """Pre-train on 40 slices of eight patients, ten more held out."""
    images = smooth_images(50, 4)
    return pretrain.pretrain(
        images, np.arange(40), np.arange(40, 50), np.arange(50) // 5, settings, seed, folder, data_key
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    model, history = run(folder)
    return folder, model.get_weights(), history


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Folder of a run that was broken off in its second epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    real, checks = pretrain.validation_accuracy, []

    def check(*arguments):
        checks.append(1)
        if len(checks) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "validation_accuracy", check)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    return folder


@pytest.mark.slow
def test_pretrain_writes_encoder_and_history(undisturbed):
    folder, weights, history = undisturbed
    assert sorted(p.name for p in folder.iterdir()) == ["encoder.keras", "encoder.key", "history.csv"]
    assert list(history.epoch) == [1, 2] and list(history.steps) == [3, 6]
    columns = {"loss", "accuracy", "norm", "norm_spread", "same_patient_pairs", "validation_accuracy"}
    assert columns <= set(history.columns)
    assert np.isfinite(history.to_numpy(float)).all()
    stored = keras.saving.load_model(folder / "encoder.keras", compile=False).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(stored, weights, strict=True))
    start = build_encoder(SIZE, SETTINGS.encoder, SETTINGS.pretrain.drop_rate, 0).get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(start, weights, strict=True))


@pytest.mark.slow
def test_a_finished_run_is_only_loaded(undisturbed, monkeypatch):
    folder, weights, history = undisturbed
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    monkeypatch.setattr(pretrain, "make_step", lambda *_: pytest.fail("trained again"))
    model, again = run(folder)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights, strict=True))
    assert again.equals(history)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"data_key": "other"},
        {"settings": SETTINGS.replace(pretrain={"w": 0.0})},
        {"settings": SETTINGS.replace(views={"theta_deg": 5.0})},
    ],
    ids=["seed", "data", "pretrain", "views"],
)
@pytest.mark.slow
def test_a_finished_run_of_other_settings_is_not_used(undisturbed, monkeypatch, changed):
    class Trains(Exception):
        pass

    def refuse(*_):
        raise Trains

    monkeypatch.setattr(pretrain, "make_step", refuse)
    with pytest.raises(Trains):
        run(undisturbed[0], **changed)


@pytest.mark.slow
def test_a_resumed_run_is_bit_identical_to_an_undisturbed_one(undisturbed, interrupted, tmp_path, monkeypatch):
    _, weights, history = undisturbed
    (tmp_path / "checkpoint.npz").write_bytes((interrupted / "checkpoint.npz").read_bytes())
    steps = []
    real = pretrain.batch_rows
    monkeypatch.setattr(pretrain, "batch_rows", lambda *a: steps.append(a[-1]) or real(*a))
    model, resumed = run(tmp_path)
    assert steps == [3, 4, 5]  # the first epoch is not trained again
    assert resumed.equals(history)
    for variable, a, b in zip(model.weights, model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=variable.path)
    assert not (tmp_path / "checkpoint.npz").exists()


@pytest.mark.parametrize(
    "changed",
    [{"seed": 1}, {"data_key": "other"}, {"settings": SETTINGS.replace(pretrain={"w": 0.0})}],
    ids=["seed", "data", "settings"],
)
@pytest.mark.slow
def test_a_foreign_checkpoint_is_refused_and_kept(interrupted, tmp_path, changed):
    content = (interrupted / "checkpoint.npz").read_bytes()
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(UserError, match="checkpoint.npz belongs to other settings.*: delete it"):
        run(tmp_path, **changed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"checkpoint.npz": content}


def damaged(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    return {
        "empty": b"",
        "text": b"not a checkpoint",
        "truncated": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :],
        "no end": content[:-10],
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "flipped", "no end"])
def test_a_damaged_checkpoint_is_named(interrupted, tmp_path, kind):
    content = damaged((interrupted / "checkpoint.npz").read_bytes())[kind]
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(UserError, match="checkpoint.npz is damaged: delete it"):
        run(tmp_path)
    assert (tmp_path / "checkpoint.npz").read_bytes() == content


@pytest.mark.slow
def test_flipped_bytes_never_end_in_another_error(tmp_path):
    """Random single faults anywhere in the file: named, or harmless (padding, file times)."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    path = tmp_path / "checkpoint.npz"
    pretrain.State(model, optimizer, path, "key").end_epoch({"validation_accuracy": 0.5})
    content, rng, named = path.read_bytes(), np.random.default_rng(6), 0
    entries = [i for i in range(len(content) - 60) if content[i : i + 2] == b"PK"]  # where faults do the most harm
    places = [*rng.integers(0, len(content), 100), *(rng.choice(entries, 200) + rng.integers(0, 60, 200))]
    for place in places:
        spoilt = bytearray(content)
        spoilt[min(place, len(content) - 1)] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        try:
            pretrain.State(model, optimizer, path, "key").restore()
        except UserError:
            named += 1
    assert named > 100


@pytest.mark.slow
def test_training_stops_without_a_gain_and_keeps_the_best_weights(tmp_path, monkeypatch):
    """Patience 2: checks of 0.2, 0.6, 0.6, 0.5 end the training, and the weights are those of the second check."""
    scores, seen = iter([0.2, 0.6, 0.6, 0.5, 0.9]), []

    def check(model, *_):
        seen.append(model.get_weights())
        return next(scores)

    monkeypatch.setattr(pretrain, "validation_accuracy", check)
    settings = SETTINGS.replace(pretrain={"max_epochs": 9, "steps_per_epoch": 1})
    model, history = run(tmp_path, settings)
    assert list(history.validation_accuracy) == [0.2, 0.6, 0.6, 0.5]
    for a, b in zip(model.get_weights(), seen[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(seen[1], seen[3], strict=True))


def test_too_few_slices(tmp_path):
    with pytest.raises(UserError, match="at least 8 slices, 7 were found"):
        pretrain.pretrain(
            smooth_images(9, 0), np.arange(7), np.arange(7, 9), np.zeros(9, int), SETTINGS, 0, tmp_path, "data"
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_views_made_in_the_step_train_alike(undisturbed, tmp_path, monkeypatch):
    """As on a GPU; here without one."""
    monkeypatch.setattr(pretrain.distribute, "accelerated", lambda: True)
    monkeypatch.setattr(augment, "contrastive_views", _only_held_out(augment.contrastive_views))
    _, weights, history = undisturbed
    model, found = run(tmp_path)
    np.testing.assert_allclose(found.loss, history.loss, rtol=1e-4)
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def _only_held_out(make):
    def checked(images, seed, profile):
        assert seed[0] == pretrain.VALIDATION_SEED
        return make(images, seed, profile)

    return checked


@pytest.mark.slow
def test_a_step_in_mixed_precision_is_nearly_the_same(stepped, views):
    with computed_in("mixed_bfloat16"):
        model = build()
    start = model.get_weights()
    step = pretrain.make_step(model, keras.optimizers.SGD(1e-2), SETTINGS.replace(pretrain={"w": 0.0}))
    found = {name: float(value) for name, value in step(views, tf.constant(np.repeat(np.arange(8), 2))).items()}
    before, after, _, exact = stepped[0.0]
    assert found["loss"] == pytest.approx(exact["loss"], abs=0.05) and found["loss"] != exact["loss"]
    assert found["norm"] == pytest.approx(exact["norm"], rel=0.02)
    kernel = model.get_layer("fc4_dense").kernel
    moved, expected = kernel.numpy() - before[kernel.path], after[kernel.path] - before[kernel.path]
    assert kernel.dtype == "float32" and np.corrcoef(moved.ravel(), expected.ravel())[0, 1] > 0.98
    assert all(weight.dtype == np.float32 for weight in start)


@pytest.mark.slow
def test_mixed_precision_leaves_a_float32_encoder(tmp_path):
    settings = SETTINGS.replace(pretrain={"precision": "mixed_bfloat16"})
    model, history = run(tmp_path, settings=settings)
    assert np.isfinite(history.to_numpy()).all()
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    stored, images = keras.saving.load_model(tmp_path / "encoder.keras"), smooth_images(2, 1)[..., None]
    np.testing.assert_array_equal(stored(images), model(images))
    assert stored(images).dtype == tf.float32


def test_pretrained_hands_over_the_datasets_parts(tmp_path, monkeypatch):
    """Training slices are never validation slices, and each regularisation has a folder of its own."""
    slices = pd.DataFrame(
        {"patient": ["0003", "0001", "0003", "0002"], "pretrain": ["train", "validation", "", "train"]}
    )
    data = Dataset(smooth_images(4, 0), slices, pd.DataFrame(), {"pretrain_fingerprint": "f"})

    def record(images, train, validation, patients, settings, seed, folder, data_key, *, labels):
        assert labels is None  # pre-training is unsupervised
        folder.mkdir()
        parts = train.tolist(), validation.tolist(), patients.tolist()
        (folder / "encoder.key").write_text(f"{parts} {seed} {data_key}")
        return "encoder", "history"

    monkeypatch.setattr(pretrain, "pretrain", record)
    found = pretrain.pretrained(data, SETTINGS, 5, tmp_path)
    assert found[:2] == ("encoder", "history")
    assert found[2] == "([0, 3], [1], [2, 0, 2, 1]) 5 f"
    pretrain.pretrained(data, SETTINGS.replace(pretrain={"w": 0.0, "drop_rate": 0.0}), 5, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def labelled_data() -> Dataset:
    """Ten slices: of two training discs, a validation and a test disc, which share slices 2 and 7 with them."""
    samples = pd.DataFrame(
        {
            "split_paper": ["train", "test", "train", "validation"],
            "label": [1, 1, 0, 0],
            "slice_1": [0, 2, 5, 7],
            "slice_2": [1, 3, 6, 8],
            "slice_3": [2, 4, 7, 9],
        }
    )
    slices = pd.DataFrame({"patient": ["1"] * 5 + ["2"] * 5, "pretrain": ["train"] * 9 + ["validation"]})
    return Dataset(smooth_images(10, 0), slices, samples, {"pretrain_fingerprint": "f"})


def test_labels_of_held_out_discs_are_unknown():
    found = pretrain.known_labels(labelled_data(), "paper")
    assert found.tolist() == [1, 1, -1, -1, -1, 0, 0, -1, -1, -1]


def test_only_supcon_is_given_labels(tmp_path, monkeypatch):
    def record(*_, labels):
        given.append(None if labels is None else labels.tolist())
        (tmp_path / "w0.0001_dr0.25").mkdir(exist_ok=True)
        (tmp_path / "w0.0001_dr0.25" / "encoder.key").write_text("")
        return None, None

    given: list = []
    monkeypatch.setattr(pretrain, "pretrain", record)
    data = labelled_data()
    for name in ("supcon", "nt-xent"):
        pretrain.pretrained(data, SETTINGS.replace(pretrain={"objective": name}), 0, tmp_path)
    assert given == [pretrain.known_labels(data, "paper").tolist(), None]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nt-xent", "vicreg", "barlow-twins", "supcon"])
def test_a_step_descends_the_gradient_of_another_objective(views, name):
    """As for Eq. 6, with labels and patients handed on."""
    chosen = SETTINGS.replace(pretrain={"objective": name, "w": 0.0, "same_patient_negatives": False})
    labels = tf.constant(np.repeat([0, 1, -1, 0, 1, 1, -1, 0], 2))
    groups = tf.constant(np.repeat([0, 0, 1, 1, 2, 2, 3, 3], 2))
    model = build()
    with tf.GradientTape() as tape:
        features = model(views, training=True)
        loss = losses.objective(features, chosen, groups=groups, labels=labels)
    kernel = model.get_layer("fc4_dense").kernel
    gradient = tape.gradient(loss, kernel.value).numpy()
    model = build()
    kernel = model.get_layer("fc4_dense").kernel
    before = kernel.numpy()
    report = pretrain.make_step(model, keras.optimizers.SGD(1e-4), chosen)(views, groups, labels)
    moved = (kernel.numpy() - before) / -1e-4
    np.testing.assert_allclose(moved, gradient, atol=2e-2 * np.abs(gradient).max())
    above = np.log(15) if name in ("nt-xent", "supcon") else 0.0
    assert float(report["loss"]) == pytest.approx(float(loss) / 16 - above, rel=1e-3, abs=1e-4)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert float(report["accuracy"]) == pytest.approx(float(losses.contrastive_accuracy(unit)), abs=1 / 16)


@pytest.mark.slow
def test_a_pre_training_with_labels_is_not_one_with_others(tmp_path, monkeypatch):
    chosen = SETTINGS.replace(pretrain={"objective": "supcon", "max_epochs": 1, "steps_per_epoch": 1})
    images, rows, patients = smooth_images(50, 4), np.arange(40), np.arange(50) // 5
    labels, trained = np.arange(50) % 3 - 1, []
    real = pretrain.make_step
    monkeypatch.setattr(pretrain, "make_step", lambda *a: trained.append(1) or real(*a))
    values = chosen.replace(objectives={"supcon_temperature": 0.3})
    others = chosen.replace(objectives={"vicreg_weights": (1.0, 1.0, 1.0)})
    for settings, own, times in (
        (chosen, labels, 1),
        (chosen, labels, 1),
        (others, labels, 1),  # values of an objective that is not trained
        (chosen, 1 - labels, 2),
        (values, labels, 3),
    ):
        pretrain.pretrain(images, rows, np.arange(40, 50), patients, settings, 0, tmp_path, "data", labels=own)
        assert len(trained) == times


@pytest.mark.slow
def test_loss_falls_on_real_slices(real_dir):
    """A store of the real axial slices, and twenty real optimisation steps on it."""
    from PIL import Image

    images = []
    for path in sorted((real_dir / "axial").glob("*.png")):
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX), np.float32)
        images.append(pixels / np.percentile(pixels, 99.5))
    store = np.stack(images).astype(np.float16)
    assert store.shape == (len(store), SIZE, SIZE) and len(store) >= 32
    settings = SETTINGS.replace(encoder={"dim": 32}, pretrain={"batch": 28})
    model = build_encoder(SIZE, settings.encoder, 0.0, 0)
    step = pretrain.make_step(model, keras.optimizers.Adam(1e-2), settings)
    found = []
    for number in range(25):
        rows = pretrain.batch_rows(np.arange(len(store)), 28, 0, number)
        seen = augment.contrastive_views(store[rows][..., None], (0, 0, number), settings)
        found.append(float(step(seen, tf.zeros(56, tf.int32))["loss"]))
    assert np.isfinite(found).all()
    assert np.mean(found[-5:]) < np.mean(found[:5])
    assert np.mean(found[-5:]) < 0  # below log(2n - 1): partners are found more often than by chance
