"""The paper's two datasets (section "Construction of the dataset"): a store that holds each axial slice once, the
slices for pre-training, and the disc samples, each three indices into the store with a label and a place in the splits.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lhdlib import cache
from lhdlib import profile as profiles
from lhdlib.data import dicom, discs, overrides, own_labels, rsna
from lhdlib.data.labels import label_samples, note_labels, read_source, without_study
from lhdlib.data.splits import SPLITS, assign_split, pretrain_split
from lhdlib.data.store import check_space, fingerprint, write_store
from lhdlib.errors import UserError
from lhdlib.files import read_json, read_table, replacing, write_json, write_table

NOTES_NAME = "Radiologists Report.xlsx"
KINDS = {  #: why discs are set aside, in the words of an error
    "no note for this patient": "without a note",
    "several notes for this patient": "with several notes",
    "note undecided": "with an undecided note",
    "no label for this patient": "without a label",
    "no label for this disc": "without a label of their own",
    "label undecided": "with an undecided label",
    "to be reviewed": "flagged",
}
NO_IMAGE = ("not DICOM", "empty file", "no regular file", "DICOMDIR", "folder cannot be read", "folder too deep")
KEYS = ["study_key", "series", "sop_key"]  # columns of the slices: hashes of UIDs, empty without
SLICES = ["slice_1", "slice_2", "slice_3"]  # columns of the samples: places in the store, cranial to caudal


@dataclass(frozen=True)
class Part:
    """The samples of one part of a split, in the order of the dataset.

    Attributes
    ----------
    table : pd.DataFrame
        Their rows of `Dataset.samples`, numbered from 0.
    """

    table: pd.DataFrame

    @property
    def rows(self) -> np.ndarray:
        """Places of the three slices in the store, shape (n, 3)."""
        return self.table[SLICES].to_numpy()

    @property
    def labels(self) -> np.ndarray:
        """1 for abnormal, 0 for normal, shape (n,)."""
        return self.table.label.to_numpy(np.int8)

    @property
    def patients(self) -> np.ndarray:
        """Names of the patients, shape (n,)."""
        return self.table.patient.to_numpy()


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
        ``counts``, ``data_label``, ``fingerprint``, ``pretrain_fingerprint`` of what pre-training sees, ``labels``.
    """

    images: np.ndarray
    slices: pd.DataFrame
    samples: pd.DataFrame
    info: dict

    @property
    def told(self) -> str:
        """Whose words a sample's ``note`` has: "a note", or rows of one's own labels."""
        return f"a patient's rows of {own_labels.NAME}" if "labels" in self.info else "a note"

    def pretrain_rows(self, part: str) -> np.ndarray:
        """Rows of the store for pre-training: `part` is "train" or "validation"."""
        return np.flatnonzero(self.slices.pretrain == part)

    def patients(self) -> np.ndarray:
        """Patient of each slice as a number, shape (N,)."""
        return self.slices.patient.astype("category").cat.codes.to_numpy(np.int32)

    def part(self, part: str, split: str) -> Part:
        """Samples of "train", "validation" or "test" under a split of `SPLITS`."""
        return Part(self.samples[self.samples[f"split_{split}"] == part].reset_index(drop=True))


