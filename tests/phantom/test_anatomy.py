"""Random patients: bodies that hold together, prevalence and kinds of lesions, no cue that gives the label away."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from lhdlib.phantom import anatomy


def test_prevalence_and_kinds(anatomies):
    discs = [disc for patient in anatomies for disc in patient.imaged]
    kinds = pd.Series([disc.lesion.kind if disc.lesion else "none" for disc in discs]).value_counts(normalize=True)
    assert 0.42 < 1 - kinds["none"] < 0.50  # the paper: 1,706 of 3,676 samples
    assert 0.05 < kinds["tear"] / (1 - kinds["none"]) < 0.15
    assert kinds["bulge"] > kinds["protrusion"] > kinds["extrusion"]


def test_no_single_cue_gives_the_label(anatomies):
    discs = [disc for patient in anatomies for disc in patient.imaged]
    labels = [disc.lesion is not None for disc in discs]
    assert 0.55 < roc_auc_score(labels, [disc.severity for disc in discs]) < 0.80
    for cue in ("nucleus", "height", "flavum", "facet", "infiltration", "concavity", "gap"):
        assert 0.3 < roc_auc_score(labels, [getattr(disc, cue) for disc in discs]) < 0.7, cue
    assert any(disc.severity > 0.6 and not disc.lesion for disc in discs)
    assert any(disc.severity < 0.25 and disc.lesion for disc in discs)


def test_seed_and_number_decide_everything(anatomies):
    assert anatomy.sample_patient(11, 5) == anatomies[4]
    assert anatomy.sample_patient(12, 5) != anatomies[4] != anatomies[5]


def test_lesions_are_what_their_kind_and_side_say(anatomies):
    lesions = [(disc, disc.lesion) for patient in anatomies for disc in patient.imaged if disc.lesion]
    assert {lesion.side for _, lesion in lesions} == {"diffuse", *anatomy.PLACES}
    for disc, lesion in lesions:
        assert (lesion.kind == "bulge") == (lesion.side == "diffuse")
        assert "foraminal" not in lesion.side or lesion.kind == "protrusion"
        assert (lesion.migration != 0) == (lesion.kind == "extrusion")
        if lesion.side.startswith(("left", "right")):
            assert np.sign(lesion.centre) == (1 if lesion.side.startswith("left") else -1)
        assert abs(lesion.centre) < disc.half_width and 0 < lesion.depth <= 11


def test_only_imaged_discs_have_lesions(anatomies):
    for patient in anatomies:
        count = len(patient.slabs)
        assert [disc.level for disc in patient.discs] == list(anatomy.LEVELS)
        assert [slab.disc for slab in patient.slabs] == list(reversed(range(count)))
        assert not any(disc.lesion for disc in patient.discs[count:])


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
