"""A run beside the committed numbers of one that is known to be sound."""

import copy
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
    half = (metrics["high"] - metrics["low"]) / 2
    change(run_folder / "04/headline.json", "metrics", "AUC", "mean", by=0.9 * half)
    assert expected.main([str(run_folder)]) == 0
    change(run_folder / "04/headline.json", "metrics", "AUC", "mean", by=0.2 * half)
    change(run_folder / "01/dataset.json", "counts", "patients", by=1)
    capsys.readouterr()
    assert expected.main([str(run_folder)]) == 1
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("NOT reproduced: 2 of ")
    assert [line.split(":")[0].strip() for line in rest] == ["patients", "04/headline/metrics/AUC"]
    assert f"± {half:.4f}" in rest[1]


def test_every_estimate_with_an_interval_is_taken_from_the_result_files(run_folder):
    found = expected.collect(run_folder)["estimates"]
    headline = workspace.read_json(run_folder / "04/headline.json")
    assert {f"04/headline/metrics/{m}" for m in headline["metrics"]} <= found.keys()
    shown = found["04/headline/controls/shuffled labels/AUC"]
    wanted = headline["controls"]["shuffled labels"]["AUC"]
    assert shown == {"value": wanted["mean"], "tolerance": (wanted["high"] - wanted["low"]) / 2}
    assert "07/localisation/difference_random" in found and "06/comparisons/full/AUC" in found
    text = "".join((run_folder / name).read_text() for name in expected.ESTIMATES)
    assert len(found) == text.count('"low":')


def test_random_differences_are_found_exactly_where_they_exceed_the_tolerance():
    rng = np.random.default_rng(0)
    for _ in range(300):
        values, tolerance = rng.normal(size=20), rng.uniform(0.01, 1, 20)
        names = [f"n{i}" for i in range(20)]
        wanted = {
            "exact": {"patients": 8},
            "estimates": {n: {"value": v, "tolerance": t} for n, v, t in zip(names, values, tolerance, strict=True)},
        }
        found = copy.deepcopy(wanted)
        moved = rng.normal(0, 0.5, 20)
        for name, by in zip(names, moved, strict=True):
            found["estimates"][name]["value"] += by
        lines = expected.differences(found, wanted)
        assert {line.split(":")[0] for line in lines} == {
            n for n, by, t in zip(names, moved, tolerance, strict=True) if abs(by) > t
        }


def test_what_is_absent_or_not_a_number_differs():
    wanted = {"exact": {"patients": 8}, "estimates": {"a": {"value": 1.0, "tolerance": 0.1}}}
    assert len(expected.differences({"exact": {}, "estimates": {}}, wanted)) == 2
    found = {"exact": {"patients": 8}, "estimates": {"a": {"value": float("nan")}}}
    assert expected.differences(found, wanted) == ["a: nan, expected 1.0000 ± 0.1000"]


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
    tolerances = [estimate["tolerance"] for estimate in kept["estimates"].values()]
    assert len(tolerances) > 50 and 0 < np.median(tolerances) < 0.15
