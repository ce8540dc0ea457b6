"""The paper's two datasets (section "Construction of the dataset"): a store that holds each axial slice once, the
slices for pre-training, and the disc samples, each three indices into the store with a label and a place in the splits.
"""

import hashlib
import mmap
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from lhdlib import profile as profiles
from lhdlib import workspace
from lhdlib.data import dicom, discs, overrides, reports, resampling
from lhdlib.data.parallel import in_order
from lhdlib.errors import UserError
from lhdlib.progress import progress_bar

NOTES_NAME = "Radiologists Report.xlsx"
SPLITS = ("paper", "patient")
SPARE = 2**28  # bytes that the disk must have beyond the slice store
PARALLEL_FROM = 600  # slices; below that, starting processes (0.4 s) costs more than two of them save


@dataclass(frozen=True)
class Dataset:
    """Both datasets of a run.

    Attributes
    ----------
    images : np.memmap, shape (N, W, W), float16
        The slice store, about [0, 2], 1 being a slice's 99.5th percentile.
    slices : pd.DataFrame, N rows
        ``path, patient, study, weighting`` and geometry; ``pretrain``: "train" or "validation".
    samples : pd.DataFrame
        ``patient, level, part, label, note``, ``slice_1 .. slice_3`` (rows of the store, cranial to caudal), and
        ``split_paper``, ``split_patient``: "train", "validation", "test" (or "unused", see `assign_split`).
    info : dict
        ``counts``, ``data_label``, ``fingerprint``, and ``pretrain_fingerprint`` of what pre-training sees.
    """

    images: np.ndarray
    slices: pd.DataFrame
    samples: pd.DataFrame
    info: dict

    def pretrain_rows(self, part: str) -> np.ndarray:
        """Rows of the store for pre-training: `part` is "train" or "validation"."""
        return np.flatnonzero(self.slices.pretrain == part)

    def patients(self) -> np.ndarray:
        """Patient of each slice as a number, shape (N,)."""
        return self.slices.patient.astype("category").cat.codes.to_numpy(np.int32)

    def subset(self, part: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Slice rows (n, 3) and labels (n,) of "train", "validation" or "test" under a split of `SPLITS`."""
        chosen = self.samples[self.samples[f"split_{split}"] == part]
        return chosen[["slice_1", "slice_2", "slice_3"]].to_numpy(), chosen.label.to_numpy(np.int8)


def build_dataset(archive: Path, folder: Path, profile: profiles.Profile, seed: int) -> Dataset:
    """Build both datasets from a folder of DICOM studies and notes, or load them when nothing has changed.

    Parameters
    ----------
    archive : Path
        Folder tree with the studies and, anywhere in it, the notes workbook and the verdicts of a review.
    folder : Path
        Gets ``store.npy``, ``dataset.json``, and the tables ``slices``, ``discs``, ``samples``, ``rejected`` and
        ``set_aside`` as CSV.
    profile : Profile
    seed : int
        Of the splits.

    Raises
    ------
    UserError
        For a missing or empty folder, no axial T2 slices, missing notes, damaged verdicts, too few samples, or too
        little disk.
    """
    notes_path = find_notes(archive)
    verdicts_path = notes_path.with_name(overrides.NAME)
    inputs = [notes_path] + [verdicts_path] * verdicts_path.is_file()
    key = workspace.content_key(profile.data, seed, listing(archive), *inputs, workspace.code_key(__name__))
    if _stored_key(folder) == key:
        return load_dataset(folder)

    notes, verdicts = reports.read_notes(notes_path), overrides.read_overrides(verdicts_path)
    slices, rejected = dicom.index_tree(archive, progress=True, duplicates=profile.data.duplicates)
    if not (len(slices) and (slices.weighting == "T2").any()):
        raise UserError(
            f"No axial T2 slice was found among {len(slices) + len(rejected)} files in {archive}: "
            "name the folder that holds the patients' studies."
        )
    slices = slices.reset_index(drop=True)
    _check_space(folder, len(slices) * profile.data.image_size**2 * 2)
    with workspace.replacing(folder / "store.npy") as store_path:  # whatever fails leaves the earlier dataset
        failed = write_store(archive, slices, store_path, profile.data)
        store = np.load(store_path, mmap_mode="r", allow_pickle=False)
        rejected = pd.concat([rejected, failed], ignore_index=True)
        slices["pretrain"] = pretrain_split(slices, set(failed.path), profile.data.pretrain_validation, seed)

        found = discs.group_discs(slices[~slices.path.isin(failed.path)])
        judged, unmatched = overrides.apply_overrides(found, verdicts)
        labels = overrides.judged_labels(judged)
        samples, unlabelled = label_samples(discs.disc_samples(judged, profile.data.four_slices), notes, labels)
        excluded = judged.verdict == overrides.EXCLUDE
        dropped = judged.loc[excluded, ["patient", "study", "level"]].assign(reason=overrides.EXCLUDED)
        aside = pd.concat([discs.set_aside(judged[~excluded]), unlabelled, dropped], ignore_index=True)
        index = pd.Series(slices.index, slices.path)
        for position in range(3):
            samples[f"slice_{position + 1}"] = index[[paths[position] for paths in samples.paths]].to_numpy()
        samples = samples.drop(columns="paths")
        for split in SPLITS:
            samples[f"split_{split}"] = assign_split(samples, profile.data, seed, split)

        info = {
            "key": key,
            "counts": count(slices, samples, len(slices) + len(rejected) - len(failed), profile.data.split),
            "data_label": data_label(slices),
            "fingerprint": fingerprint(store, samples.drop(columns="note")),
            "pretrain_fingerprint": fingerprint(store, slices[["patient", "pretrain"]]),  # labels do not touch it
            "splits": {s: samples[f"split_{s}"].value_counts().to_dict() for s in SPLITS},
            "rejected": rejected.reason.str.split(":").str[0].value_counts().to_dict(),
            "set_aside": aside.reason.value_counts().to_dict(),
            "verdicts": {
                "applied": int((judged.verdict != "").sum()),
                "without a slab": list(map(" ".join, unmatched[overrides.KEY].to_numpy())),
            },
        }
        tables = {"slices": slices, "samples": samples, "rejected": rejected, "set_aside": aside}
        tables["discs"] = _disc_table(judged, notes)
        (folder / "dataset.json").unlink(missing_ok=True)  # its presence says that the rest is whole
        for name, table in tables.items():
            workspace.write_table(folder / f"{name}.csv", table)
    workspace.write_json(folder / "dataset.json", info)
    if len(verdicts):
        print(verdicts_line(info["verdicts"]))
    return load_dataset(folder)


def load_dataset(folder: Path) -> Dataset:
    """Load what `build_dataset` wrote; the store is mapped, not read.

    Raises
    ------
    UserError
        When it is not there or damaged.
    """
    info = workspace.read_json(folder / "dataset.json")
    text = {"patient": str, "path": str, "study": str, "note": str}
    slices = workspace.read_table(folder / "slices.csv", dtype=text)
    samples = workspace.read_table(folder / "samples.csv", dtype=text)
    try:
        images = np.load(folder / "store.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{folder / 'store.npy'} is damaged: delete {folder} and run notebook 01 again.") from error
    return Dataset(images, slices, samples.fillna({"note": ""}), info)


def _disc_table(judged: pd.DataFrame, notes: pd.DataFrame) -> pd.DataFrame:
    """``discs.csv``: all discs, with what the patient's note says of the lumbar T2 ones."""
    noted = note_labels(judged, notes)[["label", "reason"]].where(judged.weighting == "T2", "")
    paths = judged.paths.map("//".join)  # nothing else has two slashes
    return judged.assign(paths=paths, note_label=noted.label, note_reason=noted.reason)


def load_discs(folder: Path) -> pd.DataFrame:
    """The discs of `build_dataset` as `discs.group_discs` found them, before any verdict.

    Raises
    ------
    UserError
        When the table is not there, damaged or of an earlier version.
    """
    text = ["patient", "study", "weighting", "paths", "found_level", "found_flag"]
    table = workspace.read_table(folder / "discs.csv", dtype=dict.fromkeys(text, str))
    try:
        table = table.fillna(dict.fromkeys(text, "")).assign(level=table.found_level, flag=table.found_flag.fillna(""))
        return table.assign(paths=table.paths.str.split("//").map(tuple))[discs.COLUMNS]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'discs.csv'} has other columns: run notebook 01 again.") from error


