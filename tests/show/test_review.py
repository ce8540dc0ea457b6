"""The review, driven by clicks and letters on a phantom with an undecided note and a lost slab: labels follow it."""

import argparse
import math
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pydicom
import pytest
from ipywidgets.widgets import widget

from lhdlib import profile as profiles
from lhdlib.data import dataset, dicom, overrides, reports, resampling
from lhdlib.phantom.anatomy import sample_patient
from lhdlib.phantom.archive import write_phantom
from lhdlib.phantom.reading import read_patient
from lhdlib.run.workspace import Workspace
from lhdlib.show import review
from lhdlib.show.note import MARKS
from lhdlib.show.pictures import font
from lhdlib.show.slabs import CHOSEN, LINE, PANEL, lay_out
from tests.data import trees
from tests.data.test_dataset import write_notes
from tests.show.test_pictures import element

pytestmark = pytest.mark.slow  # all of them need what is written once for this file

SEED = 7  # its patient 0003 has five slabs
SETTINGS = profiles.load("smoke").replace(
    data={"image_size": 16, "pretrain_validation": 8, "test_per_class": 0, "validation_per_class": 0}
)
OPEN_NOTE = "Disc bulge <script>alert(1)</script> & no change since the previous examination."


def slab_files(folder, patient: str, number: int) -> list:
    """T2 files of a phantom patient's slab, counted from the top."""
    anatomy = sample_patient(SEED, int(patient))
    counts = [len(slab.offsets) for slab in anatomy.slabs]
    files = sorted(folder.glob(f"01_MRI_Data/{patient}/*/T2_TSE_TRA*/*"))
    assert len(files) == sum(counts)
    return files[sum(counts[:number]) : sum(counts[: number + 1])]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Three patients: all is clear in 0001; 0002's note is undecided; of 0003's slabs L4-L5 is lost.

    Thus 0003's three upper slabs lie beyond a gap and are named one level too low.
    """
    folder = tmp_path_factory.mktemp("review")
    write_phantom(folder / "phantom", 3, seed=SEED, workers=1)
    archive = folder / "phantom" / "archive"
    notes = reports.read_notes(archive / dataset.NOTES_NAME).set_index("patient").note
    notes["0002"] = OPEN_NOTE
    write_notes(archive / dataset.NOTES_NAME, [(int(patient), note) for patient, note in notes.items()])
    levels = [sample_patient(SEED, 3).discs[slab.disc].level for slab in sample_patient(SEED, 3).slabs]
    for file in slab_files(archive, "0003", levels.index("L4-L5")):
        file.unlink()
    slab_files(archive, "0001", 0)[-1].unlink()  # three of four slices, and so one sample
    dataset.build_dataset(archive, folder / "results" / "01", SETTINGS, 0)
    return SimpleNamespace(archive=archive, folder=folder / "results" / "01")


@pytest.fixture
def copy(built, tmp_path):
    """The same, to be judged and built again."""
    place = SimpleNamespace(archive=tmp_path / "archive", folder=tmp_path / "results" / "01")
    shutil.copytree(built.archive, place.archive, copy_function=os.link)  # files are deleted or added, never changed
    shutil.copytree(built.folder, place.folder)
    return place


def dicom_header(path):
    return pydicom.dcmread(path, stop_before_pixels=True)


def files_of(place, name):
    return pd.read_csv(place.folder / f"{name}.csv", dtype=str, keep_default_na=False)


def opened(place, who="Dr. Reviewer") -> review.ReviewWidget:
    return review.ReviewWidget(place.folder, place.archive, who=who)


def disc(view: review.ReviewWidget) -> tuple[str, str]:
    return tuple(view.review.built.loc[view.row, ["patient", "level"]])


def click(view: review.ReviewWidget, name: str) -> None:
    view.buttons[name].click()


def verdicts(place) -> list[tuple]:
    table = overrides.read_overrides(place.archive / overrides.NAME)
    return list(table[["patient", "level", "verdict"]].itertuples(index=False, name=None))


def rebuilt(place) -> dict[tuple[str, str], int]:
    data = dataset.build_dataset(place.archive, place.folder, SETTINGS, 0)
    return {(row.patient, row.level): row.label for row in data.samples.itertuples()}


def is_sentence(text: str) -> bool:
    return bool(re.fullmatch(r'<span role="alert">[^<]*\.</span>', text)) and "Traceback" not in text


ITEMS = [
    ("0002", "L5-S1"),
    ("0002", "L4-L5"),
    ("0002", "L3-L4"),
    ("0003", "L4-L5"),
    ("0003", "L3-L4"),
    ("0003", "L2-L3"),
]


def test_the_verdicts_reach_labels_and_levels(copy):
    before = rebuilt(copy)
    assert {patient for patient, _ in before} == {"0001", "0003"} and ("0003", "L4-L5") not in before
    view = opened(copy)
    assert view.progress.value == "<b>6 of 6 to review</b>."
    assert [tuple(view.review.built.loc[row, ["patient", "level"]]) for row in view.review.items()] == ITEMS
    for number, verdict in enumerate(["abnormal", "normal", "exclude"]):
        assert disc(view) == ITEMS[number] and "note undecided" in view.caption.value
        click(view, verdict)
        assert f"{5 - number} of 6" in view.progress.value and view.message.value == ""
    for number, level in enumerate(["L3-L4", "L2-L3", "L1-L2"]):
        assert disc(view) == ITEMS[3 + number] and "level uncertain: gap between slabs" in view.caption.value
        view.level.value, view.why.value = level, "a slab is missing"
        click(view, "as noted")
        assert view.why.value == ""
    assert "0 of 6" in view.progress.value and "run notebook 01 again" in view.progress.value
    expected = [("0002", "L5-S1", "abnormal"), ("0002", "L4-L5", "normal"), ("0002", "", "exclude")]
    expected += [("0003", level, "as noted") for level in ("L3-L4", "L2-L3", "L1-L2")]
    assert verdicts(copy) == expected
    table = overrides.read_overrides(copy.archive / overrides.NAME)
    assert set(table.who) == {"Dr. Reviewer"} and table.why.tolist() == [""] * 3 + ["a slab is missing"] * 3
    anatomy = sample_patient(SEED, 3)
    reading = read_patient(SEED, anatomy)
    noted = {("0003", one.level): int(found) for one, found in zip(reading.discs, reading.noted, strict=True)}
    del noted["0003", "L4-L5"]
    assert rebuilt(copy) == before | noted | {("0002", "L5-S1"): 1, ("0002", "L4-L5"): 0}
    again = opened(copy)
    assert "0 of 6" in again.progress.value and again.review.pending() == []


def test_opening_again_goes_on_after_what_was_decided(copy):
    view = opened(copy)
    click(view, "normal")
    click(view, "skip")
    click(view, "abnormal")
    view.close()
    again = opened(copy)  # as after a kernel that died
    assert disc(again) == ITEMS[1] and "4 of 6" in again.progress.value
    click(again, "normal")
    assert disc(again) == ITEMS[3]


def test_going_back_and_correcting_adds_a_row(copy):
    view = opened(copy)
    click(view, "normal")
    content = (copy.archive / overrides.NAME).read_bytes()
    click(view, "back")
    assert disc(view) == ITEMS[0] and "verdict so far: normal" in view.caption.value
    click(view, "abnormal")
    assert disc(view) == ITEMS[1] and "5 of 6" in view.progress.value
    assert (copy.archive / overrides.NAME).read_bytes().startswith(content)
    assert [verdict for *_, verdict in verdicts(copy)] == ["normal", "abnormal"]
    click(view, "back")
    click(view, "open")
    assert "6 of 6" in view.progress.value and verdicts(copy)[-1] == ("0002", "", "open")
    for _ in range(2):
        click(view, "back")
    assert disc(view) == ITEMS[-1]  # round the corner: from the first to the last
    assert view.review.judged.verdict[view.review.items()[0]] == ""


def test_letters_do_what_buttons_do(copy):
    view = opened(copy)
    for letter in (" D ", "n", "S", "x"):
        view.key.value = letter
        assert view.key.value == ""
    assert verdicts(copy) == [("0002", "L5-S1", "abnormal"), ("0002", "L4-L5", "normal"), ("0003", "", "exclude")]
    view.key.value = "b"
    assert disc(view) == ITEMS[3]
    view.key.value = "q"
    assert is_sentence(view.message.value) and "d, n, a" in view.message.value and len(verdicts(copy)) == 3
    assert set(review.KEYS) == {button.description[-2] for button in view.buttons.values()}


def test_buttons_wait_for_something_to_judge(copy):
    view = opened(copy)
    controls = (*view.buttons.values(), view.key, view.level)
    assert not any(control.disabled for control in controls)
    view.go(None)
    assert all(control.disabled for control in controls)
    view.go(view.review.items()[0])
    assert not any(control.disabled for control in controls)
    (copy.archive / overrides.NAME).write_text("damaged\n")
    broken = opened(copy)
    assert all(control.disabled for control in broken.buttons.values()) and is_sentence(broken.message.value)


def test_what_cannot_be_kept_is_said_and_nothing_moves(copy):
    view = opened(copy, who=" ")
    click(view, "normal")
    assert "who" in view.message.value and is_sentence(view.message.value) and disc(view) == ITEMS[0]
    view.who.value = "Dr. Reviewer"
    click(view, "as noted")
    assert "note undecided" in view.message.value and is_sentence(view.message.value)
    view.level.value = ""
    click(view, "abnormal")
    assert "levels" in view.message.value and is_sentence(view.message.value)
    assert not (copy.archive / overrides.NAME).exists() and disc(view) == ITEMS[0] and "6 of 6" in view.progress.value
    view.level.value = "L5-S1"
    click(view, "abnormal")
    (copy.archive / overrides.NAME).write_text("damaged\n")
    click(view, "normal")
    assert overrides.NAME in view.message.value and disc(view) == ITEMS[1]
    broken = opened(copy)
    assert is_sentence(broken.message.value) and overrides.NAME in broken.message.value
    click(broken, "normal")
    broken.key.value, broken.level.value = "d", "L4-L5"
    assert (copy.archive / overrides.NAME).read_text() == "damaged\n"


def test_a_level_that_another_disc_has_opens_both(copy):
    view = opened(copy)
    view.go(view.review.items()[3])
    view.level.value = "L5-S1"  # where an undoubted slab is
    click(view, "normal")
    assert "7 of 7" in view.progress.value
    rows = [row for row in view.review.pending() if view.review.doubts[row] == overrides.SAME_LEVEL]
    assert [tuple(view.review.built.loc[row, ["patient", "level"]]) for row in rows] == [("0003", "L5-S1"), ITEMS[3]]


def margin(names) -> int:
    """Room for the names at the right of the sagittal image."""
    return math.ceil(max(font(2 * PANEL // 32).getlength(name) for name in names)) + PANEL // 32


def test_the_picture_shows_the_samples_slices_and_the_slabs(built):
    view = opened(built)
    found = view.review.built
    four = found.index[(found.patient == "0001") & (found.weighting == "T2") & (found.slices == 4)][1]
    for row in [*view.review.items(), four]:
        view.go(row)
        title = disc(view)
        attributes, shown = element(view.picture.value)
        picture = np.asarray(shown)
        assert f"Disc {title[1]} of patient {title[0]}" in attributes["alt"] and "sagittal" in attributes["alt"]
        assert picture.shape == (2 * PANEL, 4 * PANEL, 3) and f"patient {title[0]}, {title[1]}" in view.caption.value
        paths = found.paths[row]
        shown = paths[1:4] if len(paths) == 5 else paths
        tables = view.review.slices.set_index("path")
        for number, path in enumerate(shown):
            x, y = (2 + number % 2) * PANEL, number // 2 * PANEL
            spacing = tuple(tables.loc[path, ["row_spacing", "column_spacing"]])
            pixels = dicom.read_pixels(built.archive / path)
            image = np.clip(resampling.preprocess(pixels, spacing, PANEL, review.FIELD_MM), 0, 1)
            panel, unmarked = picture[y : y + PANEL, x : x + PANEL, 0].astype(int), np.s_[40:-40, 30:-30]
            assert np.abs(panel - (image * 255).astype(int))[unmarked].max() <= 1
            assert view.review.marks(row)[number][3:] == (paths.index(path) + 1, len(paths))
        shown = view.review.view(row)
        laid = lay_out(shown, width=2 * PANEL - margin(view.review.slabs(row).level), height=2 * PANEL)
        top, width = (2 * PANEL - laid.picture.height) // 2, laid.picture.width
        left = picture[top : 2 * PANEL - top, :width]
        chosen = shown.cuts[list(view.review.slabs(row).level).index(title[1])]
        wanted = (chosen[..., 1].mean() + 0.5) * laid.picture.height / len(shown.pixels)
        assert abs(np.flatnonzero((left == CHOSEN).all(axis=2).any(axis=1)).mean() - wanted) < 20
        assert (left == LINE).all(axis=2).any()


def test_a_block_over_several_discs_says_where_their_centres_cross_it(copy, capsys):
    """One stack of noise in place of 0003's T2 slabs; the phantom knows where its discs are, and T1 has a slab each."""
    anatomy = sample_patient(SEED, 3)
    imaged = [anatomy.discs[one.disc] for one in anatomy.slabs]
    (study,) = (copy.archive / "01_MRI_Data" / "0003").iterdir()
    files = sorted(study.glob("T2_TSE_TRA*/*"))
    same = {"StudyInstanceUID": dicom_header(files[0]).StudyInstanceUID, "SeriesInstanceUID": "1.9"}
    for file in files:
        file.unlink()
    heights = [disc.origin[2] for disc in imaged]
    middle, count = (max(heights) + min(heights)) / 2, 40
    trees.write_slab(files[0].parent, (0, 15, middle), count, spacing=4.4, size=(40, 40), **same)
    rebuilt(copy)
    view = opened(copy)
    (row,) = (row for row in view.review.items() if view.review.built.patient[row] == "0003")
    view.go(row)
    crossed = [int(number) for number in re.findall(r"(\d+) \(T1\)", view.review.remarks[row])]
    wanted = [(count + 1) / 2 - (height - middle) / 4.4 for height in sorted(heights, reverse=True)]
    t1 = view.review.built[(view.review.built.patient == "0003") & (view.review.built.weighting == "T1")]
    assert len(crossed) == len(t1) and all(min(abs(n - at) for at in wanted) < 2 for n in crossed)
    assert view.review.remarks[row].startswith("40 slices over 172 mm") and "(T1)" in view.caption.value
    assert np.asarray(element(view.picture.value)[1]).any() and view.message.value == ""
    table = files_of(copy, "discs").set_index("paths").remark
    assert (table.str.startswith("40 slices over") == table.index.str.contains("0003/.*T2_TSE_TRA")).all()
    parser = argparse.ArgumentParser()
    review.add_arguments(parser)
    places = ["--profile", "smoke", "--data", str(copy.archive), "--results", str(copy.folder.parent)]
    assert review.run(parser.parse_args(places)) == 0
    assert view.review.remarks[row] in capsys.readouterr().out


