"""The slice store: each axial slice once, resampled, in one file that is mapped and never read whole."""

import hashlib
import mmap
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from lhdlib import files
from lhdlib import profile as profiles
from lhdlib.data import resampling
from lhdlib.data.parallel import SPAWN, in_order
from lhdlib.errors import UserError
from lhdlib.progress import progress_bar

SPARE = 2**28  # bytes that the disk must have beyond the slice store
PARALLEL_FROM = 600  # slices; below that, starting processes (0.4 s) costs more than two of them save


def fingerprint(store: np.ndarray, table: pd.DataFrame) -> str:
    """SHA-256 of the store's pixels and a table, 16 digits: equal for equal datasets."""
    digest = hashlib.sha256()
    for start in range(0, len(store), 256):
        digest.update(np.ascontiguousarray(store[start : start + 256]))
        if isinstance(store.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            store.base.madvise(mmap.MADV_DONTNEED)  # pages read from the disk must not fill the memory
    digest.update(table.to_csv(index=False).encode())
    return digest.hexdigest()[:16]


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin where the disk has less room than the store needs."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise UserError(
            f"The slice store needs {(needed + SPARE) / 2**30:.1f} GiB in {folder}, where {free / 2**30:.1f} GiB are "
            "free: make room there, or name a folder on another disk with --results DIR."
        )


def write_store(
    archive: Path, slices: pd.DataFrame, path: Path, settings: profiles.Data, *, workers: int | None = None
) -> pd.DataFrame:
    """Write the slice store: each process writes what it reads, and holds one slice at a time.

    Parameters
    ----------
    slices : pd.DataFrame
        The table of `dicom.index_tree`.
    path : Path
        Becomes an ``.npy`` file of shape (N, W, W), float16; unreadable slices are zero.
    workers : int, optional
        Processes; this one alone when 1, and the number of cores when None, unless there are too few slices.

    Returns
    -------
    pd.DataFrame
        ``path, patient, reason`` of the unreadable slices.
    """
    size = settings.image_size
    store = files.mapped(path, np.float16, (len(slices), size, size))
    start, step = store.offset, store.itemsize * size**2
    del store
    columns = zip(slices.path, slices.row_spacing, slices.column_spacing, strict=True)
    tasks = ((path, start + row * step, archive / p, spacing, settings) for row, (p, *spacing) in enumerate(columns))

    def unreadable(results: Iterator[str]) -> dict[int, str]:
        bar = progress_bar(results, total=len(slices), desc="slice store")
        return {row: reason for row, reason in enumerate(bar) if reason}

    if workers == 1 or (workers is None and len(slices) < PARALLEL_FROM):
        with threadpool_limits(1):
            reasons = unreadable(map(resampling.store_slice, tasks))
    else:
        with ProcessPoolExecutor(workers or os.cpu_count(), SPAWN, initializer=resampling.limit_to_one_thread) as pool:
            reasons = unreadable(in_order(pool, resampling.store_slice, tasks))
    failed = slices.iloc[list(reasons)][["path", "patient"]]
    return failed.assign(reason=list(reasons.values())).reset_index(drop=True)
