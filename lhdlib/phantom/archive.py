"""Synthetic lumbar-spine studies, written as DICOM files in the archive's own layout, with truth beside them.

A patient is a chain of discs with local frames (u: left, v: posterior, w: cranial; the origin is the middle of the
posterior disc margin; millimetres). Tissue is painted, from the back to the front, as soft-edged implicit shapes into a
pair of T1 and T2 maps, so both weightings of a slice share one anatomy and differ in contrast and noise.
No number here describes a patient: a result on the phantom is no evidence about patients.
"""

import json
import os
import shutil
import uuid
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from lhdlib.errors import UserError
from lhdlib.phantom.anatomy import SPACING, THICKNESS, Patient, draw_patient, sample_patient
from lhdlib.phantom.imaging import (
    Plane,
    Texture,
    axial_image,
    axial_planes,
    coarse_image,
    digitise,
    localizer,
    position_display,
    sagittal_planes,
)
from lhdlib.phantom.notes import write_note, write_notes
from lhdlib.phantom.truth import truth_row
from lhdlib.progress import progress_bar

VERSION = 1  #: goes up whenever the same seed gives other bytes
PREFIX = "1.2.826.0.1.3680043.8.498."


# --- files ----------------------------------------------------------------------------------------------------------


def _uid(*parts: Any) -> str:
    return generate_uid(prefix=PREFIX, entropy_srcs=["lhdlib phantom", str(VERSION), *map(str, parts)])


@dataclass(frozen=True)
class _Series:
    """What all images of a series share."""

    folder: str
    description: str
    number: int
    weighting: str
    thickness: float
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "ND", "NORM")


def _header(seed: int, patient: Patient, series: _Series, time: str) -> FileDataset:
    """DICOM header of a series, to be completed for each image."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PREFIX + "1"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = list(series.image_type)
    ds.SOPClassUID = MRImageStorage
    ds.StudyDate, ds.StudyTime = "", time
    ds.AccessionNumber = ""
    ds.Modality = "MR"
    ds.Manufacturer = "lhdlib phantom (synthetic)"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "l-spine^lss"
    ds.SeriesDescription = series.description
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "", "", "", ""
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "SK", "", "2D"
    ds.SliceThickness = series.thickness
    spread = patient.number % 7
    repetition, echo = (480 + 20 * spread, 11) if series.weighting == "T1" else (3500 + 60 * spread, 100 + spread)
    ds.RepetitionTime, ds.EchoTime = repetition, echo
    ds.MagneticFieldStrength = 1.5
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = _uid(seed, patient.number)
    ds.SeriesInstanceUID = _uid(seed, patient.number, series.number)
    ds.StudyID = "1"
    ds.SeriesNumber = series.number
    ds.FrameOfReferenceUID = _uid(seed, patient.number, series.number, "frame")
    ds.ImageComments = "synthetic phantom, not a patient"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    return ds


def _decimal(value: float) -> str:
    """Shortest decimal string that fits DICOM's 16 characters."""
    return next(text for text in (f"{value:.{n}g}" for n in range(12, 4, -1)) if len(text) <= 16)


def _orientation(plane: Plane, rng: np.random.Generator) -> list[str]:
    """Orientation with the rounding noise that scanners leave where a zero belongs."""
    values = np.concatenate([plane.right, plane.down])
    return [_decimal(v if abs(v) > 1e-9 else rng.normal(0, 1e-11)) for v in values]


def _complete(ds: FileDataset, plane: Plane, pixels: np.ndarray, number: int, uid: str, orientation: list[str]) -> None:
    """Fill in what differs from image to image."""
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [_decimal(v) for v in plane.position]
    ds.ImageOrientationPatient = orientation
    ds.SliceLocation = _decimal(float(np.cross(plane.right, plane.down) @ plane.position))
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelSpacing = [_decimal(plane.pixel)] * 2
    low, high = np.percentile(pixels[::4, ::4], (1, 99.5))
    ds.WindowCenter, ds.WindowWidth = int((low + high) / 2), max(int(high - low), 1)
    ds.PixelData = pixels.tobytes()


