"""Random patients: bodies that hold together, and no cue that gives the label away."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lhdlib.phantom import anatomy
from lhdlib.phantom.disease import LEVELS


def imaged(anatomies) -> list[anatomy.Disc]:
    return [patient.discs[slab.disc] for patient in anatomies for slab in patient.slabs]


@pytest.mark.slow
def test_mostly_the_three_lowest_discs_are_imaged_and_two_in_five_are_abnormal(anatomies):
    counts = np.array([len(patient.slabs) for patient in anatomies])
    assert np.mean(counts == 3) > 0.75 and set(counts) == {3, 4, 5, 6}
    assert 0.33 < np.mean([disc.abnormal for disc in imaged(anatomies)]) < 0.44


@pytest.mark.slow
def test_no_single_cue_gives_the_label(anatomies):
    discs = imaged(anatomies)
    labels = [disc.abnormal for disc in discs]
    assert 0.6 < roc_auc_score(labels, [disc.degeneration for disc in discs]) < 0.8
    for cue in ("nucleus", "height", "flavum", "facet", "infiltration", "concavity", "gap"):
        assert 0.25 < roc_auc_score(labels, [getattr(disc, cue) for disc in discs]) < 0.75, cue
    assert any(disc.degeneration > 0.6 and not disc.abnormal for disc in discs)
    assert any(disc.degeneration < 0.35 and disc.abnormal for disc in discs)


def test_seed_and_number_decide_everything(anatomies):
    assert anatomy.sample_patient(11, 5) == anatomies[4]
    assert anatomy.sample_patient(12, 5) != anatomies[4] != anatomies[5]


def test_slabs_are_of_the_lowest_discs_from_the_top(anatomies):
    for patient in anatomies:
        assert [disc.level for disc in patient.discs] == list(LEVELS)
        assert [slab.disc for slab in patient.slabs] == list(reversed(range(len(patient.slabs))))


def test_discs_stand_a_vertebra_apart(anatomies):
    for patient in anatomies:
        origins = np.array([disc.origin for disc in patient.discs])[:, 1:]
        heights = np.array([disc.height for disc in patient.discs])
        bodies = np.linalg.norm(np.diff(origins, axis=0), axis=1) - (heights[1:] + heights[:-1]) / 2
        np.testing.assert_allclose(bodies, bodies[0])
        assert 21 < bodies[0] < 32 and np.all(np.diff(origins[:, 1]) > 0)


def test_slices_descend_by_the_spacing_about_the_disc_s_middle(anatomies):
    for patient in anatomies:
        for slab in patient.slabs:
            np.testing.assert_allclose(np.diff(slab.offsets), -anatomy.SPACING)
            central = int(np.argmin(np.abs(slab.offsets)))
            assert abs(slab.offsets[central]) <= 1.2
            assert central == {3: 1, 4: 2, 5: 2, 6: 3}[len(slab.offsets)]
