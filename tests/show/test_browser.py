"""The browser of a dataset, on a phantom with an undecided note and a lost slab: it shows what the tables say."""

import base64
import html
import io
import re
import shutil

import numpy as np
import pandas as pd
import pydicom
import pytest
from ipywidgets.widgets import widget
from PIL import Image

from lhdlib.data import resampling
from lhdlib.run import workspace
from lhdlib.show import browser
from tests.show.test_review import SETTINGS, built  # noqa: F401  (a fixture)

pytestmark = pytest.mark.slow  # all of them need what is written once for this file

PANEL, TILE, GAP = browser.PANEL, browser.TILE, browser.GAP
FIELD = SETTINGS.data.field_of_view_mm
HOSTILE = '<img src=x onerror="alert(1)">&.ima'


@pytest.fixture
def copy(built, tmp_path):  # noqa: F811
    """The dataset, to be changed; the archive is the same."""
    shutil.copytree(built.folder, tmp_path / "01")
    return tmp_path / "01"


def opened(place) -> browser.DatasetBrowser:
    return browser.DatasetBrowser(place.folder, place.archive, field_of_view_mm=FIELD)


def shown(view: browser.DatasetBrowser) -> np.ndarray:
    source = re.search(r'src="data:image/png;base64,([^"]+)"', view.picture.value)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))).astype(int)


def facts(view: browser.DatasetBrowser) -> dict[str, str]:
    found = re.findall(r"<tr><th>(.*?)</th><td>(.*?)</td></tr>", view.caption.value)
    return {html.unescape(name): html.unescape(text) for name, text in found}


def positions(view: browser.DatasetBrowser):
    for value in range(view.slider.min, view.slider.max + 1):
        view.slider.value = value
        yield value


def all_slices(view: browser.DatasetBrowser):
    """Every slice on show, series by series."""
    for patient in view.patient.options:
        view.patient.value = patient
        for study in view.study.options:
            view.study.value = study
            for _, series in view.series.options:
                view.series.value = series
                yield (patient, study, series), [facts(view) for _ in positions(view)]


def table(place, name: str) -> pd.DataFrame:
    return pd.read_csv(place.folder / f"{name}.csv", dtype=str, keep_default_na=False)


def sentence(view: browser.DatasetBrowser) -> str:
    text = re.fullmatch(r'<span role="alert">([^<]+\.)</span>', view.message.value)[1]
    assert "Traceback" not in text
    return html.unescape(text)


def test_every_slice_is_shown_once_from_the_top(built):  # noqa: F811
    slices = table(built, "slices").set_index("path")
    seen = []
    for (patient, study, series), found in all_slices(opened(built)):
        rows = slices.loc[[one["file"] for one in found]]
        assert set(rows.patient) == {patient} and set(rows.study) == {study} and set(rows.series) == {series}
        numbers = rows.drop(columns=["sop_key", "series"]).apply(pd.to_numeric, errors="coerce")
        middle = numbers.z + numbers.row_z * numbers.column_spacing * (numbers["columns"] - 1) / 2
        middle += numbers.column_z * numbers.row_spacing * (numbers["rows"] - 1) / 2
        assert (np.diff(middle) < 0).all()
        seen += list(rows.index)
    assert sorted(seen) == sorted(slices.index)


