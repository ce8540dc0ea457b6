"""What is a usable axial slice: each rule, with its reason."""

import numpy as np
import pydicom
import pytest
from pydicom import uid

from lhdlib.data import dicom
from lhdlib.data.dicom_file import rules
from lhdlib.data.dicom_file.texts import plain
from tests.data import trees
from tests.data.hostile import in_syntax, read


@pytest.mark.parametrize(
    "tags, reason",
    [
        ({"NumberOfFrames": 2}, "multi-frame"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"Rows": 60000}, "absurd image size"),
        ({"Columns": 0}, "absurd image size"),
        ({"Rows": 17}, "truncated"),
        ({"BitsAllocated": 12}, "absurd pixel depth"),
        ({"BitsStored": 17}, "absurd pixel depth"),
        ({"PixelData": None}, "truncated"),
        ({"ImageOrientationPatient": [1.0, 0, 0, 1, 0, 0]}, "no geometry"),
        ({"ImageOrientationPatient": [1.0, 0, 0]}, "no geometry"),
        ({"ImagePositionPatient": None}, "no geometry"),
        ({"PixelSpacing": [0.0, 0.0]}, "no geometry"),
    ],
)
def test_unusable_images_are_set_aside(tags, reason, tmp_path):
    path = trees.save(trees.make_slice(**{"size": (16, 16), **tags}), tmp_path / "a")
    assert read(path)["reason"].startswith(reason)
    if "Pixel" not in reason and "geometry" not in reason:
        with pytest.raises(ValueError):
            dicom.read_pixels(path)


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, "1.2.3.4.5"])
def test_a_transfer_syntax_without_decoder_is_named(syntax, tmp_path):
    image = in_syntax(uid.RLELossless)
    image.file_meta.TransferSyntaxUID = uid.UID(syntax)
    pydicom.dcmwrite(tmp_path / "a", image, implicit_vr=False, little_endian=True, force_encoding=True)
    assert read(tmp_path / "a")["reason"] == "transfer syntax without a decoder"


