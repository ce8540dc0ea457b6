"""Synthetic lumbar-spine studies, written as DICOM files in the archive's own layout, with truth beside them.

Tissue is painted, from the back to the front, as soft-edged implicit shapes into a pair of T1 and T2 maps, so both
weightings of a slice share one anatomy and differ in contrast and noise.
No number here describes a patient: a result on the phantom is no evidence about patients.
"""

import contextlib
import json
import os
import shutil
import uuid
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from lhdlib.errors import UserError
from lhdlib.phantom.anatomy import SPACING, THICKNESS, Patient, random_patient
from lhdlib.phantom.imaging import (
    Image,
    Texture,
    axial_planes,
    axial_signal,
    digitise,
    localizer_images,
    position_display,
    sagittal_images,
)
from lhdlib.phantom.notes import write_workbook
from lhdlib.phantom.reading import read_patient
from lhdlib.phantom.series import VERSION, Series, series_header, write_series
from lhdlib.phantom.truth import PackedMask, truth_rows, write_truth
from lhdlib.progress import progress_bar

MOST_PATIENTS = 9000  # with the empty rows of the notes, four digits are enough
BYTES_A_PATIENT, BYTES_BESIDE = 20e6, 50e6  # on the disk, generously
#: Patients of whom a person has to decide something, in a phantom of many: a hedged note, a slab above a gap.
LEFT_OPEN, MANY = ("note", "note", "slab"), 40
SCREEN = ("DERIVED", "SECONDARY", "POSDISP", "M", "ND")  # image type of a screen


# --- one patient ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """Results of writing a patient that go into the notes and the truth."""

    note: str
    discs: list[dict[str, Any]]  #: rows of the truth table
    masks: dict[str, PackedMask]  #: by SOPInstanceUID of the T2 axial slices


@dataclass(frozen=True)
class _Axial:
    """Axial images of a patient from the top, and their truth."""

    t1: list[Image]
    t2: list[Image]
    masks: list[list[np.ndarray]]  # of the T2 images, by slab


def write_patient(archive: Path, seed: int, number: int, left_open: str) -> Written:
    """Render one patient and write all series; the arguments decide every byte.

    Parameters
    ----------
    left_open
        One of `LEFT_OPEN`, or nothing: the note leaves a disc open, or no slab lies below the top one.
    """
    rng = np.random.default_rng([seed, number])
    patient = random_patient(rng, number)
    if left_open == "slab":
        patient = replace(patient, slabs=patient.slabs[:1] + patient.slabs[2:])
    texture = Texture(rng, (patient.rows, patient.columns))
    study, time = _random_study(rng)
    first = int(rng.choice([4, 5, 6], p=[0.75, 0.2, 0.05]))  # number of the first axial series
    axial = _axial_images(rng, patient, texture)
    right = 6  # sagittal slices to the right of the midline
    sagittal = sagittal_images(rng, patient, texture, (np.arange(rng.integers(11, 16)) - right) * SPACING)

    t2 = Series(f"T2_TSE_TRA_384_{first:04d}", "t2_tse_tra_384", first, "T2", THICKNESS)
    t1 = Series(f"T1_TSE_TRA_{first + 1:04d}", "t1_tse_tra", first + 1, "T1", THICKNESS)
    series = [
        (Series("LOCALIZER_0001", "localizer", 1, "T1", 8), localizer_images(rng, patient, texture)),
        (Series("T2_TSE_SAG_384_0002", "t2_tse_sag_384", 2, "T2", THICKNESS), sagittal),
        (t2, axial.t2),
        (t1, axial.t1),
    ]
    if rng.random() < 0.4:
        name = f"[{first}] t2_tse_tra_384"
        folder = f"POSDISP_{name.upper().replace(' ', '_')}_5001"
        screen = Series(folder, f"PosDisp: {name}", 5001, "T2", THICKNESS, SCREEN)
        series.append((screen, [position_display(sagittal[right], [plane for plane, _ in axial.t2])]))
    files = {}
    for one, images in series:
        again = str(rng.choice(["", "file", "image"], p=[0.9, 0.05, 0.05])) if one in (t1, t2) else ""
        place = archive / "01_MRI_Data" / f"{number:04d}" / study / one.folder
        stem = f"{one.folder[:11]}_{number:04d}"
        files[one] = write_series(place, series_header(seed, number, one, time), stem, images, rng, repeat=again)
    reading = read_patient(seed, patient, hedged=left_open == "note")
    masks = [mask for slab in axial.masks for mask in slab]
    return Written(
        note=reading.note,
        discs=truth_rows(patient, reading, axial.masks),
        masks={uid: PackedMask.of(masks[i]) for uid, i in files[t2]},
    )


def _random_study(rng: np.random.Generator) -> tuple[str, str]:
    """Folder of a study, and its StudyTime."""
    day = f"{rng.integers(2015, 2017)}{rng.integers(1, 13):02d}{rng.integers(1, 28):02d}"
    time = f"{rng.integers(8, 19):02d}{rng.integers(60):02d}{rng.integers(60):02d}"
    part = f"{rng.integers(1000):03d}000"
    kind = "LSS" if rng.random() < 0.85 else "CLINICAL_LIBRARIES"
    return f"L-SPINE_{kind}_{day}_{time}_{part}", f"{time}.{part}"


