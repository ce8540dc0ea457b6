"""Slabs, levels and samples, against layouts whose truth is known because they were made here."""

import re
import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid
from scipy.spatial.transform import Rotation

from lhdlib.data import dicom, discs
from tests.data import trees

LUMBAR = ["L5-S1", "L4-L5", "L3-L4", "L2-L3", "L1-L2"]  # from the lowest upwards
ALL = [*LUMBAR, "T12-L1", "T11-T12", "T10-T11"]
PITCH = 36.0  # between neighbouring discs, mm


def slab(z, y=0.0, x=0.0, count=4, spacing=4.4, tilt=0.0, roll=0.0, turn=0.0, size=(320, 320), skip=(), **values):
    """Rows of the table of one slab about a centre, cranial first; `truth` is what `group_discs` has to find."""
    turned = Rotation.from_euler("zyx", [turn, roll, tilt], degrees=True).as_matrix()
    row, column, normal = turned[:, 0], turned[:, 1], turned[:, 2]
    corner = np.array([x, y, z]) - 0.6875 / 2 * ((size[1] - 1) * row + (size[0] - 1) * column)
    rows = []
    for place in range(count):
        if place in skip:
            continue
        vectors = {"row": row, "column": column, "normal": normal}
        position = corner + ((count - 1) / 2 - place) * spacing * normal
        rows.append(
            {
                "patient": "0001",
                "study": "LSS",
                "series": "1",
                "weighting": "T2",
                "instance_number": place + 1,
                **dict(zip("xyz", position, strict=True)),
                **{f"{name}_{a}": v for name, vector in vectors.items() for a, v in zip("xyz", vector, strict=True)},
                "rows": size[0],
                "columns": size[1],
                "row_spacing": 0.6875,
                "column_spacing": 0.6875,
                "thickness": 4.0,
                **values,
            }
        )
    return rows


def layout(*slabs, seed=0):
    """Table of slices in random order under random names, and the true slabs as tuples of names."""
    rng = np.random.default_rng(seed)
    names = iter(rng.permutation(10 * sum(map(len, slabs)) + 10))
    truth = []
    for rows in slabs:
        for row in rows:
            row["path"] = f"{row['patient']}/{row['study']}/{next(names):05d}"
        truth.append(tuple(row["path"] for row in rows))
    table = pd.DataFrame([row for rows in slabs for row in rows])
    return table.iloc[rng.permutation(len(table))].reset_index(drop=True), truth


def spine(slabs, /, first=0.0, pitch=PITCH, **values):
    """Parallel slabs from the lowest upwards."""
    return [slab(first + pitch * number, **values) for number in range(slabs)]


def levels(grouped, weighting="T2"):
    chosen = grouped[grouped.weighting == weighting]
    return dict(zip(chosen.paths, chosen.level, strict=True))


def flags(grouped, weighting="T2"):
    return grouped[grouped.weighting == weighting].flag.tolist()


def assert_grouped(table, truth, names=ALL):
    """Every true slab is found, in its order, under its level, without a flag."""
    grouped = discs.group_discs(table)
    assert levels(grouped) == dict(zip(truth, names, strict=False))
    assert (grouped.flag == "").all(), grouped.flag.tolist()
    return grouped


# --- grouping, order, levels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize("spacing", [3.3, 4.4, 5.0])
def test_parallel_slabs_twelve_millimetres_apart(count, spacing):
    """Only the gap tells such slabs apart; their centres are 19 to 32 mm from each other."""
    table, truth = layout(*spine(5, pitch=(count - 1) * spacing + 12, count=count, spacing=spacing, tilt=8))
    grouped = assert_grouped(table, truth)
    assert np.allclose(grouped.spacing, spacing) and (grouped.slices == count).all()


def test_one_series_per_slab_is_the_same_as_one_for_all():
    together, truth = layout(*spine(5))
    apart, same = layout(*(slab(PITCH * n, series=str(n)) for n in range(5)))
    assert truth == same
    pd.testing.assert_frame_equal(assert_grouped(together, truth), assert_grouped(apart, truth))


def test_a_slab_scattered_over_series_stays_one_slab():
    table, truth = layout(*spine(5))
    table["series"] = [str(number) for number in range(len(table))]
    assert_grouped(table, truth)


def test_instance_numbers_and_names_do_not_count():
    table, truth = layout(*spine(4))
    for numbers in (table.instance_number[::-1].to_numpy(), np.zeros(len(table), int)):
        assert_grouped(table.assign(instance_number=numbers, series_number=numbers), truth)


def test_the_frame_of_the_slices_does_not_count():
    """Orientation may be written with the rows the other way round: the normal still points to the head."""
    table, truth = layout(*spine(4, tilt=12))
    flipped = table.copy()
    for axis in "xyz":
        flipped[axis] += table[f"column_{axis}"] * 0.6875 * 319
        flipped[f"column_{axis}"] *= -1
    assert_grouped(flipped, truth)


def test_slabs_of_different_orientation_may_overlap_in_position():
    """The lowest slab follows the lordosis: at the back, its slices lie higher than those of the next."""
    table, truth = layout(slab(0, 12, tilt=30, count=5), slab(30, 2, tilt=9, count=5), slab(63, 0, tilt=-4, count=5))
    back = table.z + 0.6875 * 319 * table.column_z
    assert all(back[table.path.isin(low)].max() > back[table.path.isin(high)].min() for low, high in pairwise(truth))
    assert_grouped(table, truth)


