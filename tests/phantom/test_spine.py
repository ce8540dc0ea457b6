"""Structures of the spine: each where it belongs, the same on both sides, and a lesion that changes nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from lhdlib.phantom import spine
from lhdlib.phantom.anatomy import Disc, Patient
from lhdlib.phantom.disease import LEVELS, Displacement, Tear
from lhdlib.phantom.painting import TISSUE
from tests.phantom.studies import flat_grain, flat_segment

NOTHING = Displacement("bulge", "diffuse", 0.0, 50.0, 0.0)
DISPLACED = [
    Displacement("bulge", "diffuse", 4.0, 50.0, 0.0),
    Displacement("protrusion", "left paracentral", 6.0, 14.0, 7.0),
    Displacement("extrusion", "left paracentral", 9.0, 14.0, 6.0, -5.0),
    Displacement("sequestration", "left paracentral", 9.0, 14.0, 6.0, -9.0),
]
TEAR = Tear(8.0, 2.4, 6.0)
STEP = 2.0
AXES = np.meshgrid(np.arange(-60, 61, STEP), np.arange(-39, 51, STEP), np.arange(-18, 19, 3.0), indexing="ij")
U, V, W = (axis.astype(np.float32) for axis in AXES)  # U is symmetric about the midline
LESIONS = [*({"displacement": one} for one in DISPLACED), {"displacement": NOTHING, "tear": TEAR}]
every_lesion = pytest.mark.parametrize("lesion", LESIONS, ids=["bulge", "protrusion", "extrusion", "free", "tear"])


@pytest.fixture(params=range(3))
def some(request, anatomies) -> tuple[Patient, Disc]:
    """Discs of three patients, from below, that nothing leaves."""
    patient = anatomies[request.param]
    return patient, replace(patient.discs[request.param], displacement=NOTHING, tear=None)


def painted(patient: Patient, disc: Disc) -> tuple[np.ndarray, np.ndarray]:
    """Maps and the lesion's share about a disc in a body without texture."""
    image = np.full((2, *U.shape), 0.5, np.float32)
    share = spine.paint_spine(image, U, V, W, disc, patient, flat_grain(U.shape), STEP)
    return image, share


def changed_by(structure, patient: Patient, disc: Disc) -> np.ndarray:
    """Where one structure alone paints."""
    segment = flat_segment(patient, disc, U, V, W)
    structure(segment)
    return np.abs(segment.image - 0.5).max(axis=0) > 0.01


def test_signals_lie_between_those_of_the_tissues(some):
    patient, disc = some
    for lesion in ({}, *LESIONS):
        image, share = painted(patient, replace(disc, **lesion))
        for channel, signals in zip(image, zip(*TISSUE.values(), strict=True), strict=True):
            assert channel.min() >= min(signals) - 1e-5
            assert channel.max() <= max(*signals, TISSUE["marrow"][0] * patient.marrow) + 1e-5
        assert share.min() >= 0 and share.max() <= 1


def test_both_sides_are_alike_but_for_the_roots(some, monkeypatch):
    patient, disc = some
    monkeypatch.setattr(spine, "BACK_TO_FRONT", tuple(s for s in spine.BACK_TO_FRONT if s is not spine.cauda_equina))
    image, _ = painted(patient, disc)
    np.testing.assert_allclose(image, image[:, ::-1], atol=1e-6)


@every_lesion
def test_a_mirrored_lesion_has_the_mirrored_share(some, lesion):
    patient, disc = some
    mirrored = {name: replace(one, centre=-one.centre) for name, one in lesion.items()}
    _, left = painted(patient, replace(disc, **lesion))
    _, right = painted(patient, replace(disc, **mirrored))
    np.testing.assert_allclose(left, right[::-1], atol=1e-5)
    if mirrored != lesion:
        assert (left * U).sum() / left.sum() > 2  # on the patient's left


def test_a_disc_that_nothing_leaves_has_no_share_of_it(some):
    _, share = painted(*some)
    assert share.shape == U.shape and not share.any()


@every_lesion
def test_a_lesion_changes_the_disc_and_the_sac_but_nothing_else(some, lesion):
    patient, disc = some
    (without, _), (with_it, share) = painted(patient, disc), painted(patient, replace(disc, **lesion))
    change = np.abs(with_it - without).max(axis=0)
    assert share.max() > 0.4 and change[share > 0.5].mean() > 0.02
    near_sac = flat_segment(patient, replace(disc, **lesion), U, V, W).canal < 2
    before = flat_segment(patient, disc, U, V, W)
    depth = max(lesion["displacement"].depth, TEAR.depth)
    allowed = near_sac | (share > 0) | (np.abs(before.margin) < depth + 4) | (-disc.half_depth < V)
    assert change[~allowed].max() < 1e-3
    assert change[np.abs(U) > disc.half_width + depth + 3].max() < 1e-3


