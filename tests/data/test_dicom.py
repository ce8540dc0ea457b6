"""Index of a tree: whatever lies in it is indexed or listed, each image once."""

import hashlib
import os
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom import uid

from lhdlib.data import dicom
from lhdlib.data.dicom_file import rules
from lhdlib.errors import UserError
from tests.data import trees
from tests.data.hostile import SECRET, SYNTAXES, in_syntax, mutate

KEY = hashlib.sha256(b"1.2.3").hexdigest()[:12]  # of the study that `trees` gives to slices


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> tuple[Path, list[str], list[str]]:
    """A tree with sound slices and everything else that may lie in one; its sound files, and all."""
    root = tmp_path_factory.mktemp("tree")
    sound = []
    for patient in range(1, 13):
        study = root / f"{patient:04d}" / trees.STUDY
        for weighting, tags in (("T1", trees.T1), ("T2", trees.T2)):
            for level in range(3):
                center = (0, 0, 40.0 * level)
                sound += trees.write_slab(
                    study / f"{weighting}_TSE_TRA_000{level}", center, size=(16, 16), seed=10 * patient + level, **tags
                )
    others = []
    rng = np.random.default_rng(7)
    originals = [trees.save(in_syntax(syntax), root / "0013" / "s" / "t" / f"{syntax}") for syntax in SYNTAXES]
    others += originals
    for number in range(150):
        path = root / f"{number % 12 + 1:04d}" / trees.STUDY / "T2_TSE_TRA_0000" / f"mutant{number}"
        path.write_bytes(mutate(rng, originals[number % len(originals)].read_bytes()))
        others.append(path)
    foreign = root / "0001" / "foreign"
    foreign.mkdir()
    for name in ("DICOMDIR", "a.png", "notes.txt", "Report.xlsx", "b.zip", "empty", "naïve ☃.dcm"):
        (foreign / name).write_bytes(b"" if name == "empty" else name.encode() * 40)
        others.append(foreign / name)
    os.mkfifo(foreign / "fifo")
    (foreign / "dangling").symlink_to("nowhere")
    (foreign / "loop").symlink_to("loop")
    (foreign / "folder").symlink_to(root)
    others += [foreign / name for name in ("fifo", "dangling", "loop", "folder")]
    relative = [[p.relative_to(root).as_posix() for p in paths] for paths in (sound, others)]
    return root, relative[0], relative[0] + relative[1]


@pytest.mark.slow
def test_a_tree_with_everything_in_it(tree, monkeypatch):
    root, sound, everything = tree
    monkeypatch.setattr(dicom, "PARALLEL_FROM", len(everything) - 1)
    slices, rejected = dicom.index_tree(root, workers=2)
    assert sorted([*slices.path, *rejected.path]) == sorted(everything)
    assert rejected.reason.str.len().gt(0).all()
    assert set(sound) <= set(slices.path)
    indexed = slices.set_index("path").loc[sound]
    assert (indexed.weighting == indexed.index.str.extract(r"(T\d)_TSE", expand=False)).all()
    reasons = rejected.set_index("path").reason
    place = "0001/foreign/"
    assert reasons[place + "empty"] == "empty file"
    assert reasons[place + "fifo"] == "no regular file"
    assert reasons[place + "folder"].startswith("link to a folder")
    assert (
        reasons[[place + n for n in ("a.png", "notes.txt", "Report.xlsx", "b.zip", "DICOMDIR")]] == "not DICOM"
    ).all()
    assert not any(SECRET in text for table in (slices, rejected) for text in table.to_csv().splitlines())
    for table, again in zip((slices, rejected), dicom.index_tree(root, workers=1), strict=True):
        pd.testing.assert_frame_equal(table, again)


