"""Cuts of slices through a sagittal image, against points computed one by one, and the choice of the image."""

import re

import numpy as np
import pandas as pd
import pytest

from lhdlib.data import dicom, discs, sagittal
from lhdlib.errors import UserError
from tests.data import trees

SAGITTAL = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]  # rows run to the back, columns to the feet


def random_plane(rng: np.random.Generator) -> dict:
    row, other = rng.normal(size=(2, 3))
    row /= np.linalg.norm(row)
    column = np.cross(row, other)
    plane = {
        "row": row,
        "column": column / np.linalg.norm(column),
        "position": np.zeros(3),
        "spacing": tuple(rng.uniform(0.5, 2, 2)),
        "shape": tuple(int(n) for n in rng.integers(20, 50, 2)),
    }
    middle = points(plane, (np.array(plane["shape"][::-1]) - 1) / 2)
    return plane | {"position": rng.normal(0, 15, 3) - middle}


def points(plane: dict, pixels: np.ndarray) -> np.ndarray:
    """Places in the patient (mm) of pixels (x, y)."""
    x, y = np.moveaxis(np.asarray(pixels, float)[..., None], -2, 0)
    return plane["position"] + x * plane["spacing"][1] * plane["row"] + y * plane["spacing"][0] * plane["column"]


def height(plane: dict, places: np.ndarray) -> np.ndarray:
    return (places - plane["position"]) @ np.cross(plane["row"], plane["column"])


def inside(plane: dict, places: np.ndarray, margin: float) -> np.ndarray:
    """Whether places on a plane lie within its image, `margin` pixels beyond its edge allowed."""
    away = places - plane["position"]
    x, y = away @ plane["row"] / plane["spacing"][1], away @ plane["column"] / plane["spacing"][0]
    rows, columns = plane["shape"]
    low = -0.5 - margin
    return (x >= low) & (x <= columns - 0.5 + margin) & (y >= low) & (y <= rows - 0.5 + margin)


def crossings(plane: dict, image: dict) -> np.ndarray:
    """Places where the columns of a grid over the image pass through the slice's plane."""
    rows, columns = image["shape"]
    grid = np.stack(np.meshgrid(np.linspace(-0.5, columns - 0.5, 80), np.linspace(-0.5, rows - 0.5, 80)), axis=-1)
    found = []
    for lines in (grid, grid.swapaxes(0, 1)):
        places = points(image, lines)
        first, last = height(plane, places[:-1]), height(plane, places[1:])
        share = np.divide(first, first - last, out=np.full_like(first, -1.0), where=first != last)[..., None]
        passed = (first * last < 0)[..., None] & (share >= 0)
        found.append((places[:-1] + share * (places[1:] - places[:-1]))[passed[..., 0]])
    return np.concatenate(found)


@pytest.mark.slow
def test_cuts_lie_on_both_planes_and_reach_to_an_edge():
    rng, cut, missed = np.random.default_rng(0), 0, 0
    for _ in range(400):
        plane, image = random_plane(rng), random_plane(rng)
        line = sagittal.cut(plane, image)
        met = crossings(plane, image)
        met = met[inside(plane, met, 0)]
        if line is None:
            missed += 1
            parallel = abs(np.cross(plane["row"], plane["column"]) @ np.cross(image["row"], image["column"])) > 0.99
            assert parallel or not len(met)
            continue
        cut += 1
        ends = points(image, line)
        assert line[0, 0] <= line[1, 0]
        assert np.abs(height(plane, ends)).max() < 1e-6
        assert inside(plane, ends, 1e-6).all() and inside(image, ends, 1e-6).all()
        beyond = ends + np.array([[-0.01], [0.01]]) * (ends[1] - ends[0]) * max(
            1, 10 / np.linalg.norm(ends[1] - ends[0])
        )
        assert not (inside(plane, beyond, 0) & inside(image, beyond, 0)).any()
        if len(met):  # every crossing lies between the ends
            share = (met - ends[0]) @ (ends[1] - ends[0]) / ((ends[1] - ends[0]) @ (ends[1] - ends[0]))
            assert share.min() > -1e-6 and share.max() < 1 + 1e-6
            assert np.abs(np.cross(met - ends[0], ends[1] - ends[0])).max() < 1e-5 * max(1, np.abs(ends).max())
    assert cut > 100 and missed > 50


def test_a_cut_calculated_by_hand():
    axial = {"row": np.array([1.0, 0, 0]), "column": np.array([0, 1.0, 0]), "position": np.array([-50.0, -40.0, 7.0])}
    axial |= {"spacing": (0.5, 1.0), "shape": (160, 100)}  # y from -40.25 to 39.75 mm
    image = {"row": np.array([0, 1.0, 0]), "column": np.array([0, 0, -1.0]), "position": np.array([3.0, -60.0, 20.0])}
    image |= {"spacing": (2.0, 1.0), "shape": (30, 90)}  # y from -60.5 to 29.5 mm
    np.testing.assert_allclose(sagittal.cut(axial, image), [[19.75, 6.5], [89.5, 6.5]], atol=1e-9)
    assert sagittal.cut(axial | {"position": np.array([-50.0, -40.0, 21.5])}, image) is None  # above the image
    assert sagittal.cut(axial | {"position": np.array([10.0, -40.0, 7.0])}, image) is None  # beside it
    assert sagittal.cut(image | {"position": np.array([5.0, -60.0, 20.0])}, image) is None  # parallel


# --- the image that is shown -----------------------------------------------------------------------------------------


