"""The viewer without a browser: what its slider, selectors, controls and button do."""

import asyncio
import json
import re
import shutil
import tracemalloc
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lhdlib import gradcam
from lhdlib.errors import UserError
from lhdlib.run import workspace
from lhdlib.show import atlas, reader, study, viewer
from lhdlib.show.disc import Look, draw_disc, facts
from lhdlib.show.viewer import HeatmapViewer
from tests.data import trees
from tests.show.test_disc import DISCS, made_up
from tests.show.test_pictures import element
from tests.show.test_reader import model  # noqa: F401
from tests.show.test_study import PERSON, PHANTOM, UID, key_of, study_folder, tree, write_study  # noqa: F401

STAMP = {"profile": "made-up", "seed": 7, "commit": "0123abc", "data": "made-up <numbers>", "python": "3"}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(viewer, "SIDE", 64)


@pytest.fixture
def found():
    return made_up()


def image(text: str) -> tuple[dict[str, str], Image.Image]:
    """Attributes and picture of the ``img`` in an HTML text."""
    return element(re.search("<img [^>]*>", text)[0])


def drawing(size: tuple[int, int]) -> SimpleNamespace:
    """Slices on a sagittal view, drawn as a black picture."""
    return SimpleNamespace(draw=lambda: Image.new("RGB", size))


def source(view: HeatmapViewer) -> bytes:
    return image(view.picture.value)[1].tobytes()


def is_shown(view: HeatmapViewer, row: int) -> bool:
    """Whether the picture is this disc's as the controls want it (JPEG blurs a little)."""
    wanted = np.asarray(draw_disc(view.reading, row, view.look(), side=viewer.SIDE, gap=viewer.GAP)).astype(float)
    got = np.asarray(image(view.picture.value)[1]).astype(float)
    return got.shape == wanted.shape and np.abs(got - wanted).mean() < 3


@pytest.mark.slow
def test_every_slider_position_shows_its_disc(found):
    view = HeatmapViewer(found)
    assert view.slider.max == DISCS - 1 == view.play.max
    for row in range(DISCS):
        view.slider.value = row
        assert view.row() == row and is_shown(view, row)
        assert not is_shown(view, (row + 1) % DISCS)
        assert view.place.value == f"{row + 1} of {DISCS}"
        assert f"{found.discs.probability[row]:.3f}" in view.caption.value
        alt = image(view.picture.value)[0]["alt"]
        assert found.discs.level[row] in alt and found.outcomes()[row] in alt


def test_it_plays_from_the_disc_that_is_shown(found):
    view = HeatmapViewer(found)
    view.slider.value = DISCS - 1
    view.play.playing = True
    assert view.play.value == view.slider.value == DISCS - 1
    view.level.value = found.discs.level[0]
    assert view.play.value == view.slider.value == 0


@pytest.mark.slow
def test_filters_and_orders_against_numpy(found):
    view, discs = HeatmapViewer(found), found.discs
    outcomes, error = found.outcomes(), np.abs(discs.probability - discs.label)
    keys = {
        "as listed": np.arange(DISCS),
        "probability": -discs.probability,
        "error": -error,
        "largest slice weight": -found.slice_weight.max(axis=1),
    }
    rng = np.random.default_rng(0)
    for _ in range(100):
        parts = (view.outcome, view.level, view.patient, view.order)
        for part in parts:
            part.value = part.options[0] if part is view.order else viewer.ALL
        for part in rng.choice(4, 2, replace=False):
            values = [option[1] if parts[part] is not view.order else option for option in parts[part].options]
            parts[part].value = rng.choice(values)
        keep = [
            row
            for row in range(DISCS)
            if view.outcome.value in (viewer.ALL, outcomes[row])
            and view.level.value in (viewer.ALL, discs.level[row])
            and view.patient.value in (viewer.ALL, discs.patient[row])
        ]
        assert list(view.chosen) == sorted(keep, key=lambda row: keys[view.order.value][row])
        assert view.slider.value == 0 and view.slider.max == max(0, len(keep) - 1)
        for part, own in zip(parts, (outcomes, discs.level, discs.patient), strict=False):
            others = [other for other in parts[:3] if other is not part]
            fits = np.ones(DISCS, bool)
            for other, values in zip(parts, (outcomes, discs.level, discs.patient), strict=False):
                fits &= other not in others or other.value == viewer.ALL or np.asarray(values) == other.value
            offered = {value: label for label, value in part.options}
            assert offered.pop(viewer.ALL) == f"all ({fits.sum()})"
            assert all(label == f"{value} ({np.sum(fits & (own == value))})" for value, label in offered.items())
        if not keep:
            assert view.row() is None and view.picture.value == "" and "No disc fits" in view.message.value
        else:
            assert view.row() == view.chosen[0] and is_shown(view, view.chosen[0]) and view.message.value == ""


