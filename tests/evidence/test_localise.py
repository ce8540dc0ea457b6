"""Scores of heatmaps against loops, closed forms and made-up truth."""

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage, stats

from lhdlib import gradcam, profile
from lhdlib.data import resampling
from lhdlib.errors import UserError
from lhdlib.evidence import localise
from tests.evidence.made_up import ALIGNED, PUBLISHED, SETTINGS, compared, disc_of, draw, located, slice_table

OTHERS = ("other_paper", "other_classic", "other_random")
KINDS = ("paper", "classic", "plain", "random", "centre", "fixed", "ceiling", *OTHERS)


def test_masks_are_resampled_as_their_slices():
    """A mask, sent through `preprocess` as pixels, comes out in the same place up to its scale."""
    rng = np.random.default_rng(0)
    slices = slice_table(40, 36, 0.5, 3)
    masks = {uid: rng.random((40, 36)) < 0.2 for uid in slices.path}
    found = localise.lesion_cover(masks, slices, np.array([[2, 0, 1], [0, 0, 2]]), SETTINGS)
    assert found.shape == (2, 3, 16, 16) and found.min() >= 0 and found.max() <= 1 + 1e-6
    for place, row in (((0, 0), 2), ((0, 1), 0), ((1, 2), 2)):
        reference = resampling.preprocess(masks[f"1.2.{row}"].astype(float), (0.5, 0.5), 16, 11.0)
        scale = found[place].max() / reference.max()
        np.testing.assert_allclose(found[place], reference * scale, atol=1e-6)


def test_cover_is_the_share_of_the_pixel():
    """Pixels of 0.5 mm become pixels of 11/16 mm about the slice's centre: the covered area is kept."""
    slices, mask = slice_table(40, 40, 0.5, 1), np.zeros((40, 40), bool)
    mask[15:24, 17:20] = True
    cover = localise.lesion_cover({"1.2.0": mask}, slices, np.zeros((1, 3), int), SETTINGS)[0, 0]
    assert cover.sum() * (11 / 16) ** 2 == pytest.approx(mask.sum() * 0.5**2, rel=1e-5)
    y, x = np.nonzero(cover)
    assert (y.min(), y.max()) == (int((15 * 0.5 - 4.5) / 11 * 16), math.ceil((24 * 0.5 - 4.5) / 11 * 16) - 1)
    assert (x.min(), x.max()) == (int((17 * 0.5 - 4.5) / 11 * 16), math.ceil((20 * 0.5 - 4.5) / 11 * 16) - 1)


@pytest.mark.parametrize("masks", [{}, {"1.2.0": np.zeros((4, 5), bool)}])
def test_truth_of_another_archive_is_refused(masks):
    with pytest.raises(UserError, match="another archive"):
        localise.lesion_cover(masks, slice_table(40, 36, 0.5, 1), np.zeros((1, 3), int), SETTINGS)


def test_truth_is_found_beside_the_archive_or_not_at_all(tmp_path):
    assert localise.truth_masks(tmp_path / "archive") is None


def test_pixel_size():
    slices = slice_table(40, 36, 0.5, 2)
    rows = np.array([[0, 1, 0]])
    np.testing.assert_allclose(localise.pixel_mm(slices, rows, SETTINGS), 11 / 16)
    whole = SimpleNamespace(image_size=16, field_of_view_mm=0)
    np.testing.assert_allclose(localise.pixel_mm(slices, rows, whole), 20 / 16)