def verdicts_line(verdicts: Mapping[str, Any]) -> str:
    """One sentence about the review's verdicts, from ``info["verdicts"]``."""
    lost = verdicts["without a slab"]
    if not lost:
        return f"All {verdicts['applied']} verdicts of the review were applied."
    return (
        f"{verdicts['applied']} verdicts of the review were applied; {len(lost)} match no slab of this archive, "
        f"such as {lost[0]!r}: its slices have changed or are not here, so review it again."
    )


def _stored_key(folder: Path) -> str | None:
    """Key of the dataset in `folder`; None when it is absent or its description is damaged: it is built anew."""
    try:
        return workspace.read_json(folder / "dataset.json")["key"]
    except (UserError, KeyError, TypeError):
        return None


def find_notes(archive: Path) -> Path:
    """The notes workbook in `archive` (at most two folders deep) or beside it.

    Raises
    ------
    UserError
        When the folder or the workbook is missing.
    """
    if not archive.is_dir():
        raise UserError(f"There is no folder {archive}: name the archive's folder with --data DIR.")
    for place in (archive, *sorted(p for p in archive.iterdir() if p.is_dir()), archive.parent):
        if (place / NOTES_NAME).is_file():
            return place / NOTES_NAME
    raise UserError(
        f"The radiologists' notes, {NOTES_NAME!r}, are not in {archive}: put the workbook of "
        "doi:10.17632/s6bgczr8s2 into that folder."
    )