def test_controls_change_the_picture(found):
    view = HeatmapViewer(found)
    view.order.value = "probability"  # called abnormal: heat is drawn
    last = source(view)
    changes = {
        view.opacity: 0.1,
        view.color_map: "cividis",
        view.window: (0.2, 0.6),
        view.contour: True,
        view.heatmap: "classic",
        view.lines: True,
    }
    for part, value in changes.items():
        part.value = value
        assert source(view) != last and is_shown(view, view.row())
        last = source(view)
    view.slider.value = DISCS - 1  # called normal
    assert "again, without heatmap" in view.picture.value
    view.always.value = True
    assert "under their heatmap" in view.picture.value and is_shown(view, view.row())
    view.heatmap.value = "none"
    assert "again, without heatmap" in view.picture.value


def test_buttons_step_and_stay_in_range(found):
    view = HeatmapViewer(found)
    view.previous.click()
    assert view.slider.value == 0
    for _ in range(DISCS + 3):
        view.next.click()
    assert view.slider.value == DISCS - 1
    view.previous.click()
    assert view.slider.value == DISCS - 2 and is_shown(view, DISCS - 2)


@pytest.mark.slow
def test_a_saved_view_is_the_picture_and_its_numbers(found, tmp_path):
    found = replace(found, stamp=STAMP)
    view = HeatmapViewer(found, folder=tmp_path / "views")
    view.slider.value, view.heatmap.value = 7, "classic"
    view.save.click()
    (picture,) = (tmp_path / "views").glob("*.png")
    assert picture.name in view.message.value and picture.name.startswith("disc0007-")
    with Image.open(picture) as image:
        pixels, inside = np.asarray(image), image.info
    drawn = np.asarray(draw_disc(found, 7, view.look()))
    assert np.array_equal(pixels[: len(drawn)], drawn)
    assert json.loads(inside["Comment"]) == STAMP and found.discs.level[7] in inside["Description"]
    assert inside["Description"].endswith("Data: made-up <numbers>.")
    saved = json.loads(picture.with_suffix(".json").read_text())
    assert {**facts(found, 7)}.items() <= saved.items()
    assert saved["stamp"] == STAMP
    assert saved["look"] == {**asdict(view.look()), "window": list(view.look().window)}
    assert np.array_equal(np.float32(saved["maps"]["paper"]), found.maps[7])
    assert sorted(p.suffix for p in (tmp_path / "views").iterdir()) == [".json", ".png"]


def strip(found, folder) -> np.ndarray:
    with Image.open(viewer.save_view(found, 0, Look(), folder)) as image:
        return np.asarray(image)[600:].astype(int)


@pytest.mark.slow
def test_what_data_a_saved_view_shows_is_drawn_into_it(found, tmp_path):
    """Ink below the slices, which follows the label and the stamp, reaches no edge, and grows into more lines."""
    plain = strip(found, tmp_path)
    assert (plain == viewer.INK).all(axis=2).any() and (plain == viewer.PAPER).all(axis=2).mean() > 0.8
    other, stamped = (
        strip(replace(found, data_label="patients"), tmp_path),
        strip(replace(found, stamp=STAMP), tmp_path),
    )
    assert (other != plain).any() and len(stamped) > len(plain)
    assert (stamped != strip(replace(found, stamp=STAMP | {"seed": 8}), tmp_path)).any()
    long = strip(replace(found, data_label="a label of many words " * 20), tmp_path)
    assert len(long) > len(stamped)
    for sheet in (plain, other, stamped, long):
        border = np.concatenate([sheet[:3], sheet[-3:], sheet[:, :3].swapaxes(0, 1), sheet[:, -3:].swapaxes(0, 1)], 1)
        assert (border == viewer.PAPER).all()


@pytest.mark.slow
def test_how_maps_are_drawn_is_said_and_saved(found, tmp_path):
    placed = replace(found, where=gradcam.Cells(0.15, 0.2, 0.125, 0.875), drawn="Each cell where it <looks>.")
    for reading in (placed, found):
        view = HeatmapViewer(reading)
        view.order.value = "probability"
        assert ("Each cell where it &lt;looks&gt;." in view.picture.value) == (reading is placed)
        path = viewer.save_view(reading, int(found.discs.probability.argmax()), Look(), tmp_path)
        cells = json.loads(path.with_suffix(".json").read_text())["cells"]
        assert cells == (placed.where._asdict() if reading is placed else None)
        with Image.open(path) as picture:
            assert ("Each cell where" in picture.info["Description"]) == (reading is placed)
    sheets = strip(placed, tmp_path), strip(found, tmp_path)  # the first disc
    assert (len(sheets[0]) > len(sheets[1])) == (found.discs.probability[0] >= found.threshold)


