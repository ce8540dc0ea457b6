"""The trunk around the spine: organs by level, muscles by patient, skin where its depth is zero."""

from dataclasses import replace

import numpy as np
import pytest

from lhdlib.phantom import trunk
from lhdlib.phantom.anatomy import Patient
from lhdlib.phantom.painting import TISSUE
from tests.phantom.studies import flat_grain

STEP = 2.0
U = np.arange(-100, 102, STEP, dtype=np.float32)  # symmetric about the midline
V = np.arange(-90, 131, STEP, dtype=np.float32)[:, None]
SHAPE = np.broadcast_shapes(U.shape, V.shape)


@pytest.fixture(params=range(3))
def patient(request, anatomies) -> Patient:
    return anatomies[request.param]


def painted(patient: Patient, position: float, *, infiltration: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Maps and depths of a plane in a body without texture."""
    return trunk.paint_trunk(U, V, position, patient, infiltration, flat_grain(SHAPE), STEP)


def changed_by(structure, patient: Patient, position: float) -> np.ndarray:
    """Where one structure alone paints, in fat."""
    u, v = np.broadcast_arrays(U, V)
    section = trunk.Section(
        np.full((2, *SHAPE), 0.9, np.float32), u, v, position, patient, 0.3, flat_grain(SHAPE), STEP
    )
    structure(section)
    return np.abs(section.image - 0.9).max(axis=0) > 0.05


def test_values_by_level_are_linear_between_levels_and_constant_beyond():
    values = (3.0, 5.0, 4.0)
    position = np.array([[-1.0], [0.0], [0.25], [1.5], [2.0], [9.0]])
    expected = [[3.0], [3.0], [3.5], [4.5], [4.0], [4.0]]
    np.testing.assert_allclose(trunk.by_level(position, values), expected)
    assert trunk.by_level(0.25, values) == pytest.approx(3.5)


def test_behind_the_skin_is_air_and_depth_falls_backwards(patient):
    image, depth = painted(patient, 1.0)
    np.testing.assert_allclose(np.diff(depth, axis=0), -STEP, atol=1e-4)
    assert not image[:, depth < -2].any()
    assert image[0][depth > 3].min() > 0.01
    for channel, signals in zip(image, zip(*TISSUE.values(), strict=True), strict=True):
        assert channel.min() >= 0 and channel.max() <= max(signals) + 1e-5


def test_both_sides_are_alike_but_for_the_great_vessels(patient, monkeypatch):
    monkeypatch.setattr(trunk, "great_vessels", lambda section: None)
    for position in (0.0, 0.7, 2.0, 4.0):
        image, depth = painted(patient, position)
        np.testing.assert_allclose(image, image[:, :, ::-1], atol=1e-6)
        np.testing.assert_allclose(depth, depth[:, ::-1], atol=1e-4)


def test_subcutaneous_fat_moves_the_skin_by_its_share_of_the_level(patient):
    for position, share in ((0.0, 1.3), (2.0, 1.0), (3.5, 0.775)):
        thin, thick = (painted(replace(patient, fat_thickness=mm), position)[1] for mm in (5.0, 15.0))
        np.testing.assert_allclose(thick - thin, 10 * share, atol=1e-3)


def test_infiltration_makes_back_muscles_fatter(patient):
    healthy, fatty = (painted(patient, 1.0, infiltration=share)[0][0] for share in (0.1, 0.8))
    back = (np.abs(U) > 8) & (np.abs(U) < 20) & (V > 30) & (V < 45)
    assert fatty[back].mean() > healthy[back].mean() + 0.05
    front = np.broadcast_to(V < 5, SHAPE)
    np.testing.assert_array_equal(fatty[front], healthy[front])


def test_organs_belong_to_their_levels(patient):
    for position in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0):
        assert changed_by(trunk.kidneys, patient, position).any() == (position > 2.3)
        assert changed_by(trunk.pelvis, patient, position).any() == (position < 1.16)
        assert changed_by(trunk.quadratus, patient, position).any() == (position > 1)


def test_kidneys_lie_far_from_the_midline_and_the_psoas_beside_the_vertebra(patient):
    columns = np.broadcast_to(np.abs(U), SHAPE)
    for position in (0.0, 1.0, 3.0):
        where = changed_by(trunk.psoas, patient, position)
        assert where.any() and columns[where].min() > 8 and columns[where].max() < 75
    where = changed_by(trunk.kidneys, patient, 3.0)
    assert columns[where].min() > 40


def test_great_vessels_divide_below_l4_l5(patient):
    above, below = (np.flatnonzero(changed_by(trunk.great_vessels, patient, p).any(axis=0)) for p in (2.0, 0.3))
    assert STEP * (np.ptp(below) - np.ptp(above)) > 20
    assert STEP * np.diff(below).max() > 8  # fat between the branches


def test_stronger_muscles_are_larger(patient):
    for structure in (trunk.psoas, trunk.back_muscles, trunk.quadratus):
        small, large = (changed_by(structure, replace(patient, muscle_scale=scale), 2.0).sum() for scale in (0.9, 1.1))
        assert large > small