@pytest.mark.parametrize(
    "tags, expected",
    [
        (trees.T1, "T1"),
        (trees.T2, "T2"),
        ({**trees.T1, "SeriesDescription": "t2_tse_tra"}, "T1"),  # the numbers count
        ({**trees.T2, "SeriesDescription": ""}, "T2"),
        ({**trees.T2, "ScanningSequence": "SE"}, "T2"),
        ({**trees.T2, "ScanningSequence": ["SE", "IR"]}, "inversion recovery"),
        ({**trees.T2, "InversionTime": 2500.0}, "inversion recovery"),
        ({**trees.T2, "InversionTime": 0.0}, "T2"),
        ({**trees.T1, "ScanningSequence": "GR"}, "gradient echo"),
        ({**trees.T2, "ScanningSequence": "EP"}, "gradient echo"),
        ({"EchoTime": 30.0, "RepetitionTime": 3000.0}, "neither"),  # proton density
        ({"EchoTime": 99.0, "RepetitionTime": 500.0}, "neither"),
        ({"EchoTime": None, "SeriesDescription": "Ax T2 FSE"}, "T2"),
        ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "t1_tse_tra"}, "T1"),
        ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "t2_stir_tra"}, "neither"),
        ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "t2*_medic"}, "neither"),
        ({"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "axial"}, "neither"),
        ({"EchoTime": 11.0, "RepetitionTime": None, "SeriesDescription": "t2_tse"}, "neither"),  # contradicts
    ],
)
def test_weighting(tags, expected, tmp_path):
    record = read(trees.save(trees.make_slice(**{"size": (8, 8), **tags}), tmp_path / "a"))
    assert expected in record.get("reason", record.get("weighting"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path, tags, expected",
    [
        (f"0001/{trees.STUDY}/T2_TSE_TRA_0004", {}, None),
        (f"0001/{trees.STUDY}/x", {"SeriesDescription": "localizer"}, "localizer"),
        (f"0001/{trees.STUDY}/LOCALIZER_0001", {"SeriesDescription": ""}, "localizer"),
        (f"0001/{trees.STUDY}/x", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        (f"0001/{trees.STUDY}/x", {"SeriesDescription": "PosDisp: [4] t2_tse_tra_384"}, "position display"),
        (f"0001/{trees.STUDY}/POSDISP_[4]_T2_TSE_TRA_384_5001", {}, "position display"),
        (f"0001/{trees.STUDY}/x", {"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, "derived"),
        (f"0001/{trees.STUDY}/x", {"ImageType": ["ORIGINAL", "SECONDARY"]}, "derived"),
        (f"0001/{trees.STUDY}/x", {"ImageType": "DERIVED"}, "derived"),
        ("0046/C-SPINE_C-SPINE_20160309_091629/T2_TSE_TRA_0004", {}, "other body region"),
        ("0046/a/x", {"BodyPartExamined": "CSPINE"}, "other body region"),
        ("0046/a/x", {"BodyPartExamined": "HEAD"}, "other body region"),
        ("0046/a/x", {"StudyDescription": "MRI cervical spine"}, "other body region"),
        ("0046/a/x", {"StudyDescription": "MRI cervical and lumbar spine"}, None),
        ("0046/a/x", {"BodyPartExamined": "TLSPINE"}, None),
        ("headers/a/x", {"BodyPartExamined": None}, None),
        ("0001/a/x", {"orientation": [0.0, 1, 0, 0, 0, -1]}, "sagittal plane"),
        ("0001/a/x", {"orientation": [1.0, 0, 0, 0, 0, -1]}, "coronal plane"),
        ("0001/a/x", {"orientation": trees.tilted(40)}, None),
        ("0001/a/x", {"orientation": trees.tilted(50)}, "coronal plane"),
    ],
)
def test_kind_region_and_plane(path, tags, expected, tmp_path):
    trees.save(trees.make_slice(**{"size": (8, 8), **tags}), tmp_path / path / "a")
    slices, rejected = dicom.index_tree(tmp_path)
    assert len(slices) + len(rejected) == 1
    if expected is None:
        assert len(slices) == 1, rejected.reason.tolist()
    else:
        assert rejected.reason[0].startswith(expected)
        assert rejected.plane[0] == (expected.split()[0] if "plane" in expected else "")


@pytest.mark.parametrize(
    "name",
    """LOC|Scout|Survey|SURVEY_LSPINE|3-plane loc|3PL|tri-planar|AAHead_Scout|SmartBrain|Plan Scan|PlanScan|T2 planning
    |Planungssequenz|Lageplan|Übersicht|Localizador|localizzatore|lokalisator|repérage|sondage|Topogramm|scanogram
    |calibration|ASSET cal|Ref_ASSET|SENSE ref|ref scan|prescan|Shimming|pilot|haste_loc|FIESTA 3 PLANE|Screen Save
    |Spine counting|multiplanar""".split("|"),
)
def test_localizers_in_every_vendors_words(name):
    assert rules.LOCALIZER.search(plain(name))


@pytest.mark.parametrize(
    "name",
    "ax plane t2|T2 tra planes L4|T2 allocated|T2 block L5|T2 TSE TRA 384|calf|country|T2 reformat".split("|"),
)
def test_names_of_ordinary_series_are_no_localizers(name):
    assert not rules.LOCALIZER.search(plain(name))


def test_read_plane(tmp_path):
    image = trees.make_slice((1.0, 2.0, 3.0), [0.0, 1, 0, 0, 0, -1], (10, 20))
    image.PixelSpacing = [0.5, 0.8]
    plane = dicom.read_plane(trees.save(image, tmp_path / "a"))
    np.testing.assert_allclose(plane.pop("row"), [0, 1, 0])
    np.testing.assert_allclose(plane.pop("column"), [0, 0, -1])
    np.testing.assert_allclose(plane.pop("position"), [1, 2, 3])
    assert plane == {"spacing": (0.5, 0.8), "shape": (10, 20)}
    (tmp_path / "b").write_text("no image")
    for path in (tmp_path / "b", tmp_path / "absent", trees.save(trees.make_slice(Rows=None), tmp_path / "c")):
        with pytest.raises(ValueError):
            dicom.read_plane(path)
