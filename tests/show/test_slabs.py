"""A study's slabs on its sagittal image, against the phantom's own geometry and against lines counted in a picture."""

from dataclasses import replace

import numpy as np
import pytest

from lhdlib.data import dicom, discs, sagittal
from lhdlib.errors import UserError
from lhdlib.phantom.anatomy import sample_patient
from lhdlib.show.slabs import CHOSEN, LINE, PANEL, THICK, THIN, JudgedDiscs, draw_slabs, show_slabs
from tests.show.test_review import SEED, built  # noqa: F401  (a fixture)

pytestmark = pytest.mark.slow  # all of them need what is written once for this file


def test_lines_pass_through_the_discs_they_are_named_after(built):  # noqa: F811
    """The phantom knows where its discs are; of 0003's slabs the three upper ones are named one level too low."""
    checked = 0
    for patient in ("0001", "0002", "0003"):
        view = JudgedDiscs(built.folder, built.archive)
        row = view.built.index[(view.built.patient == patient) & (view.built.weighting == "T2")][0]
        slabs, shown = view.slabs(row), view.view(row)
        plane = dicom.read_plane(built.archive / shown.path)
        anatomy = {disc.level: disc for disc in sample_patient(SEED, int(patient)).discs}
        for slab, lines in zip(slabs.itertuples(), shown.cuts, strict=True):
            index = discs.LEVELS.index(slab.level) + (patient == "0003" and slab.level != "L5-S1")
            anatomic = anatomy[discs.LEVELS[index]]
            x, y = sagittal._pixels(plane, np.array(anatomic.origin))
            heights = [np.interp(x, *line.T) for line in lines]
            assert min(heights) < y < max(heights) and len(lines) == slab.slices
            others = [np.array(d.origin) for d in anatomy.values() if d is not anatomic]
            for other in others:
                x, y = sagittal._pixels(plane, other)
                assert (
                    not min(np.interp(x, *line.T) for line in lines) < y < max(np.interp(x, *line.T) for line in lines)
                )
            checked += 1
    assert checked == 10


@pytest.mark.parametrize("slope", [0.0, 0.05, -0.2])
def test_the_lines_of_the_used_slices_stand_out(slope):
    """Counted in each column of a picture of black: three orange stripes, three pixels high; the others of one."""
    size, ends = 400, np.array([0.0, 399.0])
    heights = [[80, 90, 100, 110, 120], [200, 210, 220, 230]]
    cuts = tuple(
        np.stack([np.stack([ends, height + slope * ends], axis=-1) - 0.5 for height in slab]) for slab in heights
    )
    view = sagittal.SagittalView("", np.zeros((size, size), np.float32), (1.0, 1.0), cuts)
    for used in ([1, 2, 3], [0, 1, 2], [], None):
        wanted = [heights[0][number] for number in (range(5) if used is None else used)]
        picture = np.asarray(draw_slabs(view, ["", ""], chosen=0, size=size, used=used))
        for column in range(10, size - 10, 7):
            for color, slab_heights, high in (
                (CHOSEN, wanted, THICK),
                (LINE, [h for slab in heights for h in slab if h not in wanted], THIN),
            ):
                rows = np.flatnonzero((picture[:, column] == color).all(axis=-1))
                stripes = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(rows) else []
                middles = [stripe.mean() - slope * column for stripe in stripes]
                assert np.allclose(middles, slab_heights, atol=2) and len(middles) == len(slab_heights)
                assert all(abs(len(stripe) - high) <= (slope != 0) for stripe in stripes)
    assert THICK >= THIN + 2


def test_lines_carry_the_numbers_of_their_slices():
    """Each at an end of its own line, in turn right and left; lines of a block stay thin beneath them."""
    size, ends = 400, np.array([40.0, 359.0])
    heights = np.arange(100, 100 + 12 * 9, 9)
    cuts = (np.stack([np.stack([ends, np.full(2, height)], axis=-1) - 0.5 for height in heights]),)

    def drawn(numbers, numbered=True):
        view = sagittal.SagittalView("", np.zeros((size, size), np.float32), (1.0, 1.0), cuts, (numbers,))
        return np.asarray(draw_slabs(view, [""], chosen=0, size=size, numbered=numbered)).astype(int)

    numbers = tuple(range(2, 14))
    plain, picture = drawn(numbers, numbered=False), drawn(numbers)
    assert ((plain[:, 200] == CHOSEN).all(axis=1)).sum() == THICK * len(heights)
    assert ((picture[:, 200] == CHOSEN).all(axis=1)).sum() == THIN * len(heights)
    assert not (picture[:, 80:320] == LINE).all(axis=-1).any()
    for place, (number, height) in enumerate(zip(numbers, heights, strict=True)):
        other = drawn(numbers[:place] + (number + 2,) + numbers[place + 1 :])
        rows, columns = np.nonzero((other != picture).any(axis=-1))
        assert np.abs(rows - height).max() <= 8
        assert columns.min() > 330 if number % 2 else columns.max() < 70


def test_a_study_is_drawn_by_name(built):  # noqa: F811
    picture = np.asarray(show_slabs(built.folder, built.archive, "0001"))
    assert max(picture.shape) == 2 * PANEL and (picture == LINE).all(axis=2).any()
    assert not (picture == CHOSEN).all(axis=2).any()
    for patient, study in (("0009", None), ("0001", "other")):
        with pytest.raises(UserError, match=patient):
            show_slabs(built.folder, built.archive, patient, study=study)


def test_no_line_crosses_a_name_and_no_name_another():
    """Names stand at the right of the image, in the order of their slabs, also where slabs overlap."""
    size, ends = 400, np.array([0.0, 399.0])
    heights = [[80, 90, 100], [95, 105, 115], [300, 310, 320]]
    cuts = tuple(np.stack([np.stack([ends, np.full(2, h)], axis=-1) for h in slab]) for slab in heights)
    view = sagittal.SagittalView("", np.zeros((size, size), np.float32), (1.0, 1.0), cuts, sides=("A", "P"))
    names = ["L3-L4", "L4-L5", "L5-S1"]
    picture = np.asarray(draw_slabs(view, names, chosen=1, size=size))
    lines = (picture == LINE).all(axis=-1).sum(axis=0) >= 6
    width = np.flatnonzero(lines).max() + 1
    assert picture.shape[1] == size and lines[:width].all() and width < size - 20
    beside = picture[:, width:].max(axis=(1, 2)) > 60
    edges = np.flatnonzero(np.diff(np.concatenate([[0], beside, [0]])))
    assert len(edges) == 2 * len(names)  # three words, with black between them
    places = edges.reshape(-1, 2).mean(axis=1) * size / picture.shape[0]
    assert np.abs(places - np.array([90, 105, 310])).max() < 16
    assert (picture[edges[2] : edges[3], width:] == CHOSEN).all(axis=-1).any()


def test_the_sagittal_view_has_the_patients_front_where_its_rows_begin(built):  # noqa: F811
    view = JudgedDiscs(built.folder, built.archive)
    row = view.built.index[view.built.weighting == "T2"][0]
    shown = view.view(row)
    direction = dicom.read_plane(built.archive / shown.path)["row"]
    assert shown.sides == (("A", "P") if direction[1] > 0 else ("P", "A"))
    plain, marked = (
        np.asarray(draw_slabs(replace(shown, sides=sides), [""] * len(shown.cuts))).astype(int)
        for sides in (("", ""), shown.sides)
    )
    _, columns = np.nonzero((plain != marked).any(axis=-1))
    assert {c < 40 for c in columns} == {True, False} and not ((columns >= 40) & (columns < 560)).any()
