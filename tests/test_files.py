"""Whole files or none: atomic writes, results read, full disks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lhdlib import files
from lhdlib.errors import UserError


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