def test_slices_of_two_slabs_that_cross_are_not_mixed():
    """Two tilted slabs so close that the upper one's lowest slice lies beneath the lower one's highest."""
    table, truth = layout(slab(0, tilt=12, count=5, spacing=6.5), slab(25, tilt=-8, count=5, spacing=6.5))
    middle = table.z + 0.6875 / 2 * 319 * table.column_z
    upper, lower = (middle[table.path.isin(paths)] for paths in truth[::-1])
    assert upper.min() < lower.max()
    assert_grouped(table, truth)


def test_neighbours_that_differ_only_by_rotation_in_their_plane():
    """Patient 0037's rows turn by 0.7 degrees between slabs: parallel planes, another frame."""
    table, truth = layout(slab(0, turn=0.05), slab(PITCH, turn=0.7), slab(2 * PITCH, turn=1.4))
    assert_grouped(table, truth)


@pytest.mark.parametrize("count", [6, 7])
def test_thoracic_discs_are_named_and_give_no_sample(count):
    table, truth = layout(*spine(count, count=5))
    grouped = assert_grouped(table, truth)
    samples = discs.disc_samples(grouped)
    assert sorted(samples.level) == sorted(LUMBAR)
    aside = discs.set_aside(grouped)
    assert aside.level.tolist() == ALL[5:count] and (aside.reason == "not lumbar").all()


def test_more_slabs_than_there_are_discs_are_all_flagged():
    grouped = discs.group_discs(layout(*spine(9, pitch=30))[0])
    assert all("more slabs than discs" in flag for flag in flags(grouped)) and discs.disc_samples(grouped).empty
    assert grouped.level.tolist() == [*ALL, "above T10-T11"]


def test_a_narrow_matrix_has_its_own_centre():
    wide = discs.group_discs(layout(slab(5, 3, 2, tilt=20))[0]).iloc[0]
    narrow = discs.group_discs(layout(slab(5, 3, 2, tilt=20, size=(320, 310)))[0]).iloc[0]
    assert np.allclose(wide[list("xyz")].astype(float), [2, 3, 5])
    assert np.allclose(narrow[list("xyz")].astype(float), [2, 3, 5])


@pytest.mark.slow
@pytest.mark.parametrize("noise", [1e-9, 1e-6, 3e-4])
def test_rounding_noise_in_the_orientation(noise):
    """Real headers hold values like ``1.432E-12``; the slabs here differ by 0.7 degrees."""
    for seed in range(20):
        table, truth = layout(*(slab(PITCH * n, tilt=0.7 * n) for n in range(5)), seed=seed)
        rng = np.random.default_rng(seed)
        for name in ("row", "column", "normal"):
            for axis in "xyz":
                table[f"{name}_{axis}"] += rng.uniform(-noise, noise, len(table))
        assert_grouped(table, truth)


def test_no_slices_no_discs():
    table, _ = layout(slab(0))
    grouped = discs.group_discs(table[:0])
    assert grouped.empty and list(grouped) == discs.COLUMNS
    assert discs.disc_samples(grouped).empty and discs.set_aside(grouped).empty


def test_absurd_positions_do_not_stop_the_rest():
    broken = [
        row | {"patient": "0002", "z": value} for row, value in zip(slab(0), (1e300, -1e300, 0, 1e12), strict=True)
    ]
    table, truth = layout(*spine(4), broken)
    with np.errstate(all="ignore"):
        grouped = discs.group_discs(table)
    assert levels(grouped[grouped.patient == "0001"]) == dict(zip(truth[:4], ALL, strict=False))
    assert sorted(path for paths in grouped.paths for path in paths) == sorted(table.path)


@pytest.mark.slow
def test_thousands_of_slices_in_one_study_take_seconds():
    """A flat folder of foreign files is one study to the index."""
    rng = np.random.default_rng(0)
    rows = [
        row
        for n in range(3000)
        for row in slab(rng.uniform(0, 1e4), tilt=rng.uniform(-40, 40), count=1, weighting=("T1", "T2")[n % 2])
    ]
    table, _ = layout(rows)
    grouped = discs.group_discs(table)
    assert sorted(path for paths in grouped.paths for path in paths) == sorted(table.path)


# --- what is flagged ------------------------------------------------------------------------------------------------


def test_a_repeated_slab_casts_doubt_on_itself_and_on_those_above():
    """Below the repeat the count is unaffected. The two slabs are one disc, so they share its level."""
    for tilt, shift, series in ((0, 2.0, "2"), (3, 5.0, "1"), (0, 0.0, "2"), (0, 2.0, "1"), (6, -6.0, "2")):
        slabs = spine(5)
        repeat = slab(PITCH + shift, tilt=tilt, series=series)
        grouped = discs.group_discs(layout(*slabs, repeat)[0])
        usable = discs.disc_samples(grouped)
        assert set(usable.level) == {"L5-S1"}, (tilt, shift, series)
        assert (grouped.level == "L5-S1").sum() == 1 and grouped.level.iloc[-1] == "L1-L2"
        found = grouped[grouped.level == "L4-L5"]
        assert found.flag.str.contains("repeated slab|slices at one place", regex=True).all()


def test_a_second_series_of_the_same_discs_is_kept_apart_and_flagged():
    """Patient 0011 has 34 T2 slices against 16 T1: a person chooses between two whole series."""
    for shift in (0.0, 0.6, 2.2):
        first, again = spine(4), spine(4, first=shift, series="2")
        t1 = spine(4, weighting="T1", series="3")
        table, truth = layout(*first, *again, *t1)
        grouped = discs.group_discs(table)
        named = levels(grouped)
        assert set(named) == set(truth[:8])
        for number, level in enumerate(LUMBAR[:4]):
            assert named[truth[number]] == named[truth[number + 4]] == level
        assert all("repeated slab" in flag for flag in flags(grouped)) and discs.disc_samples(grouped).empty
        assert levels(grouped, "T1") == dict(zip(truth[8:], LUMBAR, strict=False))


