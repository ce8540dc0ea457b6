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
    whole = capsys.readouterr().out
    assert whole.startswith("Reproduced within tolerance: ") and whole.count("\n") == 1
    metrics = workspace.read_json(run_folder / "04/headline.json")["metrics"]["AUC"]
    slack = expected.SLACK * (metrics["high"] - metrics["low"])
    change(
        run_folder / "04/headline.json", "metrics", "AUC", "mean", by=metrics["high"] + slack - metrics["mean"] - 1e-6
    )
    assert expected.main([str(run_folder)]) == 0 and capsys.readouterr().out == whole
    change(run_folder / "04/headline.json", "metrics", "AUC", "mean", by=2e-6)
    assert expected.main([str(run_folder)]) == 0  # one alone may be chance, and is named
    said, far = capsys.readouterr().out.splitlines()
    assert "by chance" in said and far.startswith("  04/headline/metrics/AUC: ")
    assert f"expected {metrics['low'] - slack:.4f} to {metrics['high'] + slack:.4f}" in far
    change(run_folder / "01/dataset.json", "counts", "patients", by=1)
    assert expected.main([str(run_folder)]) == 1  # a count never is
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("NOT reproduced: 2 of ")
    assert [line.split(":")[0].strip() for line in rest] == ["patients", "04/headline/metrics/AUC"]


@pytest.mark.parametrize("share", [0.04, 0.06])
def test_a_few_estimates_outside_are_chance_and_more_are_not(run_folder, kept, share):
    assert expected.main([str(run_folder), "--accept"]) == 0
    path = kept / "smoke-seed0.json"
    wanted = workspace.read_json(path)
    for name in list(wanted["estimates"])[: round(share * len(wanted["estimates"]))]:
        wanted["estimates"][name] |= {"low": 5.0, "high": 6.0}
    workspace.write_json(path, wanted)
    assert expected.main([str(run_folder)]) == int(share > expected.CHANCE)


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


def test_random_estimates_are_found_exactly_where_they_lie_outside():
    rng = np.random.default_rng(0)
    for _ in range(300):
        low = rng.normal(size=20)
        high, values = low + rng.uniform(0.01, 1, 20), low + rng.uniform(-1, 2, 20)
        names = [f"n{i}" for i in range(20)]
        ends = zip(names, low, high, strict=True)
        wanted = {"estimates": {n: {"low": a, "high": b} for n, a, b in ends}}
        found = {"estimates": {n: {"value": v} for n, v in zip(names, values, strict=True)}}
        far = np.abs(values - (low + high) / 2) > (0.5 + expected.SLACK) * (high - low)
        named = [line.split(":")[0] for line in expected.outside(found, wanted)]
        assert named == [n for n, out in zip(names, far, strict=True) if out]


def test_what_is_absent_or_not_a_number_differs():
    wanted = {"exact": {"patients": 8}, "estimates": {"a": {"low": 1.0, "high": 2.0}}}
    empty = {"exact": {}, "estimates": {}}
    assert expected.inexact(empty, wanted) == ["patients: absent, expected 8"]
    assert expected.outside(empty, wanted) == ["a: absent, expected 0.5000 to 2.5000"]
    found = {"exact": {"patients": 8}, "estimates": {"a": {"value": float("nan")}}}
    assert expected.outside(found, wanted) == ["a: nan, expected 0.5000 to 2.5000"]


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
