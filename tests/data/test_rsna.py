"""The layout of RSNA 2024: forty made-up studies in it, their gradings as labels, and a run on them."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, RLELossless

from lhdlib.data import dataset, dicom, discs, own_labels, rsna
from lhdlib.errors import UserError
from lhdlib.run import command, workspace
from lhdlib.run.workspace import ROOT
from tests.data.trees import is_sentence

LEVELS = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")
#: Slabs of a published study of another hospital: centre (y, z in mm), tilt (degrees), slices.
SLABS = ((65.2, -452.8, -5.3, 8), (59.8, -483.7, -1.9, 8), (60.9, -514.2, 6.0, 8), (68.1, -540.7, 14.2, 8),
         (71.2, -566.4, 28.2, 10))  # fmt: skip
#: Share of discs with moderate or severe stenosis in the collection, from L1-L2.
SHARES = (0.11, 0.25, 0.45, 0.68, 0.43)
COLUMNS = [
    f"{start}_{level.lower().replace('-', '_')}"
    for _, starts in rsna.FINDINGS.values()
    for start in starts
    for level in LEVELS
]
STUDIES, FEWER, SIDE, PIXEL = 40, 15, 48, 3.3


def minimal_slice(pixels: np.ndarray, study: int, series: int) -> FileDataset:
    """An RLE file with next to no header: neither times nor names, and the class of multi-frame images."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, EnhancedMRImageStorage
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.Modality, image.PatientID = EnhancedMRImageStorage, "MR", str(study)
    image.StudyInstanceUID, image.SeriesInstanceUID = f"1.2.{study}", f"1.2.{study}.{series}"
    image.PixelSpacing, image.SliceThickness, image.SpacingBetweenSlices = [PIXEL, PIXEL], 3.5, 3.5
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.PixelData = pixels.tobytes()
    image.compress(RLELossless, generate_instance_uid=False)
    return image


def write_study(folder: Path, study: int, rng: np.random.Generator) -> dict[str, str]:
    """Write an axial series of five angled slabs, and a sagittal image; path of each slice -> its disc's level."""
    axial, sagittal = study * 10 + 1, study * 10 + 2
    lean, shift, step = rng.uniform(-6, 6), rng.uniform(-20, 20, 3), rng.uniform(3.4, 3.8)
    number, truth = 0, {}
    for level, (y, z, tilt, count) in zip(LEVELS, SLABS, strict=True):
        image = minimal_slice(rng.integers(0, 1500, (SIDE, SIDE)).astype(np.uint16), study, axial)
        angle = np.deg2rad(tilt + lean + rng.uniform(-1, 1))
        row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])
        normal = np.cross(row, column)
        center = np.array([0, y, z]) + shift + rng.uniform(-1, 1, 3)
        for place in range(count):
            number += 1
            corner = center - (SIDE - 1) / 2 * PIXEL * (row + column) + ((count - 1) / 2 - place) * step * normal
            image.ImagePositionPatient = [f"{value:.4f}" for value in corner]
            image.ImageOrientationPatient = [f"{value:.6f}" for value in (*row, *column)]
            image.InstanceNumber = number
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.{study}.{axial}.{number}"
            path = f"{study}/{axial}/{number}.dcm"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            image.save_as(folder / path, enforce_file_format=True)
            truth[path] = level
    image = minimal_slice(rng.integers(0, 1500, (SIDE, SIDE)).astype(np.uint16), study, sagittal)
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, -30, -420], [0, 1, 0, 0, 0, -1]
    image.InstanceNumber, image.SOPInstanceUID = 1, f"1.2.{study}.{sagittal}.1"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    (folder / f"{study}/{sagittal}").mkdir()
    image.save_as(folder / f"{study}/{sagittal}/1.dcm", enforce_file_format=True)
    return truth


def made_up_gradings(studies: list[int], rng: np.random.Generator) -> pd.DataFrame:
    """Rows of ``train.csv``, of which three have values that are not stated."""
    rows = pd.DataFrame("Normal/Mild", range(len(studies)), COLUMNS)
    for level, share in zip(LEVELS, SHARES, strict=True):
        column = f"spinal_canal_stenosis_{level.lower().replace('-', '_')}"
        rows.loc[rng.random(len(studies)) < share, column] = rng.choice(["Moderate", "Severe"])
    rows.loc[3, "left_subarticular_stenosis_l1_l2"] = "Severe"  # another finding decides
    rows.loc[3, "right_subarticular_stenosis_l1_l2"] = ""
    rows.loc[4, ["spinal_canal_stenosis_l5_s1", "left_subarticular_stenosis_l4_l5"]] = ["Normal/Mild", ""]
    rows.loc[4, "spinal_canal_stenosis_l4_l5"] = "Normal/Mild"
    rows.loc[5, "left_neural_foraminal_narrowing_l1_l2"] = ""  # does not count
    rows.insert(0, "study_id", studies)
    return rows


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> SimpleNamespace:
    return write_collection(tmp_path_factory.mktemp("rsna"), STUDIES)