def test_of_four_slices_the_upper_sample_only():
    grouped = discs.group_discs(layout(*spine(4))[0])
    both, upper = discs.disc_samples(grouped), discs.disc_samples(grouped, four_slices="upper")
    assert set(both.part) == {0, 1} and (upper.part == 0).all()
    assert list(upper.paths) == list(both.paths[both.part == 0])


@pytest.mark.parametrize("lowest", [0, 1, 2])
def test_a_contiguous_block_casts_doubt_on_itself_and_on_those_above(lowest):
    below = spine(lowest)
    block = slab(PITCH * (lowest + 0.5), count=14)
    above = slab(PITCH * (lowest + 2.4))
    grouped = discs.group_discs(layout(*below, block, above)[0])
    assert flags(grouped)[:lowest] == [""] * lowest
    assert flags(grouped)[lowest] == discs.BLOCK and "contiguous block" in flags(grouped)[lowest + 1]
    assert len(discs.disc_samples(grouped)) == 2 * lowest


@pytest.mark.parametrize("spacing", [3.5, 4.4, 6.0])
@pytest.mark.parametrize("tilt", [0.0, 12.0])
def test_a_block_says_where_the_centres_of_other_slabs_cross_it(spacing, tilt):
    """T1 slabs, one a disc, tell it; the plane nearest to each one's centre is looked for slice by slice."""
    centres = [(PITCH * n + 1.0, 3.0 * n) for n in range(3)]
    block = slab(PITCH, y=3, count=int(90 / spacing), spacing=spacing, tilt=tilt)
    t1 = [slab(z, y=y, tilt=4.0 * n - 5, weighting="T1") for n, (z, y) in enumerate(centres)]
    table, _ = layout(block, *t1)
    grouped = discs.group_discs(table)
    assert flags(grouped) == [discs.BLOCK]
    angle = np.deg2rad(tilt)
    middle = (len(block) + 1) / 2
    wanted = []
    for z, y in reversed(centres):  # from above
        height = (z - PITCH) * np.cos(angle) - (y - 3) * np.sin(angle)
        wanted.append(min(range(1, len(block) + 1), key=lambda n: abs((middle - n) * spacing - height)))
    remarks = discs.block_remarks(grouped, table)
    (remark,) = remarks[grouped.weighting == "T2"]
    assert remark.startswith(f"{len(block)} slices over {(len(block) - 1) * spacing:.0f} mm, from above; ")
    assert remark.endswith(": " + ", ".join(f"{number} (T1)" for number in wanted))
    assert (remarks[grouped.weighting == "T1"] == "").all()


def test_a_block_alone_says_that_nothing_tells():
    """Slabs above it, blocks of T1 and another patient's slabs are no help."""
    above, t1 = slab(PITCH * 3.4), slab(PITCH / 2, count=14, weighting="T1")
    table, _ = layout(slab(PITCH / 2, count=14), above, t1, *spine(2, patient="0002"))
    grouped = discs.group_discs(table)
    remarks = discs.block_remarks(grouped, table)
    told = remarks[remarks != ""]
    assert len(told) == 2 and told.str.startswith("14 slices over 57 mm").all()
    assert told.str.contains("no other slab tells where discs cross it").all()
    without, _ = layout(*spine(3))
    assert (discs.block_remarks(discs.group_discs(without), without) == "").all()


def test_few_slices_far_apart_are_a_block_too():
    """Seven slices 6.5 mm apart reach from one disc to the next."""
    assert flags(discs.group_discs(layout(slab(0, count=7, spacing=6.5))[0])) == [discs.BLOCK]
    assert flags(discs.group_discs(layout(slab(0, count=6, spacing=6.5))[0])) == [""]


@pytest.mark.parametrize("turned", [{"tilt": 0.7}, {"roll": 0.7}, {"turn": 0.7}])
def test_touching_slabs_are_told_apart_by_orientation_alone(turned):
    """Ten slices 4.4 mm apart without a gap: real neighbouring slabs differ by 0.7 degrees."""
    table, truth = layout(slab(0, count=5), slab(22, count=5, **turned))
    assert_grouped(table, truth)


def test_touching_slabs_are_flagged():
    """No gap, no orientation between them: ten slices in a row."""
    grouped = discs.group_discs(layout(slab(0, count=5), slab(22, count=5))[0])
    assert len(grouped) == 1 and discs.BLOCK in grouped.flag[0]


@pytest.mark.parametrize("pitch", [27.0, 30.0, 36.0, 42.0])
@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_missing_slab_casts_doubt_on_the_levels_above_only(pitch, missing):
    slabs = spine(5, pitch=pitch)
    del slabs[missing]
    grouped = discs.group_discs(layout(*slabs)[0])
    assert flags(grouped)[:missing] == [""] * missing
    assert all("gap between slabs" in flag for flag in flags(grouped)[missing:])
    assert set(discs.disc_samples(grouped).level) == set(LUMBAR[:missing])


def test_two_far_slabs_of_a_small_person():
    grouped = discs.group_discs(layout(slab(0), slab(28), slab(84))[0])
    assert [bool(flag) for flag in flags(grouped)] == [False, False, True]
    grouped = discs.group_discs(layout(slab(0), slab(72))[0])
    assert [bool(flag) for flag in flags(grouped)] == [False, True]


