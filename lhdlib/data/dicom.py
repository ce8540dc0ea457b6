"""A folder tree of DICOM files -> a table of usable axial slices, and a table of what was set aside and why.

Files are read in parallel, each by `dicom_file`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from lhdlib.data.dicom_file.pixels import pixel_hash, read_pixels
from lhdlib.data.dicom_file.rules import COLUMNS, SHARED_UID, patient_of, read_described, read_plane
from lhdlib.data.parallel import SPAWN, in_order
from lhdlib.data.rsna import series_descriptions
from lhdlib.data.studies import name_studies, with_patients
from lhdlib.errors import UserError
from lhdlib.progress import progress_bar

__all__ = ["find_duplicates", "index_tree", "patient_of", "read_pixels", "read_plane"]

MAX_DEPTH = 32  # folders
PARALLEL_FROM = 4000  # files; below that, starting processes (0.3 s) costs more than two of them save
REJECTED = ["path", "patient", "plane", "reason"]
UNSHARED = {"path", "acquisition_time", "sop_key"}  # texts of one row each; the others are held once for many
TYPES = {name: object if kind is str else kind for name, kind in COLUMNS.items()}
#: Records that become a piece of a table together. Memory: the paths of all files, about 1 KB per slice, and half as
#: much while copies are looked for.
TABLE_CHUNK = 4096


def index_tree(
    folder: str | Path, *, workers: int | None = None, progress: bool = False, duplicates: str = "removed"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Index every file below a folder, whatever its name.

    Parameters
    ----------
    workers
        Processes; the result does not depend on their number.
    duplicates : {"removed", "kept"}
        What becomes of images stored twice (profile, ``data.duplicates``).

    Returns
    -------
    slices : pd.DataFrame
        The usable axial T1 and T2 slices, sorted by path, with the columns of `dicom_file.rules.COLUMNS`.
    rejected : pd.DataFrame
        ``path, patient, plane, reason`` of every other file; duplicates are among them.

    Raises
    ------
    UserError
        When there is no such folder, or no file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: name the folder that holds the patients' studies.")
    paths, unread = _walk(folder)
    if not paths + unread:
        raise UserError(f"{folder} holds no file: name the folder that holds the patients' studies.")
    tasks = _described(folder, paths)
    slices, rejected = _tables(_map(partial(read_described, str(folder)), tasks, workers, "reading headers", progress))
    twins = find_duplicates(
        slices if duplicates == "removed" else slices[:0], folder, workers=workers, progress=progress
    )
    slices = slices[~slices.path.isin(twins.path)].reset_index(drop=True)
    shared = slices.sop_key.duplicated(keep=False) & (slices.sop_key != "")
    slices["remark"] = slices.remark.mask(shared, (slices.remark + f"; {SHARED_UID}").str.removeprefix("; "))
    slices = name_studies(slices)
    unopened = pd.DataFrame(unread, columns=REJECTED)
    rejected = with_patients(pd.concat([rejected, unopened, twins], ignore_index=True), slices)
    rejected = rejected.sort_values("path", ignore_index=True)
    return slices, rejected


def _described(folder: Path, paths: list[str]) -> list[tuple[str, str]]:
    """Paths with the description of their series, where a table beside the images has one."""
    known = series_descriptions(folder)
    if not known:
        return [(path, "") for path in paths]
    root = folder.resolve().as_posix()
    return [(path, known.get("/".join(f"{root}/{path}".split("/")[-3:-1]), "")) for path in paths]


def find_duplicates(
    slices: pd.DataFrame, folder: str | Path, *, workers: int | None = None, progress: bool = False
) -> pd.DataFrame:
    """Images stored twice; the first path whose pixels are readable is kept.

    Stored twice means: one SOPInstanceUID and the same pixels or, of one patient, one place; or one patient, one place
    and the same pixels under another UID. Images that share only a UID were numbered wrongly and all stay.

    Parameters
    ----------
    slices
        From `index_tree`, with paths relative to `folder`.

    Returns
    -------
    pd.DataFrame
        ``path, patient, plane, reason`` of the copies, sorted by path.
    """
    decimals = dict.fromkeys("xyz", 1) | {f"{vector}_{axis}": 3 for vector in ("row", "column") for axis in "xyz"}
    rounded = slices[list(decimals)].astype(float).round(decimals)  # programs that copy round
    place = rounded.assign(weighting=slices.weighting).groupby([*decimals, "weighting"]).ngroup()
    uid = slices.sop_key.where(slices.sop_key != "", slices.path)
    crowded = uid.duplicated(keep=False) | pd.DataFrame({"p": slices.patient, "at": place}).duplicated(keep=False)
    found = slices.assign(place=place, uid=uid)[crowded]  # no other slice has its pixels read
    tasks = [str(Path(folder) / path) for path in found.path]
    found = found.assign(pixels=list(_map(pixel_hash, tasks, workers, "comparing copies", progress)))
    found = found.sort_values(["pixels", "path"], key=lambda c: c == "" if c.name == "pixels" else c)  # readable first
    kept: dict[Any, str] = {}
    copies = []
    row: Any
    for row in found.itertuples():
        keys: list[tuple] = [(row.patient, row.uid, row.place)]
        if row.pixels:
            keys += [(row.uid, row.pixels), (row.patient, row.place, row.pixels)]
        original = next((kept[key] for key in keys if key in kept), None)
        if original:
            copies.append((row.path, row.patient, row.plane, f"duplicate: of {original}"))
        for key in keys:
            kept.setdefault(key, original or row.path)
    return pd.DataFrame(copies, columns=REJECTED).sort_values("path", ignore_index=True)


def _walk(folder: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Paths of all files below a folder, relative to it, and records of what cannot be looked into."""
    paths: list[str] = []
    records = []

    def relative(path: str) -> str:
        return os.path.relpath(path, folder).replace(os.sep, "/")

    def aside(path: str, reason: str) -> None:
        shown = path.encode("utf-8", "backslashreplace").decode("utf-8")
        records.append({"path": shown, "patient": patient_of(shown), "plane": "", "reason": reason})

    def unreadable(error: OSError) -> None:
        aside(relative(error.filename), "folder cannot be read")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        here = "" if place == str(folder) else relative(place) + "/"
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                aside(here + name, "link to a folder: not followed")
        if here.count("/") > MAX_DEPTH:
            for name in folders:
                aside(here + name, "folder too deep")
            folders.clear()
        for name in names:
            path = here + name
            if path.encode("utf-8", "ignore").decode() == path:
                paths.append(path)
            else:  # no table can hold it
                aside(path, "name is not Unicode")
    return sorted(paths), records


def _map(function: Callable, tasks: list, workers: int | None, title: str, progress: bool) -> Iterator:
    bar = {"total": len(tasks), "desc": title, "disable": not progress}
    if len(tasks) < PARALLEL_FROM or workers == 1:
        yield from progress_bar(map(function, tasks), **bar)
        return
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=SPAWN) as pool:
        yield from progress_bar(in_order(pool, function, tasks), **bar)


def _tables(records: Iterator[dict[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Usable slices, and the others with their reasons, in the order of `records`, few of which are held at a time."""
    usable, others = [pd.DataFrame(columns=list(TYPES)).astype(TYPES)], [pd.DataFrame(columns=REJECTED)]
    while chunk := list(islice(records, TABLE_CHUNK)):
        for record in chunk:
            for key, value in record.items():
                if isinstance(value, str) and key not in UNSHARED:
                    record[key] = sys.intern(value)
        usable.append(pd.DataFrame([r for r in chunk if "reason" not in r], columns=list(TYPES)).astype(TYPES))
        others.append(pd.DataFrame([r for r in chunk if "reason" in r], columns=REJECTED))
    return pd.concat(usable, ignore_index=True), pd.concat(others, ignore_index=True)
