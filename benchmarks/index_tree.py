"""Seconds per file of `lhdlib.data.dicom.index_tree`, beside a `pydicom.dcmread` loop and SimpleITK's header reader.

Writes 48,345 files of 0.28 MB (13 GB) into a temporary folder, with private elements as large as the archive's; the
files stay in the system's page cache where memory allows. Needs the extra ``[bench]``.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from benchmarks.record import record
from lhdlib import paper
from lhdlib.data import dicom

FILES = paper.COUNTS["images"]
PER_STUDY = 87  # 48,345 files in about 558 studies
SAMPLE, ROUNDS, WORKERS = 3000, 5, 2
UID_PLACE = "1.2.826.0.1.3680043.10.99999999"


def template(number: int) -> bytes:
    """One slice of a study: axial T2, axial T1, sagittal T2 and T1 in turn, each at its own place."""
    rng = np.random.default_rng(number)
    image = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = MRImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = UID_PLACE
    kind, place = number % 4, number // 4
    echo, repetition = ((99.0, 3800.0), (11.0, 550.0))[kind % 2]
    attributes = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": UID_PLACE,
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": f"1.2.3.{kind}",
        "Modality": "MR",
        "Manufacturer": "SIEMENS",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ScanningSequence": "SE",
        "EchoTime": echo,
        "RepetitionTime": repetition,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0] if kind < 2 else [0, 1, 0, 0, 0, -1],
        "ImagePositionPatient": [-110.0, -110.0, 4.4 * place] if kind < 2 else [4.4 * place, -110.0, 110.0],
        "PixelSpacing": [0.6875, 0.6875],
        "SliceThickness": 4.0,
        "Rows": 320,
        "Columns": 320,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": rng.integers(0, 4096, (320, 320), dtype=np.uint16).tobytes(),
    }
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    private = image.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    private.add_new(0x10, "OB", rng.bytes(12_000))
    private.add_new(0x20, "OB", rng.bytes(60_000))
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, image, enforce_file_format=True)
    return buffer.getvalue()


def write_tree(folder: Path, files: int) -> None:
    """A study of `PER_STUDY` files per patient; every file has its own SOPInstanceUID."""
    templates = [template(number) for number in range(PER_STUDY)]
    for number in range(files):
        patient, within = divmod(number, PER_STUDY)
        place = folder / f"{patient + 1:04d}" / "L-SPINE_LSS" / f"SERIES_{within % 4}"
        place.mkdir(parents=True, exist_ok=True)
        name = f"1.2.826.0.1.3680043.10.{number + 10_000_000}"
        (place / f"{within:04d}.ima").write_bytes(templates[within].replace(UID_PLACE.encode(), name.encode()))


def with_pydicom(paths: list[str], **options: bool) -> list[tuple]:
    """Position and echo time of each file."""
    values = []
    for path in paths:
        header = pydicom.dcmread(path, **options)
        values.append((*map(float, header.ImagePositionPatient), float(header.EchoTime)))
    return values


def with_simpleitk(paths: list[str]) -> list[tuple]:
    """Position and echo time of each file."""
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    values = []
    for path in paths:
        reader.SetFileName(path)
        reader.ReadImageInformation()
        values.append((*reader.GetOrigin(), float(reader.GetMetaData("0018|0081"))))
    return values


def seconds(function: Callable, *arguments: object) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main() -> None:
    """Write the files, check that all readers agree, index everything once, compare on a sample, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    files = parser.parse_args().files
    with tempfile.TemporaryDirectory() as made:
        archive = Path(made) / "archive"
        write_tree(archive, files)
        start = time.perf_counter()
        slices, rejected = dicom.index_tree(archive, WORKERS)
        whole = time.perf_counter() - start
        unit = 2**30 if sys.platform == "darwin" else 2**20
        own, child = (
            resource.getrusage(who).ru_maxrss / unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )

        few = Path(made) / "sample"
        write_tree(few, min(files, SAMPLE))
        sample, _ = dicom.index_tree(few, 1)
        paths = [str(path) for path in sorted(few.rglob("*.ima"))]
        axial = [str(few / path) for path in sample.path]
        ours = sample[["x", "y", "z", "echo_time"]].to_numpy()
        for other in (with_pydicom(axial), with_simpleitk(axial)):
            np.testing.assert_allclose(other, ours, atol=1e-9)
        ways = {
            f"index_tree, {WORKERS} processes": lambda: dicom.index_tree(few, WORKERS),
            "index_tree, 1 process": lambda: dicom.index_tree(few, 1),
            "pydicom.dcmread loop": lambda: with_pydicom(paths),
            "pydicom.dcmread loop, stop_before_pixels": lambda: with_pydicom(paths, stop_before_pixels=True),
            "SimpleITK ReadImageInformation loop": lambda: with_simpleitk(paths),
        }
        times = np.array([[seconds(way) for way in ways.values()] for _ in range(ROUNDS)])
    per_file = 1000 * times / len(paths)
    ratios = np.median(times / times[:, [0]], axis=0)
    lines = [
        f"- whole tree: {files:,} files of {len(template(0)) / 1e6:.2f} MB ({len(slices):,} indexed, {len(rejected):,} "
        f"set aside), {WORKERS} processes: {whole:.1f} s, {1000 * whole / files:.2f} ms per file; largest memory "
        f"{own:.2f} GiB and {WORKERS} x {child:.2f} GiB in the processes",
        f"- sample of {len(paths):,} files, {ROUNDS} alternating rounds, warm page cache; milliseconds per file, "
        "median (least to most), and median ratio to the first:",
        *(
            f"  - {name}: {np.median(column):.2f} ({column.min():.2f} to {column.max():.2f}), {ratio:.2f}"
            for name, column, ratio in zip(ways, per_file.T, ratios, strict=True)
        ),
        f"- SimpleITK {SimpleITK.__version__}, pydicom {pydicom.__version__}; positions and echo times agree",
    ]
    record("Indexing DICOM files", lines)


if __name__ == "__main__":
    main()