@pytest.mark.slow
def test_no_view_takes_the_place_of_another(found, tmp_path):
    looks = [
        Look(),
        *(Look(opacity=opacity) for opacity in (0.1, 0.2)),
        Look(color_map="cividis"),
        *(Look(window=window) for window in ((0.0, 0.9), (0.1, 1.0))),
        Look(heatmap="classic"),
        Look(contour=True),
        Look(always=True),
    ]
    others = [replace(found, stamp=STAMP), replace(found, maps=found.maps / 2)]
    paths = [viewer.save_view(found, 3, look, tmp_path) for look in looks]
    paths += [viewer.save_view(other, 3, looks[0], tmp_path) for other in others]
    assert len(set(paths)) == len(paths) == len(looks) + 2
    for look, path in zip(looks, paths, strict=False):
        assert json.loads(path.with_suffix(".json").read_text())["look"]["opacity"] == look.opacity
        assert viewer.save_view(found, 3, look, tmp_path) == path
    assert len(list(tmp_path.iterdir())) == 2 * len(paths)


def test_saving_never_leaves_its_folder(tmp_path):
    found = made_up(patient="../../etc/x", level="L4/../..")
    path = viewer.save_view(found, 0, Look(), tmp_path / "views")
    assert path.parent == tmp_path / "views" and path.is_file()


def test_what_cannot_be_saved_is_one_sentence(found, tmp_path):
    (tmp_path / "views").write_text("a file in the way")
    view = HeatmapViewer(found, folder=tmp_path / "views")
    view.save.click()
    assert "was not saved" in view.message.value and "alert" in view.message.value


def test_without_a_folder_there_is_no_button_and_without_truth_no_outline(found):
    assert HeatmapViewer(found).save.layout.display == "none"
    assert HeatmapViewer(found).contour.layout.display is None
    assert HeatmapViewer(replace(found, lesion=None)).contour.layout.display == "none"


def test_a_lost_sagittal_image_leaves_the_rest_working(found):
    def sagittal(row):
        if row % 2:
            raise UserError(f"The image of <{row}> is gone: put it back.")
        return drawing((20, 30))

    view = HeatmapViewer(replace(found, sagittal=sagittal))
    attributes, _ = image(view.sagittal.value)
    assert attributes["width"] == "20" and found.discs.level[0] in attributes["alt"] and view.message.value == ""
    assert viewer.LINES in view.sagittal.value
    view.slider.value = 1
    assert view.sagittal.value == "" and is_shown(view, 1)
    assert "The image of &lt;1&gt; is gone: put it back." in view.message.value
    view.slider.value = 2
    assert view.message.value == "" and view.sagittal.value


def test_a_run_without_heatmaps_is_one_sentence(tmp_path):
    space = workspace.open_workspace("smoke", results=str(tmp_path))
    shown = HeatmapViewer.from_workspace(space)
    assert "run notebook 07" in shown.value and "Traceback" not in shown.value


def test_the_viewer_of_a_finished_run(smoke):
    space = workspace.open_workspace("smoke", results=str(smoke.results), figures=str(smoke.figures))
    view = HeatmapViewer.from_workspace(space)
    assert isinstance(view, HeatmapViewer) and view.slider.max == len(view.reading.discs) - 1
    for row in range(view.slider.max + 1):
        view.slider.value = row
        assert view.row() == row and view.message.value == "" and "<img" in view.sagittal.value


# One study


@pytest.fixture
def opened(model, monkeypatch):  # noqa: F811
    monkeypatch.setattr(study, "finished_run", lambda folder: model.run)
    monkeypatch.setattr(reader, "load_model", lambda run: model)


def sentence(shown) -> str:
    """What stands in a viewer's place, plain."""
    said = re.fullmatch('<span role="alert">([^<>]*)</span>', shown.value)[1]
    assert said.endswith(".") and said.count(". ") == 0 and "Traceback" not in said
    return said


