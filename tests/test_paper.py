"""The paper's numbers agree with each other where the paper itself connects them."""

from lhdlib import paper


def test_counts_add_up():
    counts = paper.COUNTS
    assert counts["pre-training images"] + counts["pre-training validation images"] == counts["axial images"]
    assert counts["positive samples"] + counts["negative samples"] == counts["disc samples"]
    assert sum(counts[f"{part} samples"] for part in ("training", "validation", "test")) == counts["disc samples"]
    assert paper.LABEL_COUNTS[-1] == counts["training samples"] and list(paper.LABEL_COUNTS) == sorted(
        paper.LABEL_COUNTS
    )


def test_accuracy_is_the_mean_of_both_rates_on_a_balanced_test_set():
    for row in paper.TABLE3.values():
        assert abs(row["ACC"] - (row["TPR"] + row["TNR"]) / 2) < 1.5e-4


def test_the_chosen_setting_is_in_both_tables():
    assert paper.CHOSEN in paper.TABLE3 and (paper.TABLE1["w"], paper.TABLE1["dr"]) == paper.CHOSEN
