"""Sides, scale and place of a slice, from made-up geometry; and on the phantom's own headers."""

import numpy as np
import pandas as pd
import pytest

from lhdlib import profile as profiles
from lhdlib.data import marks

SETTINGS = profiles.load("smoke").data


def table(*directions, **columns) -> pd.DataFrame:
    """Slices with these directions of their rows, 320 x 300 pixels of 0.5 x 0.6 mm."""
    axes = pd.DataFrame(np.array(directions, float), columns=["row_x", "row_y", "row_z"])
    size = {"rows": 320, "columns": 300, "row_spacing": 0.5, "column_spacing": 0.6}
    return axes.assign(path=[f"{n}.ima" for n in range(len(axes))], **size | columns)


@pytest.mark.parametrize(
    ("direction", "wanted"),
    [
        ((1, 0, 0), ("R", "L")),
        ((-1, 0, 0), ("L", "R")),  # mirrored
        ((0.9, 0.3, -0.3), ("R", "L")),
        ((0, 1, 0), ("A", "P")),
        ((0.1, -0.9, 0.2), ("P", "A")),
        ((0, 0, 1), ("F", "H")),
    ],
)
def test_letters_follow_the_orientation(direction, wanted):
    assert marks.sides(direction) == wanted


def test_a_mirrored_picture_has_its_letters_the_other_way_round():
    rng = np.random.default_rng(0)
    for direction in rng.normal(size=(200, 3)):
        left, right = marks.sides(direction)
        assert marks.sides(-direction) == (right, left) and left != right


def test_slices_are_numbered_in_their_slab_from_the_top():
    slabs = pd.DataFrame({"paths": [("2.ima", "0.ima", "1.ima")]})
    found = marks.slice_marks(table(*[(1, 0, 0)] * 4), slabs, SETTINGS)
    assert [mark.place for mark in found] == ["2 of 3", "3 of 3", "1 of 3", ""]


def test_the_scale_is_the_stores():
    slices = table((1, 0, 0))
    for field, wanted in ((64, 64), (0, 180)):  # 300 pixels of 0.6 mm are more than 320 of 0.5 mm
        settings = profiles.load("smoke").replace(data={"field_of_view_mm": field}).data
        (mark,) = marks.slice_marks(slices, pd.DataFrame({"paths": []}), settings)
        assert mark.mm == marks.side_mm(slices, settings)[0] == wanted


def test_a_bar_is_round_and_less_than_half_of_the_picture():
    assert [marks.Marks(mm=mm).bar_mm for mm in (0, 20, 64, 110, 220, 1000)] == [0, 5, 20, 20, 50, 100]
    for mm in range(13, 1000):
        assert 0 < marks.Marks(mm=mm).bar_mm < mm / 2
