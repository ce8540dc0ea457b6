"""Figures and tables of intervals: drawn without warnings, with the numbers that they are given."""

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lhdlib import evaluate
from lhdlib.evidence import audit, operating
from lhdlib.figures import evidence, words
from tests.figures.drawing import interval, same_labels


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(0)
    found = {"patients": np.arange(80) // 2}
    for part in ("validation", "test"):
        found[f"{part}_labels"] = np.arange(80) % 2
        found[f"{part}_logits"] = rng.normal(1.5 * found[f"{part}_labels"], 1, (2, 80)) - 0.7
    return found


@pytest.fixture(scope="module")
def metrics(result):
    return evaluate.over_seeds(result["test_labels"], result["test_logits"], result["patients"])


def texts(fig) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(fig).draw()
    return "\n".join(text.get_text() for text in fig.findobj(match=lambda artist: hasattr(artist, "get_text")))


@pytest.mark.slow
def test_roc_band_states_auc_and_the_operating_points(result, metrics):
    curve = operating.roc_band(result["test_labels"], result["test_logits"], result["patients"], draws=50)
    points = operating.operating_points(result, result["patients"])
    fig = evidence.roc_band(curve=curve, auc=metrics["AUC"], points=points)
    assert f"AUC {metrics['AUC']['mean']:.3f} [{metrics['AUC']['low']:.3f}" in texts(fig)
    lines = {line.get_label(): line.get_xydata() for line in fig.axes[0].lines}
    assert any((np.ptp(xy, axis=0) == 1).all() for xy in lines.values())
    places = {tuple(xy[0]) for xy in (line.get_xydata() for line in fig.axes[0].lines) if len(xy) == 1}
    for point in points.values():
        x, y = 1 - point["test"]["TNR"]["mean"], point["test"]["TPR"]["mean"]
        assert any((x, y) == pytest.approx(place) for place in places)
    table = evidence.points_table(points)
    assert table.iloc[:, 0].tolist() == ["sensitivity 90 %", "specificity 90 %", "sensitivity = specificity"]
    assert table["sensitivity, test"][0].startswith(f"{points['TPR']['test']['TPR']['mean']:.3f} [")


def test_calibration_is_drawn_with_its_errors(result):
    found = operating.measure_calibration(result["test_labels"], result["test_logits"], result["patients"])
    fig = evidence.calibration_curve(found)
    written = texts(fig)
    assert f"Brier score {found.brier.value:.3f}" in written and f"{found.ece_by_chance:.3f}" in written
    drawn = [line.get_xydata() for line in fig.axes[0].lines]
    assert any(np.array_equal(xy, found.curve[["predicted", "observed"]]) for xy in drawn)


@pytest.mark.slow
def test_alternative_text_of_the_calibration_names_the_farthest_bin(saved):
    alt = saved("calibration_curve")[0].get_label()
    assert "2 of them below the diagonal" in alt and "the farthest from it predicts 0.90 where 0.60" in alt


@pytest.mark.slow
def test_forest_names_every_classifier_from_top_to_bottom(metrics):
    fig = evidence.forest({"first": metrics, "second": metrics, "third": metrics}, published=0.9487)
    assert "paper 0.9487" in texts(fig)
    places = {t.get_text(): t.get_position()[1] for t in fig.axes[0].get_yticklabels()}
    assert places["first"] > places["second"] > places["third"]
    assert fig.axes[0].get_xlim()[1] > 0.9487
    assert "paper" not in texts(evidence.forest({"first": metrics}))


def test_both_intervals_stand_side_by_side(metrics):
    extra = {"Brier score": evaluate.Estimate(0.1, 0.05, 0.15)}
    table = evidence.interval_table(metrics, extra)
    assert table.iloc[:, 0].tolist() == [*words.METRICS.values(), "Brier score"]
    for row, (name, summary) in zip(table.itertuples(index=False), metrics.items(), strict=False):
        assert row[1] == f"{summary['mean']:.3f}"
        assert row[2].startswith(f"{summary['plain_low']:.3f} to {summary['plain_high']:.3f}")
        assert ("DeLong" if name == "AUC" else "Wilson") in row[2]
        assert row[3] == f"{summary['low']:.3f} to {summary['high']:.3f}"
    assert table.iloc[4].tolist() == ["Brier score", "0.100", "–", "0.050 to 0.150"]


def test_differences_carry_sign_interval_and_test(result, metrics):
    other = result["test_logits"][::-1] - 0.3
    found = evaluate.compare(result["test_labels"], result["test_logits"], other, result["patients"])
    table = evidence.comparison_table({"this run": metrics, "other": metrics}, {"other": found})
    assert table["AUC, difference"][0] == "–"
    assert table["AUC, difference"][1] == words.difference_text(found["AUC"], test="DeLong")
    assert table["Accuracy, difference"][1].endswith(f"McNemar p = {found['ACC']['p']:.2g}")
    alone = evidence.difference_table({"other": found})
    assert alone.iloc[0, 1:].tolist() == table.iloc[1, 3:].tolist()
    text = words.difference_text({"value": -0.0123, "low": -0.5, "high": 0.25})
    assert text == "−0.012 [−0.500, +0.250]"


def test_splits_stand_beside_each_other(result, metrics):
    one = result["test_labels"], result["test_logits"], result["patients"]
    table = evidence.splits_table({"paper": metrics, "patient": metrics}, evaluate.compare_sets(one, one))
    assert table["split 'paper'"].tolist() == table["split 'patient'"].tolist()
    assert table.difference[0].startswith("+0.000 [−0.0") and not table.difference.str.contains("p =").any()


def test_leaks_are_counted_by_split():
    """Two test samples; of the second a slice and its patient are known."""
    none = pd.DataFrame(False, range(2), list(audit.KINDS))
    table = evidence.leakage_table({"paper": none.assign(slice=[False, True], patient=[True, True]), "patient": none})
    assert table["split 'paper'"].tolist() == ["1 of 2", "0 of 2", "2 of 2", "0 of 2", "0 of 2"]
    assert table["split 'patient'"].tolist() == ["0 of 2"] * len(audit.KINDS)
    assert table.iloc[:, 0].tolist() == list(audit.KINDS.values())


# The same labels for three classifiers


def test_curves_with_the_same_labels_are_those_given():
    metrics = same_labels()
    fig = evidence.labels_same(metrics)
    for ax, metric in zip(fig.axes, ("ACC", "AUC"), strict=True):
        for bars, way in zip(ax.containers, ("frozen", "scratch", "tuned"), strict=True):
            x, y = bars.lines[0].get_data()
            np.testing.assert_allclose(np.log2(x), np.log2([25, 50, 100, 973]), atol=0.1)
            np.testing.assert_allclose(y, [metrics[way, count][metric]["mean"] for count in (25, 50, 100, 973)])
            ends = np.array([bar[:, 1] for bar in bars.lines[2][0].get_segments()])
            limits = [[metrics[way, count][metric][end] for end in ("low", "high")] for count in (25, 50, 100, 973)]
            np.testing.assert_allclose(ends, limits)
    assert (
        "AUC, ResNet from scratch: 0.700 with 25, 0.730 with 50, 0.760 with 100 and 0.790 with 973" in fig.get_label()
    )


def differences(**aucs: list[float]) -> dict:
    """Of each way with 25, 50, ... labels, 0.05 wide to either side."""
    counts = (25, 50, 100, 973)
    return {(way, n): {"AUC": interval(v)} for way, values in aucs.items() for n, v in zip(counts, values, strict=True)}


def test_the_sentence_on_the_same_labels_says_where_pre_training_pays():
    note = evidence.labels_same_note(differences(frozen=[0.1, 0.06, 0.04, -0.1], tuned=[0.1] * 4))
    frozen, tuned = note.split(";")
    assert (
        "above it with 25 and 50 labels, below it with 973 labels and not told apart from it with 100 labels" in frozen
    )
    assert "above it with 25, 50, 100 and 973 labels" in tuned and "below" not in tuned and "apart" not in tuned
    assert "an addition" in tuned and "the paper's" in frozen


def test_the_table_of_the_same_labels_has_every_point():
    metrics = same_labels()
    found = differences(frozen=[0.1] * 4, tuned=[0.2] * 4)
    table = evidence.labels_same_table(metrics, found, {25: 3, 50: 3, 100: 3, 973: 1})
    assert table.labels.tolist() == [str(n) for n in (25, 50, 100, 973) for _ in range(3)]
    assert table.draws.tolist() == [3] * 9 + [1] * 3
    assert table.AUC[1] == words.summary_text(metrics["scratch", 25]["AUC"])
    assert table["AUC minus from scratch"][:3].tolist() == ["+0.100 [+0.050, +0.150]", "–", "+0.200 [+0.150, +0.250]"]


def test_the_numbers_of_figure_9_stand_in_a_row_per_point(metrics):
    table = evidence.label_counts_table({("semi", 50): metrics, ("supv", 100): metrics})
    assert table[["classifier", "labels"]].values.tolist() == [["semi", 50], ["supv", 100]]
    assert (table["AUC"] == words.interval_text(metrics["AUC"])).all()
