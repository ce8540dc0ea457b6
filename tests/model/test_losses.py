"""The losses against their equations written as loops, closed forms, and hand-made batches."""

from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from lhdlib import profile
from lhdlib.model import losses
from lhdlib.model.losses import contrastive_accuracy, contrastive_loss
from lhdlib.profile import Pretrain

A = np.array([[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]], np.float32)
B = np.array([[6, 5, 4, 3], [5, 4, 3, 2], [4, 3, 2, 1]], np.float32)


def paired(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Views of image h in rows 2h and 2h + 1."""
    return np.stack([first, second], axis=1).reshape(-1, first.shape[1])


def loop_loss(x: np.ndarray, temperature: float, groups: np.ndarray | None = None) -> float:
    """Eq. 5 and 6 term by term in float64."""
    x = x.astype(np.float64)
    total = 0.0
    for i in range(len(x)):
        j = i + 1 if i % 2 == 0 else i - 1
        logs = []
        for k in range(len(x)):
            if k == i or (groups is not None and groups[k] == groups[i] and k != j):
                continue
            logs.append(sum(a * b for a, b in zip(x[i], x[k], strict=True)) / temperature)
        peak = max(logs)
        denominator = peak + np.log(sum(np.exp(value - peak) for value in logs))
        total -= float(x[i] @ x[j]) / temperature - denominator
    return total


def numeric_gradient(x: np.ndarray, temperature: float, groups: np.ndarray | None = None) -> np.ndarray:
    """Central differences of `loop_loss`."""
    x, step = x.astype(np.float64), 1e-5
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        gradient[index] = (loop_loss(x + shift, temperature, groups) - loop_loss(x - shift, temperature, groups)) / (
            2 * step
        )
    return gradient


def value_and_gradient(x: np.ndarray, temperature: float, **options) -> tuple[float, np.ndarray]:
    variable = tf.Variable(x, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = contrastive_loss(variable, temperature, **options)
    return float(loss), tape.gradient(loss, variable).numpy()


@pytest.mark.parametrize("temperature", [0.7, 5.0, 100.0])
@pytest.mark.parametrize("n, d, scale", [(2, 3, 1.0), (4, 5, 2.0), (5, 2, 0.1)])
def test_value_and_gradient_equal_the_double_loop(n, d, scale, temperature):
    x = np.random.default_rng([n, d]).normal(0, scale, (2 * n, d)).astype(np.float32)
    loss, gradient = value_and_gradient(x, temperature)
    assert loss == pytest.approx(loop_loss(x, temperature), rel=2e-6)
    expected = numeric_gradient(x, temperature)
    np.testing.assert_allclose(gradient, expected, rtol=2e-4, atol=2e-5 * np.abs(expected).max())


def test_reference_value():
    assert float(contrastive_loss(paired(A, B), 100.0, "mean")) == pytest.approx(1.6782170724, abs=1e-6)


def test_the_batch_is_read_as_adjacent_partners():
    """All first views, then all second views, is another batch with another loss."""
    adjacent, stacked = paired(A, B), np.concatenate([A, B])
    assert float(contrastive_loss(stacked, 100.0)) == pytest.approx(loop_loss(stacked, 100.0), rel=1e-6)
    assert abs(float(contrastive_loss(stacked, 100.0)) - float(contrastive_loss(adjacent, 100.0))) > 1e-3


def test_defaults_are_the_papers():
    x = paired(A, B)
    assert float(contrastive_loss(x)) == float(contrastive_loss(x, 100.0, "sum"))


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("norm, temperature", [(0.5, 1.0), (3.0, 2.0), (20.0, 100.0)])
def test_orthogonal_pairs(n, norm, temperature):
    """Identical partners of norm r, orthogonal to all others: -r²/τ + log(exp(r²/τ) + 2n - 2) per row."""
    x = np.repeat(norm * np.eye(n), 2, axis=0)
    ratio = norm**2 / temperature
    expected = -ratio + np.log(np.exp(ratio) + 2 * n - 2)
    assert float(contrastive_loss(x, temperature, "mean")) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_identical_features_leave_all_other_rows_equally_likely(n):
    """log(2n - 1): the denominator has the 2n - 1 other rows, and for one image only the partner."""
    x = np.tile([1.0, -2.0, 3.0], (2 * n, 1))
    assert float(contrastive_loss(x, 10.0, "mean")) == pytest.approx(np.log(2 * n - 1), abs=2e-6)


@pytest.mark.parametrize("n", [2, 5])
def test_sum_is_2n_times_mean(n):
    x = np.random.default_rng(n).normal(size=(2 * n, 4))
    total, mean = (float(contrastive_loss(x, 3.0, reduction)) for reduction in ("sum", "mean"))
    assert total == pytest.approx(2 * n * mean, rel=1e-6)


def test_similarity_is_the_inner_product():
    """A cosine would not see the features' length; the inner product scales like the temperature."""
    x = np.random.default_rng(1).normal(size=(8, 4))
    loss = float(contrastive_loss(x, 5.0))
    assert abs(float(contrastive_loss(3 * x, 5.0)) - loss) > 0.1
    assert float(contrastive_loss(3 * x, 45.0)) == pytest.approx(loss, rel=1e-5)


def test_invariant_under_partner_swap_and_pair_order():
    x = np.random.default_rng(2).normal(size=(5, 2, 3))
    loss = float(contrastive_loss(x.reshape(10, 3), 2.0))
    assert float(contrastive_loss(x[:, ::-1].reshape(10, 3), 2.0)) == pytest.approx(loss, rel=1e-6)
    assert float(contrastive_loss(x[[3, 1, 4, 0, 2]].reshape(10, 3), 2.0)) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_huge_features_stay_finite_and_exact(scale):
    x = (scale * np.random.default_rng(3).normal(size=(8, 6))).astype(np.float32)
    loss, gradient = value_and_gradient(x, 1.0)
    assert np.isfinite(gradient).all()
    assert loss == pytest.approx(loop_loss(x, 1.0), rel=1e-5)


def test_small_terms_survive_beside_a_large_common_part():
    """Equal inner products of 1e4: exp() before subtracting the maximum would overflow."""
    x = np.tile([100.0, 0.0], (6, 1))
    assert float(contrastive_loss(x, 1.0, "mean")) == pytest.approx(np.log(5), abs=1e-3)


def test_half_precision_features_are_compared_in_single_precision():
    """Inner products of 9e4 exceed the largest float16 number."""
    x = np.random.default_rng(4).choice([-300.0, 300.0], size=(6, 4)).astype(np.float16)
    loss = contrastive_loss(tf.constant(x), 1e4)
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(loop_loss(x, 1e4), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_groups_mask_other_slices_of_the_same_patient(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, 3)).astype(np.float32)
    groups = np.repeat(rng.integers(0, 3, 6), 2)
    loss, gradient = value_and_gradient(x, 2.0, groups=tf.constant(groups))
    assert loss == pytest.approx(loop_loss(x, 2.0, groups), rel=5e-6)
    expected = numeric_gradient(x, 2.0, groups)
    np.testing.assert_allclose(gradient, expected, rtol=2e-4, atol=2e-5 * np.abs(expected).max())
    assert loss < loop_loss(x, 2.0)


def test_groups_that_differ_change_nothing():
    x = np.random.default_rng(5).normal(size=(8, 3))
    groups = tf.constant(np.repeat(np.arange(4), 2))
    assert float(contrastive_loss(x, 2.0, groups=groups)) == float(contrastive_loss(x, 2.0))


def test_a_batch_of_one_patient_has_no_negatives():
    loss, gradient = value_and_gradient(np.random.default_rng(6).normal(size=(8, 3)), 2.0, groups=tf.zeros(8, tf.int32))
    assert loss == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        contrastive_loss(np.ones((4, 2)), temperature)


@pytest.mark.parametrize("reduction", ["none", "", None])
def test_bad_reduction(reduction):
    with pytest.raises(ValueError, match="reduction"):
        contrastive_loss(np.ones((4, 2)), reduction=reduction)


def loop_accuracy(x: np.ndarray) -> float:
    hits = 0
    for i in range(len(x)):
        others = [k for k in range(len(x)) if k != i]
        hits += max(others, key=lambda k: float(x[i] @ x[k])) == (i + 1 if i % 2 == 0 else i - 1)
    return hits / len(x)


@pytest.mark.parametrize("seed", range(10))
def test_accuracy_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(8, 3))
    x = paired(first, first + rng.normal(0, 0.8, first.shape)).astype(np.float32)
    accuracy = float(contrastive_accuracy(x))
    assert accuracy == pytest.approx(loop_accuracy(x), abs=1e-6)
    assert 0 < accuracy < 1  # the draws are neither trivial nor hopeless


