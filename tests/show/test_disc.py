"""What a reader sees of a disc: pictures, facts and words, apart from any widget."""

import json
import shutil
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from lhdlib import gradcam
from lhdlib.data import dataset
from lhdlib.data.marks import Marks
from lhdlib.errors import UserError
from lhdlib.evidence import localise
from lhdlib.figures.style import opacity
from lhdlib.model.kinds import KINDS
from lhdlib.run import workspace
from lhdlib.show.disc import (
    BETWEEN,
    COLOR_MAPS,
    CONTOUR,
    FRAME,
    LEVELS,
    OUTCOMES,
    Look,
    Reading,
    caption,
    draw_disc,
    facts,
    from_workspace,
    has_heatmap,
    outcome,
)
from lhdlib.show.slabs import SAGITTAL

DISCS, SIZE, CELLS = 40, 64, 4
BESIDE = ["slice_1", "slice_2", "slice_3"]


def made_up(discs: int = DISCS, size: int = SIZE, seed: int = 0, **columns) -> Reading:
    """Random slices, heat and probabilities; all four outcomes occur unless given otherwise."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "patient": [f"{number // 2 + 1:04d}" for number in range(discs)],
            "level": rng.choice(["L3-L4", "L4-L5", "L5-S1"], discs),
            "label": np.arange(discs) % 2,
            "probability": rng.uniform(0, 1, discs),
            "note": "L4-5 disc bulge. No disc bulge at L5-S1.",
            **columns,
        }
    )
    table[BESIDE] = rng.permutation(3 * discs).reshape(discs, 3)
    lesion = np.zeros((3, size, size), np.float32)
    lesion[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    return Reading(
        images=rng.uniform(0, 1.2, (3 * discs, size, size)).astype(np.float16),
        discs=table,
        maps=rng.uniform(0, 1, (discs, 3, CELLS, CELLS)).astype(np.float32),
        classic=rng.uniform(0, 1, (discs, 3, CELLS, CELLS)).astype(np.float32),
        slice_weight=rng.dirichlet([1, 1, 1], discs),
        data_label="made-up <numbers>",
        lesion=lambda row: lesion,
    )


@pytest.fixture
def found():
    return made_up()


def pixels(found: Reading, row: int, look: Look | None = None, side: int = 100) -> np.ndarray:
    picture = np.asarray(draw_disc(found, row, look or Look(), side=side))
    assert picture.shape == (2 * side, 3 * side, 3) and picture.dtype == np.uint8
    return picture.astype(int)


def test_the_outcome_follows_label_and_threshold():
    label, probability = np.array([1, 0, 0, 1]), np.array([0.5, 0.9, 0.49, 0.1])
    assert list(outcome(label, probability)) == list(OUTCOMES)
    assert list(outcome(label, probability, threshold=0.05)) == [
        "true positive",
        "false positive",
        "false positive",
        "true positive",
    ]
    unknown = np.full(4, np.nan)
    assert list(outcome(unknown, probability)) == ["called abnormal"] * 2 + ["called normal"] * 2


def test_the_upper_row_is_the_slices_and_without_heat_the_lower_is_too(found):
    positive = int(found.discs.probability.argmax())
    for look in (Look(opacity=0), Look(heatmap="none")):
        shown = pixels(found, positive, look, SIZE)
        assert (shown == shown[..., :1]).all() and (shown[:SIZE] == shown[SIZE:]).all()
        slices = found.images[found.discs[BESIDE].iloc[positive].to_numpy()].astype(float)
        wanted = np.clip(np.concatenate(list(slices), axis=1), 0, 1) * 255
        assert np.abs(shown[:SIZE, :, 0] - wanted).max() <= 1


@pytest.mark.parametrize("heat", ["paper", "classic"])
@pytest.mark.parametrize("color_map", COLOR_MAPS)
def test_the_heat_is_blended_in_as_written(found, heat, color_map):
    """Against the blending written out in floating point."""
    positive = int(found.discs.probability.argmax())
    shown = pixels(found, positive, Look(opacity=0.7, color_map=color_map, heatmap=heat), SIZE)
    maps = {"paper": found.maps, "classic": found.classic}[heat]
    hot = np.concatenate(list(gradcam.upsample(maps[positive], SIZE)), axis=1)
    grey = shown[:SIZE] / 255
    share = 0.7 * opacity(hot)[..., None]
    wanted = (1 - share) * grey + share * mpl.colormaps[color_map](hot)[..., :3]
    assert np.abs(shown[SIZE:] / 255 - wanted).max() < 0.02  # the heat is drawn in 256 steps


@pytest.mark.slow
def test_the_paper_draws_no_heat_for_discs_called_normal_unless_asked(found):
    for row in range(DISCS):
        called = found.discs.probability[row] >= found.threshold
        assert has_heatmap(found, row, Look()) == called
        shown = pixels(found, row)
        assert ((shown[:100] != shown[100:]).any()) == called
        assert (pixels(found, row, Look(always=True))[100:] != shown[:100]).any()
    assert not has_heatmap(found, 0, Look(heatmap="none", always=True))


def test_maps_lie_where_the_cells_do_and_what_is_seen_is_framed(found):
    """Against the map drawn by itself: inside the frame the heat of these places, outside the slice as it is."""
    where = gradcam.Cells(0.15, 0.2, 0.125, 0.875)
    placed, row = replace(found, where=where), int(found.discs.probability.argmax())
    shown, plain = pixels(placed, row, Look(opacity=1), SIZE), pixels(found, row, Look(heatmap="none"), SIZE)
    low, high = SIZE // 8, SIZE - SIZE // 8
    hot = gradcam.upsample(found.maps[row], SIZE, where=where)
    for k in range(3):
        tile, bare = (p[SIZE:, k * SIZE : (k + 1) * SIZE] for p in (shown, plain))
        outside = np.ones((SIZE, SIZE), bool)
        outside[low:high, low:high] = False
        assert np.array_equal(tile[outside], bare[outside])
        edge = ~outside
        edge[low + 1 : high - 1, low + 1 : high - 1] = False
        assert (tile[edge] == FRAME).all()
        inside = np.s_[low + 1 : high - 1, low + 1 : high - 1]
        share = opacity(hot[k][inside])[..., None]
        wanted = (1 - share) * bare[inside] / 255 + share * mpl.colormaps["inferno"](hot[k][inside])[..., :3]
        assert np.abs(tile[inside] / 255 - wanted).max() < 0.02
    assert np.array_equal(pixels(placed, row, Look(heatmap="none"), SIZE), plain)
    whole = replace(found, where=gradcam.Cells(1 / 8, 1 / 4))
    assert np.array_equal(pixels(whole, row), pixels(found, row))  # nothing to frame


def test_a_gap_moves_the_slices_apart_and_nothing_else(found):
    row, side, gap = int(found.discs.probability.argmax()), 50, 6
    joined = np.asarray(draw_disc(found, row, Look(), side=side))
    apart = np.asarray(draw_disc(found, row, Look(), side=side, gap=gap))
    starts = [[k * (side + gap) + np.arange(side) for k in range(n)] for n in (2, 3)]
    lines, columns = (np.concatenate(part) for part in starts)
    assert np.array_equal(apart[np.ix_(lines, columns)], joined)
    between = np.ones(apart.shape[:2], bool)
    between[np.ix_(lines, columns)] = False
    assert (apart[between] == BETWEEN).all() and apart.shape == (2 * side + gap, 3 * side + 2 * gap, 3)


def test_window_and_level(found):
    flat = replace(found, images=np.full_like(found.images, 0.5), lesion=None)
    for window, grey in {(0.0, 1.0): 128, (0.0, 0.5): 255, (0.5, 1.0): 0, (0.25, 0.75): 128, (0.25, 1.25): 64}.items():
        shown = pixels(flat, 0, Look(window=window, heatmap="none"))
        assert np.abs(shown - grey).max() <= 1


def test_the_outline_lies_on_the_lesions_edge(found):
    with_outline = pixels(found, 0, Look(heatmap="none", contour=True), SIZE)
    without = pixels(found, 0, Look(heatmap="none"), SIZE)
    changed = (with_outline != without).any(axis=-1)
    assert not changed[:SIZE].any()
    assert (with_outline[changed] == CONTOUR).all()
    inside = found.lesion(0)[0] > 0.5
    edge = inside & ~ndimage.binary_erosion(inside)
    assert np.array_equal(changed[SIZE:, :SIZE], edge)
    assert np.array_equal(pixels(replace(found, lesion=None), 0, Look(heatmap="none", contour=True), SIZE), without)


def marked(found: Reading, **changes) -> Reading:
    """With marks on every slice, each slice the second of five."""
    return replace(found, marks=[Marks("R", "L", 64.0, 2, 5)._replace(**changes)] * len(found.images))


def test_marks_stand_on_every_slice_and_swap_for_a_mirrored_orientation(found):
    row, side, gap = 0, 120, 4
    look = Look(heatmap="none")
    plain = np.asarray(draw_disc(found, row, look, side=side, gap=gap)).astype(int)
    drawn = np.asarray(draw_disc(marked(found), row, look, side=side, gap=gap)).astype(int)
    other = np.asarray(draw_disc(marked(found, left="L", right="R"), row, look, side=side, gap=gap)).astype(int)
    for place in range(6):
        x, y = place % 3 * (side + gap), place // 3 * (side + gap)
        tile = np.s_[y : y + side, x : x + side]
        rows, columns = np.nonzero((drawn[tile] != other[tile]).any(axis=-1))  # the letters alone
        assert np.abs(rows - side / 2).max() < 12 and {c < 20 for c in columns} == {True, False}
        assert columns[(columns >= 20) & (columns < side - 20)].size == 0
        changed = (drawn[tile] != plain[tile]).any(axis=-1)
        assert changed[:20, :60].any() == changed[-25:, :60].any() == (place < 3)
    assert np.array_equal(np.asarray(draw_disc(marked(found), row, look, side=side, gap=gap, marked=False)), plain)


def test_the_bar_is_as_long_as_it_says(found):
    for mm, wanted in ((64.0, 20), (220.0, 50)):
        flat = replace(found, images=np.full_like(found.images, 0.5))
        drawn = pixels(marked(flat, mm=mm), 0, Look(heatmap="none"), side=200)
        line = drawn[200 - 6, :200]
        white = np.flatnonzero((line == 255).all(axis=-1))
        white = white[white < 100]
        assert len(white) == pytest.approx(200 * wanted / mm, abs=1) and np.ptp(white) == len(white) - 1


def test_lines_lie_at_half_and_at_four_fifths_of_the_heat(found):
    """Every white pixel borders on colder ones, every black one on hotter ones, and the colours are gone."""
    row = int(found.discs.probability.argmax())
    flat = replace(found, images=np.full_like(found.images, 0.5))
    drawn = pixels(flat, row, Look(lines=True), SIZE)[SIZE:]
    assert (drawn == drawn[..., :1]).all()
    hot = gradcam.upsample(found.maps[row], SIZE)
    for k in range(3):
        tile = drawn[:, k * SIZE : (k + 1) * SIZE, 0]
        wanted = np.full((SIZE, SIZE), 128)
        for level in LEVELS:
            inside = hot[k] >= level
            wanted[ndimage.binary_dilation(inside) & ~inside] = 0
            wanted[inside & ~ndimage.binary_erosion(inside)] = 255
        assert np.array_equal(tile, wanted)


def test_color_maps_grow_lighter_with_heat():
    for name in COLOR_MAPS:
        colors = mpl.colormaps[name](np.linspace(0, 1, 256))[:, :3]
        linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
        assert (np.diff(linear @ [0.2126, 0.7152, 0.0722]) > -1e-4).all()


def test_facts_are_the_arrays_and_survive_json(found):
    for row in range(DISCS):
        said = json.loads(json.dumps(facts(found, row)))
        disc = found.discs.iloc[row]
        assert (said["patient"], said["level"], said["note"]) == (disc.patient, disc.level, disc.note)
        assert said["probability"] == disc.probability and said["slice_weight"] == list(found.slice_weight[row])
        assert said["label"] == ("abnormal" if disc.label else "normal")
        right = (said["called"] == said["label"], said["called"] == "abnormal")
        names = {(1, 1): "true positive", (1, 0): "true negative", (0, 1): "false positive", (0, 0): "false negative"}
        assert said["outcome"] == names[right]
        assert said["study"] is None and said["flag"] is None and said["data"] == found.data_label


def test_the_caption_says_it_and_escapes_what_came_from_files():
    attack = "<script>alert('&')</script>"
    found = made_up(patient=attack, level=attack, note=attack, flag=attack)
    for row in range(DISCS):
        said = facts(found, row)
        text = caption(said)
        assert "<script" not in text and "made-up &lt;numbers&gt;" in text
        assert f"{said['probability']:.3f} (threshold 0.5)" in text and said["outcome"] in text
        assert all(f"{share:.0%}" in text for share in said["slice_weight"])
        assert ("draws no heat" in text) == (said["called"] == "normal")


def test_the_words_that_gave_the_label_are_marked(found):
    text = caption(facts(replace(found, discs=found.discs.assign(level="L4-L5")), 0))
    assert "#ffd45e" in text.split("bulge")[0] and "<s>" in text  # the second finding is denied


def test_a_disc_without_label_is_neither_right_nor_wrong():
    found = made_up(label=np.nan)
    text = caption(facts(found, 0))
    assert "label not known" in text and "true " not in text and "false " not in text


# A finished run


def copied(smoke, folder):
    for part in ("01", "07"):
        shutil.copytree(smoke.results / part, folder / part)
    return workspace.open_workspace("smoke", results=str(folder), figures=str(folder / "figures"))


def test_a_run_is_read_as_notebook_07_left_it(smoke, tmp_path):
    space = copied(smoke, tmp_path)
    found = from_workspace(space)
    with np.load(smoke.results / "07" / "heatmaps.npz") as stored:
        assert np.array_equal(found.discs.probability, stored["probability"])
        assert np.array_equal(found.discs.label, stored["labels"])
        assert np.array_equal(found.maps, gradcam.normalise(stored["raw"]))
        assert found.where == gradcam.cells(space.profile, stored["raw"].shape[-1])
        rows = stored["rows"]
    assert found.where.low > 0 and "framed" in found.drawn and "receptive field" in found.drawn
    data = dataset.load_dataset(space.results / "01")
    masks = localise.truth_masks(space.data_dir)
    covers = localise.lesion_cover(masks, data.slices, rows, space.profile.data)
    for row in range(len(rows)):
        assert np.array_equal(found.lesion(row), covers[row])
        assert facts(found, row)["study"] == found.discs.study[row]
    sagittal = {found.sagittal(row).draw().tobytes() for row in range(len(rows))}
    assert len(sagittal) > 1 and max(found.sagittal(0).draw().size) == SAGITTAL
    slabs = dataset.load_discs(space.results / "01").set_index(["patient", "study", "level", "weighting"]).paths
    for row, disc in enumerate(found.discs.itertuples()):
        paths = slabs[disc.patient, disc.study, disc.level, "T2"]
        own = [found.marks[number] for number in rows[row]]
        assert [paths[mark.number - 1] for mark in own] == list(data.slices.path[rows[row]])
        assert {(mark.left, mark.right, mark.of) for mark in own} == {("R", "L", len(paths))}
        assert {mark.mm for mark in own} == {space.profile.data.field_of_view_mm}


def test_what_is_missing_is_one_sentence(smoke, tmp_path):
    space = copied(smoke, tmp_path)
    for name in ("07/heatmaps.npz", "01/store.npy", "01/samples.csv"):
        kept = (space.results / name).read_bytes()
        for damage in (None, kept[: len(kept) // 3], b""):
            (space.results / name).unlink(missing_ok=True)
            if damage is not None:
                (space.results / name).write_bytes(damage)
            if damage and name.endswith("csv"):
                continue  # a shorter table is still a table
            with pytest.raises(UserError, match="run notebook 0|run the earlier notebooks") as error:
                from_workspace(space)
            assert "\n" not in str(error.value)
        (space.results / name).write_bytes(kept)
    samples = pd.read_csv(space.results / "01" / "samples.csv", dtype={"patient": str})
    samples.iloc[::-1].to_csv(space.results / "01" / "samples.csv", index=False)
    with pytest.raises(UserError, match="another dataset"):
        from_workspace(space)


def test_without_the_archive_the_sagittal_view_is_one_sentence(smoke, tmp_path):
    space = replace(copied(smoke, tmp_path), data_dir=tmp_path / "gone")
    found = from_workspace(space)
    assert found.lesion is None
    with pytest.raises(UserError):
        found.sagittal(0)


def test_the_kinds_stand_in_facts_and_caption_where_the_run_has_a_head_and_nothing_where_not(found):
    assert facts(found, 0)["kinds"] is None and "kind of lesion" not in caption(facts(found, 0))
    said = pd.DataFrame(np.random.default_rng(0).random((DISCS, len(KINDS))), columns=list(KINDS))
    with_head = facts(replace(found, kinds=said), 3)
    assert json.loads(json.dumps(with_head))["kinds"] == said.loc[3].to_dict()
    text = caption(with_head)
    assert all(f"{kind}</span>" in text and f"{share:.2f}" in text for kind, share in said.loc[3].items())
