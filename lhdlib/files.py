"""Whole files or none: atomic writes, and results read with an error that says what to do."""

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import psutil

from lhdlib.errors import UserError


@contextlib.contextmanager
def disk_space(path: Path) -> Iterator[None]:
    """While the body writes `path`: a full disk, here or in a kernel that hands on its traceback, is one sentence.

    Raises
    ------
    UserError
        When the disk is full.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not any(f"[Errno {number}]" in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
            raise
        raise UserError(f"The disk is full, {path} was not written: free some space and start again.") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` and rename it on success, so that `path` is always whole.

    Raises
    ------
    UserError
        When the disk is full.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}")  # keeps the suffix, which Keras and NumPy look at
    try:
        with disk_space(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def mapped(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A new ``.npy`` file of zeros, mapped to be written; its whole size is taken from the disk now.

    A disk that fills up under a map kills the process (SIGBUS); here it is an error, and found out before the work.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written (`replacing`); what a living one writes stays."""
    for path in folder.rglob(".*-*"):
        writer = re.match(r"\.(\d+)-", path.name)
        if writer and path.is_file() and not psutil.pid_exists(int(writer[1])):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text atomically, with the same bytes on every system."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a result file.

    Raises
    ------
    UserError
        When it is absent or damaged: an earlier notebook has to run first.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: run the earlier notebooks first (./run_all.sh).") from error


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write CSV atomically."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """Read a CSV result; see `read_json` for the error."""
    try:
        return pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: run the earlier notebooks first (./run_all.sh).") from error


def save_arrays(path: Path, /, **arrays: np.ndarray) -> None:
    """Write arrays by name as ``.npz``, atomically."""
    with replacing(path) as temporary:
        np.savez(temporary, **arrays)