def listing(archive: Path) -> list[tuple[str, int, int]]:
    """Path, size and modification time of every file, in order: tells whether the archive has changed."""

    def walk() -> Iterator[tuple[str, int, int]]:
        for place, folders, files in os.walk(archive):
            folders.sort()
            for name in sorted(files):
                file = os.path.join(place, name)
                stat = os.stat(file, follow_symlinks=os.path.exists(file))  # a dangling link counts by itself
                yield os.path.relpath(file, archive), stat.st_size, stat.st_mtime_ns

    return list(walk())


def note_labels(places: pd.DataFrame, notes: pd.DataFrame) -> pd.DataFrame:
    """What the notes say of discs.

    Parameters
    ----------
    places : pd.DataFrame
        ``patient, level``.
    notes : pd.DataFrame
        Of `reports.read_notes`.

    Returns
    -------
    pd.DataFrame, rows and index of `places`
        ``label`` (True or False; NaN where unknown), ``note``, and ``reason``: empty, or why the label of a lumbar disc
        is not known for certain.
    """
    notes = notes[notes.note != ""].drop_duplicates()
    several = notes.patient[notes.patient.duplicated()]  # which of them is about these images, no one can tell
    notes = notes[~notes.patient.isin(several)]
    labels = reports.label_table(notes)
    merged = places[["patient", "level"]].merge(labels, on=["patient", "level"], how="left")
    merged = merged.merge(notes, on="patient", how="left").set_index(places.index)
    reason = pd.Series("", merged.index)
    reason[merged.label.isna()] = "no note for this patient"
    reason[merged.patient.isin(several)] = "several notes for this patient"
    undecided = merged.flag.fillna("") != ""
    reason[undecided] = "note undecided: " + merged.flag[undecided].astype(str)
    reason = reason.where(merged.level.isin(reports.LUMBAR_LEVELS), "")
    return merged[["label"]].assign(note=merged.note.fillna(""), reason=reason)