def test_accuracy_of_hand_made_batches():
    eye = np.eye(4, dtype=np.float32)
    assert float(contrastive_accuracy(np.repeat(eye, 2, axis=0))) == 1
    assert float(contrastive_accuracy(np.concatenate([eye, eye]))) == 0  # the partner is not next to its row
    opposite = paired(eye, -eye)
    assert float(contrastive_accuracy(opposite)) == 0
    long_stranger = np.array([[1, 0], [1, 0], [0, 1], [5, 1]], np.float32)  # row 3 is the nearest to all, by length
    assert float(contrastive_accuracy(long_stranger)) == pytest.approx(0.25)


# Objectives in the place of Eq. 5, each against loops in float64


def cosines(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return np.array([[a @ b / np.sqrt((a @ a) * (b @ b)) for b in x] for a in x])


def loop_supcon(x, labels, temperature, groups=None) -> float:
    """Eq. 2 of Khosla et al.: per anchor, the mean over its positives of -log of their share."""
    near, total = cosines(x) / temperature, 0.0
    for i in range(len(x)):
        others = [k for k in range(len(x)) if k != i]
        positives = [k for k in others if k == (i ^ 1) or (labels[i] >= 0 and labels[k] == labels[i])]
        kept = [k for k in others if k in positives or groups is None or groups[k] != groups[i]]
        whole = sum(np.exp(near[i, k]) for k in kept)
        total -= sum(np.log(np.exp(near[i, p]) / whole) for p in positives) / len(positives)
    return total / len(x)


def loop_nt_xent(x, temperature, groups=None) -> float:
    return loop_supcon(x, np.full(len(x), losses.UNKNOWN), temperature, groups)


def loop_vicreg(x, weights) -> float:
    """Algorithm 1 of Bardes et al., coordinate by coordinate."""
    x = x.astype(np.float64)
    halves, (n, d) = (x[0::2], x[1::2]), x[0::2].shape
    total = weights[0] * sum((a - b) ** 2 for a, b in zip(halves[0].ravel(), halves[1].ravel(), strict=True)) / (n * d)
    for half in halves:
        for j in range(d):
            total += weights[1] * max(0.0, 1 - np.sqrt(np.var(half[:, j], ddof=1) + 1e-4)) / d
            for k in range(d):
                if k != j:
                    products = [(row[j] - half[:, j].mean()) * (row[k] - half[:, k].mean()) for row in half]
                    total += weights[2] * (sum(products) / (n - 1)) ** 2 / d
    return float(total)


def loop_barlow_twins(x, weight) -> float:
    """Eq. 1 and 2 of Zbontar et al., entry by entry; 1e-4 is added to each variance."""
    x, total = x.astype(np.float64), 0.0
    first, second = x[0::2], x[1::2]
    for j in range(x.shape[1]):
        for k in range(x.shape[1]):
            a, b = first[:, j] - first[:, j].mean(), second[:, k] - second[:, k].mean()
            c = np.mean(a * b) / np.sqrt((np.mean(a * a) + 1e-4) * (np.mean(b * b) + 1e-4))
            total += (1 - c) ** 2 if j == k else weight * c**2
    return float(total)


def labelled(n: int, seed: int) -> np.ndarray:
    """Labels of 2n rows: 0, 1 and unknown; both views of an image have its own."""
    return np.repeat(np.random.default_rng([seed, 9]).permutation([0, 1, -1, *([0, 1, -1, 1, 0] * n)][:n]), 2)


def patients(n: int, seed: int) -> np.ndarray:
    return np.repeat(np.random.default_rng([seed, 8]).integers(0, 3, n), 2)


#: name -> (the function, the loop), of features and a seed
OBJECTIVES = {
    "nt-xent": (lambda x, s: losses.nt_xent(x, temperature=0.3), lambda x, s: loop_nt_xent(x, 0.3)),
    "nt-xent, patients": (
        lambda x, s: losses.nt_xent(x, temperature=0.7, groups=patients(x.shape[0] // 2, s)),
        lambda x, s: loop_nt_xent(x, 0.7, patients(x.shape[0] // 2, s)),
    ),
    "supcon": (
        lambda x, s: losses.supcon(x, labelled(x.shape[0] // 2, s), temperature=0.2),
        lambda x, s: loop_supcon(x, labelled(x.shape[0] // 2, s), 0.2),
    ),
    "supcon, patients": (
        lambda x, s: losses.supcon(
            x, labelled(x.shape[0] // 2, s), temperature=0.5, groups=tf.constant(patients(x.shape[0] // 2, s))
        ),
        lambda x, s: loop_supcon(x, labelled(x.shape[0] // 2, s), 0.5, patients(x.shape[0] // 2, s)),
    ),
    "vicreg": (
        lambda x, s: losses.vicreg(x, weights=(25.0, 10.0, 2.0)),
        lambda x, s: loop_vicreg(x, (25.0, 10.0, 2.0)),
    ),
    "barlow-twins": (lambda x, s: losses.barlow_twins(x, weight=0.05), lambda x, s: loop_barlow_twins(x, 0.05)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("n, d, scale", [(3, 4, 1.0), (6, 3, 0.3), (4, 7, 3.0)])
def test_an_objective_equals_its_loop_and_its_gradient_the_differences(name, n, d, scale):
    function, loop = OBJECTIVES[name]
    rng = np.random.default_rng([n, d])
    first = rng.normal(0, scale, (n, d))
    x = paired(first, first + rng.normal(0, scale / 2, (n, d))).astype(np.float32)
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = function(variable, n)
    gradient, expected = tape.gradient(loss, variable).numpy(), np.zeros_like(x, np.float64)
    assert float(loss) == pytest.approx(loop(x, n), rel=1e-5)
    for index in np.ndindex(*x.shape):
        shift = np.zeros_like(expected)
        shift[index] = 1e-5
        expected[index] = (loop(x + shift, n) - loop(x - shift, n)) / 2e-5
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("n", [2, 7])
def test_cosines_of_equal_rows_leave_all_others_equally_likely(n):
    """log(2n - 1), whatever the temperature, the length of the rows and the labels."""
    x = np.tile([3.0, -1.0], (2 * n, 1)) * np.arange(1, 2 * n + 1)[:, None]
    for loss in (losses.nt_xent(x, temperature=0.1), losses.supcon(x, labelled(n, 0), temperature=0.7)):
        assert float(loss) == pytest.approx(np.log(2 * n - 1), rel=1e-6)


@pytest.mark.parametrize("n, temperature", [(3, 0.5), (5, 1.0)])
def test_orthogonal_pairs_by_cosines(n, temperature):
    """-1/τ + log(exp(1/τ) + 2n - 2) per row."""
    x = np.repeat(7 * np.eye(n), 2, axis=0)
    expected = -1 / temperature + np.log(np.exp(1 / temperature) + 2 * n - 2)
    assert float(losses.nt_xent(x, temperature=temperature)) == pytest.approx(expected, rel=1e-6)


def test_supcon_without_a_known_label_is_nt_xent():
    x = np.random.default_rng(0).normal(size=(10, 4))
    unknown = np.full(10, losses.UNKNOWN)
    assert float(losses.supcon(x, unknown, temperature=0.3)) == pytest.approx(
        float(losses.nt_xent(x, temperature=0.3)), rel=1e-6
    )


def test_supcon_wants_rows_of_a_label_alike():
    """Two orthogonal clusters: named as they lie the loss is lower than named across."""
    x = np.repeat(np.eye(2), 4, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(8, 2))
    along, across = np.repeat([0, 1], 4), np.repeat([0, 1, 0, 1], 2)
    assert float(losses.supcon(x, along)) < float(losses.supcon(x, across)) - 1


def test_supcon_needs_labels():
    with pytest.raises(ValueError, match="needs the labels"):
        losses.supcon(np.ones((4, 2)), None)


def test_vicreg_of_identical_rows_is_the_variance_term_alone():
    """No spread: both halves miss 1 - sqrt(1e-4) in every coordinate."""
    assert float(losses.vicreg(np.ones((6, 3)), weights=(25.0, 10.0, 1.0))) == pytest.approx(20 * 0.99, rel=1e-6)


def test_vicreg_is_content_with_spread_uncorrelated_coordinates():
    spread = 2 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)
    assert float(losses.vicreg(paired(spread, spread))) == pytest.approx(0, abs=1e-6)
    apart = paired(spread, spread + 0.5)
    assert float(losses.vicreg(apart, weights=(4.0, 1.0, 1.0))) == pytest.approx(4 * 0.25, rel=1e-5)


def test_barlow_twins_closed_forms():
    """Uncorrelated coordinates: 0 for equal views, 4d for opposite ones; all coordinates the same: λ d (d - 1)."""
    spread = 50 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)
    assert float(losses.barlow_twins(paired(spread, spread))) == pytest.approx(0, abs=1e-5)
    assert float(losses.barlow_twins(paired(spread, -spread))) == pytest.approx(8, rel=1e-5)
    same = np.tile(spread[:, :1], (1, 4))
    assert float(losses.barlow_twins(paired(same, same), weight=0.1)) == pytest.approx(1.2, rel=1e-4)


def test_barlow_twins_of_a_dead_coordinate_is_finite():
    x = tf.Variable(np.random.default_rng(0).normal(size=(8, 3)) * [1, 0, 1], dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = losses.barlow_twins(x)
    assert np.isfinite(float(loss)) and np.isfinite(tape.gradient(loss, x).numpy()).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", get_args(Pretrain.__annotations__["objective"]))
def test_an_option_is_its_function_with_the_profiles_values(name):
    """Summed over the rows, or not, as Eq. 6: the L2 term weighs the same beside each objective."""
    x, labels = np.random.default_rng(1).normal(size=(8, 5)), labelled(4, 0)
    groups = tf.constant(np.repeat([0, 1, 0, 2], 2))
    values = {
        "nt_xent_temperature": 0.3,
        "supcon_temperature": 0.2,
        "vicreg_weights": (5.0, 2.0, 1.0),
        "barlow_twins_weight": 0.1,
    }
    chosen = profile.load("smoke").replace(pretrain={"objective": name, "temperature": 3.0}, objectives=values)
    expected = {
        "inner-product": lambda: loop_loss(x, 3.0, groups.numpy()) / 8,
        "nt-xent": lambda: loop_nt_xent(x, 0.3, groups.numpy()),
        "supcon": lambda: loop_supcon(x, labels, 0.2, groups.numpy()),
        "vicreg": lambda: loop_vicreg(x, (5.0, 2.0, 1.0)),
        "barlow-twins": lambda: loop_barlow_twins(x, 0.1),
    }[name]()
    for reduction, rows in (("sum", 8), ("mean", 1)):
        one = chosen.replace(pretrain={"reduction": reduction})
        for jit in (False, True):
            compute = tf.function(losses.objective, jit_compile=jit)
            found = compute(tf.constant(x, tf.float32), one, groups=groups, labels=tf.constant(labels))
            assert float(found) == pytest.approx(rows * expected, rel=1e-5)


def test_similarity_of_the_papers_objective_knows_lengths_and_the_others_do_not():
    x = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)
    np.testing.assert_array_equal(losses.compared(x, "inner-product"), x)
    for name in ("nt-xent", "supcon", "vicreg", "barlow-twins"):
        np.testing.assert_allclose(losses.similarity(losses.compared(x, name))[0, 1:], cosines(x)[0, 1:], rtol=1e-5)


def test_only_the_values_of_the_chosen_objective_count():
    base = profile.load("smoke")
    changed = base.replace(objectives={"vicreg_weights": (1.0, 1.0, 1.0)})
    assert losses.hyperparameters(base) == losses.hyperparameters(changed) == {}
    for name, same in (("nt-xent", True), ("vicreg", False)):
        one, other = (p.replace(pretrain={"objective": name}) for p in (base, changed))
        assert (losses.hyperparameters(one) == losses.hyperparameters(other)) is same
