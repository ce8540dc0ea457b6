"""A run beside the committed numbers of one that is known to be sound."""

import json
import shutil

import numpy as np
import pytest

from lhdlib import files, profile
from lhdlib.run import command, expected, timing

FILES = sorted({"/".join(place.split("/")[:2]) + ".json" for place in expected.ESTIMATES})


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """Expected numbers of this test's own."""
    monkeypatch.setattr(expected, "FOLDER", tmp_path / "expected")
    monkeypatch.setattr(timing, "SHIPPED", tmp_path / "durations.json")
    files.write_json(tmp_path / "durations.json", {})
    return tmp_path / "expected"


@pytest.fixture
def run_folder(smoke, tmp_path):
    folder = tmp_path / "smoke"
    for name in ("stamp.json", "timings.json", "01/dataset.json", *FILES):
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
    assert command.main(["expect", str(run_folder), "--accept"]) == 0
    whole = capsys.readouterr().out
    assert whole.startswith("As earlier runs, within tolerance: ") and whole.count("\n") == 1
    path, place = run_folder / "08/evidence.json", ("controls", "shuffled labels", "metrics", "AUC")
    control = files.read_json(path)["controls"]["shuffled labels"]["metrics"]["AUC"]
    change(path, *place, "mean", by=control["high"] - control["mean"] - 1e-6)
    assert command.main(["expect", str(run_folder)]) == 0 and capsys.readouterr().out == whole
    change(path, *place, "mean", by=2e-6)
    assert command.main(["expect", str(run_folder)]) == 0  # one alone may be chance, and is named
    said, far = capsys.readouterr().out.splitlines()
    assert "by chance" in said and far.startswith("  08/evidence/controls/shuffled labels/metrics/AUC: ")
    assert f"expected {control['low']:.4f} to {control['high']:.4f}" in far
    change(run_folder / "01/dataset.json", "counts", "patients", by=1)
    assert command.main(["expect", str(run_folder)]) == 1  # a count never is
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("NOT as earlier runs: 2 of ")
    names = [line.split(":")[0].strip() for line in rest]
    assert names == ["patients", "08/evidence/controls/shuffled labels/metrics/AUC"]


def test_the_headline_may_not_be_astray_by_chance(run_folder, kept, capsys):
    """Between the ends of 95 and of 99 % it is one of those that may miss; beyond, the run is not reproduced."""
    assert command.main(["expect", str(run_folder), "--accept"]) == 0
    path, name = kept / "smoke-seed0.json", "04/headline/metrics/AUC"
    wanted = files.read_json(path)
    wanted["estimates"][name]["values"] = list(np.random.default_rng(0).normal(0.5, 0.05, 4))
    files.write_json(path, wanted)
    ends = [expected.tolerance(wanted["estimates"][name], level=level)[1] for level in (0.95, 0.99)]
    assert ends[0] < ends[1]
    headline = files.read_json(run_folder / "04/headline.json")
    for value, code in ((ends[0] + 1e-6, 0), (ends[1] - 1e-6, 0), (ends[1] + 1e-6, 1)):
        headline["metrics"]["AUC"]["mean"] = value
        files.write_json(run_folder / "04/headline.json", headline)
        capsys.readouterr()
        assert command.main(["expect", str(run_folder)]) == code
        assert f"\n  {name}: {value:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.08, 0.12])
def test_a_few_estimates_outside_are_chance_and_more_are_not(run_folder, kept, share):
    assert command.main(["expect", str(run_folder), "--accept"]) == 0
    path = kept / "smoke-seed0.json"
    wanted = files.read_json(path)
    for name in list(wanted["estimates"])[-round(share * len(wanted["estimates"])) :]:
        wanted["estimates"][name] |= {"low": 5.0, "high": 6.0}
    files.write_json(path, wanted)
    assert command.main(["expect", str(run_folder)]) == int(share > expected.CHANCE)


