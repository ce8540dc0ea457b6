"""Hand-made DICOM trees, written without the phantom: an independent view of what an archive may hold."""

import re
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

T1 = {"EchoTime": 11.0, "RepetitionTime": 550.0, "SeriesDescription": "t1_tse_tra"}
T2 = {"EchoTime": 99.0, "RepetitionTime": 3800.0, "SeriesDescription": "t2_tse_tra_384"}
STUDY = "L-SPINE_LSS_20160309_091629_240000"


def is_sentence(error) -> bool:
    """Whether what `pytest.raises` caught says one sentence."""
    return re.fullmatch(r"[A-Z0-9/-](?:[^.\n]|\.(?! ))*\.", str(error.value)) is not None


def tilted(degrees: float) -> list[float]:
    """Orientation (row, column) of an axial slice turned about the left-right axis."""
    angle = np.deg2rad(degrees)
    return [1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle))]


def make_slice(position=(-110.0, -110.0, 0.0), orientation=None, size=(320, 320), seed=0, **tags) -> FileDataset:
    """One axial slice with random 12-bit pixels; `tags` replace or, given None, remove attributes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    pixels = np.random.default_rng(seed).integers(0, 4096, size, dtype=np.uint16)
    attributes = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "BodyPartExamined": "LSPINE",
        "SeriesNumber": 4,
        "InstanceNumber": 1,
        "ImagePositionPatient": [float(value) for value in position],
        "ImageOrientationPatient": orientation or tilted(0),
        "PixelSpacing": [0.6875, 0.6875],
        "SliceThickness": 4.0,
        "Rows": size[0],
        "Columns": size[1],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": pixels.tobytes(),
        **T2,
        **tags,
    }
    for keyword, value in attributes.items():
        if value is not None:
            setattr(image, keyword, value)
    return image


def save(image: FileDataset, path: Path) -> Path:
    """Write a slice under any name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, image, enforce_file_format=True)
    return path


def write_slab(
    folder: Path, center, count=4, tilt=0.0, spacing=4.4, first=1, seed=0, reverse=False, size=(320, 320), **tags
) -> list[Path]:
    """A slab of parallel slices about `center` (mm); returns its files from cranial to caudal.

    `reverse` numbers instances from caudal to cranial; file names follow the instance numbers.
    """
    orientation = tilted(tilt)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    corner = np.array(center, float) - 0.6875 / 2 * (size[1] * row + size[0] * column)
    files = []
    for place in range(count):
        offset = (count - 1) / 2 - place  # cranial first; the normal points to the head
        number = first + (count - 1 - place if reverse else place)
        image = make_slice(
            corner + offset * spacing * normal,
            orientation,
            size,
            seed=seed * 100 + number,
            InstanceNumber=number,
            **tags,
        )
        files.append(save(image, folder / f"T2_TSE_TRA__{number:04d}_001.ima"))
    return files
