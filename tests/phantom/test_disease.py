"""Disease: one severity decides depth, truth and, with a reader's error, the note; kinds and places hold together."""

import numpy as np
import pytest
from scipy import stats

from lhdlib.phantom import disease, facts

N = 4000


def drawn(seed: int = 3) -> list[tuple[float, disease.Displacement, disease.Tear | None]]:
    rng = np.random.default_rng(seed)
    out = []
    for severity in rng.normal(0, 1.3, N):
        displacement = disease.random_displacement(rng, severity, 25.0)
        out.append((severity, displacement, disease.random_tear(rng, severity, displacement)))
    return out


@pytest.mark.parametrize("share", [*facts.ABNORMAL.values(), 0.5])
def test_a_reader_calls_the_level_s_share_abnormal(share):
    """Independently of the formula: severity and error are normal, so their sum is."""
    spread = np.hypot(1, disease.READER_ERROR)
    assert stats.norm.sf(0, disease.mean_severity(share), spread) == pytest.approx(share, abs=1e-12)


def test_severities_have_the_level_s_mean_unit_spread_and_a_little_in_common():
    rng = np.random.default_rng(2)
    severity = np.array([disease.random_severities(rng) for _ in range(N)])
    np.testing.assert_allclose(severity.mean(0), disease.MEANS, atol=0.07)
    np.testing.assert_allclose(severity.std(0), 1, atol=0.05)
    correlation = np.corrcoef(severity.T)[~np.eye(len(disease.LEVELS), dtype=bool)]
    np.testing.assert_allclose(correlation, disease.SHARED, atol=0.06)


def test_degeneration_follows_the_severity_loosely():
    rng = np.random.default_rng(4)
    severity = np.array([disease.random_severities(rng) for _ in range(N)])
    found = np.array([disease.random_degeneration(rng, row) for row in severity])
    assert found.min() >= 0 and found.max() < 1
    for column, level in enumerate(disease.LEVELS):
        assert 0.4 < np.corrcoef(severity[:, column], found[:, column])[0, 1] < 0.7, level
    assert {disease.grade(value) for value in found.ravel()} == {1, 2, 3, 4, 5}
    assert [disease.grade(value) for value in (0, 0.19, 0.2, 0.5, 0.8, 0.98)] == [1, 1, 2, 3, 5, 5]


@pytest.mark.parametrize("focal", [False, True])
def test_depth_grows_with_severity_from_nothing_to_its_cap(focal):
    depths = [disease.depth_of(severity, focal=focal) for severity in np.linspace(-4, 5, 200)]
    assert depths[0] == 0 and np.all(np.diff(depths) >= 0)
    assert depths[-1] == (disease.DEEPEST if focal else disease.DEEPEST_BULGE)
    factor = disease.FOCAL if focal else 1
    assert disease.depth_of(0.0, focal=focal) == disease.AT_THRESHOLD * factor
    assert disease.depth_of(1.0, focal=focal) - disease.depth_of(0.0, focal=focal) == pytest.approx(2.4 * factor)
    assert disease.depth_of(0.0, focal=focal) - disease.depth_of(-1.0, focal=focal) == pytest.approx(1.5 * factor)


@pytest.mark.slow
def test_normal_discs_overlap_with_mild_lesions_and_every_lesion_is_two_millimetres_deep():
    for severity, displacement, _ in drawn():
        assert severity <= 0 or displacement.depth >= 2
    below, above = (disease.depth_of(severity, focal=focal) for severity, focal in ((-0.1, True), (0.1, False)))
    assert below > above  # a healthy disc may reach farther than an abnormal one


@pytest.mark.slow
def test_displacements_are_what_kind_and_side_say():
    rows = drawn()
    assert {one.kind for _, one, _ in rows} == {"bulge", "protrusion", "extrusion", "sequestration"}
    assert {one.side for _, one, _ in rows} == {"diffuse", *disease.PLACES}
    for severity, one, _ in rows:
        assert (one.kind == "bulge") == (one.side == "diffuse")
        assert one.kind != "bulge" or (severity < disease.ALWAYS_FOCAL and one.depth <= 5)
        assert "foraminal" not in one.side or one.kind == "protrusion"
        assert (one.migration != 0) == (one.kind in ("extrusion", "sequestration"))
        if one.side.startswith(("left", "right")):
            assert np.sign(one.centre) == (1 if one.side.startswith("left") else -1)
        assert abs(one.centre) < 25 and 0 <= one.depth <= 11 and one.signal <= 1


@pytest.mark.slow
def test_broad_or_focal_does_not_depend_on_the_severity_below_the_highest():
    rows = [(severity, one.kind == "bulge") for severity, one, _ in drawn() if severity < disease.ALWAYS_FOCAL]
    severity, broad = map(np.array, zip(*rows, strict=True))
    assert abs(np.mean(broad[severity > 0]) - np.mean(broad[severity < 0])) < 0.05


@pytest.mark.slow
def test_tears_lie_beside_a_lesion_and_are_rare():
    torn = [(severity, tear) for severity, _, tear in drawn() if tear]
    assert torn and all(severity > 0 for severity, _ in torn)
    assert len(torn) / sum(severity > 0 for severity, _, _ in drawn()) == pytest.approx(disease.TEAR_SHARE, abs=0.02)


def test_a_reader_errs_near_the_threshold_alone_and_a_lenient_one_finds_more():
    rng, severity = np.random.default_rng(6), np.repeat([-3.0, -0.6, 0.0, 0.6, 3.0], N)
    found = disease.judge(rng, severity).reshape(5, N).mean(1)
    np.testing.assert_allclose(found, stats.norm.cdf(np.array([-5, -1, 0, 1, 5])), atol=0.03)
    lenient = disease.judge(rng, severity, leniency=0.6).reshape(5, N).mean(1)
    np.testing.assert_allclose(lenient, stats.norm.cdf(np.array([-4, 0, 1, 2, 6])), atol=0.03)