@pytest.mark.parametrize("spacing", [3.3, 4.4, 5.5])
@pytest.mark.parametrize(("count", "skip"), [(5, (1,)), (5, (2,)), (5, (3,)), (4, (1,)), (4, (2,)), (6, (3,))])
def test_a_slice_missing_within_a_slab(spacing, count, skip):
    """The pieces lie too near to be two discs: they, and the levels above, are for a person to decide."""
    holed = slab(PITCH, count=count, spacing=spacing, skip=skip)
    grouped = discs.group_discs(layout(slab(0), holed, *spine(3, first=2 * PITCH))[0])
    assert set(discs.disc_samples(grouped).level) == {"L5-S1"}
    assert "missing slice" in grouped.flag[1] and grouped.level.iloc[-1] == "L1-L2"


def test_two_slices_at_one_place():
    """The same place imaged twice within a series, e.g. after the patient moved."""
    twice = slab(PITCH)
    twice.insert(1, twice[1] | {})
    twice[1] = twice[1] | {"z": twice[1]["z"] + 0.3}
    table, truth = layout(slab(0), twice, slab(2 * PITCH))
    grouped = discs.group_discs(table)
    assert levels(grouped) == dict(zip(truth, ALL, strict=False))
    assert flags(grouped) == ["", "slices at one place", ""]


def test_single_slices_are_slabs_without_samples():
    table, truth = layout(*spine(4, count=1))
    grouped = assert_grouped(table, truth)
    assert grouped.spacing.isna().all() and discs.disc_samples(grouped).empty
    assert (discs.set_aside(grouped).reason == "fewer than three slices").all() and len(discs.set_aside(grouped)) == 4
    table, truth = layout(slab(0), slab(PITCH, count=1), slab(2 * PITCH, count=2), slab(3 * PITCH, count=5))
    assert set(discs.disc_samples(assert_grouped(table, truth)).level) == {"L5-S1", "L2-L3"}


def test_two_studies_of_one_patient():
    """Which of the two the note belongs to, a person has to say; other patients are unaffected."""
    first, second = spine(3, study="LSS_1"), spine(3, first=4, study="LSS_2")
    table, _ = layout(*first, *second, *spine(3, patient="0002"))
    grouped = discs.group_discs(table)
    assert (grouped[grouped.patient == "0001"].flag == "several studies of this patient").all()
    assert set(discs.disc_samples(grouped).patient) == {"0002"}


def test_a_second_study_without_t2_raises_no_doubt():
    table, truth = layout(*spine(3, study="LSS_1"), *spine(3, study="LSS_2", weighting="T1"))
    grouped = discs.group_discs(table)
    assert (grouped.flag == "").all() and levels(grouped) == dict(zip(truth[:3], ALL, strict=False))


# --- T1 beside T2 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", [(), (0,), (1,), (2,), (0, 1), (0, 2)])
def test_t1_takes_the_level_of_the_t2_slab_at_its_place(lacking):
    """Named from its own lowest slab, a T1 series without L5-S1 would be one level off."""
    kept = [n for n in range(4) if n not in lacking]
    t1 = [slab(PITCH * n + 3, tilt=1.5, count=3, spacing=5, weighting="T1", series="2") for n in kept]
    table, truth = layout(*spine(4, count=5), *t1)
    grouped = discs.group_discs(table)
    assert (grouped.flag == "").all()
    assert levels(grouped) == dict(zip(truth[:4], ALL, strict=False))
    assert levels(grouped, "T1") == {paths: ALL[n] for paths, n in zip(truth[4:], kept, strict=True)}


def test_t1_where_t2_has_no_slab():
    """Above or between, T1 is flagged alone; below the lowest T2 slab it puts the naming in doubt."""
    t1 = spine(5, weighting="T1")
    grouped = discs.group_discs(layout(*spine(4), *t1)[0])
    assert flags(grouped) == [""] * 4 and flags(grouped, "T1") == [""] * 4 + ["no T2 slab at this place"]
    assert grouped[grouped.weighting == "T1"].level.tolist() == [*LUMBAR[:4], discs.UNKNOWN]
    grouped = discs.group_discs(layout(*spine(4, first=PITCH), *t1)[0])
    assert all("a T1 slab lies below" in flag for flag in flags(grouped)) and discs.disc_samples(grouped).empty


def test_t1_shares_the_doubts_about_its_t2_slab():
    slabs = [slab(PITCH * n, weighting=w) for n in (0, 2, 3) for w in ("T1", "T2")]
    grouped = discs.group_discs(layout(*slabs)[0])
    assert flags(grouped, "T1") == flags(grouped) and [bool(f) for f in flags(grouped)] == [False, True, True]


def test_a_study_of_t1_alone_is_named_but_gives_no_sample():
    grouped = discs.group_discs(layout(*spine(3, weighting="T1"))[0])
    assert grouped.level.tolist() == LUMBAR[:3] and discs.disc_samples(grouped).empty
    assert discs.set_aside(grouped).empty


# --- samples --------------------------------------------------------------------------------------------------------

STARTS = {1: [], 2: [], 3: [1], 4: [1, 2], 5: [2], 6: [3], 7: [3]}  # first slice of each sample, from 1


@pytest.mark.parametrize("count", STARTS)
def test_rule_of_the_three_slices(count):
    assert [start + 1 for start in discs.sample_starts(count)] == STARTS[count]
    table, (paths,) = layout(slab(0, count=count))
    samples = discs.disc_samples(discs.group_discs(table))
    assert samples.paths.tolist() == [paths[start - 1 : start + 2] for start in STARTS[count]]
    assert samples.part.tolist() == list(range(len(STARTS[count])))


