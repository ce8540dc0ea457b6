"""Kinds of lesion beside truth and notes, against counting."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lhdlib.evidence import kinds
from lhdlib.model.kinds import KINDS


def test_the_truth_knows_displacements_and_tears_and_no_compression():
    lesions = ["none", "bulge", "protrusion", "extrusion", "sequestration"]
    found = kinds.true_kinds(pd.DataFrame({"lesion": lesions, "tear": [0, 1, 0, 0, 1]}))
    wanted = [[0, 0, 0, 0], [1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert found[:, :4].tolist() == wanted and np.isnan(found[:, 4]).all()
    assert kinds.DISPLACED == ("bulge", "protrusion", "extrusion or sequestration") and len(KINDS) == 5


def test_missing_mentions_are_taken_at_random_and_none_is_added():
    said = np.random.default_rng(0).random((4000, 5)) < 0.5
    less = kinds.less_said(said, 1)
    assert not (less & ~said).any() and (less == kinds.less_said(said, 1)).all()
    assert less[said].mean() == pytest.approx(1 - kinds.MISSING, abs=0.02)


def test_aucs_are_those_of_all_discs_and_of_discs_with_a_kind():
    rng = np.random.default_rng(2)
    own = (rng.random((120, 5)) < 0.3).astype(float)
    own[:, 3], own[:, 4] = 0, np.nan
    own[:2, 3] = 1  # of one patient
    said, patients = rng.normal(size=(2, 120, 5)) + np.nan_to_num(own), np.arange(120) // 2
    found = kinds.measure(own, said, patients)
    some = (own == 1).any(axis=1)
    for number, name in enumerate(kinds.DISPLACED):
        assert found[name]["discs"] == own[:, number].sum()
        for part, of in (("all", np.ones(120, bool)), ("abnormal", some)):
            wanted = np.mean([roc_auc_score(own[of, number], run[of, number]) for run in said])
            assert found[name][part]["value"] == pytest.approx(wanted)
            assert found[name][part]["low"] < wanted < found[name][part]["high"]
    assert found["annular tear"] == {"discs": 2, "all": None, "abnormal": None}
    assert found["nerve root or sac compression"] == {"discs": None, "all": None, "abnormal": None}


def test_a_rare_kind_is_called_where_its_logit_is_high_for_its_share():
    trained = np.zeros((100, 5), bool)
    trained[:80, 0] = trained[:20, 1] = trained[:2, 2] = True
    own = np.zeros((5, 5))
    own[0, 0] = own[1, 1] = own[2, 2] = own[4, 0] = own[4, 1] = 1  # the last has two; one has none
    said = np.zeros((1, 5, 5))
    said[0, :, :3] = np.log([4, 0.25, 0.02])  # about the shares
    said[0, 0, 0] += 1
    said[0, 1, 1] += 1
    said[0, 2, 1] += 1
    assert kinds.confusion(own, said, trained).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
