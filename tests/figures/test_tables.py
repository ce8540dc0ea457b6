"""Tables: every value beside the paper's; the sentences that compare are computed."""

import pandas as pd
import pytest

from lhdlib import paper, profile
from lhdlib.figures import tables, words
from lhdlib.figures.results import ordering_note


def summary(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean": mean, "sd": 0.0214, "low": low, "high": high}


@pytest.mark.parametrize("name", profile.names())
def test_every_value_that_differs_from_the_paper_is_in_a_table(name):
    ours, theirs = profile.load(name), profile.load("paper")
    listed = pd.concat([tables.table1_pretraining(ours), tables.table2_finetuning(ours)])
    marked = listed[listed.differs == "yes"]
    sections = ("data", "views", "encoder", "pretrain", "finetune", "supervised", "autoencoder")
    changed = [
        (section, key)
        for section in sections
        for key, value in vars(getattr(ours, section)).items()
        if value != getattr(getattr(theirs, section), key)
    ]
    assert len(marked) == len(changed)
    assert not listed["hyper-parameter"].str.contains(r"\.", regex=True).any(), "a value has no readable name"


def test_tables_1_and_2_show_the_paper_beside_the_run():
    table = tables.table1_pretraining(profile.load("demo")).set_index("hyper-parameter")
    assert list(table.index[:7]) == list(paper.TABLE1)
    assert [float(v) for v in table.paper[:7]] == list(paper.TABLE1.values())
    demo = profile.load("demo").pretrain
    assert float(table.loc["τ", "this run"]) == demo.temperature and int(table.loc["b", "this run"]) == demo.batch
    second = tables.table2_finetuning(profile.load("paper"))
    assert list(second["hyper-parameter"]) == list(paper.TABLE2) and not second.differs.any()


def test_table_3_has_every_setting_and_both_values():
    results = {s: {m: summary(0.5, 0.4, 0.6) for m in words.METRICS} for s in paper.TABLE3}
    results[(0.0, 0.0)]["AUC"] = summary(0.9126, 0.87, 0.95)
    table = tables.table3_regularization(results)
    assert len(table) == 4 and table.shape[1] == 9
    assert table.loc[0, "AUC, this run"] == "0.913 ± 0.021 [0.870, 0.950]"
    for (_, published), row in zip(paper.TABLE3.items(), table.to_dict("records"), strict=True):
        assert [float(row[f"{name}, paper"]) for name in words.METRICS.values()] == list(published.values())


def test_counts_stand_beside_the_papers():
    table = tables.counts_table({"patients": 8, "test samples": 10}).set_index("count")
    assert table.loc["patients"].tolist() == ["515", "8"] and table.loc["images"].tolist() == ["48,345", "–"]


# The computed sentence


def test_ordering_that_appears():
    note = ordering_note(
        {"a": 3, "b": 2, "c": 1},
        {"a": summary(0.9, 0.8, 1), "b": summary(0.7, 0.6, 0.75), "c": summary(0.6, 0.5, 0.7)},
        "values",
    )
    assert "does not" not in note and "appears" in note
    assert "2 of 3 pairs" in note and "reversed" not in note  # a-b and a-c are apart, b-c overlap


def test_ordering_that_does_not_appear():
    note = ordering_note(
        {(0.0, 0.0): 0.9, (1e-4, 0.5): 0.8},
        {(0.0, 0.0): summary(0.5, 0.4, 0.6), (1e-4, 0.5): summary(0.8, 0.7, 0.9)},
        "AUC",
    )
    assert "order of AUC does not appear" in note and "0 of 1 pairs agree" in note
    assert "Clearly reversed: w = 0.0001, dr = 0.5 above w = 0, dr = 0." in note


def test_overlapping_reversal_is_not_called_clear():
    note = ordering_note({"a": 2, "b": 1}, {"a": summary(0.7, 0.6, 0.8), "b": summary(0.75, 0.65, 0.85)}, "AUC")
    assert "does not appear" in note and "reversed" not in note


def test_equal_values_do_not_confirm_an_order_and_ties_are_not_compared():
    assert "does not appear" in ordering_note(
        {"a": 2, "b": 1}, {"a": summary(0.7, 0.6, 0.8), "b": summary(0.7, 0.6, 0.8)}, "AUC"
    )
    tied = ordering_note({"a": 1, "b": 1}, {"a": summary(0.7, 0.6, 0.8), "b": summary(0.2, 0.1, 0.3)}, "AUC")
    assert tied == "The paper does not rank these AUC."
