"""DICOM files of the series: names, tags, geometry."""

import re

import numpy as np
import pydicom
import pytest

from lhdlib.phantom import imaging, series, truth
from tests.phantom.studies import PATIENTS, axial_headers


@pytest.mark.slow
def test_names_and_tags_are_the_archives(headers):
    patients = headers.patient.unique()
    assert len(patients) == PATIENTS
    for patient in patients:
        folders = headers[headers.patient == patient].series.unique()
        for pattern in (r"LOCALIZER_0001", r"T2_TSE_SAG_384_0002", r"T2_TSE_TRA_384_000\d", r"T1_TSE_TRA_000\d"):
            assert sum(bool(re.fullmatch(pattern, name)) for name in folders) == 1
    for path, patient, folder, ds in headers.itertuples(index=False):
        assert re.fullmatch(r"L-SPINE_(LSS|CLINICAL_LIBRARIES)_\d{8}_\d{6}_\d{6}", path.parts[-3])
        assert re.fullmatch(re.escape(f"{folder[:11]}_{patient}_") + r"\d{3}\.ima", path.name)
        assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID == pydicom.uid.MRImageStorage
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert (ds.BitsAllocated, ds.BitsStored, ds.HighBit) == (16, 12, 11)
        assert ds.pixel_array.max() <= 4095 and ds.pixel_array.std() > 0
        assert not str(ds.PatientName) and not ds.PatientID and not ds.StudyDate and ds.StudyTime
        assert "synthetic" in ds.Manufacturer and "not a patient" in ds.ImageComments
    assert headers.groupby("series").ds.agg(lambda g: len({ds.FrameOfReferenceUID for ds in g})).sum() > 3 * PATIENTS


@pytest.mark.slow
def test_echo_and_repetition_times_tell_the_weighting(headers):
    for ds in axial_headers(headers, "T1").ds:
        assert ds.EchoTime < 20 and ds.RepetitionTime < 800
    for ds in axial_headers(headers, "T2").ds:
        assert ds.EchoTime > 80 and ds.RepetitionTime > 3000


MATRICES = {(256, 256), (320, 310), (320, 320), (384, 384)}


@pytest.mark.slow
def test_axial_geometry(headers, written):
    discs, _ = truth.load_truth(written)
    for patient, group in axial_headers(headers, "T2").groupby("patient"):
        images = {int(ds.InstanceNumber): ds for ds in group.ds}
        assert sorted(images) == list(range(1, len(images) + 1))
        for ds in images.values():
            right, down = np.reshape(np.array(ds.ImageOrientationPatient, float), (2, 3))
            np.testing.assert_allclose([right @ right, down @ down, right @ down], [1, 1, 0], atol=1e-6)
            assert 199 < ds.Rows * ds.PixelSpacing[0] < 241 and ds.PixelSpacing[0] == ds.PixelSpacing[1]
            assert ds.SliceThickness == 4 and (ds.Rows, ds.Columns) in MATRICES
        for row in discs[discs.patient == patient].itertuples():
            slab = [images[i] for i in range(row.first_slice, row.first_slice + row.slices)]
            assert len({str(ds.ImageOrientationPatient) for ds in slab}) == 1
            right, down = np.reshape(np.array(slab[0].ImageOrientationPatient, float), (2, 3))
            steps = np.diff([np.array(ds.ImagePositionPatient, float) for ds in slab], axis=0)
            np.testing.assert_allclose(steps @ np.cross(right, down), -4.4, atol=1e-4)
            np.testing.assert_allclose(steps @ np.stack([right, down]).T, 0, atol=1e-4)


@pytest.mark.slow
def test_both_weightings_share_positions(headers):
    for patient in headers.patient.unique():
        mine = headers[headers.patient == patient]
        t1, t2 = (
            {str(ds.ImagePositionPatient) for ds in axial_headers(mine, weighting).ds} for weighting in ("T1", "T2")
        )
        assert t1 and t1 <= t2


def test_decimals_fit_in_sixteen_characters():
    rng = np.random.default_rng(4)
    for value in (*rng.normal(size=500), *(rng.normal(size=500) * 10.0 ** rng.integers(-14, 6, 500)), 0.0, -0.6875):
        text = series.decimal(float(value))
        assert len(text) <= 16
        assert float(text) == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize("repeat", ["", "file", "image"])
def test_one_image_may_be_there_twice(tmp_path, repeat):
    rng = np.random.default_rng(8)
    planes = [imaging.Plane(np.array([0, 0, -4.4 * i]), np.eye(3)[0], np.eye(3)[1], 0.6875, 8, 6) for i in range(4)]
    images = [(plane, rng.integers(0, 4096, (8, 6)).astype("<u2")) for plane in planes]
    header = series.series_header(0, 3, series.Series("T1", "t1_tse_tra", 5, "T1", 4.0), "101112.000000")
    order = series.write_series(tmp_path / "one", header, "T1", images, rng, repeat=repeat)
    files = [pydicom.dcmread(path) for path in sorted((tmp_path / "one").iterdir())]
    assert [i for _, i in order[:4]] == [0, 1, 2, 3] and len(files) == len(order) == 4 + bool(repeat)
    assert len({uid for uid, _ in order}) == (5 if repeat == "image" else 4)
    for ds, (uid, i) in zip(files, order, strict=True):
        assert (ds.SOPInstanceUID, ds.InstanceNumber) == (uid, i + 1)
        np.testing.assert_array_equal(ds.pixel_array, images[i][1])
        assert ds.SliceLocation == pytest.approx(-4.4 * i)
        assert list(ds.ImageOrientationPatient) == list(files[0].ImageOrientationPatient)
        np.testing.assert_allclose(np.array(ds.ImageOrientationPatient, float), [1, 0, 0, 0, 1, 0], atol=1e-9)
    assert any(ds.ImageOrientationPatient[1] != 0 for ds in files)  # scanners leave rounding noise
