"""Reading DICOM slices into the pixel store, and headers into a table, beside pydicom and SimpleITK loops.

Axial T1 and T2 slices of 320 x 320, uncompressed as in the archive, from the page cache. All sides resample and
scale with `dataset.preprocess`: the reading differs. Needs the extra ``[bench]``.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import SimpleITK
from threadpoolctl import threadpool_limits

from benchmarks.index_tree import write_tree
from benchmarks.record import record
from benchmarks.side_by_side import alternate, compare, options
from lhdlib import profile
from lhdlib.data import dataset, dicom


def store_with_lhdlib(folder: Path, slices: pd.DataFrame, settings: profile.Data) -> np.ndarray:
    """As a run does it: `dataset.write_store` in as many processes as there are cores, their start included."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "store.npy"
        failed = dataset.write_store(folder, slices, path, settings)
        assert failed.empty, failed
        return np.load(path)


def store_in_one_process(folder: Path, slices: pd.DataFrame, settings: profile.Data) -> np.ndarray:
    """`dataset.load_slice` in a loop: every check, no second process."""
    spacing = zip(slices.row_spacing, slices.column_spacing, strict=True)
    return np.stack([dataset.load_slice((folder / p, s, settings)) for p, s in zip(slices.path, spacing, strict=True)])


def store_with_pydicom(folder: Path, slices: pd.DataFrame, settings: profile.Data) -> np.ndarray:
    """`pydicom.dcmread` and ``pixel_array`` in a loop, no checks."""

    def read(path):
        image = pydicom.dcmread(path)
        return image.pixel_array, tuple(map(float, image.PixelSpacing))

    return _store(read, folder, slices, settings)


def store_with_simpleitk(folder: Path, slices: pd.DataFrame, settings: profile.Data) -> np.ndarray:
    """`SimpleITK.ReadImage` in a loop."""

    def read(path):
        image = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
        return SimpleITK.GetArrayFromImage(image)[0], image.GetSpacing()[1::-1]

    return _store(read, folder, slices, settings)


def _store(read, folder, slices, settings):
    size, side, scaling = settings.image_size, settings.field_of_view_mm, settings.scaling
    images = np.empty((len(slices), size, size), np.float16)
    for row, path in enumerate(slices.path):
        pixels, spacing = read(folder / path)
        images[row] = dataset.preprocess(pixels, spacing, size, side, scaling)
    return images


def headers_with_pydicom(paths: list[Path], keywords: list[str]) -> pd.DataFrame:
    """The values of `keywords` of each file, converted as pydicom does when they are asked for."""
    headers = (pydicom.dcmread(path, stop_before_pixels=True) for path in paths)
    return pd.DataFrame([[header.get(keyword) for keyword in keywords] for header in headers], columns=keywords)


def main() -> None:
    """Check that all sides read the same, time them in turn, record."""
    parser = options(__doc__.splitlines()[0], rounds=5)
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--files", type=int, default=3000, help="of which about half are axial slices")
    args = parser.parse_args()
    settings = profile.load(args.profile).data
    # one thread for the small matrix products of resampling: on a busy machine more are slower
    with tempfile.TemporaryDirectory() as made, threadpool_limits(1):
        folder = Path(made)
        write_tree(folder, args.files)
        paths = sorted(folder.rglob("*.ima"))
        slices, _ = dicom.index_tree(folder, 1)
        keywords = [pydicom.datadict.keyword_for_tag(tag) for tag in dicom.TAGS]

        sides = {
            f"lhdlib, {os.cpu_count()} processes": store_with_lhdlib,
            "lhdlib, one process": store_in_one_process,
            "pydicom loop": store_with_pydicom,
            "SimpleITK loop": store_with_simpleitk,
        }
        wanted = store_in_one_process(folder, slices, settings)
        for side in sides.values():
            np.testing.assert_array_equal(side(folder, slices, settings), wanted)
        found = headers_with_pydicom([folder / path for path in slices.path], keywords)
        np.testing.assert_array_equal(np.stack(found.ImagePositionPatient).astype(float), slices[["x", "y", "z"]])

        stores = alternate(
            {name: lambda side=side: side(folder, slices, settings) for name, side in sides.items()}, args.rounds
        )
        headers = alternate(
            {
                f"index_tree, {os.cpu_count()} processes": lambda: dicom.index_tree(folder),
                "index_tree, one process": lambda: dicom.index_tree(folder, 1),
                "pydicom loop, the same attributes": lambda: headers_with_pydicom(paths, keywords),
                "pydicom loop, two attributes": lambda: headers_with_pydicom(
                    paths, ["ImagePositionPatient", "EchoTime"]
                ),
            },
            args.rounds,
        )
    lines = [
        f"- store: {len(slices):,} slices of 320 x 320 to {settings.image_size} x {settings.image_size}, equal to "
        f"the bit on all sides; {args.rounds} alternating rounds",
        *compare(stores, len(slices), "slices"),
        f"- index: {len(paths):,} files, positions equal",
        *compare(headers, len(paths), "files"),
        f"- SimpleITK {SimpleITK.__version__}",
    ]
    record("Reading DICOM", lines, args.dry_run)


if __name__ == "__main__":
    main()
