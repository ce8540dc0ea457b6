"""Scores of heatmaps against loops, closed forms and made-up truth; curves and checks whose outcome is known."""

import itertools
import math
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from lhdlib import gradcam
from lhdlib.data import resampling
from lhdlib.errors import UserError
from lhdlib.evidence import faithfulness, localise, tissues
from lhdlib.figures import heat as drawn
from lhdlib.figures.heat import KINDS, class_dependence_table, curves_note, localisation, pointing_note, sanity_note

SETTINGS = SimpleNamespace(image_size=16, field_of_view_mm=11.0)


def disc_of(size: int, row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def draw(seed: int, n: int = 6, size: int = 16, u: int = 4):
    """Maps, covers, distances and patients; some slices show no lesion, every sample has one that does."""
    rng = np.random.default_rng(seed)
    maps = gradcam.normalise(rng.random((n, 3, u, u), np.float32))
    cover = np.stack([[disc_of(size, *rng.uniform(3, 12, 2), rng.uniform(1, 3)) for _ in range(3)] for _ in range(n)])
    cover = cover.astype(np.float32)
    cover[rng.integers(n), rng.integers(3)] = 0
    return maps, cover, localise.distance_mm(cover, np.full((n, 3), 2.0)), np.array([f"p{i // 2}" for i in range(n)])


def everything(maps, cover, distance, patients, classic=None, draws=300):
    classic = maps[::-1] if classic is None else classic
    heat = localise.compared_maps(maps, classic, maps[:2], cover, draws=draws)
    weight = localise.compared_weights(np.full((len(maps), 3), 1 / 3), np.full((2, 3), 1 / 3))
    return localise.measure(heat, weight, cover, distance, patients)


# Truth on the store's grid


def slice_table(rows: int, columns: int, spacing: float, count: int) -> pd.DataFrame:
    uids = [f"1.2.{i}" for i in range(count)]
    table = {"path": uids, "sop_uid": uids, "rows": rows, "columns": columns}
    return pd.DataFrame(table | {"row_spacing": spacing, "column_spacing": spacing})


def test_masks_are_resampled_as_their_slices():
    """A mask, sent through `preprocess` as pixels, comes out in the same place up to its scale."""
    rng = np.random.default_rng(0)
    slices = slice_table(40, 36, 0.5, 3)
    masks = {uid: rng.random((40, 36)) < 0.2 for uid in slices.sop_uid}
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


# Scores


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
    heat = localise.upsampled(maps, 16)
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


# Patients


# All of it


def test_compared_maps():
    maps, cover, *_ = draw(4)
    heat = localise.compared_maps(maps, maps, maps[:3], cover, draws=50)
    assert heat.keys() == KINDS.keys()
    for values in heat.values():
        assert values.shape[-2:] == (16, 16) and values.min() >= 0 and values.max() <= 1
        np.broadcast_shapes(values.shape, (1, 6, 3, 16, 16))
        assert values.ndim == 5
    np.testing.assert_array_equal(heat["paper"][0, 2], gradcam.upsample(maps[2], 16))
    y, x = np.nonzero(localise.hottest(heat["centre"])[0, 0, 0])
    assert y.mean() == x.mean() == 7.5
    coarse = cover.reshape(6, 3, 4, 4, 4, 4).mean(axis=(3, 5))
    peak = localise.upsampled(gradcam.normalise(coarse), 16)
    np.testing.assert_allclose(heat["ceiling"][0], peak, atol=1e-5)
    mean = gradcam.normalise(maps[:3].mean(axis=0))
    np.testing.assert_allclose(heat["fixed"][0, 0], localise.upsampled(mean, 16), atol=1e-5)


def test_aligned_maps_lie_where_the_cells_look():
    """A lone hot cell peaks on the pixel at the centre of its receptive field: stride times its number."""
    for u, size, stride in ((4, 64, 16), (10, 300, 32)):
        for row, column in ((1, 2), (0, 3)):
            maps = np.zeros((1, 3, u, u), np.float32)
            maps[..., row, column] = 1
            large = localise.aligned(maps, size)
            assert large.shape == (1, 3, size, size)
            assert np.unravel_index(large[0, 1].argmax(), (size, size)) == (stride * row, stride * column)


@pytest.mark.parametrize("seed", range(3))
def test_measure_equals_loops_over_samples(seed):
    maps, cover, distance, patients = draw(seed)
    found = everything(maps, cover, distance, patients)
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
        assert found[name]["paper"]["value"] == pytest.approx(np.mean(values), abs=1e-5)
    at = localise.TOLERANCES_MM.index(localise.TOLERANCE_MM)
    for kind in KINDS:
        assert found["tolerance"][kind][at] == pytest.approx(found["pointing"][kind]["value"], abs=1e-6)


def test_maps_that_point_at_the_lesion_win():
    _, cover, distance, patients = draw(5, n=20)
    lesion = gradcam.normalise(cover.reshape(20, 3, 4, 4, 4, 4).mean(axis=(3, 5)))
    found = everything(lesion, cover, distance, patients, classic=np.ones_like(lesion))
    assert found["pointing"]["paper"] == found["pointing"]["ceiling"]
    assert found["difference_random"]["low"] > 0.2 and found["difference_classic"]["low"] > 0.2
    assert found["difference_random"] == found["differences"]["pointing"]["random"]
    area = (distance <= localise.TOLERANCE_MM).mean(axis=(2, 3))
    shown = np.isfinite(distance).any(axis=(2, 3))
    expected = np.mean([a[s].mean() for a, s in zip(area, shown, strict=True)])
    assert found["pointing"]["classic"]["value"] == pytest.approx(expected, abs=1e-5)  # constant: the area
    assert "is at least 0.2" in pointing_note(found)
    lost = everything(np.ones_like(lesion), cover, distance, patients, classic=lesion)
    assert lost["difference_classic"]["high"] < 0
    assert "(worse)" in pointing_note(lost)


def test_slice_weights_that_follow_the_area_rank_like_it():
    maps, cover, distance, patients = draw(6, n=30)
    heat = localise.compared_maps(maps, maps, maps[:2], cover, draws=10)
    area = cover.sum(axis=(2, 3)) + np.random.default_rng(0).random((30, 3)) * 1e-3
    weight = localise.compared_weights(area / area.sum(axis=1, keepdims=True), np.array([[0.2, 0.3, 0.5]]))
    rank = localise.measure(heat, weight, cover, distance, patients)["slice_rank"]
    assert rank["paper"]["value"] > 0.95 and abs(rank["random"]["value"]) < 0.02
    assert rank.keys() == {"paper", "random", "fixed"}


# Deletion, insertion, sanity


def brightness(patch) -> keras.Model:
    """An extractor whose one feature is the mean of a patch of 16 x 16 pixels: what matters to it is known."""
    image = keras.Input((16, 16, 1))
    return keras.Model(image, [keras.ops.mean(image[:, patch[0], patch[1]], axis=(1, 2)), image])


def test_deleting_what_matters_first_is_fastest():
    patch = np.s_[4:8, 8:12]
    slices = np.random.default_rng(0).random((5, 3, 16, 16)).astype(np.float32) * 0.1
    slices[:, :, patch[0], patch[1]] += 1
    right = np.zeros((5, 3, 16, 16), np.float32)
    right[:, :, patch[0], patch[1]] = 1
    weights, bias, shares = np.full((3, 1), 4.0), -6.0, np.array([0, 1 / 16, 0.5, 1])
    found = {}
    for name, heat in {"right": right, "wrong": 1 - right}.items():
        found[name] = faithfulness.perturb(brightness(patch), slices, heat, weights, bias, shares)
    for deletion, insertion in found.values():
        whole = 1 / (1 + np.exp(-(slices[:, :, patch[0], patch[1]].mean(axis=(2, 3)).sum(axis=1) * 4 - 6)))
        np.testing.assert_allclose(deletion[:, 0], whole, atol=1e-5)
        np.testing.assert_allclose(insertion[:, -1], whole, atol=1e-5)
        np.testing.assert_allclose(insertion[:, 0], deletion[:, -1], atol=1e-6)
    (deletion, insertion), (late, slow) = found["right"], found["wrong"]
    np.testing.assert_allclose(deletion[:, 1], deletion[:, -1], atol=1e-6)  # 1/16 of the pixels is all that matters
    np.testing.assert_allclose(insertion[:, 1], insertion[:, -1], atol=1e-6)
    np.testing.assert_allclose(late[:, 2], late[:, 0], atol=1e-6)
    np.testing.assert_allclose(slow[:, 2], slow[:, 0], atol=1e-6)


def test_curves_of_a_right_map_beat_random_and_the_note_says_so():
    patch = np.s_[4:8, 8:12]
    slices = np.random.default_rng(1).random((12, 3, 16, 16)).astype(np.float32) * 0.1
    slices[:, :, patch[0], patch[1]] += 1
    right = np.zeros((12, 3, 4, 4), np.float32)
    right[:, :, 1, 2] = 1
    maps = {"paper": right, "classic": 1 - right}
    found = faithfulness.faithfulness(brightness(patch), slices, maps, np.full((3, 1), 4.0), -6.0, np.arange(12))
    assert found["deletion"]["difference"]["paper"]["high"] < 0 < found["insertion"]["difference"]["paper"]["low"]
    assert found["deletion"]["difference"]["classic"]["low"] > 0 > found["insertion"]["difference"]["classic"]["high"]
    for name in ("deletion", "insertion"):
        for kind, curve in found[name]["curve"].items():
            area = sum((a + b) / 2 for a, b in itertools.pairwise(curve)) / (len(curve) - 1)
            assert found[name]["area"][kind]["value"] == pytest.approx(area, abs=1e-5)
    note = curves_note(found)
    assert "in both it is better" in note and "in neither is it clearly better" in note
    assert len(drawn.faithfulness(curves=found, sanity=sane(0)[1]).axes) == 3


def sane(seed):
    """Maps; checks after which the first kind stays as it is and the second becomes another map."""
    rng = np.random.default_rng(seed)
    one, two, other = (rng.random((20, 3, 4, 4)) for _ in range(3))
    changed = {
        "random labels": {"paper": one**2, "classic": other},
        "no classifier": {"paper": other, "classic": 0 * two},
    }
    return {"paper": one, "classic": two}, faithfulness.sanity({"paper": one, "classic": two}, changed, np.arange(20))


def test_a_map_that_stays_fails_and_one_that_changes_passes():
    _, found = sane(1)
    assert found["paper"]["random labels"]["value"] == pytest.approx(1)
    assert found["paper"]["random labels"]["verdict"] == "fails"
    assert found["paper"]["no classifier"]["verdict"] == found["classic"]["random labels"]["verdict"] == "passes"
    assert "no classifier" not in found["classic"]  # it left no heat
    assert abs(found["paper"]["another disc"]["value"]) < 0.2
    note = sanity_note(found)
    assert note.count("fails;") + note.count("fails.") == 1 and "hardly changes with random labels:" in note


def explained(rng, n: int, channels: int) -> gradcam.Explained:
    weights = rng.dirichlet(np.ones(3 * channels), n).reshape(n, 3, channels).astype(np.float32)
    raw, classic = (rng.random((n, 3, 4, 4)).astype(np.float32) * 7 for _ in range(2))
    return gradcam.Explained(raw, classic, weights, rng.normal(size=n))


def test_the_certificate_says_what_the_maps_are_made_of():
    rng, patients = np.random.default_rng(4), np.arange(12) // 2
    found = explained(rng, 12, 5)
    plain = found.raw + 0.01 * rng.random(found.raw.shape)
    opposite = found._replace(classic_raw=8 - found.classic_raw)
    seen = faithfulness.certificate(found, opposite, plain, patients)
    entropies = [-sum(float(w) * math.log(w) for w in disc.ravel() if w > 0) for disc in found.weights]
    assert seen["channels"] == 15
    assert seen["effective"]["value"] == pytest.approx(np.mean(np.exp(entropies)), rel=1e-5)
    assert 1 <= seen["effective"]["low"] < seen["effective"]["value"] < seen["effective"]["high"] <= 15
    assert seen["plain"]["paper"]["value"] > 0.98 and abs(seen["plain"]["classic"]["value"]) < 0.3
    assert seen["opposite"]["paper"] == pytest.approx(1) and seen["most_changed"]["paper"] == 0
    assert seen["opposite"]["classic"] == pytest.approx(-1) and seen["most_changed"]["classic"] > 0.5
    assert abs(seen["classic"]["value"]) < 0.3
    table = class_dependence_table(seen, {kind: {} for kind in ("paper", "classic")})
    rows = table.set_index("property")
    assert rows.index[0].endswith("of 15") and rows.paper.iloc[0].startswith(f"{seen['effective']['value']:.1f} [")
    assert rows.paper["largest difference between these two, of 1"] == "0.000"
    assert rows.classic["likeness to the plain mean of the channels"].startswith(
        f"{seen['plain']['classic']['value']:.3f}".replace("-", "−")
    )
    assert rows.paper["likeness to another patient's map"] == "–"  # not measured here


def test_equal_weights_are_all_effective_and_a_single_one_is_alone():
    one = np.zeros((4, 3, 5))
    one[:, 1, 2] = 1
    for weights, expected in ((np.full((4, 3, 5), 1 / 15), 15), (one, 1)):
        found = explained(np.random.default_rng(5), 4, 5)._replace(weights=weights)
        seen = faithfulness.certificate(found, found, found.raw, np.arange(4))["effective"]
        assert seen["value"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_similarity_is_the_mean_of_scipys(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.random((4, 3, 3, 5)), rng.random((4, 3, 3, 5))
    one[0, 1] = 0  # a slice without heat counts for nothing
    one[3] = 0
    found = faithfulness.similarity(one, other)
    for i in range(3):
        wanted = [stats.spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(one[i], other[i], strict=True) if a.any()]
        assert found[i] == pytest.approx(np.mean(wanted))
    assert np.isnan(found[3])


def test_another_disc_is_another_patients():
    patients = np.array(list("aaabbc"))
    other = faithfulness._other_patient(patients, 0)
    assert (patients[other] != patients).all()
    assert faithfulness._other_patient(np.array(["a", "a"]), 0).tolist() == [0, 1]


# Label masks


@pytest.fixture
def labelled(tmp_path):
    """A data folder with label masks of two discs: left half disc, a quarter thecal sac."""
    folder = tmp_path / "05_Final_Ground_Truth_Data" / "Label_Images"
    folder.mkdir(parents=True)
    labels = np.zeros((40, 36), np.uint8)
    labels[:, :18], labels[:20, 18:] = 50, 150
    for name in ("L1_0007_D3.png", "L1_0008_D5.png", "notes.png", "L1_0009_D2.png"):
        Image.fromarray(labels).save(folder / name)
    (tmp_path / "L1_0001_D3.png").write_bytes(b"")  # not in the folder of label images
    return tmp_path


def test_label_files_are_found_by_patient_and_level(labelled):
    found = tissues.label_files(labelled)
    assert found.keys() == {("0007", "L3-L4"), ("0008", "L5-S1")}
    assert tissues.label_files(labelled / "absent") == {}


def test_heat_per_tissue(labelled):
    files = list(tissues.label_files(labelled).values())
    slices = slice_table(40, 36, 0.5, 2)
    heat = np.zeros((2, 16, 16), np.float32)
    heat[0, :, :8] = 1  # all on the disc
    heat[1] = 0.3  # nothing said: the tissue's area
    table, unusable = tissues.tissue_heat(heat, np.array([0, 1]), slices, files, SETTINGS, np.array(["7", "8"]))
    assert unusable == [] and table.discs.tolist() == [2] * 5
    table = table.set_index("tissue")
    assert table.area["disc"] == pytest.approx(0.5, abs=1e-3) and table.area["thecal sac"] == pytest.approx(
        0.25, abs=1e-3
    )
    assert table.heat["disc"] == pytest.approx((1 + 0.5) / 2, abs=1e-3)
    assert table.heat["thecal sac"] == pytest.approx((0 + 0.25) / 2, abs=1e-3)
    assert table.heat[["posterior element", "area between", "other"]].sum() == 0


def test_a_bad_label_mask_is_left_out_and_named(labelled):
    files = list(tissues.label_files(labelled).values())
    files[0].write_bytes(b"\x89PNG\r\n\x1a\n broken")
    arguments = np.ones((2, 16, 16), np.float32), np.array([0, 1]), slice_table(40, 36, 0.5, 2)
    table, unusable = tissues.tissue_heat(*arguments, files, SETTINGS, np.array(["7", "8"]))
    assert len(unusable) == 1 and str(files[0]) in unusable[0] and table.discs.tolist() == [1] * 5
    files[1].write_bytes(b"")
    table, unusable = tissues.tissue_heat(*arguments, files, SETTINGS, np.array(["7", "8"]))
    assert len(unusable) == 2 and table.empty and list(table)[0] == "tissue"


def test_hostile_label_masks_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "L1_0001_D3.png"
    cases = {
        "too large": np.zeros((4, tissues.MAX_LABEL_SIDE + 1), np.uint8),
        "its slice": np.zeros((40, 40), np.uint8),
        "unknown grey value 49": np.full((40, 36), 49, np.uint8),
    }
    for reason, pixels in cases.items():
        Image.fromarray(pixels).save(path)
        with pytest.raises(UserError, match=reason):
            tissues.read_labels(path, (40, 36))
    Image.fromarray(np.full((40, 36), 50, np.uint8)).save(path, "BMP")
    with pytest.raises(UserError, match="not a usable"):
        tissues.read_labels(path, (40, 36))
    Image.fromarray(np.full((40, 36), 50, np.uint8)).save(path)
    assert tissues.read_labels(path, (40, 36)).shape == (40, 36)
    with path.open("ab") as stream:
        stream.truncate(tissues.MAX_LABEL_BYTES + 1)
    with pytest.raises(UserError, match="too large"):
        tissues.read_labels(path, (40, 36))


def test_the_labelled_slice_is_the_discs_third():
    """Four slices give 1-3 and 2-4, five give 2-4: the third is the third, the second, the second."""
    samples = pd.DataFrame(
        [("1", "s", "L4-L5", 0), ("1", "s", "L4-L5", 1), ("1", "s", "L5-S1", 0), ("2", "t", "L4-L5", 0)],
        columns=["patient", "study", "level", "part"],
    )
    assert tissues.labelled_slice(samples).tolist() == [2, 1, 1, 1]


# Drawing


def test_figure_and_table_show_every_kind():
    maps, cover, distance, patients = draw(7)
    found = everything(maps, cover, distance, patients)
    table = localisation(found)
    kinds = len(KINDS)
    assert len(table) == 2 * kinds - 1 and table.notna().all(axis=None)
    assert table.pointing[0].startswith(f"{found['pointing']['paper']['value']:.3f} [")
    assert (table["slice rank"] == "–").sum() == 2 * (kinds - 3)
    heat = localise.compared_maps(maps, maps, maps[:2], cover, draws=5)
    fig = drawn.heatmaps_and_lesions(cover=cover, abnormal=heat["paper"][0], normal=heat["fixed"][0], located=found)
    curves = [line.get_ydata() for line in fig.axes[3].lines if len(line.get_ydata()) > 2]
    np.testing.assert_allclose(curves, [found["tolerance"][kind] for kind in KINDS])
