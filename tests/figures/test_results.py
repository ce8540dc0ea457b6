"""The paper's results, Figs 8 to 10: the numbers given, and sentences that say whether the paper's order appears."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from lhdlib import paper
from lhdlib.figures.results import fig08_roc, labels_note, ordering_note, orders_note
from lhdlib.figures.words import setting_text
from tests.figures.drawing import draw, label_results, summary, texts


@pytest.mark.slow
def test_figures_state_the_numbers_they_are_given():
    fig = draw("fig08_roc")
    assert texts(fig).count("0.800 [0.750, 0.850]") == 4
    for setting, row in paper.TABLE3.items():
        assert f"{row['AUC']:.4f}" in texts(fig) and texts(fig).split("\n").count(setting_text(setting)) == 2
    labels = texts(draw("fig09_labels"))
    for count, published in zip((20, 30, 40, 50, 60), paper.LABEL_COUNTS, strict=True):
        assert f"{count}\n{published}\n{count / 60:.0%}" in labels
    assert "ResNet\n3036\n100%" in labels
    heatmaps = texts(figure := draw("fig10_heatmaps"))
    frames = [patch for ax in figure.axes for patch in ax.patches if isinstance(patch, Rectangle)]
    side = frames[0].axes.images[0].get_array().shape[0]
    assert [p.get_bbox().bounds for p in frames] == [(side / 8, side / 8, 0.75 * side, 0.75 * side)] * 9
    assert heatmaps.count("slice weight 33%") == 9 and "patient 0575\nL5-S1\nprobability 0.70" in heatmaps
    assert (heatmaps.count("R\n"), heatmaps.count("2 of 5"), heatmaps.count("20 mm")) == (18, 3, 9)


@pytest.mark.slow
def test_alternative_text_states_the_numbers_drawn(saved):
    assert "w = 0.0001, dr = 0: AUC 0.800 [0.750, 0.850], paper 0.9487" in saved("fig08_roc")[0].get_label()
    assert "Accuracy, semi-supervised: 0.700 with 20 to 0.780 with 60 labels" in saved("fig09_labels")[0].get_label()
    heatmaps = saved("fig10_heatmaps")[0].get_label()
    assert "Patient 0575, L5-S1, probability 0.70: most weight, 33%, on the upper slice" in heatmaps
    curves = saved("pretraining_curves")[0]
    assert "from +0.80 to −3.80" in curves.get_label() and "0.40 on training slices and 0.30" in curves.get_label()
    assert "held-out slices, 1 of 1,023" in texts(curves) and "training batch, 1 of 127" in texts(curves)
    assert "2 normal and 1 abnormal" in saved("tiles")[0].get_label()


def test_mean_roc_lies_between_the_seeds():
    """Each seed's curve counted over all thresholds, here."""
    labels = np.repeat([0, 1], 30)
    scores = labels * 0.5 + np.random.default_rng(0).uniform(size=(3, 60))
    fig = fig08_roc(
        scores=dict.fromkeys(paper.TABLE3, (labels, scores)), auc=dict.fromkeys(paper.TABLE3, summary(0.8, 0.7, 0.9))
    )
    *means, _chance = fig.axes[0].lines
    assert len(means) == len(paper.TABLE3) and len({line.get_linestyle() for line in means}) == len(means)
    grid, tpr = means[0].get_xdata()[1:], []
    for row in scores:
        cuts = np.sort(row)[::-1]
        points = [(np.mean(row[labels == 0] >= cut), np.mean(row[labels == 1] >= cut)) for cut in cuts]
        tpr.append(np.interp(grid, *np.transpose([(0, 0), *points])))
    assert np.allclose(means[0].get_ydata()[1:], np.mean(tpr, axis=0))


# Sentences


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


def test_the_sentence_on_orders_names_the_metrics():
    published = {"ACC": {"a": 2, "b": 1}, "AUC": {"a": 2, "b": 1}}
    high, low = summary(0.7, 0.6, 0.8), summary(0.6, 0.5, 0.7)
    note = orders_note(published, {"ACC": {"a": low, "b": high}, "AUC": {"a": high, "b": low}})
    assert note.follows == "The paper's order appears not in ACC and in AUC (means of this run)."
    assert "order of ACC does not appear" in note.details and "order of AUC appears" in note.details


def test_settings_must_be_the_same():
    with pytest.raises(ValueError, match="same settings"):
        ordering_note({"a": 1}, {}, "AUC")


def test_the_sentence_on_labels_compares_the_fewest_with_the_baseline():
    table = label_results()
    note = labels_note(table)
    assert note.details.count("9 pairs") == 2  # the paper excepts one of ten
    assert "appears in the means of this run" in note.details
    assert note.follows.startswith("Beside the supervised baseline the classifier with 20 labels stays below it in ACC")
    assert note.follows.endswith("stays below it in AUC (0.700 against 0.800; intervals overlap).")
    table.loc[table.model == "supv", ["mean", "low", "high"]] = 0.55, 0.5, 0.59
    assert "reaches it in ACC (0.700 against 0.550; intervals apart)" in labels_note(table).follows
