"""The slice store and its fingerprint."""

import numpy as np
import pandas as pd
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from lhdlib import profile as profiles
from lhdlib.data import dicom, resampling
from lhdlib.data.store import fingerprint, write_store
from tests.data import trees

SETTINGS = profiles.load("smoke").replace(data={"image_size": 16, "field_of_view_mm": 0.0}).data


def test_the_fingerprint_sees_pixels_and_labels():
    store = np.zeros((600, 4, 4), np.float16)
    samples = pd.DataFrame({"patient": ["0001"], "label": [1]})
    first = fingerprint(store, samples)
    assert first == fingerprint(store.copy(), samples.copy())
    store[599, 3, 3] = 1
    assert first != fingerprint(store, samples)
    store[599, 3, 3] = 0
    assert first != fingerprint(store, samples.assign(label=0))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_each_slice_lies_in_its_row_however_many_processes_write(workers, tmp_path):
    files = trees.write_slab(tmp_path / "0001" / trees.STUDY / "T2", (0, 0, 0), 7, size=(32, 40))
    image = trees.pydicom.dcmread(files[3])
    image.PixelData = encapsulate([b"\xff\x4f\xff\x51no pixels follow"])
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    trees.save(image, files[3])
    slices, _ = dicom.index_tree(tmp_path)
    slices = slices.sample(frac=1, random_state=3).reset_index(drop=True)
    failed = write_store(tmp_path, slices, tmp_path / "store.npy", SETTINGS, workers=workers)
    assert failed.path.tolist() == [str(files[3].relative_to(tmp_path))]
    assert failed.reason[0].startswith("pixels unreadable")
    store = np.load(tmp_path / "store.npy")
    assert store.shape == (7, 16, 16) and store.dtype == np.float16
    for row in slices.itertuples():
        if row.path in set(failed.path):
            assert not store[row.Index].any()
            continue
        pixels = dicom.read_pixels(tmp_path / row.path)
        wanted = resampling.preprocess(pixels, (row.row_spacing, row.column_spacing), 16, 0.0)
        np.testing.assert_array_equal(store[row.Index], wanted.astype(np.float16))