def write_collection(folder: Path, count: int) -> SimpleNamespace:
    """Studies in the layout; ``truth`` has the level of each slice's disc, by path below the images' folder."""
    rng = np.random.default_rng(0)
    studies = [int(number) for number in rng.choice(np.arange(4_003_253, 4_290_709_089, 97_911), count, replace=False)]
    truth: dict[str, str] = {}
    for study in studies:
        truth |= write_study(folder / rsna.IMAGES, study, rng)
    series = [(s, s * 10 + n, what) for s in studies for n, what in ((1, "Axial T2"), (2, "Sagittal T2/STIR"))]
    table = pd.DataFrame(series, columns=["study_id", "series_id", "series_description"])
    table.to_csv(folder / rsna.SERIES, index=False)
    gradings = made_up_gradings(studies, rng)
    gradings.to_csv(folder / rsna.GRADINGS, index=False)
    return SimpleNamespace(folder=folder, truth=truth, gradings=gradings, studies=studies)


def labels(folder: Path, *arguments: str) -> int:
    return command.main(["labels", "rsna", str(folder), *arguments])


def by_hand(gradings: pd.DataFrame, columns: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """Labels of all discs, one value after the other."""
    out = {}
    for _, row in gradings.iterrows():
        for level in LEVELS:
            values = [row[f"{column}_{level.lower().replace('-', '_')}"] for column in columns]
            bad, empty = any(v in ("Moderate", "Severe") for v in values), any(v == "" for v in values)
            out[str(row.study_id), level] = "1" if bad else "" if empty else "0"
    return out


# Converting


@pytest.mark.parametrize(
    ("positive", "columns"),
    [
        ("canal", ("spinal_canal_stenosis",)),
        (
            "canal,subarticular",
            ("spinal_canal_stenosis", "left_subarticular_stenosis", "right_subarticular_stenosis"),
        ),
        ("foraminal", ("left_neural_foraminal_narrowing", "right_neural_foraminal_narrowing")),
    ],
)
def test_gradings_become_labels_and_what_is_not_stated_is_listed(positive, columns, tmp_path, capsys):
    rng = np.random.default_rng(1)
    values, studies = ["Normal/Mild", "Moderate", "Severe", ""], [f"{n}" for n in range(30)]
    drawn = rng.choice(values, (30, len(COLUMNS)), p=[0.7, 0.1, 0.1, 0.1])
    gradings = pd.DataFrame(drawn, columns=COLUMNS).assign(study_id=studies)
    gradings.to_csv(tmp_path / rsna.GRADINGS, index=False)
    assert labels(tmp_path, "--positive", positive) == 0
    said = capsys.readouterr().out
    table = pd.read_csv(tmp_path / own_labels.NAME, dtype=str, keep_default_na=False)
    expected = by_hand(gradings, columns)
    assert dict(zip(zip(table.patient, table.level, strict=True), table.label, strict=True)) == expected
    assert "Stenosis is not herniation" in said and all(rsna.FINDINGS[name][0] in said for name in positive.split(","))
    listed = [line for line in said.splitlines() if line.startswith("Not stated")]
    counted = [f"{column}_{level.lower().replace('-', '_')}" for column in columns for level in LEVELS]
    empty = gradings[counted].eq("")
    assert len(listed) == empty.any(axis=1).sum() and sum(map(str.count, listed, ["_l"] * 99)) >= empty.sum().sum()
    for number in np.flatnonzero(empty.any(axis=1)):
        (line,) = (line for line in listed if f"row {number + 2}, study {number}:" in line)
        assert all(name in line for name in np.array(counted)[empty.loc[number]])
        undecided = [level for level in LEVELS if expected[str(number), level] == ""]
        assert line.endswith(f"undecided: {', '.join(undecided)}") == bool(undecided)
    read = own_labels.read_table(tmp_path / own_labels.NAME)
    assert (read.flag == own_labels.NO_LABEL).sum() == list(expected.values()).count("")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda folder: (folder / rsna.GRADINGS).unlink(), rsna.GRADINGS),
        (lambda folder: (folder / rsna.GRADINGS).write_text("study_id\n1\n"), "spinal_canal_stenosis_l1_l2"),
        (lambda folder: (folder / rsna.GRADINGS).write_bytes(b"\xff\xfe\0"), "cannot be read"),
        (lambda folder: change(folder, "spinal_canal_stenosis_l3_l4", "moderate?"), "'moderate?'"),
        (lambda folder: (folder / own_labels.NAME).write_text("patient,level,label\n1,L4-L5,1\n"), "move it away"),
    ],
)
def test_what_cannot_be_converted_is_one_sentence(spoil, word, tmp_path):
    made_up_gradings([1, 2, 3, 4, 5, 6, 7], np.random.default_rng(0)).to_csv(tmp_path / rsna.GRADINGS, index=False)
    spoil(tmp_path)
    with pytest.raises(UserError) as error:
        rsna.run(SimpleNamespace(folder=tmp_path, positive=("canal",)))
    assert is_sentence(error) and word in str(error.value)


def change(folder: Path, column: str, value: str) -> None:
    table = pd.read_csv(folder / rsna.GRADINGS, dtype=str, keep_default_na=False)
    table.loc[2, column] = value
    table.to_csv(folder / rsna.GRADINGS, index=False)


