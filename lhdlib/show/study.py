"""The command ``lhdlib study``: which study a folder holds, whose it is, and whether a run can read it.

All that can be wrong with the input is found here, before `reader` loads TensorFlow and the model.
"""

import argparse
import contextlib
import datetime
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom

from lhdlib import cache, files
from lhdlib import profile as profiles
from lhdlib.data import dicom
from lhdlib.errors import UserError
from lhdlib.progress import native_errors_to
from lhdlib.run import stale, workspace
from lhdlib.show import model_file

NEEDED = ("01", "03", "04")  # notebooks whose results are read
UNNUMBERED = "without a number"
NAMED = 5  # of several studies, in the sentence that refuses them
SHORT = 8  # digits of a study's key
REASONS = {  # of files set aside, for one and for several
    "localizer": ("localizer", "localizers"),
    "position display": ("position display", "position displays"),
    "not DICOM": ("file that is not DICOM", "files that are not DICOM"),
    "sagittal plane": ("sagittal image", "sagittal images"),
    "coronal plane": ("coronal image", "coronal images"),
    "oblique plane": ("oblique image", "oblique images"),
    "other body region": ("image of another body region", "images of another body region"),
    "derived or secondary image": ("derived image", "derived images"),
    "inversion recovery": ("inversion recovery image", "inversion recovery images"),
    "weighting neither T1 nor T2": ("image neither T1 nor T2", "images neither T1 nor T2"),
    "duplicate": ("copy", "copies"),
}


@dataclass(frozen=True)
class FoundStudy:
    """The one study that a folder holds."""

    root: Path  #: the paths in the tables are relative to it
    slices: pd.DataFrame  #: of the study (`dicom.index_tree`)
    rejected: pd.DataFrame  #: all that was set aside below `root`
    patient: str  #: the archive's number; other names may be a person's and stay unsaid
    folder: str  #: name of the study's own folder, or of `root` where that lies deeper
    date: str  #: such as "2016-03-09"; empty where the header has none
    key: str  #: of the StudyInstanceUID, from which nobody can be found; of the slices where there is none

    @property
    def identity(self) -> dict[str, str]:
        """Folder, date and key, as page, table and saved views carry them."""
        return {"folder": self.folder, "study date": self.date or "not stated", "study": self.key}

    def __str__(self) -> str:
        return f"Study {self.key}, folder {self.folder}, date {self.date or 'not stated'}"


@dataclass(frozen=True)
class FinishedRun:
    """A finished run whose model may read studies."""

    folder: Path  #: or the model's file
    profile: profiles.Profile
    stamp: dict[str, Any]
    arrays: dict[str, np.ndarray] | None = None  #: of a model's file


def finished_run(folder: str | Path) -> FinishedRun:
    """Check that a run can read studies, without loading its model.

    Parameters
    ----------
    folder : path
        ``results/<profile>``, or the file of `model_file.write_model`.

    Raises
    ------
    UserError
        When the run has not finished, its stamp is damaged, or the profile's values have changed since.
    """
    folder = Path(folder)
    if folder.is_file():
        model = model_file.read_model(folder)
        return FinishedRun(folder, model.profile, model.stamp, model.arrays)
    if not (folder / "stamp.json").is_file():
        raise UserError(f"{folder} holds no finished run: make one with ./run_all.sh, or name another with --run DIR.")
    try:
        stamp = dict(files.read_json(folder / "stamp.json"))
        profile, _ = profiles.load(stamp["profile"]), stamp["data"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'stamp.json'} is damaged: delete it and run ./run_all.sh again.") from error
    stamp.pop("parts", None)
    for number in NEEDED:
        settings = stale.made_with(folder, number)
        if not settings:
            raise UserError(f"Notebook {number} of the run in {folder} has not finished: run ./run_all.sh first.")
        if settings[stale.PROFILE_VALUES] != cache.content_key(profile):
            raise UserError(f"Profile {profile.name!r} has changed since the run in {folder}: run ./run_all.sh again.")
    return FinishedRun(folder, profile, stamp)


def find_study(folder: str | Path, *, key: str = "", duplicates: str = "removed", progress: bool = False) -> FoundStudy:
    """Find the one study with axial T2 slices in a folder.

    Parameters
    ----------
    folder : path
        A study, or whatever holds one: a patient, or folders above.
    key : str
        Of several studies: how the wanted one's key begins.
    duplicates, progress
        As in `dicom.index_tree`.

    Raises
    ------
    UserError
        When there is no such folder, no axial T2 slice in it, or more than one study.
    """
    root = Path(folder).resolve()
    if root.is_file():
        raise UserError(f"{folder} is a file: name the folder that holds the study.")
    slices, rejected = dicom.index_tree(root, progress=progress, duplicates=duplicates)
    t2 = slices[slices.weighting == "T2"]
    if t2.empty:
        raise UserError(
            f"{folder} holds no axial T2 slice, but {_contents(slices, rejected)}: name the folder of a lumbar study."
        )
    studies = [(_key(root, one), one) for _, one in t2.groupby(["patient", "study"])]
    chosen = [one for short, one in studies if short.startswith(key)]
    if len(chosen) != 1:
        raise UserError(_which(folder, studies, key, len(chosen)))
    t2 = chosen[0]
    own = slices[(slices.patient == t2.patient.iloc[0]) & (slices.study == t2.study.iloc[0])].reset_index(drop=True)
    number = dicom.patient_of("/".join([*root.parts[-2:], t2.path.iloc[0]]))
    return FoundStudy(
        root=root,
        slices=own,
        rejected=rejected,
        patient=number if re.fullmatch(r"\d{4}", number) else UNNUMBERED,
        folder=_folder_name(root, t2.path),
        date=_date(_header(root / t2.path.iloc[0])),
        key=_key(root, t2),
    )


