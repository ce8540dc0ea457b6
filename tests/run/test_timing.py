"""Durations: what is known of a notebook, what is left of a run, what a step's seconds say of a profile."""

import numpy as np
import pytest

from lhdlib import files, profile
from lhdlib.model import pretrain
from lhdlib.run import stale, timing, workspace

TOOK = {"01": 60.0, "02": 200.0}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "SHIPPED", tmp_path / "durations.json")
    files.write_json(timing.SHIPPED, {"smoke": {"machine": "m", "seconds": {"01": 30, "02": 100, "03": 10}}})
    space = workspace.open_workspace("smoke", results=str(tmp_path), figures=str(tmp_path))
    return stale.Plan(space, upstream={"01": (), "02": (), "03": ()})


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h"), (200000, "2.3 days")],
)
def test_durations_are_said_in_the_unit_that_a_reader_thinks_in(seconds, said):
    assert timing.text(seconds) == said


def test_the_last_run_counts_before_an_accepted_one(plan):
    assert timing.expected(plan) == {"01": 30, "02": 100, "03": 10}
    took = {number: {"seconds": seconds, "commit": "c"} for number, seconds in TOOK.items()}
    files.write_json(plan.space.results / "timings.json", took)
    assert timing.expected(plan) == TOOK | {"03": 10}
    assert timing.place(plan, ["02", "03"], "02") == "notebook 2 of 3, last time 3 min, 4 min left"


def test_nothing_is_guessed_where_nothing_is_known(plan):
    files.write_json(timing.SHIPPED, {})
    assert timing.place(plan, ["01", "02"], "01") == "notebook 1 of 3"
    files.write_json(timing.SHIPPED, {"smoke": {"machine": "m", "seconds": {"01": 30}}})
    assert timing.place(plan, ["01", "02"], "01") == "notebook 1 of 3, last time 30 s"


def test_an_accepted_run_keeps_its_durations_and_its_machine(plan):
    took = {number: {"seconds": seconds, "commit": "c"} for number, seconds in TOOK.items()}
    files.write_json(plan.space.results / "timings.json", took)
    timing.keep(plan.space.results, "demo")
    kept = files.read_json(timing.SHIPPED)
    assert kept["demo"] == {"machine": timing.machine(), "seconds": {"01": 60, "02": 200}} and "smoke" in kept
    assert "CPU cores (" in timing.machine()


def test_the_forecast_multiplies_what_it_names():
    settings = profile.load("demo")
    found = timing.forecast(0.5, 10, settings)
    spent = timing.shipped(timing.REFERENCE)
    assert found["steps"] == 10 * settings.pretrain.max_epochs and found["trainings"] == settings.finetune.encoders + 3
    assert found["pretraining"] == 0.5 * found["steps"] * found["trainings"]
    share = (spent["03"] + spent["05"]) / sum(seconds for number, seconds in spent.items() if number != "09")
    assert found["whole"] * share == pytest.approx(found["pretraining"])
    said = timing.said(0.5, found)
    assert timing.text(found["whole"]) in said and "if no training ends early" in said and timing.machine() in said


@pytest.mark.slow
def test_a_step_is_timed_on_slices():
    settings, rng = profile.load("smoke"), np.random.default_rng(0)
    images = rng.normal(size=(40, settings.data.image_size, settings.data.image_size)).astype(np.float32)
    seconds = timing.step_seconds(pretrain.Batches(images, np.arange(40), np.arange(40) // 4, settings, 0))
    assert 0 < seconds < 60