def test_a_second_accepted_run_joins_and_other_data_are_refused(run_folder, kept, capsys):
    assert command.main(["expect", str(run_folder), "--accept"]) == 0
    path = kept / "smoke-seed0.json"
    one, metrics = files.read_json(path), files.read_json(run_folder / "04/headline.json")["metrics"]["AUC"]
    for end in ("mean", "low", "high"):
        change(run_folder / "04/headline.json", "metrics", "AUC", end, by=0.01)
    assert command.main(["expect", str(run_folder), "--accept"]) == 0
    both, name = files.read_json(path), "04/headline/metrics/AUC"
    assert both["estimates"][name]["low"] == one["estimates"][name]["low"]
    assert both["estimates"][name]["high"] == pytest.approx(one["estimates"][name]["high"] + 0.01)
    ends = [{k: (v["low"], v["high"]) for k, v in kept["estimates"].items() if k != name} for kept in (one, both)]
    assert ends[0] == ends[1]
    assert both["estimates"][name]["values"] == pytest.approx([metrics["mean"], metrics["mean"] + 0.01])
    assert both["commits"] == one["commits"] * 2
    change(run_folder / "01/dataset.json", "counts", "patients", by=1)
    capsys.readouterr()
    assert command.main(["expect", str(run_folder), "--accept"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(path) in said
    assert files.read_json(path) == both


def test_an_estimate_may_come_later_but_not_go(run_folder, kept, capsys):
    assert command.main(["expect", str(run_folder), "--accept"]) == 0
    path, name = kept / "smoke-seed0.json", "08/evidence/calibration/brier"
    earlier = files.read_json(path)
    later = earlier["estimates"].pop(name)
    files.write_json(path, earlier)
    assert command.main(["expect", str(run_folder)]) == 0  # what no accepted run has is not compared
    assert command.main(["expect", str(run_folder), "--accept"]) == 0
    accepted = files.read_json(path)["estimates"]
    assert accepted.pop(name) == later and {len(estimate["values"]) for estimate in accepted.values()} == {2}
    evidence = files.read_json(run_folder / "08/evidence.json")
    del evidence["calibration"]["brier"]
    files.write_json(run_folder / "08/evidence.json", evidence)
    capsys.readouterr()
    assert command.main(["expect", str(run_folder), "--accept"]) == 2 and str(path) in capsys.readouterr().err


def test_every_estimate_with_an_interval_is_taken_from_the_result_files(run_folder):
    found = expected.collect(run_folder)["estimates"]
    headline, evidence = (files.read_json(run_folder / name) for name in ("04/headline.json", "08/evidence.json"))
    assert {f"04/headline/metrics/{m}" for m in headline["metrics"]} <= found.keys()
    shown = found["08/evidence/controls/shuffled labels/metrics/AUC"]
    wanted = evidence["controls"]["shuffled labels"]["metrics"]["AUC"]
    assert shown == {"value": wanted["mean"], "low": wanted["low"], "high": wanted["high"]}
    assert "08/localisation/differences/pointing/random" in found and "06/comparisons/full/AUC" in found
    assert found["08/evidence/balance"] == evidence["balance"]
    gap = evidence["controls"]["raw pixels"]["comparison"]["AUC"]
    assert found["08/evidence/controls/raw pixels/comparison/AUC"] == {k: gap[k] for k in ("value", "low", "high")}
    del evidence["operating_points"]
    texts = [json.dumps(evidence), *((run_folder / name).read_text() for name in FILES if "evidence" not in name)]
    text = "".join(texts)
    assert len(found) == text.count('"low":') - text.count('"value": NaN')  # within levels, where no level has both


def test_tolerance_of_two_runs_is_the_closed_form_of_one_degree_of_freedom():
    rng = np.random.default_rng(1)
    for first, second in rng.uniform(0.2, 0.8, (200, 2)):
        low, high = expected.tolerance({"values": [first, second], "low": 0, "high": 1})
        half = max(0.01, np.tan(np.pi * 0.475) * abs(first - second) / 2 * np.sqrt(3))  # the 97.5 % point of Cauchy's
        assert (low + high) / 2 == pytest.approx((first + second) / 2) and (high - low) / 2 == pytest.approx(half)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 4, 8])
