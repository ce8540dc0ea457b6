"""Random patients: prevalence and kinds of lesions, cues that do not give the label away."""

import pandas as pd
from sklearn.metrics import roc_auc_score


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