def label_samples(
    samples: pd.DataFrame, notes: pd.DataFrame, judged: Mapping[str, int] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give each sample the label that a reviewer gave it, else that its patient's note gives its level.

    Parameters
    ----------
    samples : pd.DataFrame
        Of `discs.disc_samples`.
    notes : pd.DataFrame
        Of `reports.read_notes`.
    judged : mapping, optional
        Of `overrides.judged_labels`.

    Returns
    -------
    samples : pd.DataFrame
        With ``label`` (0 or 1) and ``note``.
    set_aside : pd.DataFrame
        ``patient, study, level, reason`` of discs without a usable note or verdict.
    """
    noted = note_labels(samples, notes)
    verdict = samples.paths.str[0].map(judged or {})
    reason = noted.reason.where(verdict.isna(), "")
    label = noted.label.where(verdict.isna(), verdict)
    aside = samples.assign(reason=reason)[reason != ""][["patient", "study", "level", "reason"]].drop_duplicates()
    kept = samples.assign(label=label, note=noted.note)[reason == ""].astype({"label": int}).reset_index(drop=True)
    return kept, aside


def pretrain_split(slices: pd.DataFrame, failed: set[str], held_out: int, seed: int) -> np.ndarray:
    """ "train" or "validation" for each slice: `held_out` at random (512 in the paper); "" for unreadable ones."""
    part = np.where(slices.path.isin(failed), "", "train").astype(object)
    usable = np.flatnonzero(part == "train")
    if len(usable) <= held_out:
        raise UserError(f"{len(usable)} axial slices are too few to hold out {held_out}: add studies.")
    part[np.random.default_rng([seed, 10]).choice(usable, held_out, replace=False)] = "validation"
    return part


def assign_split(samples: pd.DataFrame, settings: profiles.Data, seed: int, how: str) -> np.ndarray:
    """Test and validation sets balanced by label, the rest for training.

    Parameters
    ----------
    samples : pd.DataFrame
        With ``patient`` and ``label``.
    settings : profiles.Data
        ``test_per_class`` and ``validation_per_class``.
    seed : int
    how : {"paper", "patient"}
        "paper": samples at random, as published: two samples of one disc, or two discs of one patient, may fall on
        both sides. "patient": whole patients; what a test or validation patient has beyond the balanced number is
        "unused".

    Returns
    -------
    np.ndarray of str, shape (n,)

    Raises
    ------
    UserError
        When a class has too few samples.
    """
    rng = np.random.default_rng([seed, 11])
    wanted = {"test": settings.test_per_class, "validation": settings.validation_per_class}
    part = np.full(len(samples), "train", object)
    labels = samples.label.to_numpy()
    units = samples.patient.to_numpy() if how == "patient" else np.arange(len(samples))
    order = rng.permutation(np.unique(units))
    members = pd.Series(np.arange(len(samples))).groupby(units).apply(np.array)
    position = 0
    for name, per_class in wanted.items():
        taken: dict[int, list[int]] = {0: [], 1: []}
        while min(map(len, taken.values())) < per_class:
            if position == len(order):
                raise _too_few(samples, wanted)
            rows = members[order[position]]
            position += 1
            full = all(len(taken[label]) >= per_class for label in np.unique(labels[rows]))
            if full:
                continue  # this unit adds nothing to the set: it stays in training
            for row in rows:
                if len(taken[labels[row]]) < per_class:
                    taken[labels[row]].append(row)
                    part[row] = name
                else:
                    part[row] = "unused"
    if not {0, 1} <= set(labels[part == "train"]):
        raise _too_few(samples, wanted)
    return part.astype(str)


def _too_few(samples: pd.DataFrame, wanted: dict[str, int]) -> UserError:
    return UserError(
        f"{(samples.label == 1).sum()} positive and {(samples.label == 0).sum()} negative samples of "
        f"{samples.patient.nunique()} patients are too few for {sum(wanted.values())} of each outside training: add "
        "studies, or lower test_per_class in the profile."
    )


def count(slices: pd.DataFrame, samples: pd.DataFrame, files: int, split: str) -> dict[str, int]:
    """This run's counts under the names of `paper.COUNTS`."""
    parts = samples[f"split_{split}"].value_counts()
    return {
        "patients": int(slices.patient.nunique()),
        "images": files,
        "axial images": int((slices.pretrain != "").sum()),
        "pre-training images": int((slices.pretrain == "train").sum()),
        "pre-training validation images": int((slices.pretrain == "validation").sum()),
        "disc samples": len(samples),
        "positive samples": int((samples.label == 1).sum()),
        "negative samples": int((samples.label == 0).sum()),
        **{
            f"{n} samples": int(parts.get(k, 0)) for n, k in [("training", "train"), ("validation",) * 2, ("test",) * 2]
        },
    }


def data_label(slices: pd.DataFrame) -> str:
    """What every figure says of its data, from the headers' manufacturer: nobody may take a phantom for patients."""
    synthetic = slices.manufacturer.str.contains("phantom", case=False, na=False)
    if synthetic.all():
        return "phantom (synthetic images, no evidence about patients)"
    if synthetic.any():
        return "a mixture of phantom and scanner images (no evidence about patients)"
    return f"DICOM archive, {slices.patient.nunique()} patients"


def fingerprint(store: np.ndarray, table: pd.DataFrame) -> str:
    """SHA-256 of the store's pixels and a table, 16 digits: equal for equal datasets."""
    digest = hashlib.sha256()
    for start in range(0, len(store), 256):
        digest.update(np.ascontiguousarray(store[start : start + 256]))
        if isinstance(store.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            store.base.madvise(mmap.MADV_DONTNEED)  # pages read from the disk must not fill the memory
    digest.update(table.to_csv(index=False).encode())
    return digest.hexdigest()[:16]


def _check_space(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise UserError(
            f"The slice store needs {(needed + SPARE) / 2**30:.1f} GiB in {folder}, where {free / 2**30:.1f} GiB are "
            "free: make room there, or name a folder on another disk with --results DIR."
        )


def write_store(
    archive: Path, slices: pd.DataFrame, path: Path, settings: profiles.Data, workers: int | None = None
) -> pd.DataFrame:
    """Write the slice store: each process writes what it reads, and holds one slice at a time.

    Parameters
    ----------
    archive : Path
    slices : pd.DataFrame
        Of `dicom.index_tree`.
    path : Path
        Becomes an ``.npy`` file of shape (N, W, W), float16; unreadable slices are zero.
    settings : profiles.Data
    workers : int, optional
        Processes; this one alone when 1, and the number of cores when None, unless there are too few slices.

    Returns
    -------
    pd.DataFrame
        ``path, patient, reason`` of the unreadable slices.
    """
    size = settings.image_size
    store = workspace.mapped(path, np.float16, (len(slices), size, size))
    start, step = store.offset, store.itemsize * size**2
    del store
    columns = zip(slices.path, slices.row_spacing, slices.column_spacing, strict=True)
    tasks = ((path, start + row * step, archive / p, spacing, settings) for row, (p, *spacing) in enumerate(columns))

    def unread(results: Iterator[str]) -> dict[int, str]:
        bar = progress_bar(results, total=len(slices), desc="slice store")
        return {row: reason for row, reason in enumerate(bar) if reason}

    if workers == 1 or (workers is None and len(slices) < PARALLEL_FROM):
        with threadpool_limits(1):
            reasons = unread(map(resampling.write_slice, tasks))
    else:
        with ProcessPoolExecutor(
            workers or os.cpu_count(), get_context("spawn"), initializer=resampling.one_thread
        ) as pool:
            reasons = unread(in_order(pool, resampling.write_slice, tasks))
    failed = slices.iloc[list(reasons)][["path", "patient"]]
    return failed.assign(reason=list(reasons.values())).reset_index(drop=True)
