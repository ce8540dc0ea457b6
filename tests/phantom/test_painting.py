"""Shapes and tissues: soft edges, distances with the right sign, blending between what is there and what is painted."""

import numpy as np
import pytest

from lhdlib.phantom import painting

RNG = np.random.default_rng(17)
N = 2000


def test_cover_is_half_at_the_edge_and_falls_outwards():
    distance = np.concatenate([RNG.uniform(-3, 3, N), [0.0]])
    for soft in (0.1, 0.6875, 3):
        share = painting.cover(distance, soft)
        np.testing.assert_allclose(share + painting.cover(-distance, soft), 1)
        assert np.all(np.diff(share[np.argsort(distance)]) <= 0) and share[-1] == 0.5
        assert np.all(share[distance >= soft / 2] == 0) and np.all(share[distance <= -soft / 2] == 1)


def test_ramp_rises_from_its_start_over_its_length():
    values, starts, lengths = RNG.uniform(-80, 80, N), RNG.uniform(-80, 80, N), RNG.uniform(0.1, 50, N)
    for value, start, length in zip(values, starts, lengths, strict=True):
        expected = 0.0 if value <= start else min((value - start) / length, 1.0)
        assert painting.ramp(value, start, length) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_between_is_one_inside_half_at_the_ends_and_zero_outside():
    for low, length, share in RNG.uniform((-80, 0.1, 0.01), (80, 50, 1), (N, 3)):
        high, soft = low + length, share * length
        values = np.array([low - soft, low, low + length / 2, high, high + soft])
        np.testing.assert_allclose(painting.between(values, low, high, soft), [0, 0.5, 1, 0.5, 0], atol=1e-9)


@pytest.mark.parametrize(("tissue", "signal"), [("csf", painting.TISSUE["csf"]), ((0.3, 0.6), (0.3, 0.6))])
def test_painting_blends_towards_the_tissue(tissue, signal):
    before, share = RNG.random((2, 5, N), np.float32), RNG.random((5, N), np.float32)
    share[0], share[1] = 0, 1
    image = before.copy()
    painting.paint(image, share, tissue)
    expected = before * (1 - share) + np.array(signal)[:, None, None] * share
    np.testing.assert_allclose(image, expected, atol=1e-6)
    np.testing.assert_array_equal(image[:, 0], before[:, 0])


def test_a_signal_may_differ_from_point_to_point():
    image, signal = np.zeros((2, N), np.float32), RNG.random((2, N))
    painting.paint(image, 1.0, tuple(signal))
    np.testing.assert_allclose(image, signal, atol=1e-6)


def test_an_unknown_tissue_is_an_error():
    with pytest.raises(KeyError):
        painting.paint(np.zeros((2, 3), np.float32), 1.0, "cheese")


def test_ellipse_measures_along_its_radius_in_shorter_half_axes():
    for cu, cv, ru, rv, turn in RNG.uniform((-40, -40, 1, 1, -3), (40, 40, 40, 40, 3), (50, 5)):
        factor, angle = RNG.uniform(0, 2, N), RNG.uniform(0, 2 * np.pi, N)
        factor[:10] = 1  # on the outline
        along, across = factor * ru * np.cos(angle), factor * rv * np.sin(angle)
        u = cu + along * np.cos(turn) - across * np.sin(turn)
        v = cv + along * np.sin(turn) + across * np.cos(turn)
        distance = painting.ellipse(u, v, (cu, cv), (ru, rv), turn=turn)
        np.testing.assert_allclose(distance, (factor - 1) * min(ru, rv), atol=1e-4)


def test_a_circle_has_true_distances():
    u, v = RNG.uniform(-20, 20, (2, N))
    distance = painting.ellipse(u, v, (3.0, -2.0), (5.0, 5.0), turn=1.0)
    np.testing.assert_allclose(distance, np.hypot(u - 3, v + 2) - 5, atol=1e-5)


def test_a_squarer_oval_holds_more_and_touches_the_same_square():
    u, v = RNG.uniform(-2, 2, (2, N))
    radii = np.array([painting.oval(u, v, squareness) for squareness in (0, 0.2, 0.45, 0.9)])
    np.testing.assert_allclose(radii[0], np.hypot(u, v))
    assert np.all(np.diff(radii, axis=0) <= 0) and np.any(np.diff(radii, axis=0) < -0.1)
    for squareness in (0.2, 0.9):
        np.testing.assert_allclose(painting.oval(u, 0 * v, squareness), np.abs(u))
        np.testing.assert_allclose(painting.oval(v, u, squareness), painting.oval(u, v, squareness))


def test_tissues_have_the_contrast_of_their_weightings():
    t1, t2 = ({name: signal[k] for name, signal in painting.TISSUE.items()} for k in (0, 1))
    assert t1["fat"] == max(t1.values()) == 1
    assert t2["csf"] == max(t2.values()) and t2["csf"] > 5 * t1["csf"]
    assert t2["nucleus"] > t2["hernia"] > t2["annulus"] > t2["ligament"]
    assert t2["tear"] > t2["nucleus"]
    assert all(0 <= signal <= 1.2 for pair in painting.TISSUE.values() for signal in pair)
