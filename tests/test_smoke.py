"""All eight notebooks on a small phantom: what they leave, what a second start does, and how bad input ends."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import keras
import nbformat
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from lhdlib.data import dataset
from lhdlib.figures import gallery, tables, words
from lhdlib.files import read_json
from lhdlib.run import command, workspace
from lhdlib.run.stale import UPSTREAM
from tests.test_notebooks import NAMES as ALL

NAMES = tuple(name for name in ALL if name[:2] in UPSTREAM)

BIGGEST = 2_000_000  # bytes of an executed notebook
EXTRACTOR = Path("03") / "w0.0001_dr0" / "encoder.keras"


def content(*folders: Path, ignore: str = r"\.lock$|\.kernel\.log$|\.failed\.ipynb$") -> dict[str, str]:
    """SHA-256 of every file, by path."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if not re.search(ignore, p.name)}


def times(*folders: Path) -> dict[str, int]:
    """Modification time of every file but the lock, the claims, the gallery and the book, which each start writes."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        str(p): p.stat().st_mtime_ns
        for p in files
        if p.name not in (".lock", "README.md", "book.html") and p.stem != "claims"
    }


@pytest.fixture(scope="module")
def archive(smoke) -> Path:
    """The phantom that the smoke run read."""
    return workspace.open_workspace("smoke").data_dir


# What the run leaves


def test_it_says_what_it_does(smoke):
    lines = smoke.out.splitlines()
    for name in NAMES:
        place = rf"notebook {int(name[:2])} of {len(NAMES)}"
        assert any(re.fullmatch(rf"{name}: runs, {place}(, .*)?", line) for line in lines)
        assert any(re.fullmatch(rf"{name}: done in \d+ (s|min)", line) for line in lines)
    assert lines.count("  why: no result yet") == len(NAMES) and lines[-1].startswith("   live ")
    assert "Traceback" not in smoke.err and "Warning" not in smoke.err


@pytest.mark.parametrize("name", gallery.FIGURES)
def test_a_figure_is_drawn_and_says_on_which_data(smoke, name):
    with Image.open(smoke.figures / f"{name}.png") as image:
        stamp = json.loads(image.text["Comment"])
        grey = np.asarray(image.convert("L"), float)
    assert stamp["data"].startswith("phantom") and (stamp["profile"], stamp["seed"]) == ("smoke", 0)
    assert stamp["fingerprint"] == read_json(smoke.results / "01" / "dataset.json")["fingerprint"]
    assert grey.std() > 10 and min(grey.shape) > 200
    assert (grey < 250).mean() > 0.02  # more than a frame and a footer
    pdf = (smoke.figures / f"{name}.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"no evidence about patients" in pdf
    entry = read_json(smoke.figures / f"{name}.json")
    assert entry["stamp"] == stamp and entry["caption"]


def test_a_caption_has_at_most_two_sentences(smoke):
    captions = {path.stem: read_json(path)["caption"] for path in smoke.figures.glob("*.json")}
    apart = {name: re.sub(r"\b(Fig|Figs|Eq|Table \d)\.", r"\1", caption) for name, caption in captions.items()}
    counts = {name: len(re.findall(r"\.(?:\s|$)", caption)) for name, caption in apart.items()}
    assert len(captions) > 30 and {name for name, count in counts.items() if not 1 <= count <= 2} == set()


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_table_has_the_papers_values_and_this_runs(smoke, name):
    table = pd.read_csv(smoke.figures / f"{name}.csv")
    for origin in ("paper", "this run"):
        columns = [column for column in table if column.endswith(origin)]
        assert columns and table[columns].notna().all(axis=None)
    text = (smoke.figures / f"{name}.md").read_text(encoding="utf-8")
    assert "Data: phantom" in text and text.count("\n|") == len(table) + 2


def test_the_gallery_shows_all_and_warns(smoke):
    page = (smoke.figures / "README.md").read_text(encoding="utf-8")
    assert gallery.WARNING in page and "not for clinical use" in page
    for name in (*gallery.FIGURES, *tables.TABLES):
        assert f"### {gallery.title(name)}\n" in page
    for sentence in ("Not drawn yet", "Drawn by another run"):
        assert sentence not in page
    linked = re.findall(r'src="([^"]+)"|\]\(([^)#]+)\)', page)
    assert all((smoke.figures / (a or b)).is_file() for a, b in linked)
    assert all(f"duration of {number}" in page for number in UPSTREAM)


def test_the_headline_is_whole(smoke):
    headline = read_json(smoke.results / "04" / "headline.json")
    settings = workspace.open_workspace("smoke").profile.finetune
    assert headline["metrics"].keys() == headline["per_seed"].keys() == words.METRICS.keys()
    for name, values in headline["per_seed"].items():
        assert len(values) == settings.encoders * settings.seeds
        assert headline["metrics"][name]["mean"] == pytest.approx(np.mean(values))
    evidence = read_json(smoke.results / "08" / "evidence.json")
    other = [*(control["metrics"] for control in evidence["controls"].values()), evidence["splits"]["split by patient"]]
    for metrics in (headline["metrics"], *other):
        assert all(0 <= m["low"] <= m["mean"] <= m["high"] <= 1 and m.get("sd", 0) >= 0 for m in metrics.values())


def test_the_last_point_of_fig_9_is_the_headline(smoke):
    labels = pd.read_csv(smoke.results / "06" / "labels.csv").query("model == 'semi'").set_index("metric")
    headline = read_json(smoke.results / "04" / "headline.json")["metrics"]
    for metric in ("ACC", "AUC"):
        last = labels.loc[metric].sort_values("labels").iloc[-1]
        assert {name: last[name] for name in headline[metric]} == pytest.approx(headline[metric], rel=1e-12)


def test_the_encoder_loads_in_safe_mode_and_computes(smoke):
    settings = workspace.open_workspace("smoke").profile
    side = settings.data.image_size
    images = np.load(smoke.results / "01" / "store.npy", mmap_mode="r")[:4, ..., None].astype(np.float32)
    for path in sorted(smoke.results.rglob("encoder.keras")):
        model = keras.saving.load_model(path, safe_mode=True, compile=False)
        assert model.input_shape == (None, side, side, 1)
        features = model(images, training=False).numpy()
        assert features.shape == (4, settings.encoder.dim) and np.isfinite(features).all()
        assert len(np.unique(features, axis=0)) == 4
    repeated = settings.finetune.encoders - 1
    assert len(list(smoke.results.rglob("encoder.keras"))) == 4 + repeated  # the settings of Table 3, and other seeds


def test_heat_of_every_test_disc(smoke):
    samples = dataset.load_dataset(smoke.results / "01").samples
    test = samples[samples.split_paper == "test"]
    with np.load(smoke.results / "07" / "heatmaps.npz", allow_pickle=False) as stored:
        found = dict(stored)
    assert found["raw"].shape[:2] == found["slice_weight"].shape == (len(test), 3)
    for name in ("raw", "classic_raw"):
        assert found[name].dtype == np.float32 and found[name].min() >= 0 and found[name].any()
    np.testing.assert_array_equal(found["scale"], found["raw"].max(axis=(2, 3)))
    assert found["weights"].min() >= 0 and found["weights"].sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(found["slice_weight"], found["weights"].sum(axis=2))
    assert (found["labels"] == test.label).all()
    with np.load(smoke.results / "04" / "classifier.npz", allow_pickle=False) as stored:
        logits = stored["test_logits"][0]  # of the first seed, by another way through the network
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_executed_notebook_is_whole_quiet_and_small(smoke, name):
    path = smoke.results / "notebooks" / f"{name}.ipynb"
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    printed = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")
    assert not re.search(r"warning|deprecat|retracing", printed, re.I), printed
    assert path.stat().st_size < BIGGEST


def test_nothing_is_left_behind(smoke):
    names = [path.name for path in (*smoke.results.rglob("*"), *smoke.figures.rglob("*"))]
    assert not [n for n in names if re.match(r"\.\d+-", n) or ".running." in n or ".failed." in n]


# Starting again


def test_a_second_start_does_nothing(smoke):
    before = times(smoke.results, smoke.figures)
    done = smoke.start()
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines()[: len(NAMES)] == [f"{name}: up to date" for name in NAMES]
    assert times(smoke.results, smoke.figures) == before


def test_the_list_shows_all_up_to_date(smoke):
    done = smoke.start("--list")
    assert done.returncode == 0
    rows = done.stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == list(NAMES)
    assert all(re.fullmatch(r"\S+ +\d+ s +up to date", row) for row in rows)


def test_drawing_again_trains_nothing(smoke):
    kept = {p: p.stat().st_mtime_ns for p in (smoke.results / "03").rglob("*.keras")}
    drawn = smoke.figures / "fig05_pretraining.png"
    before, pixels = drawn.stat().st_mtime_ns, drawn.read_bytes()
    assert smoke.results / EXTRACTOR in kept
    done = smoke.start("--only", "03", "--force")
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime_ns for p in (smoke.results / "03").rglob("*.keras")} == kept
    assert drawn.stat().st_mtime_ns > before and drawn.read_bytes() == pixels
    assert all(row.endswith("up to date") for row in smoke.start("--list").stdout.splitlines()[1:])


# Beyond the paper


@pytest.fixture(scope="module")
def beyond(smoke, tmp_path_factory) -> SimpleNamespace:
    """A copy of the finished run, in which notebook 09 has run as well."""
    results, figures = (tmp_path_factory.mktemp("beyond") / name for name in ("results", "figures"))
    shutil.copytree(smoke.results, results)
    shutil.copytree(smoke.figures, figures)
    places = ["--results", str(results), "--figures", str(figures)]

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return smoke.start(*places, *arguments)

    done = start("--only", "09")
    assert done.returncode == 0, done.stderr[-4000:]
    return SimpleNamespace(results=results, figures=figures, start=start)


def test_beyond_leaves_its_map_and_says_it_in_words(beyond):
    profile = workspace.open_workspace("smoke").profile
    table = pd.read_csv(beyond.results / "09" / "map.csv", keep_default_na=False)
    counts = pd.to_numeric(table.labels).nunique()
    assert counts == len(profile.beyond.labels) + 1 and set(table.way) == {"frozen", "scratch", "tuned"}
    assert pd.to_numeric(table.auc).between(0, 1).all()
    methods = pd.read_csv(beyond.results / "09" / "methods.csv")
    assert len(methods) == 5 and methods.notna().all(axis=None)
    said = read_json(beyond.results / "09" / "verdicts.json")
    assert said["labels"] == "the phantom's truth" and len(said["verdicts"]) >= 10
    encoders = list((beyond.results / "09" / "encoders").rglob("encoder.keras"))
    assert len(encoders) == 4 * profile.beyond.pretrainings  # the paper's are those of notebook 03


def test_beyond_is_quiet_and_shown_where_all_is_shown(beyond):
    test_the_executed_notebook_is_whole_quiet_and_small(beyond, ALL[-1])
    assert f"### {gallery.title('label_map')}\n" in (beyond.figures / "README.md").read_text(encoding="utf-8")
    assert "Beyond the paper" in (beyond.figures / "book.html").read_text(encoding="utf-8")
    assert "Kind of lesion" in (beyond.figures / "atlas.html").read_text(encoding="utf-8")
    done = beyond.start("--beyond", "--list")
    row = done.stdout.splitlines()[-1]
    assert row.split()[0] == ALL[-1] and "no result yet" not in row  # its copy of the figures makes the others stale
    assert ALL[-1] not in beyond.start("--list").stdout


# Mistakes


@pytest.fixture
def start(tmp_path, capfd):
    """The command in this process, with fresh folders unless `results` is given; returns exit code and error text."""

    def start(*arguments: str, results: Path = tmp_path / "results") -> tuple[int, str]:
        places = ["--profile", "smoke", "--results", str(results), "--figures", str(results / "figures")]
        with mock.patch.dict(os.environ):
            code = command.main(["run", *places, *arguments])
        return code, capfd.readouterr().err

    return start


def test_an_unknown_profile_is_one_sentence(smoke):
    done = smoke.start("--profile", "huge")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "Error: There is no profile 'huge': choose one of demo, paper, smoke.\n"


def test_a_notebook_whose_inputs_are_missing_is_one_sentence(start, tmp_path):
    code, error = start("--only", "05")
    assert code == 2 and error.count("\n") == 1
    assert error == "Error: Notebook 05 reads the results of 01, which has not finished: run it first.\n"
    assert not content(tmp_path)


def tree(folder: Path, archive: Path, patients: list[str], series: str = "*", notes: bool = True) -> Path:
    """A copy of some patients' series, with or without the notes."""
    for source in (path for p in patients for path in (archive / "01_MRI_Data" / p).glob(f"*/{series}")):
        shutil.copytree(source, folder / source.relative_to(archive))
    if notes:
        shutil.copy(archive / dataset.NOTES_NAME, folder)
    return folder


