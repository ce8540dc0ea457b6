"""Atomic writes, content keys, cached arrays, stored models, and the folders of a run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lhdlib import cache, files, profile
from lhdlib.errors import UserError
from lhdlib.figures import publish
from lhdlib.run import workspace


def test_replacing_renames_on_success(tmp_path):
    path = tmp_path / "new" / "result.txt"
    with files.replacing(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".txt"
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_replacing_leaves_the_old_file_when_writing_fails(tmp_path, error):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(error), files.replacing(path) as temporary:
        temporary.write_text("ha")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_and_tables_survive_a_failed_write(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": [1, 2.5, "µ"]})
    assert files.read_json(tmp_path / "a.json") == {"b": [1, 2.5, "µ"]}
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"b": object()})
    assert files.read_json(tmp_path / "a.json") == {"b": [1, 2.5, "µ"]}
    table = pd.DataFrame({"x": [1, 2], "y": ["a", "b, c"]})
    files.write_table(tmp_path / "a.csv", table)
    assert files.read_table(tmp_path / "a.csv").equals(table)


@pytest.mark.parametrize("content", [None, b"", b'{"a": ', b"\xff\xfe\x00"])
def test_an_unreadable_result_is_named(tmp_path, content):
    path = tmp_path / "dataset.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"dataset\.json cannot be read: run"):
        files.read_json(path)


@pytest.mark.parametrize("content", [None, b""])
def test_an_unreadable_table_is_named(tmp_path, content):
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"history\.csv cannot be read: run"):
        files.read_table(path)


def test_content_key_tells_apart_what_differs(tmp_path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_bytes(b"x = 1\n")
    two.write_bytes(b"x = 2\n")
    demo = profile.load("demo")
    settings = [demo, demo.replace(pretrain={"w": 0.5}), demo.pretrain, demo.finetune]
    parts = [(), (1,), (1.5,), ("1",), (None,), ([1, 2],), (1, 2), ([1], 2), ("a", "b"), ("ab",), ("a,b",), (True,)]
    parts += [({"a": 1},), ({"a": 2},), ({"b": 1},), (one,), (two,), (one, two), (two, one), (str(one),)]
    parts += [(s,) for s in settings]
    keys = [cache.content_key(*p) for p in parts]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


def test_content_key_depends_on_contents_alone(tmp_path):
    one, copy = tmp_path / "one.py", tmp_path / "copy.py"
    one.write_text("x = 1\n")
    copy.write_text("x = 1\n")
    os.utime(copy, (0, 0))
    assert cache.content_key(one) == cache.content_key(copy)
    assert cache.content_key({"a": 1, "b": 2}) == cache.content_key({"b": 2, "a": 1})
    demo = profile.load("demo")
    assert cache.content_key(demo.views) == cache.content_key(profile.load("demo").views)
    before = cache.content_key(one)
    one.write_text("x = 1 \n")
    assert cache.content_key(one) != before


def test_every_profile_value_changes_its_key():
    demo = profile.load("demo")
    changed = [
        demo.replace(**{section: {key: value}})
        for section, key, value in [
            ("views", "blur_sigma", (0.02, 0.44)),
            ("encoder", "blocks", (2, 2, 2, 3)),
            ("pretrain", "same_patient_negatives", False),
            ("finetune", "w", 1e-12),
            ("data", "split", "patient"),
        ]
    ]
    keys = {cache.content_key(p) for p in [demo, *changed]}
    assert len(keys) == 6


def test_arrays_survive_a_failed_write(tmp_path):
    path, arrays = tmp_path / "07" / "heat.npz", {"path": np.arange(3), "maps": np.eye(2, dtype=np.float32)}
    files.save_arrays(path, **arrays)
    with pytest.raises(ValueError, match="planted"):
        files.save_arrays(path, maps=Unwritable())
    assert list(path.parent.iterdir()) == [path]
    with np.load(path, allow_pickle=False) as stored:
        assert {name: stored[name].tolist() for name in stored} == {k: v.tolist() for k, v in arrays.items()}
        assert stored["maps"].dtype == np.float32


class Unwritable:
    """Fails once NumPy has opened the file."""

    def __array__(self, *_, **__):
        raise ValueError("planted")


def test_cached_computes_once_per_key(tmp_path):
    path, calls = tmp_path / "part" / "features.npz", []

    def compute():
        calls.append(1)
        return {"x": np.arange(6.0).reshape(2, 3) * len(calls), "labels": np.array([0, 1], np.int8)}

    first = cache.cached(path, "one", compute)
    again = cache.cached(path, "one", compute)
    assert len(calls) == 1 and first.keys() == again.keys() == {"x", "labels"}
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert first[name].dtype == again[name].dtype
    other = cache.cached(path, "two", compute)
    assert len(calls) == 2 and other["x"].max() == 10
    cache.cached(path, "one", compute)
    assert len(calls) == 3  # the file holds one key


def test_a_failed_computation_leaves_the_cache(tmp_path):
    path = tmp_path / "features.npz"
    cache.cached(path, "one", lambda: {"x": np.ones(3)})
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        cache.cached(path, "two", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert path.read_bytes() == before
    assert cache.cached(path, "one", lambda: pytest.fail("computed again"))["x"].sum() == 3


@pytest.mark.parametrize("damage", ["objects", "cut"])
def test_cached_arrays_are_never_pickled_and_made_anew_when_damaged(tmp_path, damage):
    path = tmp_path / "features.npz"
    if damage == "objects":
        np.savez(path, key=np.array("one"), x=np.array([{"a": 1}], dtype=object))
    else:
        cache.cached(path, "one", lambda: {"x": np.zeros(100)})
        path.write_bytes(path.read_bytes()[:300])
    found = cache.cached(path, "one", lambda: {"x": np.arange(3)})
    np.testing.assert_array_equal(found["x"], np.arange(3))
    np.testing.assert_array_equal(cache.cached(path, "one", lambda: pytest.fail("kept"))["x"], np.arange(3))


@pytest.fixture
def stored(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    path = tmp_path / "models" / "encoder.keras"
    cache.save_model(path, model, "right")
    return path, model


def test_a_model_is_loaded_under_its_key_alone(stored):
    path, model = stored
    assert sorted(p.name for p in path.parent.iterdir()) == ["encoder.keras", "encoder.key"]
    for loaded in (cache.load_model(path, "right"), cache.load_model(path)):
        for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert cache.load_model(path, "wrong") is None
    assert cache.load_model(path.with_name("absent.keras"), "right") is None
    path.with_suffix(".key").unlink()
    assert cache.load_model(path, "right") is None


def test_an_interrupted_save_is_not_loaded(stored, monkeypatch):
    """The key is written last: weights without a key, or an old key beside new weights, never count."""
    path, _ = stored

    class Interrupted:
        def save(self, target):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.save_model(path, Interrupted(), "new")
    assert cache.load_model(path, "new") is None
    assert cache.load_model(path, "right") is None
    assert cache.load_model(path) is not None  # the old file is whole


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "flipped"])
def test_a_damaged_model_is_named(stored, kind):
    path, _ = stored
    content = path.read_bytes()
    place = content.index(b"config.json") + 60
    damaged = {
        "empty": b"",
        "text": b"not a model",
        "truncated": content[: len(content) // 2],
        "flipped": content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :],
    }
    path.write_bytes(damaged[kind])
    with pytest.raises(UserError, match=r"encoder\.keras is not a model of this project or is damaged: delete it"):
        cache.load_model(path, "right")


def test_a_model_with_code_inside_is_refused(tmp_path):
    """Safe mode: a lambda in a stored model is not run."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2)])
    cache.save_model(tmp_path / "model.keras", model, "key")
    with pytest.raises(UserError, match="not a model of this project"):
        cache.load_model(tmp_path / "model.keras", "key")


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("kind", ["text", "arrays"])
def test_a_full_disk_is_one_sentence_and_leaves_the_earlier_file(tmp_path, kind):
    path = tmp_path / "result.npz"
    path.write_bytes(b"earlier")
    with pytest.raises(UserError, match=r"^The disk is full, .*result\.npz was not written: free some space"):
        with files.replacing(path) as temporary:
            temporary.symlink_to("/dev/full")  # every write fails with ENOSPC
            if kind == "text":
                temporary.write_text("new")
            else:
                np.savez(temporary.open("wb"), new=np.zeros(10_000))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"result.npz": b"earlier"}