@pytest.mark.slow
def test_every_t2_disc_gives_samples_or_is_set_aside():
    for seed in range(100):
        grouped = discs.group_discs(random_layout(np.random.default_rng([seed, 1]), gap=(0.5, 3))[0])
        used = {(s.patient, s.study, s.level) for s in discs.disc_samples(grouped).itertuples()}
        aside = discs.set_aside(grouped)
        t2 = grouped[grouped.weighting == "T2"]
        assert len(aside) == len(t2) - len(used)
        assert not used & set(aside[["patient", "study", "level"]].itertuples(index=False, name=None))
        assert (aside.reason != "").all()


# --- slabs of many slices ---------------------------------------------------------------------------------------------

ANGLED = [  # slices, spacing, heights of the centres from the lowest upwards, tilts
    ([10, 8, 8, 8, 8], 3.5, [0, 26, 52, 83, 114], [-28, -14, -6, 2, 5]),
    ([8] * 5, 3.5, [0, 30, 60, 90, 120], [25, 12, 4, -2, -6]),
    ([9] * 5, 3.0, [0, 28, 57, 88, 119], [22, 10, 5, 1, -3]),
    ([12] * 5, 3.0, [0, 33, 66, 99, 132], [30, 15, 6, 0, -6]),
    ([11] * 4, 3.3, [0, 32, 64, 96], [28, 14, 4, -4]),
    ([8, 5, 5, 5], 4.4, [0, 33, 66, 99], [24, 3, 3, 3]),  # the lowest disc alone has many
    ([5, 8, 5], 4.4, [0, 34, 68], [3, 3, 3]),  # parallel, but a disc apart
    ([8] * 5, 3.0, [0, 42, 84, 126, 168], [20, 10, 5, 0, -5]),  # a tall person; too short for two discs
    ([7, 9, 7, 9], 3.5, [0, 31, 62, 93], [26, 13, 5, -2]),
    ([10] * 3, 4.0, [0, 38, 76], [18, 9, 0]),
    ([8] * 7, 3.3, [0, 29, 58, 87, 116, 145, 174], [25, 15, 8, 3, 0, -4, -8]),  # up to the thorax
    ([14] * 3, 2.6, [0, 36, 72], [15, 5, -5]),
]


@pytest.mark.parametrize(("counts", "spacing", "heights", "tilts"), ANGLED)
def test_a_slab_of_many_slices_a_disc_from_the_next_is_one_disc(counts, spacing, heights, tilts):
    slabs = zip(counts, heights, tilts, strict=True)
    table, truth = layout(*(slab(z, count=n, spacing=spacing, tilt=t) for n, z, t in slabs))
    grouped = assert_grouped(table, truth)
    samples = discs.disc_samples(grouped)
    for level, paths in zip(LUMBAR, truth, strict=False):
        for used in samples.paths[samples.level == level]:
            assert abs(paths.index(used[1]) - (len(paths) - 1) / 2) <= 1
    assert samples.level.value_counts().drop_duplicates().tolist() == [1] or 4 in counts


SEVERAL = [  # slices, spacing, heights, tilts, and which slab covers several discs
    ([30], 4.4, [60], [0], 0),
    ([42], 3.5, [60], [4], 0),
    ([5, 14], 4.4, [0, 50], [25, 3], 1),  # the block of the upper discs beside an angled L5-S1
    ([5, 12], 4.0, [0, 49], [20, 0], 1),
    ([5, 11], 3.5, [0, 42], [25, 5], 1),  # two discs of a small person
    ([10, 5], 4.4, [0, 50], [3, -3], 0),
    ([14, 14], 3.5, [0, 70], [12, 0], 0),  # two blocks of two discs
    ([5, 24, 5], 4.4, [0, 66, 132], [24, 6, -4], 1),
    ([8], 4.4, [0], [0], 0),  # alone: nothing tells
    ([25, 5], 4.0, [0, 30], [0, 14], 0),  # a slab within the block is no neighbour
    ([9], 6.0, [0], [3], 0),
]


@pytest.mark.parametrize(("counts", "spacing", "heights", "tilts", "block"), SEVERAL)
def test_a_stack_over_several_discs_stays_for_a_person(counts, spacing, heights, tilts, block):
    slabs = [slab(z, count=n, spacing=spacing, tilt=t) for n, z, t in zip(counts, heights, tilts, strict=True)]
    table, truth = layout(*slabs)
    grouped = discs.group_discs(table).set_index("paths")
    assert discs.BLOCK in grouped.flag[truth[block]]
    above = [paths for paths in truth[block + 1 :] if paths in grouped.index]
    assert all(grouped.flag[paths] for paths in above)
    used = {path for paths in discs.disc_samples(grouped.reset_index()).paths for path in paths}
    assert not used & set(truth[block])


def angled_study(real_dir) -> pd.DataFrame:
    """Slices of another hospital's study, one series, in the columns of `dicom.index_tree`; with the true slab."""
    table = pd.read_csv(real_dir / "headers" / "angled_study_axial_T2.csv")
    row, column = (table[[f"{name}_{axis}" for axis in "xyz"]].to_numpy() for name in ("row", "column"))
    normal = np.cross(row, column)
    normal *= np.sign(normal[:, 2:])
    table[["normal_x", "normal_y", "normal_z"]] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    table = table.drop(columns="spacing").assign(row_spacing=table.pixel, column_spacing=table.pixel)
    return table.assign(
        path=[f"s/{n:02d}.dcm" for n in table.instance_number], patient="P1", study="s", series="1", weighting="T2"
    )


