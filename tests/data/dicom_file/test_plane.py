"""Planes: directions, names, and how an image becomes upright."""

import itertools

import numpy as np
import pytest

from lhdlib.data import dicom
from lhdlib.data.dicom_file.header import Rejected, opened
from lhdlib.data.dicom_file.plane import Plane, Turn, plane_of
from tests.data import trees

TURNS = [Turn(*map(bool, flags)) for flags in itertools.product((0, 1), repeat=3)]


def stored_as(turn: Turn, pixels: np.ndarray, plane: Plane) -> tuple[np.ndarray, Plane]:
    """An upright image stored turned, by another way than the code's: through the places of its pixels."""
    rows, columns = pixels.shape
    places = (
        np.array(plane.position)
        + np.arange(rows)[:, None, None] * plane.spacing[0] * np.array(plane.column)
        + np.arange(columns)[None, :, None] * plane.spacing[1] * np.array(plane.row)
    )
    if turn.upside_down:
        pixels, places = pixels[::-1], places[::-1]
    if turn.left_right:
        pixels, places = pixels[:, ::-1], places[:, ::-1]
    if turn.transposed:
        pixels, places = pixels.T, places.transpose(1, 0, 2)
    along, down = places[0, 1] - places[0, 0], places[1, 0] - places[0, 0]
    lengths = float(np.linalg.norm(down)), float(np.linalg.norm(along))
    row, column = (along / lengths[1]).tolist(), (down / lengths[0]).tolist()
    return pixels.copy(), Plane(row, column, places[0, 0].tolist(), lengths, pixels.shape)


@pytest.mark.slow
@pytest.mark.parametrize("turn", TURNS, ids=str)
@pytest.mark.parametrize("angle", [0, 20, -35])
def test_a_turned_slice_is_turned_back(turn, angle, tmp_path):
    about = np.deg2rad(12)  # a little about the body's axis, which stays
    orientation = np.array(trees.tilted(angle)).reshape(2, 3)
    axis = np.array([[np.cos(about), -np.sin(about), 0], [np.sin(about), np.cos(about), 0], [0, 0, 1]])
    row, column = (orientation @ axis.T).tolist()
    upright = Plane(row, column, [-20.0, -30.0, 5.0], (0.7, 0.5), (40, 30))
    pixels = np.random.default_rng(angle + 40).integers(0, 4096, (40, 30)).astype(np.uint16)
    turned, plane = stored_as(turn, pixels, upright)
    image = trees.make_slice(plane.position, [*plane.row, *plane.column], plane.shape, PixelData=turned.tobytes())
    image.PixelSpacing = list(plane.spacing)
    trees.save(image, tmp_path / "0001" / "s" / "t" / "a")
    slices, rejected = dicom.index_tree(tmp_path)
    assert rejected.empty
    np.testing.assert_array_equal(dicom.read_pixels(tmp_path / slices.path[0]), pixels)
    at = slices.iloc[0]
    found = [at[["x", "y", "z"]], at[["row_x", "row_y", "row_z"]], at[["column_x", "column_y", "column_z"]]]
    np.testing.assert_allclose(np.array(found, float), [upright.position, row, column], atol=1e-4)
    assert (at["rows"], at["columns"]) == (40, 30)
    np.testing.assert_allclose([at.row_spacing, at.column_spacing], [0.7, 0.5], atol=1e-4)
    shown = dicom.read_plane(tmp_path / at.path)
    np.testing.assert_allclose(shown["position"], upright.position, atol=1e-4)
    np.testing.assert_allclose([shown["row"], shown["column"]], [row, column], atol=1e-4)


def test_ordinary_slices_and_other_planes_are_left_alone():
    pixels = np.zeros((4, 6))
    assert Turn()(pixels) is pixels
    ordinary = Plane([1.0, 1e-12, 0.0], [0.0, 1.0, 2e-10], [1.0, 2.0, 3.0], (0.5, 0.6), (4, 6))
    assert ordinary.upright() == (ordinary, Turn())
    for directions in (([0.0, -1.0, 0.0], [0.0, 0.0, 1.0]), ([-1.0, 0.0, 0.0], [0.0, 0.0, 1.0])):
        plane = Plane(*directions, [0.0, 0.0, 0.0], (1.0, 1.0), (4, 6))
        assert plane.upright() == (plane, Turn()) and plane.name in ("sagittal", "coronal")


@pytest.mark.parametrize(
    "keyword, value, reason",
    [
        ("ImageOrientationPatient", None, "no ImageOrientationPatient"),
        ("ImageOrientationPatient", [1.0, 0, 0, 1, 0, 0], "unusable ImageOrientationPatient"),
        ("ImageOrientationPatient", [1.0, 0, 0], "unreadable ImageOrientationPatient"),
        ("ImageOrientationPatient", [2.0, 0, 0, 0, 2, 0], "unusable ImageOrientationPatient"),
        ("ImagePositionPatient", None, "no ImagePositionPatient"),
        ("ImagePositionPatient", [1.0, 2.0], "unreadable ImagePositionPatient"),
        ("PixelSpacing", None, "no PixelSpacing"),
        ("PixelSpacing", [0.0, 0.0], "absurd PixelSpacing"),
        ("PixelSpacing", [0.5, 9.0], "absurd PixelSpacing"),
        ("PixelSpacing", [0.5, 0.5, 0.5], "unreadable PixelSpacing"),
    ],
)
def test_what_is_missing_is_named(keyword, value, reason, tmp_path):
    path = trees.save(trees.make_slice(size=(8, 8), **{keyword: value}), tmp_path / "a")
    with opened(path) as (header, _), pytest.raises(Rejected, match=f"no geometry: {reason}"):
        plane_of(header)