def test_what_is_shown_is_the_store_and_the_file(built):  # noqa: F811
    view, store = opened(built), np.load(built.folder / "store.npy")
    paths = list(table(built, "slices").path)
    for value in positions(view):
        path, pixels = facts(view)["file"], shown(view)
        assert pixels.shape == (PANEL, 2 * PANEL + GAP, 3)
        right, size = pixels[30:, PANEL + GAP :], store.shape[1]  # below the words
        cell = (np.arange(PANEL) + 0.5) * size // PANEL
        wanted = np.round(np.clip(store[paths.index(path)].astype(float), 0, 1) * 255)
        wanted = wanted[np.ix_(cell.astype(int), cell.astype(int))]
        unmarked = np.s_[: PANEL - 60, 30 : PANEL - 30]
        assert (np.abs(right - wanted[30:, :, None]) <= 1)[unmarked].all()
        if value in (1, view.slider.max):
            image = pydicom.dcmread(built.archive / path)
            spacing = tuple(map(float, image.PixelSpacing))
            wanted = resampling.preprocess(image.pixel_array, spacing, PANEL, 0).clip(0, 1) * 255
            edge = round(PANEL * (1 - FIELD / (image.Rows * spacing[0])) / 2)  # inside the frame, which is drawn over
            inner = slice(edge + 4, PANEL - edge - 4)
            assert (np.abs(pixels[inner, inner, 0] - wanted[inner, inner]) <= 1).all()
            assert (np.abs(pixels[PANEL // 2, edge - 2 : edge + 3] - browser.MARKS[0]).max(axis=1) == 0).any()


def test_facts_are_those_of_the_tables_and_headers(built):  # noqa: F811
    view, samples = opened(built), table(built, "samples")
    slices = table(built, "slices")
    used = {}
    for _, sample in samples.iterrows():
        for place in (1, 2, 3):
            text = f"slice {place} of 3 in sample {int(sample.part) + 1} of {sample.level}, "
            text += ("normal", "abnormal")[int(sample.label)]
            text += f", {sample.split_paper} (split 'paper'), {sample.split_patient} (split 'patient')"
            used.setdefault(slices.path[int(sample[f"slice_{place}"])], set()).add(text)
    slabs = {path: slab for slab in table(built, "discs").itertuples() for path in slab.paths.split("//")}
    pretrain = slices.set_index("path").pretrain
    headers = 0
    for _, found in all_slices(view):
        for one in found:
            path, slab = one["file"], slabs[one["file"]]
            assert set(filter("none".__ne__, one["samples"].split("; "))) == used.get(path, set())
            place = slab.paths.split("//").index(path) + 1
            assert one["disc"].startswith(f"{slab.level}, slice {place} of {slab.slices}: ")
            assert one["spacing"].startswith(f"{float(slab.spacing):.2f} mm")
            assert one["pre-training"] == f"{pretrain[path]} set"
        image = pydicom.dcmread(built.archive / path, stop_before_pixels=True)
        normal = np.cross(image.ImageOrientationPatient[:3], image.ImageOrientationPatient[3:])
        assert float(one["tilt"].split("°")[0]) == pytest.approx(np.degrees(np.arccos(abs(normal[2]))), abs=0.06)
        x, y, z = map(float, image.ImagePositionPatient)
        assert one["position"].startswith(f"x {x:.1f}, y {y:.1f}, z {z:.1f} mm")
        assert one["thickness"] == f"{float(image.SliceThickness):.2f} mm"
        headers += 1
    assert used and headers == 6  # two series of three patients


def test_discs_are_filtered_and_marked(built):  # noqa: F811
    view = opened(built)
    view.kind.value = browser.DISCS
    slabs, samples, aside = (table(built, name) for name in ("discs", "samples", "set_aside"))
    assert view.slider.max == len(slabs)
    counts = {value: int(re.search(r"\((\d+)\)$", name)[1]) for name, value in view.status.options}
    assert counts.pop("") == len(slabs) == sum(counts.values())
    labels = {(s.patient, s.study, s.level): ("normal", "abnormal")[int(s.label)] for s in samples.itertuples()}
    reasons = {(s.patient, s.study, s.level): s.reason for s in aside.itertuples()}
    wanted = [
        "T1, pre-training only" if s.weighting == "T1" else (labels | reasons)[s.patient, s.study, s.level]
        for s in slabs.itertuples()
    ]
    assert counts == pd.Series(wanted).value_counts().to_dict() and len(counts) >= 4
    levels = [value for _, value in view.level.options]
    choices = [(status, "") for status in counts] + [("", level) for level in levels] + [("normal", levels[-1])]
    for status, level in choices:
        view.status.value, view.level.value = status, level
        pairs = zip(wanted, slabs.level, strict=True)
        keep = [status in ("", own) and level in ("", there) for own, there in pairs]
        marked = [re.match("<b>(.*?)</b>", view.caption.value)[1] for _ in positions(view)] if any(keep) else []
        titles = list(map(html.unescape, marked))
        places = slabs.assign(status=wanted)[["patient", "level", "weighting", "status"]][keep].to_numpy()
        assert sorted(titles) == sorted("patient {}, {}, {}: {}".format(*place) for place in places)
        if not titles:
            assert "no discs" in view.caption.value and view.picture.value == ""


def test_a_bar_marks_the_slices_of_each_sample(built):  # noqa: F811
    view = opened(built)
    view.kind.value = browser.DISCS
    samples, slabs, slices = (table(built, name) for name in ("samples", "discs", "slices"))
    t2 = slabs[slabs.weighting == "T2"].set_index(["patient", "level"])
    seen = set()
    for _ in positions(view):
        patient, level, kind = re.match(r"<b>patient (\d+), (.*?), (T\d)", view.caption.value).groups()
        own = (
            samples[(samples.patient == patient) & (samples.level == level)].sort_values("part") if kind == "T2" else []
        )
        pixels, count = shown(view), int(facts(view)["slices"].split(",")[0])
        for number in range(len(own)):
            paths = t2.paths[patient, level].split("//")
            members = {paths.index(slices.path[int(own.iloc[number][f"slice_{k}"])]) for k in (1, 2, 3)}
            line = pixels[TILE + 4 + 10 * number]
            for place in range(count):
                middle = line[place * (TILE + GAP) + TILE // 2]
                assert (middle == browser.MARKS[number]).all() == (place in members)
        assert len(pixels) == TILE + 10 * len(own) and pixels.shape[1] == count * (TILE + GAP) - GAP
        seen.add(len(own))
    assert seen == {0, 1, 2}


def test_rejected_files_are_counted_and_all_within_reach(built, copy):  # noqa: F811
    rejected = pd.read_csv(copy / "rejected.csv", dtype=str, keep_default_na=False)
    many = [{"path": f"a/{n}.ima", "patient": "a", "plane": "", "reason": f"too large: {n}"} for n in range(60)]
    many.append({"path": "b", "patient": "b", "plane": "", "reason": ""})
    rejected = pd.concat([rejected, pd.DataFrame(many)])
    rejected.to_csv(copy / "rejected.csv", index=False)
    view = browser.DatasetBrowser(copy, built.archive, field_of_view_mm=FIELD)
    view.kind.value = browser.REJECTED
    counts = {value: int(re.search(r"\((\d+)\)$", name)[1]) for name, value in view.reason.options}
    kinds = rejected.reason.str.split(":").str[0].replace("", "no reason recorded")
    assert counts == kinds.value_counts().to_dict() | {"": len(rejected)} and counts["too large"] == 60
    for reason in counts:
        view.reason.value = reason
        wanted, found = rejected[(kinds == reason) | (not reason)], []
        for value in positions(view):
            cells = re.findall(r"<tr>\s*<td>(.*?)</td>\s*<td>(.*?)</td>\s*</tr>", view.picture.value)
            assert 0 < len(cells) <= browser.PAGE
            first = (value - 1) * browser.PAGE + 1
            assert f"Files {first} to {first + len(cells) - 1} of {len(wanted)}<" in view.caption.value
            assert f"Of {len(rejected)} rejected in all" in view.caption.value
            found += [tuple(map(html.unescape, cell)) for cell in cells]
        assert found == list(zip(wanted.path, wanted.reason, strict=True))


def test_hostile_names_are_shown_as_text(built, copy):  # noqa: F811
    study = table(built, "slices").study[0]
    for file in copy.glob("*.csv"):
        named = pd.read_csv(file, dtype=str, keep_default_na=False)
        named = named.replace(re.escape(study), HOSTILE, regex=True)
        if file.stem == "rejected":
            named.loc[0, ["path", "reason"]] = HOSTILE, f"{HOSTILE}: </td><script>"
        named.to_csv(file, index=False)
    view = browser.DatasetBrowser(copy, built.archive, field_of_view_mm=FIELD)
    texts = []
    for what in (browser.SLICES, browser.DISCS, browser.REJECTED):
        view.kind.value = what
        texts += [view.picture.value, view.caption.value, view.message.value]
    assert view.study.value == HOSTILE  # a selector shows text as text
    everything = "".join(texts)
    assert everything.count(html.escape("<img src=x")) >= 4 and "&lt;script&gt;" in everything
    assert "<script" not in everything and "<img src=x" not in everything
    assert set(re.findall(r"<(\w+)", everything)) <= set("b i div span img table thead tbody tr th td br s".split())
    for tag in re.findall("<img [^>]*>", everything):
        assert re.fullmatch(
            r'<img width="\d+" height="\d+" style="[^"]*" decoding="sync" alt="[^"]+" src="[^"]+">', tag
        )


def test_a_missing_file_is_one_sentence_and_the_store_is_still_shown(built, tmp_path):  # noqa: F811
    archive = tmp_path / "archive"
    shutil.copytree(built.archive, archive)
    view = browser.DatasetBrowser(built.folder, archive, field_of_view_mm=FIELD)
    files = [facts(view)["file"] for _ in positions(view)]
    view = browser.DatasetBrowser(built.folder, archive, field_of_view_mm=FIELD)
    (archive / files[1]).unlink()
    (archive / files[2]).write_bytes(b"no image")
    whole = shown(opened(built))
    for value, broken in ((2, True), (3, True), (4, False), (1, False)):
        view.slider.value = value
        if broken:
            assert sentence(view).startswith(files[value - 1]) and "put the file back" in sentence(view)
            assert shown(view)[40:-40, 30 : PANEL - 30].max() == 0 and shown(view)[:, PANEL + GAP :].max() > 200
        else:
            assert view.message.value == ""
    assert (shown(view) == whole).all()
    view.kind.value = browser.DISCS
    assert view.message.value == "" or sentence(view)
    broken = [bool(view.message.value) for _ in positions(view)]
    assert sum(broken) == 1  # the disc that both slices belong to


def test_without_archive_or_notes_the_store_is_browsed(built, tmp_path):  # noqa: F811
    view = browser.DatasetBrowser(built.folder, tmp_path / "gone", field_of_view_mm=FIELD)
    assert "put the file back" in sentence(view) and shown(view).max() > 200
    shutil.copytree(built.archive / "01_MRI_Data", tmp_path / "half" / "01_MRI_Data")
    view = browser.DatasetBrowser(built.folder, tmp_path / "half", field_of_view_mm=FIELD)
    assert view.message.value == ""
    view.kind.value = browser.DISCS
    assert "notes" in sentence(view) and "There is no note" in view.caption.value and shown(view).max() > 200


@pytest.mark.parametrize("name", ["dataset.json", "discs.csv", "rejected.csv", "store.npy"])
def test_a_damaged_dataset_is_one_sentence(built, copy, name):  # noqa: F811
    for damage in (b"", b"a,b\n1,2\n", None):
        (copy / name).unlink() if damage is None else (copy / name).write_bytes(damage)
        view = browser.DatasetBrowser(copy, built.archive, field_of_view_mm=FIELD)
        assert "notebook" in sentence(view) and view.picture.value == ""
        view.kind.value = browser.DISCS
        view.slider.value = 1


def test_the_workspace_says_where_and_how_wide(built, copy):  # noqa: F811
    space = workspace.open_workspace("smoke", data_dir=str(built.archive), results=str(copy.parent))
    view = browser.DatasetBrowser.from_workspace(space)
    assert (shown(view) == shown(opened(built))).all() and f"{FIELD:g} mm" in view.caption.value
    missing = workspace.open_workspace("smoke", data_dir=str(built.archive), results=str(copy.parent / "none"))
    assert "cannot be read" in sentence(browser.DatasetBrowser.from_workspace(missing))


def test_a_slab_of_many_slices_says_how_many_are_shown(built, copy):  # noqa: F811
    slabs = pd.read_csv(copy / "discs.csv", dtype=str, keep_default_na=False)
    t1 = slabs.index[slabs.weighting == "T1"]
    paths = [path for text in slabs.paths[t1] for path in text.split("//")]
    slabs.loc[t1[0], ["paths", "slices", "spacing"]] = "//".join(paths), str(len(paths)), ""
    slabs.drop(t1[1:]).to_csv(copy / "discs.csv", index=False)
    view = browser.DatasetBrowser(copy, built.archive, field_of_view_mm=FIELD)
    view.kind.value, view.status.value = browser.DISCS, browser.T1_ONLY
    assert len(paths) > browser.MOST and f"The first {browser.MOST} of {len(paths)} slices" in view.caption.value
    assert shown(view).shape[:2] == (4 * (TILE + GAP) - GAP, 5 * (TILE + GAP) - GAP)
    assert facts(view)["slices"] == f"{len(paths)}, not stated from slice to slice"


def test_browsing_leaves_nothing_behind(built):  # noqa: F811
    view = opened(built)
    view.catalogue._acquired = None  # all that is read goes through the small cache
    widgets, cache = len(widget._instances), view.catalogue.acquired
    for what in (browser.SLICES, browser.DISCS, browser.REJECTED, browser.SLICES):
        view.kind.value = what
        for value in range(1, min(6, view.slider.max) + 1):
            view.slider.value = value
    assert len(widget._instances) == widgets
    assert 0 < cache.cache_info().currsize <= cache.cache_info().maxsize <= 100
    assert cache(0, PANEL, 0).nbytes <= 200_000


def test_parts_are_named_for_style_and_tests(built):  # noqa: F811
    view = opened(built)
    parts = {"slider": view.slider, "picture": view.picture, "caption": view.caption, "message": view.message}
    assert "lhd-browser" in view._dom_classes
    assert all(f"lhd-{name}" in part._dom_classes for name, part in parts.items())
    assert re.search(r'alt="patient \d{4}, T2 axial slice 1 of \d+[^"]+"', view.picture.value)
