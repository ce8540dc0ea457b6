"""The phantom's notes and readers beside the archive's facts, over 600 patients without an image."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from lhdlib.evidence import phantom_calibration
from lhdlib.phantom import facts

PATIENTS = 600


@pytest.fixture(scope="module")
def read() -> phantom_calibration.Read:
    return phantom_calibration.read_patients(11, patients=PATIENTS)


@pytest.fixture(scope="module")
def table(read) -> pd.DataFrame:
    return phantom_calibration.calibration_table(read)


@pytest.mark.slow
def test_the_phantom_is_as_hard_as_the_real_notes(table):
    held = table.dropna(subset="tolerance")
    # Rare kinds and levels have a share so small that the tolerance alone would let them be none.
    assert (held.phantom > 0).all()
    off = (held.phantom - held.archive).abs() - held.tolerance
    assert (off <= 0).all(), held[off > 0].to_string()
    assert set(held.fact) == {
        "abnormal by the notes",
        "kind at abnormal levels",
        "two readers agree",
        "kappa of two readers",
        "AUC of the grade",
    }


@pytest.mark.slow
def test_what_follows_from_it_lies_near_the_archive_s_facts(table):
    told = table[table.tolerance.isna()].set_index("fact")
    assert told.loc["correlation of labels", "phantom"].between(-0.1, 0.3).all()
    for fact, off in (("AUC of the level", 0.04), ("second reader's", 0.1)):
        rows = told[told.index.str.startswith(fact)]
        assert len(rows) == 2 and ((rows.phantom - rows.archive).abs() < off).all(), rows


@pytest.mark.slow
def test_figures_are_those_of_the_table_of_discs(read, table):
    discs = read.discs
    assert len(discs) == 5 * PATIENTS
    lowest = discs[discs.level.isin(facts.LOWEST)]
    got = table.set_index(["fact", "of"]).phantom
    for name, part in (("three lowest", lowest), ("all five", discs)):
        assert got["kappa of two readers", name] == pytest.approx(cohen_kappa_score(part.noted, part.second))
        assert got["two readers agree", name] == pytest.approx((part.noted == part.second).mean())
    assert got["AUC of the grade", "three lowest"] == pytest.approx(roc_auc_score(lowest.noted, lowest.grade))
    assert got["abnormal by the notes", "L4-L5"] == np.mean(discs.noted[discs.level == "L4-L5"])
    assert read.kinds["any"] == discs.noted.sum()  # each abnormal disc is noted with a kind
    assert sum(read.kinds[kind] for kind in facts.KINDS if kind != "annular tear") == read.kinds["any"]
