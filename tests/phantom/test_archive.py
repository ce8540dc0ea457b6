"""The phantom: same seed, same bytes; valid DICOM; stated geometry; truth that notes, labels and masks share."""

import hashlib
import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pydicom
import pytest
from matplotlib.image import imread
from sklearn.metrics import roc_auc_score

from lhdlib.errors import UserError
from lhdlib.phantom import anatomy, archive, imaging, truth
from lhdlib.phantom.notes import write_note

PATIENTS, SEED = 3, 5


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "two-workers"
    assert archive.write_phantom(folder, PATIENTS, SEED, workers=2) == folder / "archive"
    return folder


@pytest.fixture(scope="session")
def headers(written) -> pd.DataFrame:
    rows = []
    for path in sorted((written / "archive" / "01_MRI_Data").rglob("*.ima")):
        ds = pydicom.dcmread(path)
        rows.append({"path": path, "patient": path.parts[-4], "series": path.parts[-2], "ds": ds})
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def anatomies() -> list[anatomy.Patient]:
    return [anatomy.sample_patient(11, number) for number in range(1, 401)]


def imaged(patient: anatomy.Patient) -> list[anatomy.Disc]:
    return [patient.discs[slab.disc] for slab in patient.slabs]


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def axial(headers: pd.DataFrame, weighting: str) -> pd.DataFrame:
    return headers[headers.series.str.startswith(f"{weighting}_TSE_TRA")]


def test_bytes_depend_on_the_seed_alone(written, tmp_path):
    archive.write_phantom(tmp_path / "one", PATIENTS, SEED, workers=1)
    first, second = digests(written), digests(tmp_path / "one")
    assert first == second
    archive.write_phantom(tmp_path / "one", 1, SEED + 1, workers=1)  # replaces a phantom of other parameters
    assert not set(digests(tmp_path / "one").values()) & set(first.values())


