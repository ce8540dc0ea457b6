"""Trainings spread over processes give the sequential run's bytes, in the folders where the notebooks look."""

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import keras
import nbformat
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from lhdlib import files, paper
from lhdlib.errors import UserError
from lhdlib.figures import words
from lhdlib.model import pretrain
from lhdlib.profile import setting_key
from lhdlib.run import command, sweep, workspace

ROOT = Path(__file__).resolve().parents[2]


def make_space(results: Path) -> workspace.Workspace:
    """A smoke run after notebook 01: 44 slices of eleven patients, ten of them held out."""
    space = workspace.open_workspace("smoke", results=str(results))
    size = space.profile.data.image_size
    noise = np.random.default_rng(0).normal(size=(44, size, size))
    images = np.stack([ndimage.gaussian_filter(image, 2.0) for image in noise])
    np.save(space.part("01") / "store.npy", (images / images.std() / 4 + 0.5).astype(np.float16))
    slices = pd.DataFrame({"patient": [f"{n // 4:04d}" for n in range(44)], "path": "p", "study": "s"})
    slices["pretrain"] = ["train"] * 34 + ["validation"] * 10
    files.write_table(space.part("01") / "slices.csv", slices)
    files.write_table(space.part("01") / "samples.csv", pd.DataFrame(columns=["patient", "note"]))
    files.write_json(space.part("01") / "dataset.json", {"pretrain_fingerprint": "f"})
    return space


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> workspace.Workspace:
    return make_space(tmp_path_factory.mktemp("sweep") / "results")


@pytest.fixture(scope="module")
def spread(space) -> tuple[list[sweep.Training], pd.DataFrame, pd.DataFrame]:
    """Two trainings run by two processes at once, and the table before and after."""
    chosen = sweep.trainings(space)[:2]
    before = sweep.table(chosen)
    sweep.train_all(space, chosen, ["--profile", "smoke", "--results", str(space.results)], workers=2)
    return chosen, before, sweep.table(chosen)


def weights(folder: Path) -> list[np.ndarray]:
    return keras.saving.load_model(folder / "encoder.keras", compile=False).get_weights()


@pytest.mark.slow
def test_processes_write_the_bytes_of_the_sequential_run(spread, tmp_path):
    alone = make_space(tmp_path / "results")
    folders = []
    for side, trained in zip(sweep.trainings(alone), spread[0], strict=False):
        sweep.train(alone, side)
        one, other = (pretrain.training_folder(t.root, t.profile.pretrain) for t in (side, trained))
        assert one.relative_to(alone.results).parts == other.parts[-2:]
        assert (one / "history.csv").read_bytes() == (other / "history.csv").read_bytes()
        assert (one / "encoder.key").read_bytes() == (other / "encoder.key").read_bytes()
        assert all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
        folders.append(one)
    assert any(not np.array_equal(a, b) for a, b in zip(*map(weights, folders), strict=True))


def test_a_finished_training_is_only_read(space, spread, monkeypatch):
    monkeypatch.setattr(pretrain, "make_step", lambda *_: pytest.fail("trained again"))
    sweep.train(space, spread[0][1])


def test_table_says_what_is_there(spread):
    chosen, before, after = spread
    assert list(before.state) == ["-", "-"] and list(after.state) == ["finished", "finished"]
    for row, training in zip(after.itertuples(), chosen, strict=True):
        history = pd.read_csv(pretrain.training_folder(training.root, training.profile.pretrain) / "history.csv")
        assert (row.epochs, row.accuracy) == (str(len(history)), f"{history.validation_accuracy.max():.3f}")
        assert row.name == training.name


def test_where_notebook_05_looks(space):
    """The notebook's own cell asks for these trainings first, in the same folders; repetitions are its own."""
    cells = nbformat.read(ROOT / "notebooks" / "05_regularization.ipynb", as_version=4).cells
    cell = next(c.source for c in cells if "pretrain.repeated" in c.source)
    asked = []

    def record(data, profile, seed, root):
        known = profile.replace(finetune={"encoders": space.profile.finetune.encoders})  # others are trained once
        asked.append(sweep.Training(known, seed, root))
        return [(None, pd.DataFrame({"validation_accuracy": [0.0]}), "")]

    anything = SimpleNamespace(
        repeated_features=lambda *_: None, classify_each=lambda *_: None, extractor=lambda _: None
    )
    names = {"ws": space, "paper": paper, "pretrain": SimpleNamespace(repeated=record), "seed": space.seed}
    names |= {"setting_key": setting_key, "words": words}
    unused = dict.fromkeys(("data", "settings", "split"))
    exec(cell, names | unused | {"finetune": anything, "encoder": anything})
    assert asked == sweep.trainings(space)


def test_other_seeds_have_folders_of_their_own(space):
    found = sweep.trainings(space, seeds=[2, 0, 1])
    assert [t.seed for t in found] == [0] * 4 + [2] * 4 + [1] * 4  # the run's own seed once
    assert found[:4] == sweep.trainings(space)
    folders = {pretrain.training_folder(t.root, t.profile.pretrain) for t in found}
    assert len(folders) == len({t.name for t in found}) == 12


def test_a_failure_is_named_and_stops_no_other(space, tmp_path, monkeypatch):
    """Of three processes the second fails."""
    ran = []

    def run(call, stdout, **_):
        ran.append(int(call[-1]))
        stdout.write(b"Error: no\n" * (call[-1] == "1"))
        return SimpleNamespace(returncode=2 * (call[-1] == "1"))

    monkeypatch.setattr(sweep.subprocess, "run", run)
    chosen = sweep.trainings(space)[:3]
    with pytest.raises(UserError, match=f"1 of 3 trainings failed: read .*{chosen[1].name}.log"):
        sweep.train_all(space, chosen, [], workers=1)
    assert sorted(ran) == [0, 1, 2]


@pytest.mark.parametrize(
    "arguments, said",
    [(["--task", "4"], "There is no task 4: choose one of 0 to 3"), (["--workers", "2"], "TF_CONFIG")],
)
def test_mistakes(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["127.0.0.1:1"]}}))
    assert command.main(["sweep", "--profile", "smoke", "--results", str(tmp_path), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_training_that_runs_elsewhere_is_left_alone(space, spread):
    with sweep.locked(space.part("sweep") / spread[0][0].name), pytest.raises(UserError, match="Another run is using"):
        sweep.train(space, spread[0][0])


def test_array_script_runs_its_number(tmp_path):
    """In a checkout whose Python only says what it is called with."""
    python = tmp_path / ".venv" / "bin" / "lhdlib"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PWD" "$@"\n')
    python.chmod(0o755)
    script = ROOT / "cluster" / "pretrain_array.sbatch"
    env = os.environ | {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_ARRAY_TASK_ID": "3"}
    call = ["bash", str(script), "--profile", "paper", "--data", "a b"]
    said = subprocess.run(call, env=env, capture_output=True, text=True, check=True, timeout=30).stdout
    assert said == f"{tmp_path} sweep --profile paper --data a b --task 3\n"
    assert f"--array=0-{len(paper.TABLE3) - 1}\n" in script.read_text()
