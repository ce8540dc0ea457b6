"""The viewer without a browser: what its slider, selectors, controls and button do."""

import asyncio
import base64
import io
import json
import re
import tracemalloc
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from lhdlib import reading, viewer, workspace
from lhdlib.errors import UserError
from lhdlib.viewer import HeatmapViewer
from tests.test_reading import DISCS, made_up


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(viewer, "SIDE", 64)


@pytest.fixture
def found():
    return made_up()


def source(view: HeatmapViewer) -> bytes:
    return base64.b64decode(re.search(r"src='data:image/jpeg;base64,([^']+)'", view.picture.value)[1])


def is_shown(view: HeatmapViewer, row: int) -> bool:
    """Whether the picture is this disc's as the controls want it (JPEG blurs a little)."""
    wanted = np.asarray(reading.draw_disc(view.reading, row, view.look(), viewer.SIDE, viewer.GAP)).astype(float)
    got = np.asarray(Image.open(io.BytesIO(source(view)))).astype(float)
    return got.shape == wanted.shape and np.abs(got - wanted).mean() < 3


def test_every_slider_position_shows_its_disc(found):
    view = HeatmapViewer(found)
    assert view.slider.max == DISCS - 1 == view.play.max
    for row in range(DISCS):
        view.slider.value = row
        assert view.row() == row and is_shown(view, row)
        assert not is_shown(view, (row + 1) % DISCS)
        assert view.place.value == f"{row + 1} of {DISCS}"
        assert f"{found.discs.probability[row]:.3f}" in view.caption.value
        assert re.search(rf"alt='[^']*{found.discs.level[row]}[^']*{found.outcomes()[row]}", view.picture.value)


def test_filters_and_orders_against_numpy(found):
    view, discs = HeatmapViewer(found), found.discs
    outcomes, error = found.outcomes(), np.abs(discs.probability - discs.label)
    keys = {
        "test order": np.arange(DISCS),
        "probability": -discs.probability,
        "error": -error,
        "largest slice weight": -found.slice_weight.max(axis=1),
    }
    rng = np.random.default_rng(0)
    for _ in range(100):
        parts = (view.outcome, view.level, view.patient, view.order)
        for part in parts:
            part.value = viewer.ALL if viewer.ALL in part.options else part.options[0]
        for part in rng.choice(4, 2, replace=False):
            parts[part].value = rng.choice(parts[part].options)
        keep = [
            row
            for row in range(DISCS)
            if view.outcome.value in (viewer.ALL, outcomes[row])
            and view.level.value in (viewer.ALL, discs.level[row])
            and view.patient.value in (viewer.ALL, discs.patient[row])
        ]
        assert list(view.chosen) == sorted(keep, key=lambda row: keys[view.order.value][row])
        assert view.slider.value == 0 and view.slider.max == max(0, len(keep) - 1)
        if not keep:
            assert view.row() is None and view.picture.value == "" and "No disc fits" in view.message.value
        else:
            assert view.row() == view.chosen[0] and is_shown(view, view.chosen[0]) and view.message.value == ""


def test_controls_change_the_picture(found):
    view = HeatmapViewer(found)
    view.order.value = "probability"  # called herniated: heat is drawn
    last = source(view)
    changes = {
        view.opacity: 0.1,
        view.color_map: "cividis",
        view.window: (0.2, 0.6),
        view.contour: True,
        view.heat: "classic",
    }
    for part, value in changes.items():
        part.value = value
        assert source(view) != last and is_shown(view, view.row())
        last = source(view)
    view.slider.value = DISCS - 1  # called normal
    assert "again, without heat" in view.picture.value
    view.always.value = True
    assert "under their heat" in view.picture.value and is_shown(view, view.row())
    view.heat.value = "none"
    assert "again, without heat" in view.picture.value


def test_buttons_step_and_stay_in_range(found):
    view = HeatmapViewer(found)
    view.previous.click()
    assert view.slider.value == 0
    for _ in range(DISCS + 3):
        view.next.click()
    assert view.slider.value == DISCS - 1
    view.previous.click()
    assert view.slider.value == DISCS - 2 and is_shown(view, DISCS - 2)


def test_a_saved_view_is_the_picture_and_its_numbers(found, tmp_path):
    view = HeatmapViewer(found, tmp_path / "views")
    view.slider.value, view.heat.value = 7, "classic"
    view.save.click()
    (picture,) = (tmp_path / "views").glob("*.png")
    assert picture.name in view.message.value and picture.name.startswith("disc0007-")
    assert np.array_equal(np.asarray(Image.open(picture)), np.asarray(reading.draw_disc(found, 7, view.look())))
    saved = json.loads(picture.with_suffix(".json").read_text())
    assert {**reading.facts(found, 7)}.items() <= saved.items()
    assert saved["look"] == {**asdict(view.look()), "window": list(view.look().window)}
    assert np.array_equal(np.float32(saved["maps"]["paper"]), found.maps[7])
    assert sorted(p.suffix for p in (tmp_path / "views").iterdir()) == [".json", ".png"]


def test_saving_never_leaves_its_folder(tmp_path):
    found = made_up(patient="../../etc/x", level="L4/../..")
    path = viewer.save_view(found, 0, reading.Look(), tmp_path / "views")
    assert path.parent == tmp_path / "views" and path.is_file()


def test_what_cannot_be_saved_is_one_sentence(found, tmp_path):
    (tmp_path / "views").write_text("a file in the way")
    view = HeatmapViewer(found, tmp_path / "views")
    view.save.click()
    assert "was not saved" in view.message.value and "alert" in view.message.value


def test_without_a_folder_there_is_no_button_and_without_truth_no_outline(found):
    assert HeatmapViewer(found).save.layout.display == "none"
    assert HeatmapViewer(found).contour.layout.display is None
    assert HeatmapViewer(replace(found, lesion=None)).contour.layout.display == "none"


def test_a_lost_sagittal_image_leaves_the_rest_working(found):
    def slabs(row):
        if row % 2:
            raise UserError(f"The image of <{row}> is gone: put it back.")
        return Image.new("RGB", (20, 30))

    view = HeatmapViewer(replace(found, slabs=slabs))
    assert "width='20'" in view.sagittal.value and view.message.value == ""
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


def test_in_a_kernel_the_sagittal_view_follows_once_the_slider_rests(found):
    drawn = []
    view = HeatmapViewer(found)
    view.reading = replace(found, slabs=lambda row: drawn.append(row) or Image.new("L", (20, 20)))

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