def test_complete_folder_is_reused_and_foreign_one_is_left_alone(written, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    archive.write_phantom(written, PATIENTS, SEED)
    assert before == {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not a phantom"):
        archive.write_phantom(tmp_path, 1)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(task):
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "_write_patient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        archive.write_phantom(tmp_path / "phantom", 1, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_names_and_tags_are_the_archives(headers):
    patients = headers.patient.unique()
    assert len(patients) == PATIENTS
    for patient in patients:
        series = headers[headers.patient == patient].series.unique()
        for pattern in (r"LOCALIZER_0001", r"T2_TSE_SAG_384_0002", r"T2_TSE_TRA_384_000\d", r"T1_TSE_TRA_000\d"):
            assert sum(bool(re.fullmatch(pattern, name)) for name in series) == 1
    for path, patient, series, ds in headers.itertuples(index=False):
        assert re.fullmatch(r"L-SPINE_(LSS|CLINICAL_LIBRARIES)_\d{8}_\d{6}_\d{6}", path.parts[-3])
        assert re.fullmatch(re.escape(f"{series[:11]}_{patient}_") + r"\d{3}\.ima", path.name)
        assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID == pydicom.uid.MRImageStorage
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert (ds.BitsAllocated, ds.BitsStored, ds.HighBit) == (16, 12, 11)
        assert ds.pixel_array.max() <= 4095 and ds.pixel_array.std() > 0
        assert not str(ds.PatientName) and not ds.PatientID and not ds.StudyDate and ds.StudyTime
        assert "synthetic" in ds.Manufacturer and "not a patient" in ds.ImageComments
    assert headers.groupby("series").ds.agg(lambda g: len({ds.FrameOfReferenceUID for ds in g})).sum() > 3 * PATIENTS


def test_echo_and_repetition_times_tell_the_weighting(headers):
    for ds in axial(headers, "T1").ds:
        assert ds.EchoTime < 20 and ds.RepetitionTime < 800
    for ds in axial(headers, "T2").ds:
        assert ds.EchoTime > 80 and ds.RepetitionTime > 3000


def test_axial_geometry(headers, written):
    discs, _ = truth.load_truth(written)
    for patient, group in axial(headers, "T2").groupby("patient"):
        images = {int(ds.InstanceNumber): ds for ds in group.ds}
        assert sorted(images) == list(range(1, len(images) + 1))
        for ds in images.values():
            right, down = np.reshape(np.array(ds.ImageOrientationPatient, float), (2, 3))
            np.testing.assert_allclose([right @ right, down @ down, right @ down], [1, 1, 0], atol=1e-6)
            assert list(ds.PixelSpacing) == [0.6875, 0.6875] and ds.SliceThickness == 4
            assert ds.Rows == 320 and ds.Columns in (310, 320)
        for row in discs[discs.patient == patient].itertuples():
            slab = [images[i] for i in range(row.first_slice, row.first_slice + row.slices)]
            assert len({str(ds.ImageOrientationPatient) for ds in slab}) == 1
            right, down = np.reshape(np.array(slab[0].ImageOrientationPatient, float), (2, 3))
            steps = np.diff([np.array(ds.ImagePositionPatient, float) for ds in slab], axis=0)
            np.testing.assert_allclose(steps @ np.cross(right, down), -4.4, atol=1e-4)
            np.testing.assert_allclose(steps @ np.stack([right, down]).T, 0, atol=1e-4)


def test_both_weightings_share_positions(headers):
    for patient in headers.patient.unique():
        one, two = (
            {(str(ds.ImagePositionPatient), str(ds.ImageOrientationPatient)) for ds in axial(mine, weighting).ds}
            for mine in [headers[headers.patient == patient]]
            for weighting in ("T1", "T2")
        )
        assert {p for p, _ in one} <= {p for p, _ in two}


def test_slabs_follow_the_spine(anatomies):
    normals = []
    for patient in anatomies:
        planes = [imaging.axial_planes(patient, slab)[0] for slab in patient.slabs]
        normals.append([np.cross(plane.right, plane.down) for plane in planes])
    between = lambda a, b: np.degrees(np.arccos(np.clip(a @ b, -1, 1)))  # noqa: E731
    lowest = np.array([between(group[-1], group[-2]) for group in normals])
    upper = np.array([between(a, b) for group in normals for a, b in itertools.pairwise(group[:-1])])
    assert 10 < np.median(lowest) < 30
    assert np.median(upper) < 5
    assert 0.2 < np.mean(upper < 1e-3) < 0.7
    assert {len(slab.offsets) for patient in anatomies for slab in patient.slabs} == {3, 4, 5, 6}
    assert {len(patient.slabs) for patient in anatomies} == {3, 4, 5, 6}
    assert {patient.columns for patient in anatomies} == {310, 320}


def test_truth_labels_and_masks_agree(headers, written):
    discs, masks = truth.load_truth(written)
    numbered = axial(headers, "T2")
    assert set(masks) == {str(ds.SOPInstanceUID) for ds in numbered.ds}
    assert discs.label.nunique() == 2
    for row in discs.itertuples():
        slab = range(row.first_slice, row.first_slice + row.slices)
        mine = [ds for ds in numbered[numbered.patient == row.patient].ds if ds.InstanceNumber in slab]
        sizes = {int(ds.InstanceNumber): masks[ds.SOPInstanceUID].sum() for ds in mine}
        assert all(masks[ds.SOPInstanceUID].shape == ds.pixel_array.shape for ds in mine)
        assert row.label == (row.lesion != "none")
        if row.label:
            assert sizes[row.central_slice] * 0.6875**2 > 4  # mm²
        else:
            assert not any(sizes.values())


def test_every_shape_lesion_shows_in_the_central_slices(anatomies):
    seen, kinds = [], []
    for patient in anatomies[:12]:
        texture = imaging.Texture(np.random.default_rng(0), (320, patient.columns))
        for slab in patient.slabs:
            if patient.discs[slab.disc].lesion:
                planes = imaging.axial_planes(patient, slab)
                central = int(np.argmin(np.abs(slab.offsets)))
                around = planes[max(central - 1, 0) : central + 2]
                areas = [imaging.axial_image(patient, texture, slab, plane)[1].sum() * 0.6875**2 for plane in around]
                kinds.append(patient.discs[slab.disc].lesion.kind)
                seen.append(sum(area > 4 for area in areas))
    assert {"bulge", "protrusion"} <= set(kinds)
    assert min(seen) >= 1
    assert np.mean(np.array(seen)[np.array(kinds) != "tear"] >= 2) > 0.9


def test_a_lesion_changes_nothing_else(anatomies):
    patient = next(p for p in anatomies if p.discs[0].lesion and p.discs[0].lesion.kind == "protrusion")
    slab = patient.slabs[-1]
    healthy = replace(patient, discs=(replace(patient.discs[0], lesion=None), *patient.discs[1:]))
    plane = imaging.axial_planes(patient, slab)[int(np.argmin(np.abs(slab.offsets)))]
    texture = imaging.Texture(np.random.default_rng(0), (320, patient.columns))
    (with_it, mask), (without, none) = (imaging.axial_image(p, texture, slab, plane) for p in (patient, healthy))
    change = np.abs(with_it - without).max(axis=0)
    rows, columns = np.nonzero(change > 1e-3)
    centre = np.array(np.nonzero(mask)).mean(axis=1)
    assert not none.any() and change[mask].mean() > 0.05
    assert np.hypot(rows - centre[0], columns - centre[1]).max() * 0.6875 < 30


def stated_levels(note: str) -> set[str]:
    """Independent reading of a note: levels in sentences that name a lesion without denying it."""
    order = [level.split("-") for level in reversed(anatomy.LEVELS)]
    upper, lower = [a for a, _ in order], [b for _, b in order]
    found = set()
    for line in note.split("\n"):
        if re.match(r"no\b", line, re.I) or not re.search(r"bulge|protrusion|extrusion|tear|fissure", line):
            continue
        for first, last in re.findall(r"([TLS]\d+)[-/]([TLS]?\d+)", line):
            last = last if last[0] in "LS" else f"L{last}"
            found |= {"-".join(pair) for pair in order[upper.index(first) : lower.index(last) + 1]}
    return found


def test_notes_tell_the_truth(anatomies):
    notes = []
    for number, patient in enumerate(anatomies):
        discs = imaged(patient)
        notes.append(write_note(np.random.default_rng(number), discs))
        assert stated_levels(notes[-1]) == {disc.level for disc in discs if disc.lesion}, notes[-1]
    text = "\n".join(notes)
    for style in ("Normal study", "dehydration", "L4/L5", "L4-5", "L3-L5", "tear", "caudal migration", "Lt "):
        assert style in text


def test_workbook(written):
    discs, _ = truth.load_truth(written)
    book = openpyxl.load_workbook(written / "archive" / "Radiologists Report.xlsx")
    assert book.sheetnames == ["Sheet1"]
    header, *rows = book["Sheet1"].iter_rows(values_only=True)
    assert header == ("Patient ID", "Clinician's Notes")
    assert len(rows) == PATIENTS + 1
    notes = {f"{number:04d}": note for number, note in rows}
    assert {patient for patient, note in notes.items() if note} == set(discs.patient)
    for patient, group in discs.groupby("patient"):
        assert stated_levels(notes[patient]) == set(group.level[group.label == 1])


def test_prevalence_and_kinds(anatomies):
    discs = [disc for patient in anatomies for disc in imaged(patient)]
    kinds = pd.Series([disc.lesion.kind if disc.lesion else "none" for disc in discs]).value_counts(normalize=True)
    assert 0.42 < 1 - kinds["none"] < 0.50  # the paper: 1,706 of 3,676 samples
    assert 0.05 < kinds["tear"] / (1 - kinds["none"]) < 0.15
    assert kinds["bulge"] > kinds["protrusion"] > kinds["extrusion"]


def test_no_single_cue_gives_the_label(anatomies):
    discs = [disc for patient in anatomies for disc in imaged(patient)]
    labels = [disc.lesion is not None for disc in discs]
    assert 0.55 < roc_auc_score(labels, [disc.severity for disc in discs]) < 0.80
    for cue in ("nucleus", "height", "flavum", "facet", "infiltration", "concavity", "gap"):
        assert 0.3 < roc_auc_score(labels, [getattr(disc, cue) for disc in discs]) < 0.7, cue
    assert any(disc.severity > 0.6 and not disc.lesion for disc in discs)
    assert any(disc.severity < 0.25 and disc.lesion for disc in discs)


def statistics(image: np.ndarray) -> np.ndarray:
    """Shares of 8 grey-level classes, mean in 7 rings of 15 mm, gradient energy: of the image scaled robustly."""
    image = image[:, (image.shape[1] - 310) // 2 :][:, :310].astype(float)
    image = np.clip(image / np.percentile(image, 99.5), 0, 1.2)
    shares = np.histogram(image, [0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.21])[0] / image.size
    radius = np.hypot(*(np.indices(image.shape) - np.array(image.shape)[:, None, None] / 2)) * 0.6875
    rings = [image[(radius >= low) & (radius < low + 15)].mean() for low in range(0, 105, 15)]
    energy = np.mean(np.square(np.gradient(image)))
    return np.array([*shares, *rings, energy])


def test_statistics_lie_near_the_real_ones(headers, real_dir):
    real = np.array([statistics(imread(path)) for path in sorted((real_dir / "axial").glob("*.png"))])
    images = [ds.pixel_array for weighting in ("T1", "T2") for ds in axial(headers, weighting).ds]
    ours = np.array([statistics(image) for image in images])
    # Means within 1.5 standard deviations of the real slices', and most phantom slices inside the real range,
    # widened by one standard deviation.
    distance = np.abs(ours.mean(axis=0) - real.mean(axis=0)) / real.std(axis=0)
    assert distance.max() < 1.5, distance.round(2)
    low, high = real.min(axis=0) - real.std(axis=0), real.max(axis=0) + real.std(axis=0)
    inside = ((ours >= low) & (ours <= high)).mean(axis=0)
    assert inside.min() > 0.75, inside.round(2)


def test_truth_of_an_empty_folder_and_bad_number(tmp_path):
    with pytest.raises(UserError, match="no phantom truth"):
        truth.load_truth(tmp_path)
    with pytest.raises(ValueError, match="patients"):
        archive.write_phantom(tmp_path / "none", 0)