def test_the_widget_opens_from_a_workspace(built, tmp_path):
    space = Workspace(SETTINGS, built.archive, 0, built.folder.parent, tmp_path)
    assert "6 of 6" in review.ReviewWidget.from_workspace(space).progress.value


def test_deleted_files_are_sentences(copy):
    view = opened(copy)
    for file in copy.archive.glob("01_MRI_Data/000[23]/*/*SAG*/*"):
        file.unlink()
    for file in slab_files(copy.archive, "0002", 1)[2:4]:
        file.unlink()
    click(view, "skip")
    assert is_sentence(view.message.value) and "put the file back" in view.message.value and view.picture.value
    view = opened(copy)
    assert is_sentence(view.message.value) and "no readable sagittal image" in view.message.value
    attributes, picture = element(view.picture.value)
    assert np.asarray(picture)[:, 2 * PANEL :].any() and "no sagittal image" in attributes["alt"]
    click(view, "normal")
    assert len(verdicts(copy)) == 1
    shutil.rmtree(copy.folder)
    assert "run the earlier notebooks" in opened(copy).message.value
    shutil.rmtree(copy.archive)
    assert is_sentence(opened(copy).message.value.replace("--", ""))


def test_an_older_dataset_is_named(copy):
    (copy.folder / "discs.csv").write_text("patient,level\n0001,L4-L5\n")
    assert is_sentence(opened(copy).message.value) and "run notebook 01 again" in opened(copy).message.value