def build_dataset(archive: Path, folder: Path, profile: profiles.Profile, seed: int) -> Dataset:
    """Build both datasets from a folder of DICOM studies and notes, or load them when nothing has changed.

    Parameters
    ----------
    archive
        Folder tree with the studies, notes or labels (`find_labels`), and verdicts of a review.
    folder
        Gets ``store.npy``, ``dataset.json``, and the tables ``slices``, ``discs``, ``samples``, ``rejected`` and
        ``set_aside`` as CSV.
    seed
        Seed of the splits.

    Raises
    ------
    UserError
        For a missing, empty or changing folder, no axial T2 slices, missing or damaged labels or verdicts, too few
        samples, or too little disk.
    """
    source, beside, listed = find_labels(archive), inputs(archive), listing(archive)
    key = cache.content_key(profile.data, seed, listed, *beside.values(), cache.code_key(__name__))
    if _stored_key(folder) == key:
        return load_dataset(folder)

    notes, verdicts = read_source(source), overrides.read_overrides(source.with_name(overrides.NAME))
    slices, rejected = index_slices(archive, folder, profile.data)
    check_space(folder, len(slices) * profile.data.image_size**2 * 2)
    with replacing(folder / "store.npy") as store_path:  # whatever fails leaves the earlier dataset
        failed = write_store(archive, slices, store_path, profile.data)
        judged, unmatched = overrides.apply_overrides(discs.group_readable(slices, set(failed.path)), verdicts)
        rejected = pd.concat([rejected, failed], ignore_index=True)
        everyone = patients_of(slices, rejected)
        samples, aside = make_samples(judged, slices, notes, profile.data, everyone=everyone)
        found = _disc_table(judged, slices, notes, everyone)
        tables = {"slices": slices, "rejected": rejected, "set_aside": aside, "discs": found}
        with _explained(folder, tables):
            add_splits(slices, samples, failed, profile.data, seed)
        tables["samples"] = samples
        info = {"key": key, **describe(tables, store_path, profile.data), "verdicts": _verdicts(judged, unmatched)}
        if own_labels.is_own(source):
            info["data_label"] += f"; {own_labels.origin(notes)}"
            info["labels"] = own_labels.describe(notes, without_study(notes, everyone))
            print(own_labels.line(info["labels"]))
        if listing(archive) != listed:  # of half an archive a sound dataset could be made, silently
            raise UserError(f"{archive} changed while it was read: start again when it is complete and at rest.")
        write_tables(folder, tables)
    write_json(folder / "dataset.json", info)
    if len(verdicts):
        print(verdicts_line(info["verdicts"]))
    return load_dataset(folder)


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write a dataset's tables; the dataset there, if any, counts as incomplete until ``dataset.json`` is written."""
    (folder / "dataset.json").unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(folder / f"{name}.csv", table)


@contextlib.contextmanager
def _explained(folder: Path, tables: Mapping[str, pd.DataFrame]) -> Iterator[None]:
    """A build that stops for want of slices or samples leaves the tables that explain it, and says what became of all.

    The earlier dataset is given up: beside tables of another build it would be a mixture.
    """
    try:
        yield
    except UserError as error:
        write_tables(folder, tables)
        cause, advice = str(error).removesuffix(".").split(": ", 1)
        raise UserError(f"{cause} ({_fate(tables)}): see the tables in {folder}, {advice}.") from error


def _fate(tables: Mapping[str, pd.DataFrame]) -> str:
    """What became of the T2 discs or, before there are any, of the files."""
    if "discs" not in tables:
        return f"of {len(tables['rejected'])} files {_counted(tables['rejected'].reason, 'no file')}"
    t2 = tables["discs"][tables["discs"].weighting == "T2"]
    return f"of {len(t2)} T2 discs {_counted(tables['set_aside'].reason, 'none is set aside')}"


def _counted(reasons: pd.Series, none: str) -> str:
    """``36 without a note, 12 flagged: repeated slab``: the most frequent reasons first, with their usual detail."""
    table = reasons.astype(str).str.partition(": ").reindex(columns=[0, 2])
    counts = table[0].value_counts()
    parts = []
    for kind, number in counts.head(4).items():
        details = table[2][table[0] == kind].value_counts()
        detail = f": {details.index[0]}" if details.index[0] else ""
        parts.append(f"{number} {KINDS.get(kind, kind)}{detail}{', for example' if len(details) > 1 else ''}")
    left = counts.iloc[4:].sum()
    return ", ".join(parts + [f"{left} for other reasons"] * bool(left)) or none


def index_slices(archive: Path, folder: Path, settings: profiles.Data) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The usable axial slices of an archive, and its other files with their reasons.

    Raises
    ------
    UserError
        When no slice is axial and T2.
    """
    slices, rejected = dicom.index_tree(archive, progress=True, duplicates=settings.duplicates)
    with _explained(folder, {"slices": slices, "rejected": rejected}):
        if not (slices.weighting == "T2").any():
            raise UserError(
                f"No axial T2 slice was found among {len(slices) + len(rejected)} files in {archive}: "
                "name the folder that holds the patients' studies."
            )
    return slices.reset_index(drop=True), rejected


def patients_of(slices: pd.DataFrame, rejected: pd.DataFrame) -> set[str]:
    """All patients' folders of an index (`dicom.index_tree`), those without a usable slice too."""
    return {*slices.patient, *rejected.patient}


