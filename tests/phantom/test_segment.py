"""Outlines about a disc: signs, symmetry, and what a lesion moves."""

from dataclasses import replace

import numpy as np
import pytest

from lhdlib.phantom import segment
from lhdlib.phantom.anatomy import Disc, Patient
from lhdlib.phantom.disease import LEVELS, Displacement
from tests.phantom.studies import flat_segment

NOTHING = Displacement("bulge", "diffuse", 0.0, 50.0, 0.0)
BULGE = Displacement("bulge", "diffuse", 4.0, 50.0, 0.0)
PROTRUSION = Displacement("protrusion", "left paracentral", 6.0, 14.0, 7.0)
EXTRUSION = Displacement("extrusion", "central", 9.0, 14.0, 0.0, -5.0)


@pytest.fixture(params=range(8))
def some(request, anatomies) -> tuple[Patient, Disc]:
    """Eight patients, every level among their discs."""
    patient = anatomies[request.param]
    return patient, patient.discs[request.param % len(LEVELS)]


def at(patient: Patient, disc: Disc, *points: tuple[float, float, float]) -> segment.Segment:
    return flat_segment(patient, disc, *np.array(points, np.float32).T)


def test_margin_and_radius_tell_inside_from_outside(some):
    patient, disc = some
    middle = -disc.half_depth
    on = at(patient, disc, (1, middle, 0), (disc.half_width, middle, 0), (0, -disc.concavity, 0), (0, 20, 0))
    assert on.margin[0] < -5
    assert on.margin[1] == pytest.approx(0, abs=1e-3)
    # The dent fades forwards, so it is a little shallower where its own bottom lies.
    assert on.margin[2] == pytest.approx(-(disc.concavity**2) / disc.half_depth, abs=0.05)
    assert on.margin[3] > 5
    np.testing.assert_allclose(on.radius[1:3], [1, 1 - (disc.concavity / disc.half_depth) ** 2], atol=3e-3)


def test_outlines_are_the_same_on_both_sides(some):
    patient, disc = some
    points = np.random.default_rng(3).uniform((-40, -50, -30), (40, 40, 30), (400, 3)).astype(np.float32)
    left, right = at(patient, disc, *points), at(patient, disc, *(points * np.float32([-1, 1, 1])))
    for name in ("margin", "radius", "from_plate", "body", "behind_roof", "canal", "sac", "in_sac", "arch"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), name)


def test_end_plates_stand_apart_by_about_the_disc_s_height(some):
    patient, disc = some
    w = np.linspace(-15, 15, 301)
    line = at(patient, disc, *((0, -disc.half_depth, height) for height in w))
    inside = w[line.from_plate < 0]
    assert inside[-1] - inside[0] == pytest.approx(1.1 * disc.height, abs=0.2)  # concave: a tenth more in the middle
    assert line.in_disc[150] == 1 and line.in_disc[0] == line.in_disc[-1] == 0
    front, back = at(patient, disc, (0, -2 * disc.half_depth + 2, 8), (0, -2, 8)).from_plate
    assert front < back  # wedged open to the front


def test_bodies_have_a_waist_and_the_sacrum_narrows(some):
    patient, disc = some
    side = (disc.half_width, -disc.half_depth)
    plate, above, below = at(patient, disc, (*side, 0), (*side, 18), (*side, -40)).body
    assert above == pytest.approx(plate + segment.Outline.waist, abs=0.05)
    if disc.level == "L5-S1":
        assert below > above + 5
    else:
        assert below == pytest.approx(above, abs=0.05)


def test_the_sac_lies_in_the_canal_between_its_front_and_its_back(some):
    patient, disc = some
    healthy = replace(disc, displacement=NOTHING)
    front, middle, back = disc.gap, disc.gap + disc.sac[1], disc.gap + 2 * disc.sac[1]
    line = at(patient, healthy, (0, front, 5), (0, middle, 5), (0, back, 5), (disc.sac[0], middle, 5))
    np.testing.assert_allclose(line.in_sac, [-1, 0, 1, 0], atol=1e-5)
    np.testing.assert_allclose(line.sac[[0, 2, 3]], 0, atol=1e-4)
    assert line.sac[1] == pytest.approx(-disc.sac[1], rel=1e-4)
    assert line.back_of_sac == pytest.approx(back)
    assert np.all(line.canal[:3] < 0)


@pytest.mark.parametrize("lesion", [BULGE, PROTRUSION, EXTRUSION], ids=lambda lesion: lesion.kind)
def test_a_lesion_pushes_the_front_of_the_sac_backwards_at_its_own_height(some, lesion):
    patient, disc = some
    lesion = replace(lesion, centre=0.0)
    v = np.linspace(0, 20, 401)
    for height, moved in ((0, True), (disc.height / 2 + 6, False)):
        fronts = []
        for one in (NOTHING, lesion):
            sac = at(patient, replace(disc, displacement=one), *((0, x, height) for x in v)).sac
            fronts.append(v[np.flatnonzero(sac < 0)[0]])
        assert (fronts[1] > fronts[0] + 0.2) == moved


def test_reach_is_the_depth_at_the_margin_and_nothing_above_the_disc(some):
    _, disc = some
    top = disc.height / 2 + segment.Reach.beyond_plates
    w = np.float32([0, top / 2, top, top + 5, -top])
    for lesion in (BULGE, PROTRUSION):
        reach = segment.reach(lesion, disc, np.full(5, lesion.centre, np.float32), np.zeros(5, np.float32), w)
        np.testing.assert_allclose(reach, lesion.depth * np.sqrt([1, 0.75, 0, 0, 0]), atol=2e-3)
    neck = segment.reach(EXTRUSION, disc, np.zeros(1, np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32))
    assert 0 < neck[0] < EXTRUSION.depth  # its fragment reaches farther


def test_reach_of_a_protrusion_is_a_dome_of_its_width_and_a_bulge_spares_the_front(some):
    _, disc = some
    u = PROTRUSION.centre + np.float32([-7.1, -3.5, 0, 3.5, 7.1])
    dome = segment.reach(PROTRUSION, disc, u, np.zeros(5, np.float32), np.zeros(5, np.float32))
    np.testing.assert_allclose(dome / PROTRUSION.depth, np.sqrt([0, 0.75, 1, 0.75, 0]), atol=1e-3)
    front = np.float32([-2 * disc.half_depth, 0])
    assert segment.reach(BULGE, disc, np.zeros(2, np.float32), front, np.zeros(2, np.float32))[0] == 0
