"""A run beside the committed numbers of one that is known to be sound."""

import json
import shutil

import numpy as np
import pytest

from lhdlib import expected, profile, workspace


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """Expected numbers of this test's own."""
    monkeypatch.setattr(expected, "FOLDER", tmp_path / "expected")
    return tmp_path / "expected"


@pytest.fixture
def run_folder(smoke, tmp_path):
    folder = tmp_path / "smoke"
    for name in ("stamp.json", "01/dataset.json", *expected.ESTIMATES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(smoke.results / name, folder / name)
    return folder


def change(path, *place, by):
    """Add to the number at a place of a JSON file."""
    value = json.loads(path.read_text())
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] += by
    path.write_text(json.dumps(value))


def test_a_run_equals_itself_and_a_planted_difference_is_named(run_folder, kept, capsys):
    assert expected.verdict(run_folder).startswith("Not compared")
    assert expected.main([str(run_folder), "--accept"]) == 0
    assert "Reproduced within tolerance: " in capsys.readouterr().out
    metrics = workspace.read_json(run_folder / "04/headline.json")["metrics"]["AUC"]
    up = metrics["high"] - metrics["mean"]
    change(run_folder / "04/headline.json", "metrics", "AUC", "mean", by=up - 1e-6)
    assert expected.main([str(run_folder)]) == 0
    change(run_folder / "04/headline.json", "metrics", "AUC", "mean", by=2e-6)
    change(run_folder / "01/dataset.json", "counts", "patients", by=1)
    capsys.readouterr()
    assert expected.main([str(run_folder)]) == 1
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("NOT reproduced: 2 of ")
    assert [line.split(":")[0].strip() for line in rest] == ["patients", "04/headline/metrics/AUC"]
    assert f"expected {metrics['low']:.4f} to {metrics['high']:.4f}" in rest[1]


def test_a_second_accepted_run_widens_and_other_data_are_refused(run_folder, kept, capsys):
    assert expected.main([str(run_folder), "--accept"]) == 0
    path = kept / "smoke-seed0.json"
    one, metrics = workspace.read_json(path), workspace.read_json(run_folder / "04/headline.json")["metrics"]["AUC"]
    for end in ("mean", "low", "high"):
        change(run_folder / "04/headline.json", "metrics", "AUC", end, by=0.01)
    assert expected.main([str(run_folder), "--accept"]) == 0
    both, name = workspace.read_json(path), "04/headline/metrics/AUC"
    assert both["estimates"][name]["low"] == one["estimates"][name]["low"]
    assert both["estimates"][name]["high"] == pytest.approx(one["estimates"][name]["high"] + 0.01)
    ends = [{k: (v["low"], v["high"]) for k, v in kept["estimates"].items() if k != name} for kept in (one, both)]
    assert ends[0] == ends[1]
    assert both["estimates"][name]["values"] == pytest.approx([metrics["mean"], metrics["mean"] + 0.01])
    assert both["commits"] == one["commits"] * 2
    change(run_folder / "01/dataset.json", "counts", "patients", by=1)
    capsys.readouterr()
    assert expected.main([str(run_folder), "--accept"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(path) in said
    assert workspace.read_json(path) == both


def test_every_estimate_with_an_interval_is_taken_from_the_result_files(run_folder):
    found = expected.collect(run_folder)["estimates"]
    headline = workspace.read_json(run_folder / "04/headline.json")
    assert {f"04/headline/metrics/{m}" for m in headline["metrics"]} <= found.keys()
    shown = found["04/headline/controls/shuffled labels/AUC"]
    wanted = headline["controls"]["shuffled labels"]["AUC"]
    assert shown == {"value": wanted["mean"], "low": wanted["low"], "high": wanted["high"]}
    assert "07/localisation/difference_random" in found and "06/comparisons/full/AUC" in found
    text = "".join((run_folder / name).read_text() for name in expected.ESTIMATES)
    assert len(found) == text.count('"low":')


def test_random_differences_are_found_exactly_where_they_lie_outside():
    rng = np.random.default_rng(0)
    for _ in range(300):
        low = rng.normal(size=20)
        high, values = low + rng.uniform(0.01, 1, 20), low + rng.uniform(-1, 2, 20)
        names = [f"n{i}" for i in range(20)]
        ends = zip(names, low, high, strict=True)
        wanted = {"exact": {"patients": 8}, "estimates": {n: {"low": a, "high": b} for n, a, b in ends}}
        found = {"exact": {"patients": 8}, "estimates": {n: {"value": v} for n, v in zip(names, values, strict=True)}}
        lines = expected.differences(found, wanted)
        outside = (values < low) | (values > high)
        assert [line.split(":")[0] for line in lines] == [n for n, far in zip(names, outside, strict=True) if far]


def test_what_is_absent_or_not_a_number_differs():
    wanted = {"exact": {"patients": 8}, "estimates": {"a": {"low": 0.9, "high": 1.1}}}
    assert len(expected.differences({"exact": {}, "estimates": {}}, wanted)) == 2
    found = {"exact": {"patients": 8}, "estimates": {"a": {"value": float("nan")}}}
    assert expected.differences(found, wanted) == ["a: nan, expected 0.9000 to 1.1000"]


def test_another_seed_or_other_data_is_not_compared(run_folder, kept):
    assert expected.main([str(run_folder), "--accept"]) == 0
    stamp = workspace.read_json(run_folder / "stamp.json")
    for key, value in {"seed": 1, "data": "Lumbar Spine MRI Dataset"}.items():
        workspace.write_json(run_folder / "stamp.json", stamp | {key: value})
        assert expected.verdict(run_folder).startswith("Not compared")


def test_an_unfinished_run_is_one_sentence(tmp_path, capsys):
    assert expected.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_demo_has_expected_numbers():
    kept = workspace.read_json(expected.FOLDER / "demo-seed0.json")
    assert kept["run"]["profile"] == "demo" and "phantom" in kept["run"]["data"]
    assert kept["exact"]["patients"] == profile.load("demo").data.phantom_patients
    widths = [estimate["high"] - estimate["low"] for estimate in kept["estimates"].values()]
    assert len(widths) > 50 and 0 < np.median(widths) < 0.3 and len(kept["commits"]) > 1