@pytest.mark.slow
def test_a_study_is_shown_by_the_same_viewer(opened, model, tree, tmp_path):  # noqa: F811
    heading, view, details = HeatmapViewer.from_study(study_folder(tree), tmp_path).children
    wanted = reader.read_study(study.find_study(study_folder(tree)), model)
    assert wanted.warning in heading.value and atlas.NOT_CLINICAL in heading.value
    assert isinstance(view, HeatmapViewer) and view.slider.max + 1 == len(wanted.reading.discs) == 4
    assert {value for _, value in view.outcome.options} == {
        viewer.ALL,
        *wanted.reading.outcomes(),
    }  # nobody knows right from wrong
    for row, disc in enumerate(wanted.reading.discs.itertuples()):
        view.slider.value = row
        assert is_shown(view, row) and f"{disc.probability:.3f}" in view.caption.value
        assert "label not known" in view.caption.value and disc.read in view.caption.value
        assert "no readable sagittal image" in view.message.value and view.sagittal.value == ""
        assert all(words in view.caption.value for words in (trees.STUDY, "2016-03-09", key_of(UID)))
    for part in (heading, details):
        assert all(words in part.value for words in (trees.STUDY, "2016-03-09", key_of(UID)))
    view.save.click()
    (numbers,) = tmp_path.rglob("*.json")
    assert numbers.parent == tmp_path / "studies" / f"{trees.STUDY}_{key_of(UID)}" / "views"
    saved = json.loads(numbers.read_text())
    assert saved["stamp"]["model trained on"] == PHANTOM and "data" not in saved["stamp"]
    assert saved["stamp"]["study"] == key_of(UID) and saved["whose"] == str(wanted.found)
    with Image.open(numbers.with_suffix(".png")) as image:
        assert str(wanted.found) in image.info["Description"]
    assert PERSON not in numbers.read_text() + heading.value + details.value + view.caption.value


@pytest.mark.slow
def test_a_study_without_axial_t2_slices_is_one_sentence(opened, tmp_path):
    folder = write_study(tmp_path / "0001" / "study", (("L5-S1", 0.0, 3),), **trees.T1)
    assert "no axial T2 slice" in sentence(HeatmapViewer.from_study(folder, tmp_path))
    assert "There is no folder" in sentence(HeatmapViewer.from_study(tmp_path / "gone", tmp_path))


def test_a_study_without_a_disc_is_one_sentence(opened, tmp_path):
    folder = write_study(tmp_path / "0001" / "study", (("L4-L5", 37.0, 2), ("L5-S1", 0.0, 1)))
    said = sentence(HeatmapViewer.from_study(folder, tmp_path))
    assert "L4-L5: fewer than three slices" in said and "name another study" in said


@pytest.mark.parametrize("lost", ["stamp.json", "01/store.npy", "03/*/encoder.keras", "04/classifier.npz"])
def test_a_run_that_lost_a_file_is_one_sentence(smoke, tree, tmp_path, lost):  # noqa: F811
    shutil.copytree(smoke.results, tmp_path / "run", ignore=shutil.ignore_patterns("figures", "notebooks"))
    for path in (tmp_path / "run").glob(lost):
        path.unlink()
    said = sentence(HeatmapViewer.from_study(study_folder(tree), tmp_path / "run"))
    assert str(tmp_path / "run") in said and "run" in said.split(":")[-1]


@pytest.mark.slow
def test_five_thousand_discs_do_not_grow_memory():
    found = made_up(discs=5000, size=8)
    view = HeatmapViewer(found)
    rng = np.random.default_rng(0)
    for row in rng.integers(5000, size=50):
        view.slider.value = int(row)
    tracemalloc.start()
    for row in rng.integers(5000, size=50):
        view.slider.value = int(row)
    first = tracemalloc.get_traced_memory()[0]
    for row in rng.integers(5000, size=150):
        view.slider.value = int(row)
    grown = tracemalloc.get_traced_memory()[0] - first
    tracemalloc.stop()
    assert grown < 1_000_000


@pytest.mark.slow
def test_in_a_kernel_the_sagittal_view_follows_once_the_slider_rests(found):
    drawn = []
    view = HeatmapViewer(found)
    view.reading = replace(found, sagittal=lambda row: drawn.append(row) or drawing((20, 20)))

    async def browse() -> None:
        for place in (1, 0, 1):
            view.slider.value = place
        assert is_shown(view, view.row()) and drawn == []
        await asyncio.sleep(3 * viewer.REST_S)
        assert drawn == [view.row()] and "<img" in view.sagittal.value
        view.slider.value = 0
        view.chosen = np.array([], int)
        view._show()
        await asyncio.sleep(3 * viewer.REST_S)
        assert len(drawn) == 1 and view.sagittal.value == ""  # nothing follows an empty selection

    asyncio.run(browse())