def _write_series(
    folder: Path,
    ds: FileDataset,
    stem: str,
    images: list[tuple[Plane, np.ndarray]],
    rng: np.random.Generator,
    repeat: str = "",
) -> list[tuple[str, int]]:
    """Write a series from the top; returns UID and index in `images` of each file.

    One image may be there twice: ``repeat="file"`` under the same UID, ``repeat="image"`` under a new one.
    """
    folder.mkdir(parents=True)
    number = f"{ds.SeriesInstanceUID}"
    order = [(_uid(number, i), i) for i in range(len(images))]
    if repeat:
        uid, i = order[int(rng.integers(len(order)))]
        order.append((uid if repeat == "file" else _uid(number, "again"), i))
    orientations: dict[bytes, list[str]] = {}
    for file_number, (uid, i) in enumerate(order, 1):
        plane, pixels = images[i]
        key = np.concatenate([plane.right, plane.down]).tobytes()
        if key not in orientations:
            orientations[key] = _orientation(plane, rng)
        _complete(ds, plane, pixels, i + 1, uid, orientations[key])
        ds.save_as(folder / f"{stem}_{file_number:03d}.ima", enforce_file_format=True)
    return order


def _write_patient(task: tuple[str, int, int]) -> dict[str, Any]:
    """Render and write one patient; returns rows of the truth table, and masks packed to bits by UID."""
    archive, seed, number = task
    rng = np.random.default_rng([seed, number])
    patient = draw_patient(rng, number)
    texture = Texture(rng, (320, patient.columns))
    day = f"{rng.integers(2015, 2017)}{rng.integers(1, 13):02d}{rng.integers(1, 28):02d}"
    time, part = (
        f"{rng.integers(8, 19):02d}{rng.integers(60):02d}{rng.integers(60):02d}",
        f"{rng.integers(1000):03d}000",
    )
    kind = "LSS" if rng.random() < 0.85 else "CLINICAL_LIBRARIES"
    study = Path(archive) / "01_MRI_Data" / f"{number:04d}" / f"L-SPINE_{kind}_{day}_{time}_{part}"
    first = int(rng.choice([4, 5, 6], p=[0.75, 0.2, 0.05]))
    without_t1 = int(rng.integers(len(patient.slabs))) if rng.random() < 0.15 else None

    axial: dict[str, list[tuple[Plane, np.ndarray]]] = {"T1": [], "T2": []}
    masks, truth = [], []
    for index, slab in enumerate(patient.slabs):
        for plane in axial_planes(patient, slab):
            signal, mask = axial_image(patient, texture, slab, plane)
            masks.append(mask)
            axial["T2"].append((plane, digitise(rng, signal[1], patient)))
            if index != without_t1:
                axial["T1"].append((plane, digitise(rng, signal[0], patient)))
        truth.append(truth_row(patient, slab, masks))

    sides = (np.arange(rng.integers(11, 16)) - 6) * SPACING
    planes = sagittal_planes(patient, sides, 0.78125, 384)
    sagittal = [(plane, digitise(rng, coarse_image(patient, texture, plane, 2, 1), patient)) for plane in planes]
    screen = ("DERIVED", "SECONDARY", "POSDISP", "M", "ND")
    series = {
        "localizer": (_Series("LOCALIZER_0001", "localizer", 1, "T1", 8), localizer(rng, patient, texture)),
        "sagittal": (_Series("T2_TSE_SAG_384_0002", "t2_tse_sag_384", 2, "T2", THICKNESS), sagittal),
        "T2": (_Series(f"T2_TSE_TRA_384_{first:04d}", "t2_tse_tra_384", first, "T2", THICKNESS), axial["T2"]),
        "T1": (_Series(f"T1_TSE_TRA_{first + 1:04d}", "t1_tse_tra", first + 1, "T1", THICKNESS), axial["T1"]),
    }
    if rng.random() < 0.4:
        name = f"[{first}] t2_tse_tra_384"
        folder = f"POSDISP_{name.upper().replace(' ', '_')}_5001"
        series["screen"] = (
            _Series(folder, f"PosDisp: {name}", 5001, "T2", THICKNESS, screen),
            [position_display(sagittal[6], [plane for plane, _ in axial["T2"]])],
        )
    written = {}
    for key, (shared, images) in series.items():
        repeat = str(rng.choice(["", "file", "image"], p=[0.9, 0.05, 0.05])) if key in axial else ""
        header = _header(seed, patient, shared, f"{time}.{part}")
        stem = f"{shared.folder[:11]}_{number:04d}"
        written[key] = _write_series(study / shared.folder, header, stem, images, rng, repeat)
    return {
        "discs": truth,
        "masks": {uid: np.packbits(masks[i]) for uid, i in written["T2"]},
        "shape": (320, patient.columns),
    }


