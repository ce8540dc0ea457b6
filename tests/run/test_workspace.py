"""The folders of a run, what it publishes, and what its results are stamped with."""

import json
import os
import re
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lhdlib import files, profile
from lhdlib.errors import UserError
from lhdlib.figures import publish
from lhdlib.run import workspace


def test_open_workspace(tmp_path):
    opened = workspace.open_workspace(
        "smoke", data_dir=str(tmp_path), seed=3, results=str(tmp_path / "r"), figures=str(tmp_path / "f")
    )
    assert opened.profile == profile.load("smoke")
    assert (opened.data_dir, opened.seed, opened.results) == (tmp_path, 3, tmp_path / "r")
    assert not opened.results.exists()
    assert opened.part("03") == tmp_path / "r" / "03" and opened.part("03").is_dir()


def test_a_smoke_run_never_writes_the_real_figures():
    smoke, demo = workspace.open_workspace("smoke"), workspace.open_workspace("demo", seed=5)
    assert demo.figures == workspace.ROOT / "figures"
    assert demo.figures not in (smoke.figures, *smoke.figures.parents)
    assert smoke.results != demo.results
    assert demo.data_dir != workspace.open_workspace("demo", seed=6).data_dir  # each seed has its own phantom


def test_the_paper_profile_needs_the_archive():
    with pytest.raises(UserError, match="--data DIR"):
        workspace.open_workspace("paper")


def test_stamp_says_from_what_a_figure_comes(tmp_path):
    opened = workspace.open_workspace("smoke", seed=4, results=str(tmp_path / "secret-folder"))
    with pytest.raises(UserError):
        opened.stamp()
    dataset = {"data_label": "phantom", "fingerprint": "abc"}
    files.write_json(opened.part("01") / "dataset.json", dataset)
    stamp = opened.stamp()
    assert (stamp["profile"], stamp["seed"], stamp["data"], stamp["fingerprint"]) == ("smoke", 4, "phantom", "abc")
    assert stamp["numpy"] == np.__version__ and stamp["keras"] == keras.__version__
    assert re.fullmatch(r"[0-9a-f]{12}(\+changes)?|unknown", stamp["commit"])
    assert "secret-folder" not in json.dumps(stamp)  # no path of the machine


@pytest.fixture
def opened(tmp_path):
    space = workspace.open_workspace("smoke", results=str(tmp_path / "r"), figures=str(tmp_path / "f"))
    files.write_json(space.part("01") / "dataset.json", {"data_label": "phantom", "fingerprint": "abc"})
    return space


def drawing() -> Figure:
    fig = Figure(figsize=(85 / 25.4, 1))
    fig.set_label("A picture of nothing.")
    return fig


def test_what_is_published_is_saved_with_the_stamp_and_shown(opened, monkeypatch):
    displayed = []
    monkeypatch.setattr(publish, "display", lambda *parts: displayed.extend(parts))
    opened.figure("fig", drawing(), "The figure.")._ipython_display_()
    opened.table("tab", pd.DataFrame({"a": [1]}), "The table.")._ipython_display_()
    picture, caption, table = displayed
    data, metadata = (found["image/png"] for found in picture._repr_mimebundle_())
    assert metadata["alt"] == "A picture of nothing. Data: phantom." and data and caption.data == "The figure."
    assert table.data.startswith("The table.\n\n| a |")
    for name in ("fig", "tab"):
        assert files.read_json(opened.figures / f"{name}.json")["stamp"] == opened.stamp()
    opened.close("01/dataset.json", opened.figures / "fig.pdf")


def age(path: Path, seconds: float) -> None:
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


def test_closing_finds_absent_empty_and_old_files(opened):
    opened.close()
    opened.figure("fig", drawing(), "c")
    opened.table("tab", pd.DataFrame({"a": [1]}), "c")
    opened.close("01/dataset.json")
    with pytest.raises(AssertionError, match=r"04.headline\.json was not written"):
        opened.close("04/headline.json")
    for path in (opened.results / "01" / "dataset.json", opened.figures / "tab.md", opened.figures / "fig.png"):
        whole = path.read_bytes()
        path.write_bytes(b"")
        with pytest.raises(AssertionError, match=f"{re.escape(path.name)} was not written"):
            opened.close("01/dataset.json")
        path.write_bytes(whole)
        age(path, 60)
        with pytest.raises(AssertionError, match=f"{re.escape(path.name)} is older than this run"):
            opened.close("01/dataset.json")
        age(path, -60)
    opened.close("01/dataset.json")


def test_each_workspace_remembers_its_own(opened, tmp_path):
    opened.table("tab", pd.DataFrame({"a": [1]}), "c")
    other = workspace.open_workspace("smoke", results=str(tmp_path / "r"), figures=str(tmp_path / "f"))
    assert other == opened and other.published == [] and [path.name for path in opened.published] == ["tab.md"]