def test_the_angled_study_of_another_hospital_has_five_discs(real_dir):
    table = angled_study(real_dir)
    grouped = discs.group_discs(table.sample(frac=1, random_state=0))
    assert grouped.level.tolist() == LUMBAR and (grouped.flag == "").all()
    samples, places = discs.disc_samples(grouped), table.set_index("path")
    assert samples.level.tolist() == LUMBAR
    for sample in samples.itertuples():
        truth = places.loc[list(sample.paths)]
        assert set(truth.slab_level) == {sample.level}
        middle = truth.iloc[1]
        assert abs(middle.place_in_slab - (middle.slices_in_slab + 1) / 2) <= 1


def test_the_remark_names_the_slices_that_the_sample_has():
    assert [discs.sample_remark(count) for count in (1, 2, 3, 4, 5)] == [""] * 5
    assert discs.sample_remark(7) == "7 slices, from above: the sample has 3 to 5"
    for count in range(6, 30):
        (start,) = discs.sample_starts(count)
        first, last = map(int, re.search(r"has (\d+) to (\d+)", discs.sample_remark(count)).groups())
        assert (first, last) == (start + 1, start + 3) and abs((first + last) / 2 - (count + 1) / 2) <= 0.5
        assert ("as central" in discs.sample_remark(count)) == (count % 2 == 0)


# --- properties over random layouts ---------------------------------------------------------------------------------


def random_layout(rng, gap=(1.8, 4)):
    """A random spine: 1 to 7 levels of 2 to 6 slices, own spacing, lordosis, parallel blocks, several series.

    Between the slices of neighbouring slabs lie at least `gap[0]` spacings.
    """
    count, parallel, by_slab = int(rng.integers(1, 8)), rng.random() < 0.5, rng.random() < 0.5
    shared = rng.uniform(3.3, 6.5) if rng.random() < 0.7 else None
    tilts = np.where(parallel, rng.uniform(-8, 12), np.linspace(rng.uniform(15, 35), rng.uniform(-12, 0), count))
    if parallel and rng.random() < 0.5:
        tilts[0] += rng.uniform(8, 25)
    slabs, edge, y = [], rng.uniform(-200, 200), 0.0
    for number, tilt in enumerate(tilts):
        spacing, slices = shared or rng.uniform(3.3, 6.5), int(rng.integers(2, 7))
        half = (slices - 1) / 2 * spacing
        gap_mm = max(
            rng.uniform(*gap) * max(spacing, slabs[-1][1] if slabs else 0), 20.0 - 2 * half if gap[0] > 1 else 0
        )
        z = edge + gap_mm + half
        slabs.append(
            (
                slab(
                    z,
                    y,
                    count=slices,
                    spacing=spacing,
                    tilt=tilt,
                    size=(320, 310) if rng.random() < 0.2 else (320, 320),
                    series=str(number * by_slab),
                ),
                spacing,
            )
        )
        edge = z + half
        # parallel slabs are stacked along their normal, others along the curve of the spine
        step = gap_mm + 2 * half
        y -= np.tan(np.deg2rad(tilt)) * step if parallel else 0.1 * step
    return layout(*(rows for rows, _ in slabs), seed=int(rng.integers(2**31)))


