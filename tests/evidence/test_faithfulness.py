"""Deletion, insertion, sanity checks and class dependence on models and maps whose outcome is known."""

import itertools
import math

import keras
import numpy as np
import pytest
from scipy import stats

from lhdlib import gradcam
from lhdlib.evidence import faithfulness


def brightness(patch) -> keras.Model:
    """An extractor whose one feature is the mean of a patch of 16 x 16 pixels: what matters to it is known."""
    image = keras.Input((16, 16, 1))
    return keras.Model(image, [keras.ops.mean(image[:, patch[0], patch[1]], axis=(1, 2)), image])


def test_deleting_what_matters_first_is_fastest():
    patch = np.s_[4:8, 8:12]
    slices = np.random.default_rng(0).random((5, 3, 16, 16)).astype(np.float32) * 0.1
    slices[:, :, patch[0], patch[1]] += 1
    right = np.zeros((5, 3, 16, 16), np.float32)
    right[:, :, patch[0], patch[1]] = 1
    weights, bias, shares = np.full((3, 1), 4.0), -6.0, np.array([0, 1 / 16, 0.5, 1])
    found = {}
    for name, heat in {"right": right, "wrong": 1 - right}.items():
        found[name] = faithfulness.perturb(brightness(patch), slices, heat, weights, bias, shares=shares)
    for deletion, insertion in found.values():
        whole = 1 / (1 + np.exp(-(slices[:, :, patch[0], patch[1]].mean(axis=(2, 3)).sum(axis=1) * 4 - 6)))
        np.testing.assert_allclose(deletion[:, 0], whole, atol=1e-5)
        np.testing.assert_allclose(insertion[:, -1], whole, atol=1e-5)
        np.testing.assert_allclose(insertion[:, 0], deletion[:, -1], atol=1e-6)
    (deletion, insertion), (late, slow) = found["right"], found["wrong"]
    np.testing.assert_allclose(deletion[:, 1], deletion[:, -1], atol=1e-6)  # 1/16 of the pixels is all that matters
    np.testing.assert_allclose(insertion[:, 1], insertion[:, -1], atol=1e-6)
    np.testing.assert_allclose(late[:, 2], late[:, 0], atol=1e-6)
    np.testing.assert_allclose(slow[:, 2], slow[:, 0], atol=1e-6)


def test_curves_of_a_right_map_beat_random():
    patch = np.s_[4:8, 8:12]
    slices = np.random.default_rng(1).random((12, 3, 16, 16)).astype(np.float32) * 0.1
    slices[:, :, patch[0], patch[1]] += 1
    right = np.zeros((12, 3, 4, 4), np.float32)
    right[:, :, 1, 2] = 1
    maps = {"paper": right, "classic": 1 - right}
    found = faithfulness.faithfulness(brightness(patch), slices, maps, np.full((3, 1), 4.0), -6.0, np.arange(12))
    assert found["deletion"]["difference"]["paper"]["high"] < 0 < found["insertion"]["difference"]["paper"]["low"]
    assert found["deletion"]["difference"]["classic"]["low"] > 0 > found["insertion"]["difference"]["classic"]["high"]
    for name in ("deletion", "insertion"):
        for kind, curve in found[name]["curve"].items():
            area = sum((a + b) / 2 for a, b in itertools.pairwise(curve)) / (len(curve) - 1)
            assert found[name]["area"][kind]["value"] == pytest.approx(area, abs=1e-5)


def sane(seed):
    """Maps; checks after which the first kind stays as it is and the second becomes another map."""
    rng = np.random.default_rng(seed)
    one, two, other = (rng.random((20, 3, 4, 4)) for _ in range(3))
    changed = {
        "random labels": {"paper": one**2, "classic": other},
        "no classifier": {"paper": other, "classic": 0 * two},
    }
    return {"paper": one, "classic": two}, faithfulness.sanity({"paper": one, "classic": two}, changed, np.arange(20))


def test_a_map_that_stays_fails_and_one_that_changes_passes():
    _, found = sane(1)
    assert found["paper"]["random labels"]["value"] == pytest.approx(1)
    assert found["paper"]["random labels"]["verdict"] == "fails"
    assert found["paper"]["no classifier"]["verdict"] == found["classic"]["random labels"]["verdict"] == "passes"
    assert "no classifier" not in found["classic"]  # it left no heat
    assert abs(found["paper"]["another disc"]["value"]) < 0.2