def test_what_cannot_be_looked_into_is_listed(tmp_path, monkeypatch):
    trees.save(trees.make_slice(size=(8, 8)), tmp_path / "0001/s/t/a")
    (tmp_path / "0002").mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9") / "a").write_bytes(b"x")
    deep = tmp_path.joinpath(*["d"] * (dicom.MAX_DEPTH + 3))
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tmp_path)  # the path of a socket is short
        listener.bind("socket")
    scandir = os.scandir

    def denied(place):
        if os.path.basename(place) == "0002":
            raise PermissionError(13, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", denied)
    slices, rejected = dicom.index_tree(tmp_path)
    assert list(slices.path) == ["0001/s/t/a"]
    reasons = dict(zip(rejected.path, rejected.reason, strict=True))
    assert reasons.pop("0002") == "folder cannot be read"
    assert reasons.pop("socket") == "no regular file"
    assert reasons.pop("caf\\udce9/a") == "name is not Unicode"
    assert list(reasons.values()) == ["folder too deep"] and len(list(reasons)[0].split("/")) > dicom.MAX_DEPTH
    rejected.to_csv(tmp_path / "rejected.csv")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_no_folder_or_no_file(tmp_path, make):
    make(tmp_path / "archive")
    with pytest.raises(UserError, match="archive"):
        dicom.index_tree(tmp_path / "archive")


def test_the_table_holds_what_the_header_says(tmp_path):
    rng = np.random.default_rng(11)
    for number in range(20):
        angle, position = float(rng.uniform(-40, 40)), rng.uniform(-200, 200, 3).round(3)
        tags = {
            "SliceThickness": 4.5,
            "AcquisitionTime": "091629.5",
            "SeriesNumber": 5,
            "InstanceNumber": number,
            "Manufacturer": "Maker",
            "PatientID": SECRET,
            "size": (16, 12),
        }
        image = trees.make_slice(position, trees.tilted(angle), **tags)
        image.PixelSpacing = [0.6, 0.7]
        trees.save(image, tmp_path / "0007" / trees.STUDY / "T2" / f"{number:02d}")
    slices, rejected = dicom.index_tree(tmp_path)
    assert (
        rejected.empty
        and list(slices.columns) == list(rules.COLUMNS)
        and not slices.drop(columns="remark").isna().any(axis=None)
    )
    for row in slices.itertuples():
        header = pydicom.dcmread(tmp_path / row.path)
        np.testing.assert_allclose([row.x, row.y, row.z], header.ImagePositionPatient)
        orientation = [row.row_x, row.row_y, row.row_z, row.column_x, row.column_y, row.column_z]
        np.testing.assert_allclose(orientation, header.ImageOrientationPatient)
        normal = np.cross(orientation[:3], orientation[3:])
        np.testing.assert_allclose([row.normal_x, row.normal_y, row.normal_z], normal, atol=1e-9)
        assert row.normal_z > 0 and row.plane == "axial"
        assert (row.patient, row.study, row.series) == ("0007", trees.STUDY, rules.key_of("1.2.3.4"))
        assert (row.rows, row.columns, row.row_spacing, row.column_spacing) == (16, 12, 0.6, 0.7)
        assert (row.thickness, row.echo_time, row.repetition_time) == (4.5, 99.0, 3800.0)
        assert (row.series_number, row.instance_number) == (5, header.InstanceNumber)
        assert (row.acquisition_time, row.bits_stored, row.manufacturer) == ("091629.5", 12, "Maker")
        assert row.transfer_syntax == uid.ExplicitVRLittleEndian and row.sop_key == rules.key_of(header.SOPInstanceUID)
        assert row.bytes == (tmp_path / row.path).stat().st_size
    assert SECRET not in slices.to_csv()


@pytest.mark.parametrize(
    "path, patient, study",
    [
        ("01_MRI_Data/0012/L-SPINE_1/T2_0004/a.ima", "0012", "L-SPINE_1"),
        ("0012/T2_0004/a.ima", "0012", KEY),
        ("0012/a.ima", "0012", KEY),
        ("Miller/T2/a", "Miller", KEY),
        ("a", "unknown", KEY),
        ("37/MRI/0004/a", "37", "MRI"),
        ("P0037/MRI/0004/a", "P0037", "MRI"),
        ("00037/MRI/0004/a", "00037", "MRI"),
        ("hospital/2016/0037/0005/0004/a", "0037", "0005"),
        ("DICOM/PA000001/ST000001/SE000001/IM000001", "PA000001", "ST000001"),
    ],
)
def test_patient_and_study_come_from_the_folders(path, patient, study, tmp_path):
    trees.save(trees.make_slice(size=(8, 8), PatientID="9999", PatientName=SECRET), tmp_path / path)
    slices, _ = dicom.index_tree(tmp_path)
    assert (slices.patient[0], slices.study[0], slices.study_key[0]) == (patient, study, KEY)


def copies(folder: Path, *images: pydicom.Dataset) -> dict[str, str]:
    """Reasons by file name of images stored as a, b, c ..."""
    for name, image in zip("abcdef", images, strict=False):
        trees.save(image, folder / "0001" / "s" / "t" / name)
    slices, rejected = dicom.index_tree(folder)
    assert len(slices) + len(rejected) == len(images)
    return dict(zip(rejected.path.str[-1], rejected.reason, strict=True))


def small(seed: int = 0, position=(0.0, 0.0, 0.0), **tags) -> pydicom.Dataset:
    return trees.make_slice(position, size=(8, 8), seed=seed, **tags)


def test_a_copy_under_the_same_or_a_new_uid_is_a_duplicate(tmp_path):
    first = small(0)
    found = copies(tmp_path, first, small(0), first, small(1), small(0, (0, 0, 9.0)), small(0, (0.0004, -0.0, 0.0)))
    assert found == {name: "duplicate: of 0001/s/t/a" for name in "bcf"}
    kept, rejected = dicom.index_tree(tmp_path, duplicates="kept")
    assert rejected.empty and len(kept) == len(list(tmp_path.rglob("s/t/*")))


def test_a_copy_in_another_patient_is_found_by_its_uid_alone(tmp_path):
    image = small(0)
    for patient, name, other in (("0001", "a", image), ("0002", "a", image), ("0003", "a", small(0))):
        trees.save(other, tmp_path / patient / "s" / "t" / name)
    trees.save(small(0), tmp_path / "0003" / "s" / "t" / "b")
    slices, rejected = dicom.index_tree(tmp_path)
    assert list(rejected.path) == ["0002/s/t/a", "0003/s/t/b"] and list(slices.patient) == ["0001", "0003"]
    assert (slices.remark == "").all()


def test_different_images_under_one_uid_all_stay_and_are_marked(tmp_path):
    images = [small(number, (0, 0, 4.4 * number), SOPInstanceUID="1.2.3.9") for number in range(3)]
    assert copies(tmp_path, *images, small(7, (0, 0, 50.0))) == {}
    slices, _ = dicom.index_tree(tmp_path)
    assert (slices.remark != "").tolist() == [True, True, True, False]


def test_one_uid_and_other_pixels_at_one_place_are_one_image(tmp_path):
    found = copies(tmp_path, small(0, SOPInstanceUID="1.9"), small(1, SOPInstanceUID="1.9"))
    assert found == {"b": "duplicate: of 0001/s/t/a"}


def test_one_uid_and_place_of_two_people_are_two_images(tmp_path):
    """Some programs number everybody's images alike; only equal pixels make a copy of another patient's image."""
    for number, patient in enumerate(("0001", "0002", "0003")):
        trees.save(small(min(number, 1), SOPInstanceUID="1.9"), tmp_path / patient / "s" / "t" / "a")
    slices, rejected = dicom.index_tree(tmp_path)
    assert list(slices.path) == ["0001/s/t/a", "0002/s/t/a"]
    assert list(rejected.reason) == ["duplicate: of 0002/s/t/a"]


def test_images_without_uid_are_no_copies(tmp_path):
    images = [small(number, (0, 0, 9.0 * number), SOPInstanceUID=None) for number in range(3)]
    for image in images:
        image.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    assert copies(tmp_path, *images) == {}
    assert (dicom.index_tree(tmp_path)[0].remark == "").all()


def test_the_copy_whose_pixels_are_readable_is_kept(tmp_path):
    image = small(0)
    image.compress(uid.RLELossless)
    image.file_meta.TransferSyntaxUID = uid.RLELossless
    place = tmp_path / "0001" / "s" / "t"
    whole = trees.save(image, place / "b").read_bytes()
    (place / "a").write_bytes(whole[:-40])
    with pytest.raises(ValueError):
        dicom.read_pixels(place / "a")
    slices, rejected = dicom.index_tree(tmp_path)
    assert list(slices.path) == ["0001/s/t/b"] and rejected.reason[0] == "duplicate: of 0001/s/t/b"


def test_the_result_does_not_depend_on_the_order_of_the_file_system(tmp_path, monkeypatch):
    first, second = small(0), small(0)
    expected = copies(tmp_path, first, second, first)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((p, d[::-1], f[::-1]) for p, d, f in walk(*a, **k)))
    _, rejected = dicom.index_tree(tmp_path)
    assert dict(zip(rejected.path.str[-1], rejected.reason, strict=True)) == expected