def write_sagittal(study, series, places, away=0.0, **tags):
    """Sagittal images at the given places from right to left (mm); rows 100, columns 80, 2 mm pixels."""
    return [
        trees.save(
            trees.make_slice(
                (x, -80.0, 130.0 + away), SAGITTAL, (100, 80), seed=int(x) + 100, PixelSpacing=[2, 2], **tags
            ),
            study / series / f"sag_{number}.ima",
        )
        for number, x in enumerate(places)
    ]


def make_study(folder):
    """Three slabs of four slices at z = 0, 34 and 68 mm about x = 2 mm."""
    study = folder / "01" / "0001" / trees.STUDY
    for number in range(3):
        trees.write_slab(study / f"TRA_{number}", (2.0, 0.0, 34.0 * number), seed=number)
    return study


def view(folder):
    slices, rejected = dicom.index_tree(folder)
    slabs = discs.group_discs(slices)
    return sagittal.sagittal_view(folder, slabs, slices, rejected)


def test_the_nearest_t2_image_is_taken_and_the_lines_are_where_the_slices_are(tmp_path):
    study = make_study(tmp_path)
    write_sagittal(study, "T1_TSE_SAG_0003", [2.0], **trees.T1)
    files = write_sagittal(study, "T2_TSE_SAG_0002", [-9.0, 5.0, 14.0])
    write_sagittal(study, "LOCALIZER_0001", [2.0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_sagittal(study.with_name("L-SPINE_LSS_20170101_000000_000000"), "T2_TSE_SAG_0002", [2.0])
    found = view(tmp_path)
    assert tmp_path / found.path == files[1] and found.spacing == (2.0, 2.0)
    np.testing.assert_array_equal(found.pixels, dicom.read_pixels(files[1]))
    assert [lines.shape for lines in found.cuts] == [(4, 2, 2)] * 3
    for number, lines in enumerate(found.cuts):
        z = 34.0 * number + np.array([1.5, 0.5, -0.5, -1.5]) * 4.4  # cranial first
        np.testing.assert_allclose(lines[:, :, 1], np.repeat((130 - z)[:, None] / 2, 2, axis=1), atol=1e-6)
        back = (-0.6875 * 160.5 + 110 - 110 + 80) / 2, 79.5
        assert (np.diff(lines[:, :, 0]) > 60).all() and (lines[:, 1, 0] == pytest.approx(back[1]))


def test_what_cannot_be_read_is_passed_over(tmp_path):
    study = make_study(tmp_path)
    files = write_sagittal(study, "T2_TSE_SAG_0002", [2.0, 9.0, 12.0])
    t1 = write_sagittal(study, "T1_TSE_SAG_0003", [2.0], **trees.T1)
    slices, rejected = dicom.index_tree(tmp_path)
    slabs = discs.group_discs(slices)
    for damaged, shown in zip(files, [*files[1:], *t1], strict=True):
        content = damaged.read_bytes()
        damaged.write_bytes(content[: len(content) // 2]) if damaged != files[1] else damaged.unlink()
        found = sagittal.sagittal_view(tmp_path, slabs, slices, rejected)
        assert tmp_path / found.path == shown
    t1[0].write_bytes(b"")
    with pytest.raises(UserError, match="no readable sagittal image"):
        sagittal.sagittal_view(tmp_path, slabs, slices, rejected)


@pytest.mark.parametrize(
    ("places", "away", "reason"),
    [
        ([], 0, "no readable sagittal image"),
        ([2.0], 400, "cannot belong together"),
        ([75.0], 0, "cannot belong together"),
    ],
    ids=["none", "far-up", "far-aside"],
)
def test_why_nothing_is_drawn_is_one_sentence(places, away, reason, tmp_path):
    write_sagittal(make_study(tmp_path), "T2_TSE_SAG_0002", places, away)
    with pytest.raises(UserError, match=reason) as error:
        view(tmp_path)
    assert re.fullmatch(r"[A-Z][^.]+\.", str(error.value))


def test_a_slab_outside_the_image_has_no_line(tmp_path):
    write_sagittal(make_study(tmp_path), "T2_TSE_SAG_0002", [2.0], away=-80.0)
    found = view(tmp_path)
    assert [len(lines) for lines in found.cuts] == [4, 4, 0]
    assert found.numbers == ((1, 2, 3, 4), (1, 2, 3, 4), ())


def test_each_line_has_the_number_of_its_slice(tmp_path):
    """The image ends below the upper slices of the highest slab: its lines are those of slices 3 and 4."""
    write_sagittal(make_study(tmp_path), "T2_TSE_SAG_0002", [2.0], away=-63.0)
    found = view(tmp_path)
    assert [len(lines) for lines in found.cuts] == [4, 4, 2]
    assert found.numbers == ((1, 2, 3, 4), (1, 2, 3, 4), (3, 4))


def test_the_table_gives_the_same_plane_as_the_file(tmp_path):
    trees.write_slab(
        tmp_path / "0001" / "study" / "series", (5, -7, 30), tilt=17.0, size=(48, 64), PixelSpacing=[0.5, 0.7]
    )
    slices, _ = dicom.index_tree(tmp_path)
    for _, row in slices.iterrows():
        plane, read = sagittal.slice_plane(row), dicom.read_plane(tmp_path / row.path)
        assert plane.keys() == read.keys()
        for name in plane:
            np.testing.assert_allclose(plane[name], read[name], atol=1e-6)


def test_names_tell_t2_only_as_a_word():
    names = ["s/T2_TSE_SAG_384_0002/a.ima", "s/t2 sag/a", "s/SAG_T2/a", "s/x/T2_TSE_SAG__0001.ima"]
    others = ["s/T1_TSE_SAG/a", "s/AT2/a", "T2_STUDY/s/a", "s/1.2.3/a"]
    frame = pd.Series([*names, *others]).map(sagittal._named_t2)
    assert frame.tolist() == [True] * len(names) + [False] * len(others)