def test_of_sound_runs_five_in_a_hundred_estimates_lie_outside(runs):
    values = np.random.default_rng(runs).normal(0.8, 0.5, (8000, runs + 1))  # so wide that the floor plays no part
    wanted = {f"n{i}": {"values": list(row[:-1]), "low": 0, "high": 1} for i, row in enumerate(values)}
    found = {f"n{i}": {"value": row[-1]} for i, row in enumerate(values)}
    far = expected.outside({"estimates": found}, {"estimates": wanted})
    assert len(far) / len(values) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / len(values)))


def test_what_never_varied_may_move_by_the_floor_and_one_run_has_its_interval_alone():
    assert expected.tolerance({"values": [0.5] * 4, "low": 0.1, "high": 0.9}) == pytest.approx((0.49, 0.51))
    assert expected.tolerance({"values": [0.5], "low": 0.1, "high": 0.7}) == (0.1, 0.7)


def test_what_is_absent_or_not_a_number_differs():
    wanted = {"exact": {"patients": 8}, "estimates": {"a": {"values": [1.5], "low": 1.0, "high": 2.0}}}
    empty = {"exact": {}, "estimates": {}}
    assert expected.inexact(empty, wanted) == ["patients: absent, expected 8"]
    assert expected.outside(empty, wanted) == ["a: absent, expected 1.0000 to 2.0000"]
    found = {"exact": {"patients": 8}, "estimates": {"a": {"value": float("nan")}}}
    assert expected.outside(found, wanted) == ["a: nan, expected 1.0000 to 2.0000"]


def test_another_seed_or_other_data_is_not_compared(run_folder, kept):
    assert command.main(["expect", str(run_folder), "--accept"]) == 0
    stamp = files.read_json(run_folder / "stamp.json")
    for key, value in {"seed": 1, "data": "Lumbar Spine MRI Dataset"}.items():
        files.write_json(run_folder / "stamp.json", stamp | {key: value})
        assert expected.verdict(run_folder).startswith("Not compared")


def test_an_unfinished_run_is_one_sentence(tmp_path, capsys):
    assert command.main(["expect", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_demo_has_expected_numbers():
    kept = files.read_json(expected.FOLDER / "demo-seed0.json")
    assert kept["run"]["profile"] == "demo" and "phantom" in kept["run"]["data"]
    assert kept["exact"]["patients"] == profile.load("demo").data.phantom_patients
    halves = [np.diff(expected.tolerance(estimate))[0] / 2 for estimate in kept["estimates"].values()]
    assert len(halves) > 50 and 0 < np.median(halves) < 0.2


def test_each_accepted_run_of_the_demo_is_reproduced_by_the_others():
    kept = files.read_json(expected.FOLDER / "demo-seed0.json")
    if len(kept["commits"]) < 3:
        pytest.skip("fewer than three accepted runs: there is no spread to leave one out of")
    for left_out in range(len(kept["commits"])):
        values = {n: e["values"] for n, e in kept["estimates"].items() if len(e["values"]) == len(kept["commits"])}
        wanted = {n: {"values": v[:left_out] + v[left_out + 1 :], "low": 0, "high": 0} for n, v in values.items()}
        found = {n: {"value": v[left_out]} for n, v in values.items()}
        far = expected.outside({"estimates": found}, {"estimates": wanted})
        assert len(far) <= expected.CHANCE * len(values), far
        gone = expected.outside({"estimates": found}, {"estimates": wanted}, level=expected.HEADLINE_LEVEL)
        assert not [line for line in gone if line.startswith(expected.HEADLINE)]


def test_a_classifier_at_chance_level_is_not_reproduced():
    """Its metrics are four among many estimates, of which some may miss."""
    kept = files.read_json(expected.FOLDER / "demo-seed0.json")
    found = {"estimates": {n: {"value": 0.5} for n in kept["estimates"] if n.startswith(expected.HEADLINE)}}
    far = expected.outside(found, kept, level=expected.HEADLINE_LEVEL)
    assert [line for line in far if line.startswith(f"{expected.HEADLINE}AUC: ")]
