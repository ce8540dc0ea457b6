"""Tables, sentences and drawings of the evidence on heatmaps, from measured and made-up results."""

import dataclasses

import numpy as np
import pytest

from lhdlib import profile
from lhdlib.evidence import fields, localise
from lhdlib.figures import heat as drawn
from lhdlib.figures.heat import KINDS, class_dependence_table, faithfulness_note, localisation, pointing_note
from tests.evidence.made_up import compared, draw, located


def estimate(value: float, half: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


CURVES = {
    "shares": [0.0, 0.5, 1.0],
    "discs": 12,
    "deletion": {
        "curve": {"paper": [1, 0, 0], "classic": [1, 1, 0], "random": [1, 0.5, 0]},
        "area": {"paper": estimate(0.25), "classic": estimate(0.75), "random": estimate(0.5)},
        "difference": {"paper": estimate(-0.25), "classic": estimate(0.25)},
    },
    "insertion": {
        "curve": {"paper": [0, 1, 1], "classic": [0, 0, 1], "random": [0, 0.5, 1]},
        "area": {"paper": estimate(0.75), "classic": estimate(0.25), "random": estimate(0.5)},
        "difference": {"paper": estimate(0.25), "classic": estimate(-0.25)},
    },
}
SANITY = {
    "paper": {
        "another disc": estimate(0.1),
        "random labels": estimate(0.9) | {"verdict": "fails"},
        "no classifier": estimate(0.2) | {"verdict": "passes"},
    },
    "classic": {"another disc": estimate(0.0), "random labels": estimate(0.1) | {"verdict": "passes"}},
}


def scores(seed: int) -> tuple[dict, tuple[np.ndarray, ...]]:
    maps, cover, distance, patients = draw(seed)
    return dataclasses.asdict(located(maps, cover, distance, patients)), (maps, cover)


def test_figure_and_table_show_every_kind():
    found, (maps, cover) = scores(7)
    table = localisation(found)
    kinds = len(KINDS)
    assert len(table) == 2 * (kinds + 3) - 1 and table.notna().all(axis=None)
    ends = table["map"].str.endswith(", aligned")
    assert ends.sum() == 3 and table["map"][ends].tolist()[0].startswith("paper")
    aligned = localisation(found | {"cells": "aligned"})["map"]
    assert aligned.str.endswith(", as published").sum() == 3 and not aligned.str.endswith("aligned").any()
    assert table.pointing[0].startswith(f"{found['pointing']['paper']['value']:.3f} [")
    assert (table["slice rank"] == "–").sum() == 2 * (kinds + 3 - 3)
    assert (table["side"] == "–").sum() == 2  # of the best point
    heat = compared(maps, cover)
    assert {kind for kind in heat if not kind.startswith("other_")} == KINDS.keys() - {"best_point"}
    fig = drawn.heatmaps_and_lesions(cover=cover, abnormal=heat["paper"][0], normal=heat["fixed"][0], located=found)
    curves = [line.get_ydata() for line in fig.axes[3].lines if len(line.get_ydata()) > 2]
    np.testing.assert_allclose(curves, [found["tolerance"][kind] for kind in (*KINDS, "other_paper")])


@pytest.mark.parametrize(
    "random, said", [(0.3, "is at least 0.2"), (0.1, "is below 0.2"), (0.2, "may or may not be 0.2")]
)
def test_the_note_on_pointing_keeps_to_the_interval(random, said):
    found, _ = scores(8)
    found["differences"]["pointing"] |= {"random": estimate(random), "classic": estimate(-0.3)}
    note = pointing_note(found)
    assert said in note.follows and "(worse)" in note.details and note.follows.endswith(f"{localise.MARGIN:g}.")


def test_notes_on_curves_and_checks():
    note = faithfulness_note(CURVES, SANITY)
    assert "than a random one in both of" in note.details and "than a random one in neither of" in note.details
    assert note.details.count("fails;") == 1 and "hardly changes with random labels:" in note.follows
    assert len(drawn.faithfulness(curves=CURVES, sanity=SANITY).axes) == 3


def test_the_table_of_what_maps_are_made_of():
    made_of = {
        "channels": 15,
        "effective": estimate(7.04, 1),
        "classic": estimate(0.1),
        "plain": {"paper": estimate(0.9), "classic": estimate(-0.2)},
        "opposite": {"paper": 1.0, "classic": -1.0},
        "most_changed": {"paper": 0.0, "classic": 0.75},
    }
    rows = class_dependence_table(made_of, {kind: {} for kind in ("paper", "classic")}).set_index("property")
    assert rows.index[0].endswith("of 15") and rows.paper.iloc[0].startswith("7.0 [6.0, 8.0]")
    assert rows.paper["largest difference between these two, of 1"] == "0.000"
    assert rows.classic["likeness to the plain mean of the channels"].startswith("−0.200")
    assert rows.paper["likeness to another patient's map"] == "–"  # not measured here


def test_the_findings_show_what_the_run_supports_and_no_more():
    made_of = {"channels": 15, "effective": estimate(7.04, 1)}
    shared = {
        "likeness": {"paper": estimate(0.8), "classic": estimate(0.2), "plain": estimate(0.9)},
        "difference": {"classic": estimate(0.6), "plain": estimate(-0.02)},
    }
    found, _ = scores(7)
    rows = drawn.findings_table(made_of, shared, found).set_index("map")
    assert rows.weights.iloc[0] == "positive, 7.0 [6.0, 8.0] of 15 channels" and rows.notna().all(axis=None)
    assert rows.side.iloc[1].startswith(f"{found['side']['classic']['value']:.3f}")
    note = drawn.findings_note(shared, found)
    assert "are more alike than those of classic Grad-CAM and not clearly more or less" in note.follows
    note = note.details
    assert "minus classic Grad-CAM: +0.600 [+0.550, +0.650] (larger)" in note and "(not clearly different)" in note
    assert "Pointing, the paper's minus" in note and "Side, the paper's minus" in note
    without = drawn.findings_table(made_of, shared, None)
    assert (without[["pointing", "side"]] == "–").all(axis=None) and "Pointing" not in drawn.findings_note(
        shared, None
    ).details


def test_the_table_and_the_sentence_on_places(monkeypatch):
    monkeypatch.setattr(fields, "centroids", lambda encoder, size: np.arange(10) * 30.0)
    places = fields.cell_places(profile.load("paper"))
    table = drawn.places_table(places)
    assert table.iloc[0].tolist() == [1, "11.0", "0.4", "+10.6", "0.4", "+10.6"]
    note = drawn.places_note(places)
    assert "23.5 mm wide" in note.follows and "+10.6 mm" in note.follows and "−2.6 mm" in note.follows
    assert "+4.8 to +3.3" in note.follows