# --- the whole archive ----------------------------------------------------------------------------------------------


def patient_numbers(patients: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the patients with studies, and of those who only have an empty row in the notes."""
    rng = np.random.default_rng([seed, 0])
    total = patients + max(1, patients // 12)
    empty = np.sort(rng.choice(np.arange(2, total + 1), total - patients, replace=False))
    return [n for n in range(1, total + 1) if n not in empty], [int(n) for n in empty]


def write_phantom(
    folder: str | Path, patients: int, seed: int = 0, workers: int | None = None, progress: bool = False
) -> Path:
    """Write an archive of synthetic patients, with its truth apart from it.

    Parameters
    ----------
    folder : path
        Gets ``archive/`` (`01_MRI_Data/` and the notes), ``truth/`` and ``phantom.json``; whole or not at all.
        A phantom written with the same parameters is used as it is, one with others is replaced.
    patients : int
        Number of patients with studies, 1 to 9000.
    seed : int
        The same seed writes the same bytes, whatever the number of workers.
    workers : int, optional
        Processes; all usable cores by default.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        ``folder/archive``, what the pipeline reads.

    Raises
    ------
    UserError
        When `folder` holds something else, or the disk is too small.
    """
    if not 1 <= patients <= 9000:
        raise ValueError(f"The number of phantom patients has to be from 1 to 9000, not {patients}.")
    folder = Path(folder).absolute()
    parameters = {"patients": patients, "seed": seed, "version": VERSION}
    previous = _manifest(folder)
    if previous == parameters:
        return folder / "archive"
    if previous is None and folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty and not a phantom: name another folder, or empty this one.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    need, free = patients * 20e6 + 50e6, shutil.disk_usage(folder.parent).free
    if free < need:
        sizes = f"{free / 1e9:.1f} GB free and the phantom needs {need / 1e9:.1f} GB"
        raise UserError(f"{folder.parent} has {sizes}: free some space, or name another folder.")
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        _write_all(temporary, patients, seed, workers, progress)
        (temporary / "phantom.json").write_text(json.dumps(parameters) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder / "archive"


def _manifest(folder: Path) -> dict[str, int] | None:
    """Parameters of the phantom in a folder; None when it holds none."""
    try:
        found = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and set(found) == {"patients", "seed", "version"} else None


def _write_all(folder: Path, patients: int, seed: int, workers: int | None, progress: bool) -> None:
    archive, truth = folder / "archive", folder / "truth"
    archive.mkdir(parents=True)
    truth.mkdir()
    numbers, empty = patient_numbers(patients, seed)
    tasks = [(str(archive), seed, number) for number in numbers]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(workers or usable, patients)
    bar = progress_bar(total=patients, desc="phantom", unit="patient", disable=not progress)
    results = []
    if workers == 1:
        for task in tasks:
            results.append(_write_patient(task))
            bar.update()
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for result in pool.map(_write_patient, tasks):
                results.append(result)
                bar.update()
    bar.close()

    notes = dict.fromkeys(empty, "")
    for number in numbers:
        patient = sample_patient(seed, number)
        notes[number] = write_note(
            np.random.default_rng([seed, number, 1]), [patient.discs[s.disc] for s in patient.slabs]
        )
    write_notes(archive / "Radiologists Report.xlsx", notes)
    pd.DataFrame([row for result in results for row in result["discs"]]).to_csv(truth / "discs.csv", index=False)
    uids = [uid for result in results for uid in result["masks"]]
    shapes = [result["shape"] for result in results for _ in result["masks"]]
    bits = [bits for result in results for bits in result["masks"].values()]
    stops = np.cumsum([len(b) for b in bits])
    np.savez_compressed(
        truth / "masks.npz", uid=np.array(uids), shape=np.array(shapes), stop=stops, bits=np.concatenate(bits)
    )
