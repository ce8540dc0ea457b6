"""The contrastive loss against Eq. 5 and 6 written as loops, closed forms, and hand-made batches."""

import numpy as np
import pytest
import tensorflow as tf

from lhdlib.model.losses import contrastive_accuracy, contrastive_loss

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