def explained(rng, n: int, channels: int) -> gradcam.Explained:
    weights = rng.dirichlet(np.ones(3 * channels), n).reshape(n, 3, channels).astype(np.float32)
    raw, classic = (rng.random((n, 3, 4, 4)).astype(np.float32) * 7 for _ in range(2))
    return gradcam.Explained(raw, classic, weights, rng.normal(size=n))


def test_class_dependence_and_what_the_maps_are_made_of():
    rng, patients = np.random.default_rng(4), np.arange(12) // 2
    found = explained(rng, 12, 5)
    plain = found.raw + 0.01 * rng.random(found.raw.shape)
    opposite = found._replace(classic_raw=8 - found.classic_raw)
    seen = faithfulness.class_dependence(found, opposite, plain, patients)
    entropies = [-sum(float(w) * math.log(w) for w in disc.ravel() if w > 0) for disc in found.weights]
    assert seen["channels"] == 15
    assert seen["effective"]["value"] == pytest.approx(np.mean(np.exp(entropies)), rel=1e-5)
    assert 1 <= seen["effective"]["low"] < seen["effective"]["value"] < seen["effective"]["high"] <= 15
    assert seen["plain"]["paper"]["value"] > 0.98 and abs(seen["plain"]["classic"]["value"]) < 0.3
    assert seen["opposite"]["paper"] == pytest.approx(1) and seen["most_changed"]["paper"] == 0
    assert seen["opposite"]["classic"] == pytest.approx(-1) and seen["most_changed"]["classic"] > 0.5
    assert abs(seen["classic"]["value"]) < 0.3


def test_equal_weights_are_all_effective_and_a_single_one_is_alone():
    one = np.zeros((4, 3, 5))
    one[:, 1, 2] = 1
    for weights, expected in ((np.full((4, 3, 5), 1 / 15), 15), (one, 1)):
        found = explained(np.random.default_rng(5), 4, 5)._replace(weights=weights)
        seen = faithfulness.class_dependence(found, found, found.raw, np.arange(4))["effective"]
        assert seen["value"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_similarity_is_the_mean_of_scipys(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.random((4, 3, 3, 5)), rng.random((4, 3, 3, 5))
    one[0, 1] = 0  # a slice without heat counts for nothing
    one[3] = 0
    found = faithfulness.similarity(one, other)
    for i in range(3):
        wanted = [stats.spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(one[i], other[i], strict=True) if a.any()]
        assert found[i] == pytest.approx(np.mean(wanted))
    assert np.isnan(found[3])


def test_another_disc_is_another_patients():
    patients = np.array(list("aaabbc"))
    other = faithfulness._other_patient(patients, 0)
    assert (patients[other] != patients).all()
    assert faithfulness._other_patient(np.array(["a", "a"]), 0).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(3))
def test_what_all_discs_share_is_what_two_patients_maps_have_in_common(seed):
    """Against scipy disc by disc; a common part makes maps alike, and the difference is the mean of the gaps."""
    rng, patients = np.random.default_rng(seed), np.arange(12) // 2
    common = rng.random((1, 3, 4, 4))
    own = rng.random((12, 3, 4, 4))
    maps = {"paper": common + 0.1 * own, "classic": own}
    found, other = faithfulness.shared(maps, patients), faithfulness._other_patient(patients, 0)
    alike = {
        kind: np.mean(
            [[stats.spearmanr(m[i, s].ravel(), m[other[i], s].ravel())[0] for s in range(3)] for i in range(12)]
        )
        for kind, m in maps.items()
    }
    for kind, value in alike.items():
        assert found["likeness"][kind]["value"] == pytest.approx(value)
    assert found["difference"].keys() == {"classic"} and found["difference"]["classic"]["low"] > 0.3
    assert found["difference"]["classic"]["value"] == pytest.approx(alike["paper"] - alike["classic"])


def test_pixels_are_deleted_where_the_cells_are_drawn():
    """Two placements of one hot cell: the patch that matters is hot in the one and cold in the other."""
    patch = np.s_[4:8, 4:8]
    slices = np.random.default_rng(2).random((8, 3, 16, 16)).astype(np.float32) * 0.1
    slices[:, :, patch[0], patch[1]] += 1
    hot = np.zeros((8, 3, 4, 4), np.float32)
    hot[:, :, 1, 1] = 1
    areas = {}
    for first in (1 / 8, 3 / 8):
        where = gradcam.Cells(first, 1 / 4)
        inputs = (brightness(patch), slices, {"paper": hot}, np.full((3, 1), 4.0), -6.0, np.arange(8))
        areas[first] = faithfulness.faithfulness(*inputs, where=where)["deletion"]["area"]["paper"]["value"]
    assert areas[1 / 8] < areas[3 / 8] - 0.05