def test_a_full_disk_is_told_from_other_failures_also_in_a_kernels_traceback(tmp_path):
    said = {
        "ValueError\nOSError: [Errno 28] No space left on device": UserError,
        "[Errno 2] no [Errno 280]": ValueError,
    }
    for text, kind in said.items():
        with pytest.raises(kind), files.disk_space(tmp_path):
            raise ValueError(text)
    with pytest.raises(UserError, match="^inner"), files.disk_space(tmp_path):
        raise UserError("inner [Errno 28]")  # says already which file


def test_a_mapped_array_is_zero_and_owns_its_space(tmp_path):
    array = files.mapped(tmp_path / "a.npy", np.float16, (300, 1000))
    if hasattr(os, "posix_fallocate"):
        assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes  # not sparse
    assert not array.any()
    array[7] = 1
    array.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy").sum(1), np.where(np.arange(300) == 7, 1000, 0))


def test_what_a_killed_process_left_is_swept_and_a_living_ones_is_not(tmp_path):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    names = [f".{done.pid}-a.npz", f".{os.getpid()}-b.npz", "c-1.npz", ".d-e", ".12x-f", ".lock"]
    for name in names:
        (tmp_path / "03").mkdir(exist_ok=True)
        (tmp_path / "03" / name).write_text("half")
    files.sweep(tmp_path)
    assert sorted(path.name for path in (tmp_path / "03").iterdir()) == sorted(names[1:])
    files.sweep(tmp_path / "nowhere")


def test_other_failures_keep_their_name(tmp_path):
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "a") as temporary:
        temporary.read_text()