def empty(folder, archive):
    return "are not in"


def without_axial_t2(folder, archive):
    tree(folder, archive, ["0001"], "T*_SAG_*")
    return "No axial T2 slice was found among"


def without_notes(folder, archive):
    tree(folder, archive, ["0001"], notes=False)
    return "The radiologists' notes, 'Radiologists Report.xlsx', are not in"


def with_malformed_notes(folder, archive):
    tree(folder, archive, ["0001"], notes=False)
    (folder / dataset.NOTES_NAME).write_text("Patient ID,Clinician's Notes\n1,normal\n")
    return "is no Excel workbook"


def with_too_few_patients(folder, archive):
    tree(folder, archive, ["0001", "0002"])
    return "are too few"


#: May be written before a build stops: the tables that say why; the earlier dataset then counts as unfinished.
EXPLAINING = {f"01/{name}.csv" for name in ("slices", "discs", "samples", "rejected", "set_aside")}
EXPLAINING |= {"01/dataset.json", ".finished.json"}


@pytest.mark.parametrize(
    "make",
    [empty, without_axial_t2, without_notes, with_malformed_notes, with_too_few_patients],
    ids=lambda f: f.__name__,
)
def test_bad_data_is_one_sentence_and_leaves_earlier_results(smoke, archive, start, tmp_path, make):
    results = tmp_path / "earlier"
    shutil.copytree(smoke.results, results)
    shutil.copytree(smoke.figures, results / "figures")
    data = tmp_path / "data" / "archive"  # alone in its folder: notes may also lie beside the archive
    data.mkdir(parents=True)
    said = make(data, archive)
    before = content(results)
    code, error = start("--only", "01", "--data", str(data), results=results)
    sentence = error.strip().splitlines()[-1]
    assert code == 2 and "Traceback" not in error
    assert sentence.startswith("Error: ") and said in sentence
    assert re.search(r": [a-z].*\.$", sentence), "no remedy is named"
    after = content(results)
    changed = {
        Path(path).relative_to(results).as_posix() for path in before | after if before.get(path) != after.get(path)
    }
    assert changed <= EXPLAINING
    assert not changed or not (results / "01" / "dataset.json").exists(), "tables of two archives pass for one dataset"