def test_an_unknown_finding_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        labels(tmp_path, "--positive", "canal,herniation")
    assert "canal, subarticular, foraminal" in capsys.readouterr().err


# Reading


def test_the_folder_of_images_and_the_tables_are_found(tmp_path):
    assert rsna.image_folder(tmp_path) == tmp_path and rsna.series_descriptions(tmp_path) == {}
    images = tmp_path / rsna.IMAGES
    images.mkdir()
    (tmp_path / rsna.SERIES).write_text("study_id,series_id,series_description\n1,2,Axial T2\n")
    assert rsna.image_folder(tmp_path) == images == rsna.image_folder(images)
    assert workspace.open_workspace("smoke", data_dir=str(tmp_path)).data_dir == images
    for folder in (tmp_path, images, images / "1"):
        assert rsna.series_descriptions(folder) == {"1/2": "Axial T2"}
    twice = "study_id,series_id,series_description\n1,2,Axial T2\n1,2,Axial T2\n"
    (tmp_path / rsna.SERIES).write_text(twice)
    assert rsna.series_descriptions(tmp_path) == {"1/2": "Axial T2"}
    (tmp_path / rsna.SERIES).write_text(twice + "1,2,Sagittal T1\n")
    with pytest.raises(UserError, match="series 1/2 as 'Axial T2' and 'Sagittal T1'"):
        rsna.series_descriptions(tmp_path)
    (tmp_path / rsna.SERIES).write_text("study,series\n1,2\n")
    with pytest.raises(UserError, match="study_id"):
        rsna.series_descriptions(tmp_path)


@pytest.mark.slow
def test_every_disc_of_forty_angled_studies_is_found(collection):
    images = rsna.image_folder(collection.folder)
    slices, rejected = dicom.index_tree(images)
    assert set(slices.path) == set(collection.truth) and set(slices.weighting) == {"T2"}
    assert set(slices.patient) == set(map(str, collection.studies)) and (slices.remark == "").all()
    assert rejected.reason.str.split(":").str[0].value_counts().to_dict() == {"sagittal plane": STUDIES}
    found = discs.group_discs(slices)
    assert len(found) == 5 * STUDIES and (found.flag == "").all()
    for disc in found.itertuples():
        assert {collection.truth[path] for path in disc.paths} == {disc.level}


@pytest.mark.slow
def test_without_the_table_nothing_tells_the_weighting(tmp_path):
    write_study(tmp_path, 7, np.random.default_rng(0))
    assert dicom.index_tree(tmp_path)[1].reason.str.contains("weighting").any()
    text = "study_id,series_id,series_description\n7,71,Axial T2\n7,72,Sagittal T1\n"
    (tmp_path / rsna.SERIES).write_text(text)
    slices, _ = dicom.index_tree(tmp_path / "7")  # a study alone
    assert len(slices) == sum(count for *_, count in SLABS)
    (tmp_path / rsna.SERIES).write_text(text.replace("Axial T2", "Axial T1"))
    assert set(dicom.index_tree(tmp_path)[0].weighting) == {"T1"}


# A run


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.runs
def test_a_run_from_the_gradings_to_the_headline(tmp_path, capsys):
    collection = write_collection(tmp_path / "collection", FEWER)
    assert labels(collection.folder) == 0
    capsys.readouterr()
    results, figures = tmp_path / "results", tmp_path / "figures"
    call = [sys.executable, "-m", "lhdlib.run", "--profile", "smoke", "--data", str(collection.folder)]
    for number in ("01", "03", "04"):  # 02 only draws views
        places = ["--results", str(results), "--figures", str(figures)]
        done = subprocess.run([*call, *places, "--only", number], cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    headline = json.loads((results / "04" / "headline.json").read_text())
    assert 0 <= headline["metrics"]["AUC"]["mean"] <= 1
    info = json.loads((results / "01" / "dataset.json").read_text())
    undecided = str(collection.studies[4])
    assert info["labels"] == {
        "discs": 5 * FEWER, "patients": FEWER, "undecided": [f"{undecided} L4-L5"], "patients without a study": [],
    }  # fmt: skip
    samples = pd.read_csv(results / "01" / "samples.csv", dtype=str)
    columns = ("spinal_canal_stenosis", "left_subarticular_stenosis", "right_subarticular_stenosis")
    expected = {place: label for place, label in by_hand(collection.gradings, columns).items() if label}
    assert dict(zip(zip(samples.patient, samples.level, strict=True), samples.label, strict=True)) == expected
    told = "labels of labels.csv, by RSNA 2024: moderate or severe spinal canal stenosis or subarticular stenosis"
    drawn = sorted(figures.glob("*.png"))
    assert len(drawn) > 8
    for path in drawn:
        with Image.open(path) as image:
            assert told in json.loads(image.text["Comment"])["data"]
    for path in figures.glob("*.md"):
        if path.with_suffix(".json").exists():
            assert told in path.read_text(encoding="utf-8")
    assert dataset.load_dataset(results / "01").told == "a patient's rows of labels.csv"
