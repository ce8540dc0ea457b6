"""Tables: every value beside the paper's."""

import dataclasses

import pandas as pd
import pytest

from lhdlib import paper, profile
from lhdlib.figures import tables, words
from tests.figures.drawing import summary


@pytest.mark.parametrize("name", profile.names())
def test_every_value_that_differs_from_the_paper_is_in_a_table(name):
    ours, theirs = profile.load(name), profile.load("paper")
    listed = pd.concat([tables.table1_pretraining(ours), tables.table2_finetuning(ours)])
    marked = listed[listed.differs == "yes"]
    sections = [field.name for field in dataclasses.fields(ours) if field.name != "name"]
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


def test_an_unknown_count_is_named():
    with pytest.raises(ValueError, match="'patient' is no count"):
        tables.counts_table({"patient": 3})