def counted(reason: str, count: int) -> str:
    """Number of files set aside for one reason, in words."""
    words = REASONS.get(reason, (f"file set aside ({reason})", f"files set aside ({reason})"))
    return f"{count} {words[count != 1]}"


def _contents(slices: pd.DataFrame, rejected: pd.DataFrame) -> str:
    """What a folder holds, the most frequent first: "20 axial T1 slices, 4 localizers"."""
    t1 = [f"{len(slices)} axial T1 slice{'s' * (len(slices) != 1)}"] if len(slices) else []
    reasons = rejected.reason.str.split(":").str[0].value_counts()
    return ", ".join(t1 + [counted(reason, count) for reason, count in reasons.items()])


def _which(folder: str | Path, studies: list[tuple[str, pd.DataFrame]], key: str, chosen: int) -> str:
    """The sentence that asks which of several studies is meant."""
    places = [one.path.iloc[0].rsplit("/", 2)[0] if one.path.iloc[0].count("/") > 1 else "." for _, one in studies]
    names = [f"{place!r} with key {short}" for place, (short, _) in zip(places, studies, strict=True)]
    more = f" and {len(names) - NAMED} more" * (len(names) > NAMED)
    said = f"{', '.join(names[:NAMED])}{more}"
    if key and not chosen:
        return f"{folder} holds no study whose key begins with {key!r}: choose one of {said}."
    which = f"{chosen} studies whose keys begin with {key!r}" if key else f"{len(names)} studies"
    return f"{folder} holds {which}: name the folder of one of them, or its key with --study ({said})."


def _key(root: Path, slices: pd.DataFrame) -> str:
    """Short hash of a study's UID; of its slices where it has none."""
    uid = str(_header(root / slices.path.iloc[0]).get("StudyInstanceUID") or "")
    return (hashlib.sha256(uid.encode()).hexdigest() if uid else cache.content_key([*slices.sop_key]))[:SHORT]


def _header(path: Path) -> pydicom.Dataset:
    """UID and date of a slice's study, of which the index keeps nothing that could name a person."""
    wanted = ["StudyInstanceUID", "StudyDate"]
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted, force=True)


def _folder_name(root: Path, paths: pd.Series) -> str:
    """Name of the folder above the series' folders; of `root` where that lies deeper or there are several."""
    names = {path.split("/")[-3] for path in paths if path.count("/") > 1}
    name = names.pop() if len(names) == 1 else root.name
    return "".join(letter if letter.isprintable() else "_" for letter in name)


def _date(header: pydicom.Dataset) -> str:
    """StudyDate of a header; empty where it holds no date, for it may hold anything."""
    parts = re.fullmatch(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)", str(header.get("StudyDate") or "").strip())
    with contextlib.suppress(ValueError):
        return datetime.date(*map(int, parts.groups())).isoformat() if parts else ""
    return ""


# The command


def study_folder(parent: Path, found: FoundStudy) -> Path:
    """Folder for what is written about a study: no other study has it."""
    name = re.sub(r"[^\w.-]+", "_", found.folder).strip("._")[:80] or "study"
    return parent / f"{name}_{found.key}"


def default_parent(run: str | Path) -> Path:
    """Where a run keeps what is written about studies; a model's file has a folder beside it."""
    run = Path(run)
    return run.with_name(f"{run.stem}_studies") if run.is_file() else run / "studies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``lhdlib study``."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="a DICOM study, or a folder above it")
    default = workspace.results_dir("demo")
    parser.add_argument(
        "--run", metavar="DIR", type=Path, default=default, help="of a finished run (results/demo), or a model's file"
    )
    parser.add_argument("--study", metavar="KEY", default="", help="which of several studies in DIR")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="gets a folder with page and table; without it, RUN/studies"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``lhdlib study``: read the study, write page and table, and print the table."""
    finished = finished_run(args.run)
    found = find_study(args.folder, key=args.study, duplicates=finished.profile.data.duplicates, progress=True)
    folder = study_folder(args.out or default_parent(args.run), found)
    if not next(place for place in (folder, *folder.parents) if place.exists()).is_dir():
        raise UserError(f"{folder} cannot be made: name another folder with --out DIR.")
    print(f"{found}. Loading the model.", flush=True)
    with open(os.devnull, "wb") as nowhere, native_errors_to(nowhere.fileno()):
        from lhdlib.show import reader  # TensorFlow takes seconds: not before the input is known to be right

        study = reader.read_study(found, reader.load_model(finished))
    written = reader.save_study(study, folder)
    print(reader.summary(study))
    print(*written, sep="\n")
    return 0
