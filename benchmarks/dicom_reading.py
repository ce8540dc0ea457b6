"""Reading DICOM headers into a table, and slices into the pixel store, beside pydicom and SimpleITK loops.

Axial and sagittal T1 and T2 slices of 320 x 320 (0.28 MB), uncompressed and with private elements as large as the
archive's, from the page cache. All sides resample and scale with `resampling.preprocess`: the reading differs. Needs
8 GB in the temporary folder, and the extra ``[bench]``.
"""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from benchmarks.side_by_side import alternate, compare, options

if TYPE_CHECKING:  # Others are imported where they are used: each process that reads files imports this module again.
    import pandas as pd

    from lhdlib import profile

PER_STUDY = 87  # 48,345 files in about 558 studies
UID_PLACE = "1.2.826.0.1.3680043.10.99999999"
FEW = ["ImagePositionPatient", "EchoTime"]


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


def store_with_lhdlib(folder: Path, slices: "pd.DataFrame", settings: "profile.Data") -> np.ndarray:
    """As a run does it: `dataset.write_store` in as many processes as there are cores, their start included."""
    from lhdlib.data import store

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "store.npy"
        failed = store.write_store(folder, slices, path, settings)
        assert failed.empty, failed
        return np.load(path)


def store_in_one_process(folder: Path, slices: "pd.DataFrame", settings: "profile.Data") -> np.ndarray:
    """`resampling.load_slice` in a loop: every check, no second process."""
    from lhdlib.data import resampling

    spacing = zip(slices.row_spacing, slices.column_spacing, strict=True)
    return np.stack(
        [resampling.load_slice((folder / p, s, settings)) for p, s in zip(slices.path, spacing, strict=True)]
    )


def store_with_pydicom(folder: Path, slices: "pd.DataFrame", settings: "profile.Data") -> np.ndarray:
    """`pydicom.dcmread` and ``pixel_array`` in a loop, no checks."""

    def read(path):
        image = pydicom.dcmread(path)
        return image.pixel_array, tuple(map(float, image.PixelSpacing))

    return _store(read, folder, slices, settings)


def store_with_simpleitk(folder: Path, slices: "pd.DataFrame", settings: "profile.Data") -> np.ndarray:
    """`SimpleITK.ReadImage` in a loop."""
    import SimpleITK

    def read(path):
        image = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
        return SimpleITK.GetArrayFromImage(image)[0], image.GetSpacing()[1::-1]

    return _store(read, folder, slices, settings)


def _store(read, folder, slices, settings):
    from lhdlib.data import resampling

    size, side, scaling = settings.image_size, settings.field_of_view_mm, settings.scaling
    images = np.empty((len(slices), size, size), np.float16)
    for row, path in enumerate(slices.path):
        pixels, spacing = read(folder / path)
        images[row] = resampling.preprocess(pixels, spacing, size, side, scaling=scaling)
    return images


def headers_with_pydicom(paths: list[Path], keywords: list[str]) -> list[list]:
    """The values of `keywords` of each file, converted as pydicom does when they are asked for."""
    headers = (pydicom.dcmread(path, stop_before_pixels=True) for path in paths)
    return [[header.get(keyword) for keyword in keywords] for header in headers]


def headers_with_simpleitk(paths: list[Path]) -> list[list]:
    """Position and echo time of each file."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    values = []
    for path in paths:
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        values.append([reader.GetOrigin(), reader.GetMetaData("0018|0081")])
    return values


def compare_headers(folder: Path, rounds: int) -> list[str]:
    """Index the files below a folder in every way, after a check that all find the same positions and echo times."""
    from lhdlib.data import dicom
    from lhdlib.data.dicom_file.header import TAGS

    paths = sorted(folder.rglob("*.ima"))
    slices, _ = dicom.index_tree(folder, workers=1)
    axial = [folder / path for path in slices.path]
    for found in (headers_with_pydicom(axial, FEW), headers_with_simpleitk(axial)):
        flat = [[*position, echo] for position, echo in found]
        np.testing.assert_allclose(np.array(flat, float), slices[["x", "y", "z", "echo_time"]], atol=1e-9)
    keywords = [pydicom.datadict.keyword_for_tag(tag) for tag in TAGS]
    ways = {
        f"index_tree, {os.cpu_count()} processes": lambda: dicom.index_tree(folder),
        "index_tree, one process": lambda: dicom.index_tree(folder, workers=1),
        "pydicom loop, the same attributes": lambda: headers_with_pydicom(paths, keywords),
        "pydicom loop, two attributes": lambda: headers_with_pydicom(paths, FEW),
        "SimpleITK loop, two attributes": lambda: headers_with_simpleitk(paths),
    }
    return [
        f"- index: {len(paths):,} files, positions and echo times equal; {rounds} alternating rounds",
        *compare(alternate(ways, rounds), len(paths), "files"),
    ]


def compare_stores(folder: Path, number: int, settings: "profile.Data", rounds: int) -> list[str]:
    """Write the store of a number of slices in every way, after a check that all are equal."""
    from lhdlib.data import dicom

    slices = dicom.index_tree(folder, workers=1)[0][:number]
    sides = {
        f"lhdlib, {os.cpu_count()} processes": store_with_lhdlib,
        "lhdlib, one process": store_in_one_process,
        "pydicom loop": store_with_pydicom,
        "SimpleITK loop": store_with_simpleitk,
    }
    wanted = store_in_one_process(folder, slices, settings)
    for side in sides.values():
        np.testing.assert_array_equal(side(folder, slices, settings), wanted)
    ways = {name: lambda side=side: side(folder, slices, settings) for name, side in sides.items()}
    size = settings.image_size
    return [
        f"- store: {len(slices):,} slices of 320 x 320 to {size} x {size}, equal to the bit on all sides; {rounds} "
        "alternating rounds",
        *compare(alternate(ways, rounds), len(slices), "slices"),
    ]


def main() -> None:
    """Check that all sides read the same, time them in turn, record."""
    from importlib.metadata import version

    from threadpoolctl import threadpool_limits

    from benchmarks.record import record
    from lhdlib import profile

    parser = options(__doc__.splitlines()[0], rounds=5)
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--files", type=int, default=6000, help="of the index, timed in every round")
    parser.add_argument(
        "--many", type=int, default=20_010, help="files of an index that is timed once; the archive has 48,345"
    )
    parser.add_argument("--slices", type=int, default=1500, help="of the store")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        few, many = Path(made) / "few", Path(made) / "many"
        write_tree(few, args.files)
        lines = compare_headers(few, args.rounds)
        with threadpool_limits(1):  # small matrix products of resampling: on a busy machine more threads are slower
            lines += compare_stores(few, args.slices, profile.load(args.profile).data, args.rounds)
        write_tree(many, args.many)
        lines += compare_headers(many, 1)
    record("Reading DICOM", [*lines, f"- SimpleITK {version('SimpleITK')}, pydicom {version('pydicom')}"], args.dry_run)


if __name__ == "__main__":
    main()