def test_a_missing_folder_is_one_sentence(smoke, start, tmp_path):
    before = content(smoke.results, smoke.figures)
    code, error = start("--data", str(tmp_path / "nowhere"), results=smoke.results)
    assert (code, error) == (
        2,
        f"Error: There is no folder {tmp_path / 'nowhere'}: name the archive's folder with --data DIR.\n",
    )
    assert content(smoke.results, smoke.figures) == before


# Patients


PERSONAL = {
    "PatientName": "MUSTERFRAU^ERIKA",
    "PatientID": "HOSP-9947213",
    "PatientBirthDate": "18991231",
    "StudyDate": "18991230",
    "InstitutionName": "Hospital of Nowhere",
    "ReferringPhysicianName": "QUACKSALVER^Q",
    "AccessionNumber": "ACC-5550123",
}


def test_identifiers_in_headers_reach_no_result_and_change_none(smoke, archive, start, tmp_path):
    copy = tmp_path / "archive"
    shutil.copytree(archive, copy)
    for path in copy.rglob("*.ima"):
        try:
            header = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:  # the phantom plants one
            continue
        for keyword, value in PERSONAL.items():
            setattr(header, keyword, value)
        header.save_as(path)
    results = tmp_path / "results"
    code, error = start("--only", "01", "--data", str(copy), results=results)
    assert code == 0, error
    facts = [read_json(folder / "01" / "dataset.json") for folder in (results, smoke.results)]
    assert facts[0]["fingerprint"] == facts[1]["fingerprint"] and facts[0]["counts"] == facts[1]["counts"]
    written = b"".join(path.read_bytes() for path in results.rglob("*") if path.is_file())
    assert b"0001" in written
    assert not [value for value in PERSONAL.values() if value.encode() in written]
    assert not [part for part in ("MUSTERFRAU", "ERIKA", "QUACKSALVER") if part.encode() in written]