def by_union_find(table):
    """Slabs by loops over pairs: equal planes, and no farther apart than 1.5 times a slice's nearest neighbour."""
    rows = table.to_dict("records")
    parent = list(range(len(rows)))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    def apart(a, b):
        """Distance along the normal; None for planes of different orientation."""
        for name in ("row", "column"):
            cosine = sum(a[f"{name}_{axis}"] * b[f"{name}_{axis}"] for axis in "xyz")
            if np.degrees(np.arccos(min(1.0, cosine))) > 0.35:
                return None
        middle = lambda r, axis: (  # noqa: E731
            r[axis] + 0.6875 / 2 * ((r["columns"] - 1) * r[f"row_{axis}"] + (r["rows"] - 1) * r[f"column_{axis}"])
        )
        return abs(sum((middle(a, axis) - middle(b, axis)) * a[f"normal_{axis}"] for axis in "xyz"))

    distance = {(i, j): apart(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j}
    nearest = [
        min((d for (i, _), d in distance.items() if i == k and d is not None), default=0) for k in range(len(rows))
    ]
    for (i, j), d in distance.items():
        if d is not None and d <= 1.5 * min(nearest[i], nearest[j]):
            parent[root(i)] = root(j)
    groups = {}
    for i, row in enumerate(rows):
        groups.setdefault(root(i), set()).add(row["path"])
    return {frozenset(group) for group in groups.values()}


@pytest.mark.slow
def test_random_layouts_are_grouped_as_they_were_made():
    """Grouping, order within the slab and levels equal the truth; a flag may only say that discs lie oddly."""
    rng, draws, unflagged = np.random.default_rng(1), 1000, 0
    for _ in range(draws // 50):
        made = {f"{number:04d}": random_layout(rng) for number in range(50)}
        grouped = discs.group_discs(pd.concat([table.assign(patient=name) for name, (table, _) in made.items()]))
        for name, (_, truth) in made.items():
            found = grouped[grouped.patient == name]
            assert found.paths.tolist() == truth
            certain = found[found.flag == ""]
            assert certain.level.tolist() == [ALL[truth.index(paths)] for paths in certain.paths]
            unflagged += len(certain) == len(found)
    assert unflagged > 0.9 * draws


@pytest.mark.slow
def test_random_layouts_against_loops_over_pairs():
    rng = np.random.default_rng(2)
    for _ in range(40):
        table, truth = random_layout(rng)
        loops = by_union_find(table)
        assert loops == {frozenset(paths) for paths in truth}
        grouped, places = discs.group_discs(table), table.set_index("path")
        assert {frozenset(paths) for paths in grouped.paths} == loops
        for disc in grouped.itertuples():
            pixels = places.loc[list(disc.paths), ["x", "y", "z"]].to_numpy()
            assert np.isclose(disc.spacing, np.linalg.norm(pixels[1] - pixels[0]))
            normal = places.loc[disc.paths[0], ["normal_x", "normal_y", "normal_z"]].to_numpy(float)
            assert np.allclose([disc.normal_x, disc.normal_y, disc.normal_z], normal)


@pytest.mark.slow
def test_the_order_of_rows_never_counts():
    """Also where there is no truth: slabs that touch, repeat or cross, noise that links orientations."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        table, _ = random_layout(rng, gap=(0.2, 2.5))
        for axis in "xyz":
            table[f"column_{axis}"] += rng.uniform(-3e-3, 3e-3, len(table))
        twice = table.sample(2, random_state=0)  # copies at the same place
        table = pd.concat([table, twice.assign(path=twice.path + "b")], ignore_index=True)
        expected = discs.group_discs(table)
        shuffled = table.iloc[rng.permutation(len(table))]
        pd.testing.assert_frame_equal(discs.group_discs(shuffled), expected)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.floats(-300, 300)] * 3), st.floats(-180, 180), st.floats(-1, 1))
def test_a_rigid_motion_of_the_patient_and_the_order_of_files_change_nothing(seed, shift, turn, lean):
    """Another place in the scanner, a patient who lies turned about the long axis: the same slabs, levels and flags.

    Leaning forward or sideways may change which slab is the lowest, so it is left out beyond a degree.
    """
    rng = np.random.default_rng(seed)
    table, _ = random_layout(rng, gap=(0.8, 3.5))
    motion = Rotation.from_euler("zyx", [turn, lean, lean], degrees=True).as_matrix()
    moved = table.copy()
    for name in ("row", "column", "normal"):
        columns = [f"{name}_{axis}" for axis in "xyz"]
        moved[columns] = table[columns].to_numpy() @ motion.T
    moved[list("xyz")] = table[list("xyz")].to_numpy() @ motion.T + shift
    moved = moved.iloc[rng.permutation(len(moved))].reset_index(drop=True)
    before, after = discs.group_discs(table), discs.group_discs(moved)
    pd.testing.assert_frame_equal(
        before.drop(columns=discs.PLACE), after.drop(columns=discs.PLACE), check_exact=False, rtol=1e-6
    )
    places, normals = (before[discs.PLACE[:3]].to_numpy(float), before[discs.PLACE[3:]].to_numpy(float))
    np.testing.assert_allclose(after[discs.PLACE[:3]].to_numpy(float), places @ motion.T + shift, atol=1e-6)
    np.testing.assert_allclose(after[discs.PLACE[3:]].to_numpy(float), normals @ motion.T, atol=1e-9)
    pd.testing.assert_frame_equal(discs.disc_samples(before), discs.disc_samples(after))


# --- trees of files -------------------------------------------------------------------------------------------------


def names_of(files, folder):
    return tuple(str(file.relative_to(folder)) for file in files)


@pytest.mark.slow
def test_a_tree_with_everything(tmp_path):
    """Six levels, T1 beside T2, reversed numbers under shuffled names, copies, screens, 320 x 310, a cervical study."""
    rng = np.random.default_rng(0)
    study = tmp_path / "01_MRI_Data" / "0046" / trees.STUDY
    truth = {}
    for number, tilt in enumerate([28, 6, 6, 6, 6, -3]):
        size = (320, 310) if number == 2 else (320, 320)
        t1_uid = generate_uid() if number % 2 else "1.2.3.4.1"
        for weighting, tags in (("T2", {}), ("T1", {**trees.T1, "SeriesInstanceUID": t1_uid})):
            if weighting == "T1" and number == 0:
                continue  # T1 lacks the lowest slab
            files = trees.write_slab(
                study / f"{weighting}_{number}",
                (0, -3 * number, 34 * number),
                4 + number % 2,
                tilt,
                seed=10 * number + (weighting == "T1"),
                reverse=number % 3 == 1,
                size=size,
                **tags,
            )
            moved = [file.with_name(f"{name:04d}.ima") for file, name in zip(files, rng.permutation(99), strict=False)]
            for file, place in zip(files, moved, strict=True):
                file.rename(place)
            truth[ALL[number], weighting] = names_of(moved, tmp_path)
    copies = study.parent / trees.STUDY / "T2_TSE_TRA_again"
    copies.mkdir()
    for file in (study / "T2_1").iterdir():
        image = trees.pydicom.dcmread(file)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.SeriesInstanceUID = "1.2.9"
        trees.save(image, copies / file.name)
    shutil.copy(study / "T2_0" / sorted(p.name for p in (study / "T2_0").iterdir())[0], copies / "once_more.ima")
    screen = {"SeriesDescription": "PosDisp: [4] t2_tse_tra_384", "ImageType": ["DERIVED", "SECONDARY", "OTHER"]}
    trees.write_slab(study / "POSDISP_[4]_T2_TSE_TRA_384_5001", (0, 0, 20), 1, seed=91, **screen)
    trees.write_slab(
        study.parent / "C-SPINE_C-SPINE_20160309" / "T2", (0, 0, 300), 4, seed=92, BodyPartExamined="CSPINE"
    )

    slices, rejected = dicom.index_tree(tmp_path)
    grouped = discs.group_discs(slices)
    assert {(d.level, d.weighting): d.paths for d in grouped.itertuples()} == truth
    assert (grouped.flag == "").all() and (grouped.study == trees.STUDY).all()
    samples = discs.disc_samples(grouped)
    assert samples.level.value_counts().to_dict() == {"L5-S1": 2, "L4-L5": 1, "L3-L4": 2, "L2-L3": 1, "L1-L2": 2}
    assert samples.paths[0] == truth["L5-S1", "T2"][:3] and samples.paths[2] == truth["L4-L5", "T2"][1:4]
    kinds = rejected.reason.str.split(":").str[0].value_counts().to_dict()
    assert kinds == {"duplicate": 6, "position display": 1, "other body region": 4}


@pytest.mark.slow
def test_two_lumbar_studies_fifteen_minutes_apart(tmp_path):
    for number, time in enumerate(("091629_240000", "093129_240000")):
        for level in range(3):
            folder = tmp_path / "0215" / f"L-SPINE_LSS_20160309_{time}" / f"T2_{level}"
            trees.write_slab(folder, (0, 0, 36 * level), seed=10 * number + level)
            trees.write_slab(tmp_path / "0216" / trees.STUDY / f"T2_{level}", (0, 0, 36 * level), seed=30 + level)
    slices, _ = dicom.index_tree(tmp_path)
    grouped = discs.group_discs(slices)
    assert len(grouped) == 9
    assert (grouped.flag.str.contains("several studies") == (grouped.patient == "0215")).all()
    assert set(discs.disc_samples(grouped).patient) == {"0216"}


def test_a_second_study_of_copies_is_no_second_study(tmp_path):
    for level in range(3):
        trees.write_slab(tmp_path / "0001" / "LSS_1" / f"T2_{level}", (0, 0, 36 * level), seed=level)
    shutil.copytree(tmp_path / "0001" / "LSS_1", tmp_path / "0001" / "LSS_2")
    slices, rejected = dicom.index_tree(tmp_path)
    grouped = discs.group_discs(slices)
    assert len(grouped) == 3 and (grouped.flag == "").all() and len(rejected) == 12


# --- what real headers hold -----------------------------------------------------------------------------------------


def test_real_orientations_and_positions(real_dir, tmp_path):
    """Patient 0037: slices 1-4 are one slab, 5 begins the next, 0.7 degrees and 27 mm away."""
    headers = pd.read_csv(real_dir / "headers" / "headers_patient0037_T2axial_first5.csv")
    # the printed values are cut after the row's z and the position's z: two decimals at least are left
    number = r"-?\d+\.\d+"
    rows = np.array([[float(v) for v in re.findall(number, text)[:3]] for text in headers.ImageOrientationPatient])
    positions = np.array([[float(v) for v in re.findall(number, text)[:3]] for text in headers.ImagePositionPatient])
    step = positions[0] - positions[3]
    normal = step / np.linalg.norm(step)
    assert np.isclose(np.linalg.norm(step) / 3, 4.406, atol=0.02) and np.isclose(np.degrees(normal[1]), 7.6, atol=0.1)
    for place, (row, position) in enumerate(zip(rows, positions, strict=True)):
        row = row - (row @ normal) * normal  # the fifth slice's normal was not printed: the fourth's
        row /= np.linalg.norm(row)
        column = np.cross(normal, row)
        orientation = [float(f"{value:.13g}") for value in (*row, *column)]
        image = trees.make_slice(position, orientation, seed=place, InstanceNumber=place + 1)
        trees.save(
            image, tmp_path / "0037" / trees.STUDY / "T2_TSE_TRA_384_0004" / f"T2_TSE_TRA__{place + 1:04d}_001.ima"
        )
    grouped = discs.group_discs(dicom.index_tree(tmp_path)[0])
    assert grouped.slices.tolist() == [1, 4] and (grouped.flag == "").all()
    assert [path[-12:-8] for path in grouped.paths[1]] == ["0001", "0002", "0003", "0004"]
    assert np.isclose(grouped.spacing[1], 4.406, atol=0.1)


@pytest.mark.slow
def test_published_central_slices_lie_in_the_slab_of_their_level(real_dir):
    """15 patients' counts: the publishers' central slice is a slab's third from the top, of four as well as of five."""
    central = pd.read_csv(real_dir / "headers" / "central_slice_numbers_15_patients.csv", dtype={"patient": str})
    assert len(central) == 15
    for row in central.itertuples():
        firsts = [row.D3 - 2, row.D4 - 2, row.D5 - 2]  # instance number of each slab's highest slice
        above = firsts[0] - 1  # slices of the slabs above L3-L4
        counts = [above // n + (k < above % n) for n in [-(-above // 5)] for k in range(n)] if above else []
        counts += [firsts[1] - firsts[0], firsts[2] - firsts[1], 5]
        for parallel in (True, False):
            slabs, instance, total = [], 1, len(counts)
            for place, count in enumerate(counts):  # from the top, as instance numbers run
                tilt = 6.0 if parallel and place < total - 1 else 3.0 + 9.8 * place
                rows = slab(PITCH * (total - place), -4.0 * place, count=count, tilt=tilt, patient=row.patient)
                for number, values in enumerate(rows, instance):
                    values["instance_number"] = number
                instance += count
                slabs.append(rows)
            table, _ = layout(*slabs, seed=int(row.patient))
            number_of = dict(zip(table.path, table.instance_number, strict=True))
            grouped = discs.group_discs(table)
            assert (grouped.flag == "").all()
            for level, wanted in (("L3-L4", row.D3), ("L4-L5", row.D4), ("L5-S1", row.D5)):
                (paths,) = grouped.paths[grouped.level == level]
                assert wanted in [number_of[path] for path in paths], (row.patient, level)
                samples = discs.disc_samples(grouped)
                used = {number_of[p] for paths in samples.paths[samples.level == level] for p in paths}
                assert wanted in used, (row.patient, level)
