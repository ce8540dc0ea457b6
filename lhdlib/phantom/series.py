"""DICOM files of a phantom's series, with the tags and names that the archive's files have."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from lhdlib.phantom.imaging import Image, Plane

VERSION = 3  #: of the phantom; goes up whenever the same seed gives other bytes
PREFIX = "1.2.826.0.1.3680043.8.498."  # of pydicom's UIDs


@dataclass(frozen=True)
class Series:
    """Properties that all images of a series share."""

    folder: str
    description: str
    number: int
    weighting: str
    thickness: float
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "ND", "NORM")


def series_header(seed: int, patient: int, series: Series, time: str) -> FileDataset:
    """DICOM header of a series, to be completed for each image.

    Parameters
    ----------
    patient : int
        Number of the patient.
    time : str
        StudyTime.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(PREFIX + "1")
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
    spread = patient % 7
    repetition, echo = (480 + 20 * spread, 11) if series.weighting == "T1" else (3500 + 60 * spread, 100 + spread)
    ds.RepetitionTime, ds.EchoTime = repetition, echo
    ds.MagneticFieldStrength = 1.5
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = _uid(seed, patient)
    ds.SeriesInstanceUID = _uid(seed, patient, series.number)
    ds.StudyID = "1"
    ds.SeriesNumber = series.number
    ds.FrameOfReferenceUID = _uid(seed, patient, series.number, "frame")
    ds.ImageComments = "synthetic phantom, not a patient"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    return ds


def write_series(
    folder: Path, ds: FileDataset, stem: str, images: list[Image], rng: np.random.Generator, *, repeat: str = ""
) -> list[tuple[UID, int]]:
    """Write a series from the top; returns UID and index in `images` of each file.

    Parameters
    ----------
    ds : FileDataset
        The series' header, from `series_header`.
    stem : str
        Start of the file names.
    repeat : {"", "file", "image"}
        One image is there twice: under the same UID ("file") or under a new one ("image").
    """
    folder.mkdir(parents=True)
    series = str(ds.SeriesInstanceUID)
    order = [(_uid(series, i), i) for i in range(len(images))]
    if repeat:
        uid, i = order[int(rng.integers(len(order)))]
        order.append((uid if repeat == "file" else _uid(series, "again"), i))
    orientations: dict[bytes, list[str]] = {}  # parallel images share the rounding noise of theirs
    for number, (uid, i) in enumerate(order, 1):
        plane, pixels = images[i]
        key = np.concatenate([plane.right, plane.down]).tobytes()
        if key not in orientations:
            orientations[key] = _orientation(plane, rng)
        _complete(ds, plane, pixels, i + 1, uid, orientations[key])
        ds.save_as(folder / f"{stem}_{number:03d}.ima", enforce_file_format=True)
    return order


def _complete(ds: FileDataset, plane: Plane, pixels: np.ndarray, number: int, uid: UID, orientation: list[str]) -> None:
    """Fill in what differs from image to image."""
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [decimal(v) for v in plane.position]
    ds.ImageOrientationPatient = orientation
    ds.SliceLocation = decimal(float(np.cross(plane.right, plane.down) @ plane.position))
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelSpacing = [decimal(plane.pixel)] * 2
    low, high = np.percentile(pixels[::4, ::4], (1, 99.5))
    ds.WindowCenter, ds.WindowWidth = int((low + high) / 2), max(int(high - low), 1)
    ds.PixelData = pixels.tobytes()


def _orientation(plane: Plane, rng: np.random.Generator) -> list[str]:
    """Orientation with the rounding noise that scanners leave where a zero belongs."""
    values = np.concatenate([plane.right, plane.down])
    return [decimal(v if abs(v) > 1e-9 else rng.normal(0, 1e-11)) for v in values]


def decimal(value: float) -> str:
    """A number in DICOM's 16 characters, with as many of its digits as fit, 12 at most."""
    return next(text for text in (f"{value:.{n}g}" for n in range(12, 4, -1)) if len(text) <= 16)


def _uid(*parts: Any) -> UID:
    return generate_uid(prefix=PREFIX, entropy_srcs=["lhdlib phantom", str(VERSION), *map(str, parts)])