@pytest.mark.parametrize("seed", range(5))
def test_distance_equals_a_search(seed):
    rng = np.random.default_rng(seed)
    cover = np.where(rng.random((1, 3, 9, 9)) < 0.1, rng.random((1, 3, 9, 9)), 0).astype(np.float32)
    cover[0, 1] = 0.4  # nowhere half covered
    found = localise.distance_mm(cover, np.array([[1.5, 1.5, 0.5]]))
    for s, side in ((0, 1.5), (1, 1.5), (2, 0.5)):
        inside = [(i, j) for i in range(9) for j in range(9) if cover[0, s, i, j] >= 0.5]
        for i in range(9):
            for j in range(9):
                nearest = min((math.hypot(i - a, j - b) for a, b in inside), default=math.inf)
                assert found[0, s, i, j] == pytest.approx(side * nearest, rel=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_scores_equal_loops(seed):
    rng = np.random.default_rng(seed)
    heat, near = rng.integers(0, 6, (8, 8)) / 5, rng.random((8, 8)) < 0.3
    values = sorted(heat.ravel(), reverse=True)
    top = [near[i, j] for i in range(8) for j in range(8) if heat[i, j] == values[0]]
    assert localise.inside(localise.hottest(heat), near) == pytest.approx(sum(top) / len(top), abs=1e-6)
    warm = sum(heat[i, j] for i in range(8) for j in range(8) if near[i, j])
    assert localise.inside(localise.share_of_heat(heat), near) == pytest.approx(warm / sum(values), abs=1e-6)
    smooth = rng.random((8, 8))
    limit = sorted(smooth.ravel(), reverse=True)[6 - 1]  # 10 % of 64 pixels, rounded down
    hot = {(i, j) for i in range(8) for j in range(8) if smooth[i, j] >= limit}
    wanted = {(i, j) for i in range(8) for j in range(8) if near[i, j]}
    expected = len(hot & wanted) / len(hot | wanted)
    assert len(hot) == 6 and localise.overlap(smooth, near, hot=6 / 64) == pytest.approx(expected, abs=1e-6)


def test_a_map_equal_to_the_mask_scores_one_and_its_opposite_zero():
    near = disc_of(20, 8, 12, 4)
    heat, share = near.astype(np.float32), near.mean()
    for values, score in ((heat, 1), (1 - heat, 0)):
        assert localise.inside(localise.hottest(values), near) == pytest.approx(score)
        assert localise.inside(localise.share_of_heat(values), near) == pytest.approx(score)
    assert localise.overlap(heat, near, hot=share) == 1
    assert localise.overlap(1 - heat, near, hot=share) == 0


@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_a_map_that_says_nothing_scores_the_area(constant):
    near = disc_of(20, 8, 12, 4)
    heat = np.full((20, 20), constant, np.float32)
    for score in (
        localise.inside(localise.hottest(heat), near),
        localise.inside(localise.share_of_heat(heat), near),
        localise.overlap(heat, near),
    ):
        assert score == pytest.approx(near.mean(), abs=1e-6)


def test_uniform_random_pixels_point_as_often_as_the_mask_is_large():
    near = disc_of(12, 5, 4, 3)
    heat = np.random.default_rng(1).random((20_000, 12, 12), np.float32)
    hits = localise.inside(localise.hottest(heat), near)
    error = math.sqrt(near.mean() * (1 - near.mean()) / len(hits))
    assert hits.mean() == pytest.approx(near.mean(), abs=4 * error)
    assert localise.inside(localise.share_of_heat(heat), near).mean() == pytest.approx(near.mean(), abs=0.002)


@pytest.mark.parametrize("seed", range(20))
def test_scores_lie_between_0_and_1_and_grow_with_the_tolerance(seed):
    maps, _, distance, _ = draw(seed)
    heat = gradcam.upsample(maps, 16)
    place = localise.hottest(heat)
    np.testing.assert_allclose(place.sum(axis=(2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(localise.share_of_heat(heat).sum(axis=(2, 3)), 1, atol=1e-5)
    by_tolerance = np.stack([localise.inside(place, distance <= t) for t in localise.TOLERANCES_MM])
    assert (np.diff(by_tolerance, axis=0) >= 0).all() and by_tolerance.min() >= 0 and by_tolerance.max() <= 1 + 1e-6
    overlap = localise.overlap(heat, distance <= 5)
    assert overlap.min() >= 0 and overlap.max() <= 1
    without = np.isinf(distance).all(axis=(2, 3))
    assert without.any() and (by_tolerance[:, without] == 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_rank_correlation_is_scipys(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 5, (4, 9)), rng.random((3, 4, 9))
    found = localise.rank_correlation(one, other)
    for i in range(3):
        for j in range(4):
            assert found[i, j] == pytest.approx(stats.spearmanr(one[j], other[i, j])[0])
    assert np.isnan(localise.rank_correlation(np.ones(5), np.arange(5)))


def test_compared_maps():
    maps, cover, *_ = draw(4)
    heat = compared(maps, cover)
    assert tuple(heat) == KINDS
    for values in heat.values():
        assert values.shape[-2:] == (16, 16) and values.min() >= 0 and values.max() <= 1
        np.broadcast_shapes(values.shape, (1, 6, 3, 16, 16))
        assert values.ndim == 5
    np.testing.assert_array_equal(heat["paper"][0, 2], gradcam.upsample(maps[2], 16))
    y, x = np.nonzero(localise.hottest(heat["centre"])[0, 0, 0])
    assert y.mean() == x.mean() == 7.5
    coarse = cover.reshape(6, 3, 4, 4, 4, 4).mean(axis=(3, 5))
    np.testing.assert_allclose(heat["ceiling"][0], gradcam.upsample(gradcam.normalise(coarse), 16), atol=1e-5)
    mean = gradcam.normalise(maps[:2].mean(axis=0))
    np.testing.assert_allclose(heat["fixed"][0, 0], gradcam.upsample(mean, 16), atol=1e-5)
    np.testing.assert_array_equal(heat["other_paper"][0], gradcam.upsample(maps, 16, where=ALIGNED))
    np.testing.assert_array_equal(heat["other_classic"][0], gradcam.upsample(maps[::-1], 16, where=ALIGNED))
    cells = heat["random"][:, 0, 0, 2:16:4, 2:16:4]  # near the cells' centres as published: what the other starts from
    assert np.corrcoef(cells.ravel(), heat["other_random"][:, 0, 0, 0:16:4, 0:16:4].ravel())[0, 1] > 0.8


@pytest.mark.parametrize(
    "where", [PUBLISHED, ALIGNED, gradcam.Cells(0.2, 0.2, 0.1, 0.9), gradcam.Cells(0.15, 0.2, 0.1, 0.9)]
)
def test_cells_share_out_what_the_network_sees_midway(where):
    """Against a fine grid of points, each given to the nearest cell."""
    found = localise.cell_areas(where, 4, 16)
    points = (np.arange(16_000) + 0.5) / 16_000
    points = points[(points > where.low) & (points < where.high)]
    nearest = np.abs(points[:, None] - where.first - where.step * np.arange(4)).argmin(axis=1)
    for cell in range(4):
        pixels = np.floor(points[nearest == cell] * 16).astype(int)
        np.testing.assert_allclose(found[cell], np.bincount(pixels, minlength=16) / len(pixels), atol=2e-3)


def test_the_centre_hill_is_the_slices_centre_in_every_placement():
    maps, cover, *_ = draw(4, size=64, u=16)
    cropped = gradcam.Cells(0.15, 0.04, 0.125, 0.875)
    for where in (gradcam.Cells(1 / 32, 1 / 16), gradcam.Cells(1 / 128, 1 / 16), cropped):
        kinds = dict.fromkeys(("paper", "classic"), maps)
        hill = localise.compared_maps(kinds, maps, cover, where, where, draws=2)["centre"][0, 0, 0]
        y, x = np.nonzero(localise.hottest(hill))
        assert abs(y.mean() + 0.5 - 32) <= 1 and abs(x.mean() + 0.5 - 32) <= 1


@pytest.mark.parametrize("cells, low", [("published", 0.125), ("aligned", 0.125)])
def test_both_placements_of_a_profile(cells, low):
    settings = profile.load("demo").replace(heatmaps={"cells": cells}, finetune={"test_crop": "central"})
    where, other = localise.placements(settings, 4)
    assert where == gradcam.cells(settings, 4) and other != where and where.low == other.low == low
    back = localise.placements(settings.replace(heatmaps={"cells": {"aligned": "published"}.get(cells, "aligned")}), 4)
    assert back == (other, where)


@pytest.mark.parametrize("seed", range(5))
def test_the_side_test_equals_a_loop(seed):
    rng = np.random.default_rng(seed)
    heat, mask = rng.random((4, 9, 9)).astype(np.float32), rng.random((4, 9, 9)) < 0.2
    heat[3] = heat[3] + heat[3, :, ::-1]  # symmetric: a tie
    mask[1] |= mask[1, :, ::-1]
    mask[2] = False
    found, lopsided = localise.side(heat, mask), localise.one_sided(mask)
    for i in range(4):
        places = [(r, c) for r in range(9) for c in range(9) if mask[i, r, c]]
        own, other = (
            sum(float(heat[i, r, c]) for r, c in where) for where in (places, [(r, 8 - c) for r, c in places])
        )
        assert found[i] == (0.5 if i else float(own > other))
        common = sum((r, 8 - c) in places for r, c in places)
        assert lopsided[i] == (bool(places) and common <= len(places) / 2)
    assert not lopsided[1] and not lopsided[2]


def test_a_map_that_knows_the_side_wins_and_one_that_does_not_ties():
    _, cover, distance, patients = draw(9, n=20)
    assert localise.one_sided(distance == 0).sum() > 20
    lesion = gradcam.normalise(cover.reshape(20, 3, 4, 4, 4, 4).mean(axis=(3, 5)))
    found = located(lesion, cover, distance, patients, classic=lesion[..., ::-1])
    assert found.side["paper"]["value"] > 0.95 and found.side["classic"]["value"] < 0.05
    assert found.side["centre"]["value"] == 0.5
    assert abs(found.side["random"]["value"] - 0.5) < 0.03
    assert found.one_sided == localise.one_sided(distance == 0).sum() < found.slices
    assert found.slices == (distance == 0).any(axis=(2, 3)).sum()


@pytest.mark.parametrize("seed", range(3))
def test_no_point_is_hit_more_often_than_the_best(seed):
    """Against a search through all pixels; any picture of one point, and the fixed kinds, do no better."""
    maps, cover, distance, patients = draw(seed)
    near, shown = distance <= localise.TOLERANCE_MM, np.isfinite(distance).any(axis=(2, 3))
    pointing = {}
    for row in range(16):
        for column in range(16):
            hits = [np.mean([near[i, s, row, column] for s in range(3) if shown[i, s]]) for i in range(len(maps))]
            pointing[row, column] = np.mean(hits)
    found = located(maps, cover, distance, patients)
    assert found.pointing["best_point"]["value"] == pytest.approx(max(pointing.values()))
    assert pointing[localise.best_point(near, shown)] == pytest.approx(max(pointing.values()))
    assert found.pointing["centre"]["value"] <= found.pointing["best_point"]["value"] + 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_measure_equals_loops_over_samples(seed):
    maps, cover, distance, patients = draw(seed)
    found = located(maps, cover, distance, patients)
    heat = gradcam.upsample(maps.reshape(-1, 4, 4), 16).reshape(cover.shape)
    pointing, weighted, shares, overlaps = [], [], [], []
    for i in range(len(maps)):
        hits, warm, common = [], [], []
        for s in range(3):
            near, h = distance[i, s] <= localise.TOLERANCE_MM, heat[i, s]
            hits.append(float(near[h == h.max()].mean()))
            warm.append(h[near].sum() / h.sum())
            hot = h >= np.quantile(h, 1 - localise.HOT)
            common.append((hot & near).sum() / (hot | near).sum())
        shown = [s for s in range(3) if (cover[i, s] >= 0.5).any()]
        pointing.append(np.mean([hits[s] for s in shown]))
        shares.append(np.mean([warm[s] for s in shown]))
        overlaps.append(np.mean([common[s] for s in shown]))
        weighted.append(np.mean(hits))
    for name, values in (
        ("pointing", pointing),
        ("weighted_pointing", weighted),
        ("heat_share", shares),
        ("overlap", overlaps),
    ):
        assert getattr(found, name)["paper"]["value"] == pytest.approx(np.mean(values), abs=1e-5)
    at = localise.TOLERANCES_MM.index(localise.TOLERANCE_MM)
    for kind in KINDS:
        assert found.tolerance[kind][at] == pytest.approx(found.pointing[kind]["value"], abs=1e-6)
    assert found.tolerance["best_point"][at] == found.pointing["best_point"]["value"]


@pytest.mark.slow
def test_maps_that_point_at_the_lesion_win():
    _, cover, distance, patients = draw(5, n=20)
    lesion = gradcam.normalise(cover.reshape(20, 3, 4, 4, 4, 4).mean(axis=(3, 5)))
    found = located(lesion, cover, distance, patients, classic=np.ones_like(lesion))
    assert found.pointing["paper"] == found.pointing["ceiling"]
    against = found.differences["pointing"]
    assert against["random"]["low"] > 0.2 and against["classic"]["low"] > 0.2
    area = (distance <= localise.TOLERANCE_MM).mean(axis=(2, 3))
    shown = np.isfinite(distance).any(axis=(2, 3))
    expected = np.mean([a[s].mean() for a, s in zip(area, shown, strict=True)])
    assert found.pointing["classic"]["value"] == pytest.approx(expected, abs=1e-5)  # constant: the area
    lost = located(np.ones_like(lesion), cover, distance, patients, classic=lesion)
    assert lost.differences["pointing"]["classic"]["high"] < 0


def test_the_result_file_holds_each_estimate_once():
    """Seven differences of the pointing game stood in it twice."""
    file = json.loads(json.dumps(dataclasses.asdict(located(*draw(8)))))
    scores = ["pointing", "weighted_pointing", "heat_share", "side", "overlap", "slice_rank"]
    counts = ["discs", "patients", "slices", "one_sided"]
    settings = ["tolerances_mm", "tolerance_mm", "hot", "margin"]
    assert list(file) == [*scores, "differences", "tolerance", "cells", "of", *counts, *settings]
    assert list(file["differences"]) == scores
    for name in scores:
        assert set(file["differences"][name]) == set(file[name]) - {"paper"}
        for estimate in (*file[name].values(), *file["differences"][name].values()):
            assert list(estimate) == ["value", "low", "high"]
    for kind in (*KINDS[1:], "best_point"):
        alike = "other_paper" if kind in ("other_classic", "other_random") else "paper"
        gap = file["pointing"][alike]["value"] - file["pointing"][kind]["value"]
        assert file["differences"]["pointing"][kind]["value"] == pytest.approx(gap)


@pytest.mark.slow
def test_slice_weights_that_follow_the_area_rank_like_it():
    maps, cover, distance, patients = draw(6, n=30)
    heat = compared(maps, cover)
    area = cover.sum(axis=(2, 3)) + np.random.default_rng(0).random((30, 3)) * 1e-3
    weight = localise.compared_weights(area / area.sum(axis=1, keepdims=True), np.array([[0.2, 0.3, 0.5]]))
    rank = localise.measure(heat, weight, cover, distance, patients, cells="aligned").slice_rank
    assert rank["paper"]["value"] > 0.95 and abs(rank["random"]["value"]) < 0.02
    assert rank.keys() == {"paper", "random", "fixed"}


def test_each_pre_training_is_scored_on_the_abnormal_discs_that_show_a_lesion(monkeypatch):
    rng, size, count = np.random.default_rng(8), 12, 4
    mask = np.zeros((6, 3, size, size), bool)
    mask[:5, :, 3:6, 0:3] = True  # the sixth shows no lesion: a note may err
    distance = np.stack([ndimage.distance_transform_edt(~m) if m.any() else np.full(m.shape, np.inf) for m in mask])
    there, elsewhere = np.zeros((2, 6, 3, count, count), np.float32)
    there[..., 1, 0], elsewhere[..., 1, 3] = 1, 1
    falling = np.tile([0.5, 0.3, 0.2], (6, 1))[..., None]  # of a single channel
    answers = {
        "a": gradcam.Explained(there, elsewhere, falling, np.ones(6)),
        "b": gradcam.Explained(elsewhere, there, falling[:, ::-1], -np.ones(6)),
    }
    monkeypatch.setattr(gradcam, "explain", lambda model, *_: answers[model])
    monkeypatch.setattr(localise, "placements", lambda *_: (gradcam.Cells(1 / 8, 1 / 4), gradcam.Cells(7 / 8, -1 / 4)))
    rows = rng.integers(0, 9, (6, 3))
    cover = mask * np.array([3, 2, 1])[:, None, None] / 3  # the first slice shows most of the lesion
    classifiers = [(name, np.zeros((3, 2)), 0.0) for name in answers]
    found = localise.over_pretrainings(classifiers, np.zeros((9, size, size)), rows, rows, cover, distance, None)
    assert found.discs.tolist() == [5, 5]
    assert found["pointing, paper"].tolist() == [1, 0] and found["pointing, classic"].tolist() == [0, 1]
    assert found["side, paper"].tolist() == [1, 0] and found["side, classic"].tolist() == [0, 1]
    assert found["pointing, other_paper"].tolist() == [0, 1]  # drawn in its mirror image
    assert found["pointing, fixed"].tolist() == [1, 0]  # the normal discs have the same maps here
    assert found["slice rank, paper"].tolist() == [1, -1] and found["slice rank, fixed"].tolist() == [1, -1]
    chance, other = found["pointing, random"][0], found["pointing, other_random"][0]
    assert 0.2 < chance == found["pointing, random"][1] < 0.5
    ranges = localise.between_pretrainings(found)
    assert ranges["random"] == {"value": 0.5 - chance, "low": -chance, "high": 1 - chance}
    assert ranges["other"] == {"value": 0.5 - other, "low": -other, "high": 1 - other}
    assert ranges["side"] == {"value": 0.5, "low": 0.0, "high": 1.0}
    assert ranges["slice rank"] == {"value": 0.0, "low": -1.0, "high": 1.0}
    assert ranges["fixed"] == ranges["fixed rank"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    found.loc[1, "side, paper"] = np.nan  # no lesion on one side
    assert np.isnan(localise.between_pretrainings(found)["side"]["low"])