def make_samples(
    judged: pd.DataFrame,
    slices: pd.DataFrame,
    notes: pd.DataFrame,
    settings: profiles.Data,
    *,
    everyone: Iterable[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labelled samples of the discs as reviewed, and the T2 discs that give none.

    Returns
    -------
    samples : pd.DataFrame
        ``patient, study, level, part, label, note`` and `SLICES`.
    set_aside : pd.DataFrame
        ``patient, study, level, reason``.
    """
    excluded = judged.verdict == overrides.EXCLUDE
    samples = discs.disc_samples(judged, four_slices=settings.four_slices)
    samples, unlabelled = label_samples(samples, notes, judged=overrides.judged_labels(judged), everyone=everyone)
    dropped = judged.loc[excluded, ["patient", "study", "level"]].assign(reason=overrides.EXCLUDED)
    aside = pd.concat([discs.set_aside(judged[~excluded]), unlabelled, dropped], ignore_index=True)
    places = pd.Series(slices.index, slices.path)
    for position, column in enumerate(SLICES):
        samples[column] = places[[paths[position] for paths in samples.paths]].to_numpy()
    return samples.drop(columns="paths"), aside


def add_splits(
    slices: pd.DataFrame, samples: pd.DataFrame, failed: pd.DataFrame, settings: profiles.Data, seed: int
) -> None:
    """Add ``pretrain`` to the slices, and a column for each of `SPLITS` to the samples."""
    slices["pretrain"] = pretrain_split(slices, set(failed.path), settings.pretrain_validation, seed)
    for split in SPLITS:
        samples[f"split_{split}"] = assign_split(samples, settings, seed, split)


def describe(tables: Mapping[str, pd.DataFrame], store_path: Path, settings: profiles.Data) -> dict[str, Any]:
    """Counts, the data's label and fingerprints, for ``dataset.json``."""
    slices, samples = tables["slices"], tables["samples"]
    store = np.load(store_path, mmap_mode="r", allow_pickle=False)
    return {
        "counts": count(slices, samples, tables["rejected"], settings.split),
        "data_label": data_label(slices),
        "fingerprint": fingerprint(store, samples.drop(columns="note")),
        "pretrain_fingerprint": fingerprint(store, slices[["patient", "pretrain"]]),  # labels do not touch it
        "splits": {s: samples[f"split_{s}"].value_counts().to_dict() for s in SPLITS},
        "rejected": tables["rejected"].reason.str.split(":").str[0].value_counts().to_dict(),
        "set_aside": tables["set_aside"].reason.value_counts().to_dict(),
    }


def _verdicts(judged: pd.DataFrame, unmatched: pd.DataFrame) -> dict[str, Any]:
    names = list(map(" ".join, unmatched[overrides.KEY].to_numpy()))
    return {"applied": int((judged.verdict != "").sum()), "without a slab": names}


def load_dataset(folder: Path) -> Dataset:
    """Load a dataset that `build_dataset` wrote; the store is mapped, not read.

    Raises
    ------
    UserError
        When it is not there, damaged or of an earlier version.
    """
    info = read_json(folder / "dataset.json")
    text = ["patient", "path", "study", "note", *KEYS]  # a key of digits alone is no number
    slices = read_table(folder / "slices.csv", dtype=dict.fromkeys(text, str))
    samples = read_table(folder / "samples.csv", dtype=dict.fromkeys(text, str))
    if "sop_uid" in slices:
        raise UserError(f"{folder / 'slices.csv'} is of an earlier version, with other columns: run notebook 01 again.")
    try:
        images = np.load(folder / "store.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{folder / 'store.npy'} is damaged: delete {folder} and run notebook 01 again.") from error
    return Dataset(images, slices.fillna(dict.fromkeys(KEYS, "")), samples.fillna({"note": ""}), info)


def _disc_table(
    judged: pd.DataFrame, slices: pd.DataFrame, notes: pd.DataFrame, everyone: Iterable[str]
) -> pd.DataFrame:
    """``discs.csv``: all discs, with the note's label of the lumbar T2 ones."""
    noted = note_labels(judged, notes, everyone=everyone)[["label", "reason"]].where(judged.weighting == "T2", "")
    paths = judged.paths.map("//".join)  # nothing else has two slashes
    table = judged.assign(paths=paths, note_label=noted.label, note_reason=noted.reason)
    blocks = discs.block_remarks(judged.assign(flag=judged.found_flag), slices)
    remark = blocks.where(blocks != "", judged.slices.map(discs.sample_remark))
    return table.assign(remark=remark) if remark.any() else table  # the paper's slabs need none


def load_discs(folder: Path) -> pd.DataFrame:
    """The discs of `build_dataset` as `discs.group_discs` found them, before any verdict.

    Raises
    ------
    UserError
        When the table is not there, damaged or of an earlier version.
    """
    text = ["patient", "study", "weighting", "paths", "found_level", "found_flag"]
    table = read_table(folder / "discs.csv", dtype=dict.fromkeys(text, str))
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
        return read_json(folder / "dataset.json")["key"]
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
        f"doi:10.17632/s6bgczr8s2, or your own {own_labels.NAME}, into that folder."
    )


def inputs(archive: Path) -> dict[str, Path]:
    """Files other than images that decide the dataset, wherever they lie: notes or labels, verdicts, series."""
    source = find_labels(archive)
    found = {"labels" if own_labels.is_own(source) else "notes": source, "verdicts": source.with_name(overrides.NAME)}
    if tables := rsna.tables_folder(archive):
        found["series"] = tables / rsna.SERIES
    return {name: path for name, path in found.items() if path.is_file()}


def find_labels(archive: Path) -> Path:
    """The file that labels come from: ``labels.csv``, or else the workbook of notes (`find_notes`).

    The former lies in the archive's folder, beside the workbook, or beside the tables of a collection (`rsna`).

    Raises
    ------
    UserError
        When neither is there, or ``labels.csv`` in two places.
    """
    places, missing = [archive, rsna.tables_folder(archive)], None
    try:
        places.append(find_notes(archive).parent)
    except UserError as error:
        missing = error
    own = [folder / own_labels.NAME for folder in dict.fromkeys(filter(None, places))]
    own = [path for path in own if path.is_file()]
    if len(own) > 1:
        raise UserError(f"Labels lie in two places, {own[0]} and {own[1]}: move one of them away.")
    if missing and not own:
        raise missing
    return own[0] if own else find_notes(archive)


def listing(archive: Path) -> list[tuple[str, int, int]]:
    """Path, size and modification time of every file, in order; equal listings mean an unchanged archive."""

    def walk() -> Iterator[tuple[str, int, int]]:
        for place, folders, files in os.walk(archive):
            folders.sort()
            for name in sorted(files):
                file = os.path.join(place, name)
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    stat = os.stat(file, follow_symlinks=os.path.exists(file))  # a dangling link counts by itself
                    yield os.path.relpath(file, archive), stat.st_size, stat.st_mtime_ns

    return list(walk())


def count(slices: pd.DataFrame, samples: pd.DataFrame, rejected: pd.DataFrame, split: str) -> dict[str, int]:
    """Counts of this run under the names of `paper.COUNTS`."""
    parts = samples[f"split_{split}"].value_counts()
    readable = slices.pretrain != ""  # the others are among the rejected
    return {
        "patients": int(slices.patient.nunique()),
        "images": int(readable.sum()) + int((~rejected.reason.str.split(":").str[0].isin(NO_IMAGE)).sum()),
        "axial images": int(readable.sum()),
        "pre-training images": int((slices.pretrain == "train").sum()),
        "pre-training validation images": int((slices.pretrain == "validation").sum()),
        "disc samples": len(samples),
        "positive samples": int((samples.label == 1).sum()),
        "negative samples": int((samples.label == 0).sum()),
        "training samples": int(parts.get("train", 0)),
        "validation samples": int(parts.get("validation", 0)),
        "test samples": int(parts.get("test", 0)),
    }


def data_label(slices: pd.DataFrame) -> str:
    """The name of the data in every figure, by the headers' manufacturer: nobody may take a phantom for patients."""
    synthetic = slices.manufacturer.str.contains("phantom", case=False, na=False)
    if synthetic.all():
        return "phantom (synthetic images, no evidence about patients)"
    if synthetic.any():
        return "a mixture of phantom and scanner images (no evidence about patients)"
    return f"DICOM archive, {slices.patient.nunique()} patients"