def _axial_images(rng: np.random.Generator, patient: Patient, texture: Texture) -> _Axial:
    """Images of all slabs in both weightings; now and then a slab has no T1."""
    without_t1 = int(rng.integers(len(patient.slabs))) if rng.random() < 0.15 else None
    axial = _Axial([], [], [])
    for index, slab in enumerate(patient.slabs):
        axial.masks.append([])
        for plane in axial_planes(patient, slab):
            (t1, t2), mask = axial_signal(patient, texture, slab, plane)
            axial.masks[-1].append(mask)
            axial.t2.append((plane, digitise(rng, t2, patient)))
            if index != without_t1:
                axial.t1.append((plane, digitise(rng, t1, patient)))
    return axial


# --- the whole archive ----------------------------------------------------------------------------------------------


def number_patients(patients: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the patients with studies, and of those who only have an empty row in the notes."""
    rng = np.random.default_rng([seed, 0])
    total = patients + max(1, patients // 12)
    empty = np.sort(rng.choice(np.arange(2, total + 1), total - patients, replace=False))
    return [n for n in range(1, total + 1) if n not in empty], [int(n) for n in empty]


def open_questions(numbers: list[int], seed: int) -> dict[int, str]:
    """Number of a patient -> what is left open of it (`LEFT_OPEN`); empty where there are not `MANY` patients."""
    if len(numbers) < MANY:
        return {}
    chosen = np.random.default_rng([seed, 0, 1]).choice(numbers, len(LEFT_OPEN), replace=False)
    return dict(zip(chosen.tolist(), LEFT_OPEN, strict=True))


def write_phantom(
    folder: str | Path, patients: int, *, seed: int = 0, workers: int | None = None, progress: bool = False
) -> Path:
    """Write an archive of synthetic patients, with its truth apart from it.

    Parameters
    ----------
    folder
        Gets ``archive/`` (`01_MRI_Data/` and the notes), ``truth/`` and ``phantom.json``; whole or not at all.
        A phantom of the same parameters is used as it is, another one replaced.
    patients
        Number of those with studies, 1 to 9000.
    workers
        Processes; the bytes are the same with any number.

    Returns
    -------
    Path
        ``folder/archive``, what the pipeline reads.

    Raises
    ------
    UserError
        When `folder` holds something else, or the disk is too small.
    """
    if not 1 <= patients <= MOST_PATIENTS:
        raise ValueError(f"The number of phantom patients has to be from 1 to {MOST_PATIENTS}, not {patients}.")
    folder = Path(folder).absolute()
    parameters = {"patients": patients, "seed": seed, "version": VERSION}
    previous = _manifest(folder)
    if previous == parameters:
        return folder / "archive"
    if previous is None and folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty and not a phantom: name another folder, or empty this one.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    need, free = patients * BYTES_A_PATIENT + BYTES_BESIDE, shutil.disk_usage(folder.parent).free
    if free < need:
        sizes = f"{free / 1e9:.1f} GB free and the phantom needs {need / 1e9:.1f} GB"
        raise UserError(f"{folder.parent} has {sizes}: free some space, or name another folder.")
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        _write_all(temporary, patients, seed, workers or _usable_cores(), progress)
        (temporary / "phantom.json").write_text(json.dumps(parameters) + "\n", encoding="utf-8")
        if _manifest(folder) != parameters:  # another run may have written the same meanwhile, and read it now
            if folder.exists():
                shutil.rmtree(folder)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder / "archive"


def _manifest(folder: Path) -> dict[str, int] | None:
    """Parameters of the phantom in a folder; None when it holds none."""
    try:
        manifest = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and set(manifest) == {"patients", "seed", "version"} else None


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_all(folder: Path, patients: int, seed: int, workers: int, progress: bool) -> None:
    archive = folder / "archive"
    archive.mkdir(parents=True)
    numbers, empty = number_patients(patients, seed)
    bar = {"total": patients, "desc": "phantom", "unit": "patient", "disable": not progress}
    questions = open_questions(numbers, seed)
    asked = [questions.get(number, "") for number in numbers]
    workers = min(workers, patients)
    with ProcessPoolExecutor(workers, get_context("spawn")) if workers > 1 else contextlib.nullcontext() as pool:
        written = (pool.map if pool else map)(write_patient, repeat(archive), repeat(seed), numbers, asked)
        results = list(progress_bar(written, **bar))
    notes = dict(zip(numbers, (result.note for result in results), strict=True))
    write_workbook(archive / "Radiologists Report.xlsx", {**notes, **dict.fromkeys(empty, "")})
    discs = [row for result in results for row in result.discs]
    write_truth(folder, discs, {uid: mask for result in results for uid, mask in result.masks.items()})
