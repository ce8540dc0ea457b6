"""What could be reached: the phantom's truth as a scorer, against counting."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lhdlib.data.dataset import Part
from lhdlib.evidence import reach
from lhdlib.phantom import truth


def part_of(known: pd.DataFrame) -> Part:
    return Part(known[["patient", "level"]].assign(label=known.noted))


@pytest.fixture(scope="module")
def discs():
    rng = np.random.default_rng(3)
    severity = rng.normal(size=240)
    noted, second = (severity + rng.normal(0, 0.6, (2, 240)) > 0).astype(int)
    return pd.DataFrame(
        {
            "patient": np.repeat([f"{i:04d}" for i in range(80)], 3),
            "level": np.tile(["L5-S1", "L4-L5", "L3-L4"], 80),
            "severity": severity,
            "label": (severity > 0).astype(int),
            "noted": noted,
            "second_reader": second,
        }
    )


@pytest.mark.slow
def test_scores_are_those_of_the_truth_and_of_the_readers(discs):
    logits = np.random.default_rng(4).normal(size=(2, 240)) + discs.noted.to_numpy()
    found = reach.measure(part_of(discs), part_of(discs), logits, discs)
    auc = {name: scored["metrics"]["AUC"]["mean"] for name, scored in found["notes"].items()}
    assert auc["true severity"] == pytest.approx(roc_auc_score(discs.noted, discs.severity))
    assert auc["second reader"] == pytest.approx(roc_auc_score(discs.noted, discs.second_reader))
    shares = discs.groupby("level").noted.transform("mean")
    assert auc["level only"] == pytest.approx(roc_auc_score(discs.noted, shares))
    assert auc["this run"] == pytest.approx(np.mean([roc_auc_score(discs.noted, row) for row in logits]))
    assert found["missing"]["value"] == pytest.approx(auc["true severity"] - auc["this run"])
    right = found["notes"]["second reader"]["metrics"]["ACC"]["mean"]
    assert right == pytest.approx((discs.noted == discs.second_reader).mean())

    auc = {name: scored["metrics"]["AUC"]["mean"] for name, scored in found["truth"].items()}
    assert auc["note"] == pytest.approx(roc_auc_score(discs.label, discs.noted))
    assert auc["this run"] == pytest.approx(np.mean([roc_auc_score(discs.label, row) for row in logits]))


@pytest.mark.slow
def test_within_a_level_the_level_tells_nothing(discs):
    found = reach.measure(part_of(discs), part_of(discs), np.zeros((1, 240)), discs)
    assert found["notes"]["level only"]["within"]["value"] == 0.5
    assert found["notes"]["true severity"]["within"]["value"] > 0.8


def test_each_disc_gets_its_own_truth_and_another_archive_has_none(discs, tmp_path):
    truth.write_truth(tmp_path, discs.to_dict("records"), {"1.2": truth.PackedMask.of(np.ones((2, 2), bool))})
    asked = discs[["patient", "level"]].sample(50, random_state=1)
    known = reach.truth_of(tmp_path / "archive", asked)
    pd.testing.assert_frame_equal(
        known[["severity", "noted"]], discs.loc[asked.index, ["severity", "noted"]].reset_index(drop=True)
    )
    assert reach.truth_of(tmp_path / "other" / "archive", asked) is None
