"""A run killed at random moments and resumed ends as an undisturbed one; `benchmarks.kill_and_resume` is longer."""

import numpy as np
import pytest

from benchmarks import kill_and_resume


def test_killed_while_training_and_resumed(smoke, tmp_path, monkeypatch):
    wanted = kill_and_resume.content(smoke.results.parent)
    kill_and_resume.disturbed(tmp_path, 0, None, "--only", "01")
    monkeypatch.setattr(kill_and_resume, "DELAY_S", (6.0, 16.0))  # while it imports, trains or draws
    kills = kill_and_resume.disturbed(tmp_path, 2, np.random.default_rng(0), "--only", "03")
    assert kills == 2
    found = kill_and_resume.content(tmp_path)
    assert any(name.endswith("encoder.keras") for name in found) and any("fig05" in name for name in found)
    assert {name: found[name] for name in found if found[name] != wanted[name]} == {}


def test_a_run_that_fails_is_no_success(tmp_path):
    with pytest.raises(RuntimeError, match="after 0 kills the run ended with 2: Error: Notebook 03 reads"):
        kill_and_resume.disturbed(tmp_path, 0, None, "--only", "03")