def test_a_tear_leaves_the_sac_where_it_is(some):
    patient, disc = some
    without, with_it = (flat_segment(patient, one, U, V, W).sac for one in (disc, replace(disc, tear=TEAR)))
    np.testing.assert_array_equal(with_it, without)


def test_the_rim_of_a_bulge_is_no_brighter_than_the_annulus(some):
    """A bright or dark rim would tell bulges from the disc that they belong to."""
    patient, disc = some
    image, share = painted(patient, replace(disc, displacement=DISPLACED[0]))
    beyond = (share > 0.95) & (flat_segment(patient, disc, U, V, W).margin > 1)
    for channel, signal in zip(image, TISSUE["annulus"], strict=True):
        np.testing.assert_allclose(channel[beyond], signal, atol=0.02)


@pytest.mark.parametrize("lesion", DISPLACED[:2], ids=lambda lesion: lesion.kind)
def test_a_deeper_lesion_covers_what_a_shallower_one_covers(some, lesion):
    patient, disc = some
    shallow, deep = (painted(patient, replace(disc, displacement=replace(lesion, depth=d)))[1] for d in (3.0, 6.0))
    assert np.all(deep >= shallow - 1e-5) and deep.sum() > 1.2 * shallow.sum()


def test_a_fragment_follows_its_migration(some):
    patient, disc = some
    heights = []
    for migration in (-7.0, 0.0, 7.0):
        _, share = painted(patient, replace(disc, displacement=replace(DISPLACED[2], migration=migration)))
        heights.append((share * W).sum() / share.sum())
    assert heights[0] < heights[1] - 1 and heights[1] + 1 < heights[2]


@pytest.mark.parametrize(
    ("structure", "inside"),
    [
        (spine.spinous_process, lambda u, v, w: (u < 6) & (v > 8)),
        (spine.laminae, lambda u, v, w: (u < 17) & (v > 0)),
        (spine.ligamentum_flavum, lambda u, v, w: (u < 15) & (v > 0)),
        (spine.facet_joints, lambda u, v, w: (u > 2) & (u < 32) & (w < 10) & (w > -13)),
        (spine.epidural_fat, lambda u, v, w: (u < 14) & (v > -3)),
        (spine.thecal_sac, lambda u, v, w: (u < 16) & (v > -2) & (v < 27)),
        (spine.nerve_roots, lambda u, v, w: (u > 7) & (u < 22) & (v > 0) & (v < 12)),
        (spine.pedicles, lambda u, v, w: (u > 3) & (np.abs(w) > 3)),
        (spine.basivertebral_vein, lambda u, v, w: (u < 6) & (v > -10) & (np.abs(w) > 5)),
        (spine.disc_tissue, lambda u, v, w: (np.abs(w) < 10) & (v < 2) & (u < 32)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_structure_paints_where_it_belongs(some, structure, inside):
    where = changed_by(structure, *some)
    assert where.any()
    assert not where[~inside(np.abs(U), V, W)].any()


def test_cord_and_sacral_wings_belong_to_their_levels(anatomies):
    for patient in anatomies[:1]:
        for disc in patient.discs:
            healthy = replace(disc, displacement=NOTHING, tear=None)
            level = LEVELS.index(disc.level)
            assert changed_by(spine.spinal_cord, patient, healthy).any() == (level >= LEVELS.index("L1-L2"))
            assert changed_by(spine.sacral_wings, patient, healthy).any() == (level == 0)


def test_a_wet_nucleus_is_brighter_in_t2_alone(some):
    patient, disc = some
    dry, wet = (painted(patient, replace(disc, nucleus=value))[0] for value in (0.1, 0.9))
    centre = (np.abs(U) < 5) & (np.abs(V + disc.half_depth) < 4) & (np.abs(W) < 1)
    np.testing.assert_allclose(wet[0], dry[0], atol=1e-6)
    gain = 0.8 * (TISSUE["nucleus"][1] - TISSUE["annulus"][1])
    np.testing.assert_allclose((wet - dry)[1][centre], gain, atol=0.02)


def test_the_middle_of_a_body_is_the_patient_s_marrow(some):
    patient, disc = some
    image, _ = painted(patient, disc)
    body = (np.abs(U) < 10) & (np.abs(V + 1.3 * disc.half_depth) < 5) & (W > 14)
    for channel, signal in zip(image, TISSUE["marrow"], strict=True):
        np.testing.assert_allclose(channel[body], signal * patient.marrow, atol=0.01)