def test_verdicts_without_a_slab_are_told_of(copy):
    view = opened(copy)
    lost = view.review.built.loc[view.row].copy()
    lost["paths"] = lost.paths[:2]
    overrides.append_verdict(copy.archive / overrides.NAME, lost, "normal", "L4-L5", "A")
    assert "1 earlier verdict" in opened(copy).message.value and "6 of 6" in opened(copy).progress.value


def test_the_finding_is_marked_and_nothing_in_a_note_is_html(built):
    view = opened(built)
    assert "<script" not in view.note.value and "&lt;script&gt;" in view.note.value and "&amp; no" in view.note.value
    assert re.search(rf'<span style="{re.escape(MARKS[2])}">[^<]*[Bb]ulge[^<]*</span>', view.note.value)


def test_the_marked_level_follows_the_choice(built):
    view = opened(built)
    view.go(view.review.items()[3])
    notes = {view.level.value: view.note.value}
    for level in ("L5-S1", "L4-L5", "L3-L4", "L1-L2"):
        view.level.value = level
        notes[level] = view.note.value
    assert len(set(notes.values())) > 1 and MARKS[2] not in notes["L1-L2"]
    assert any(MARKS[2] in note for note in notes.values())


def test_a_review_leaves_no_widgets_behind(copy):
    view = opened(copy)
    before = len(widget._instances)
    for name in ("skip", "back", "normal", "back", "abnormal") * 3:
        click(view, name)
    assert len(widget._instances) == before


def test_the_command_lists_what_waits_and_where_verdicts_go(copy, capsys):
    parser = argparse.ArgumentParser()
    review.add_arguments(parser)
    places = ["--profile", "smoke", "--data", str(copy.archive), "--results", str(copy.folder.parent)]
    assert review.run(parser.parse_args(places)) == 0
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("patient ")]
    assert [tuple(re.match(r"patient (\d+), study .*, (.*?): ", line).groups()) for line in lines] == ITEMS
    assert "6 of 6 discs wait" in said and str(copy.archive / overrides.NAME) in said
    view = opened(copy)
    for _ in range(3):
        click(view, "exclude")
    assert review.run(parser.parse_args(places)) == 0
    assert "3 of 6 discs wait" in capsys.readouterr().out
