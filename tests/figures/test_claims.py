"""Verdicts on made-up results: every verdict for every claim, numbers from the paper's tables, the data's label."""

import json

import numpy as np
import pandas as pd
import pytest

from lhdlib import files, paper
from lhdlib.errors import UserError
from lhdlib.evidence import localise
from lhdlib.figures import claims
from lhdlib.profile import setting_key

STAMP = {"data": "phantom (synthetic), no evidence about patients", "profile": "smoke", "seed": 3, "parts": {"01": {}}}
EQUAL = [f"same_{labels}_{way}_scratch" for labels in ("100", "all") for way in ("frozen", "tuned")]
EACH = ("random", "fixed", "other", "slice rank", "fixed rank")  # differences, of each pre-training
COLUMN = "this run: value [95 % interval]"


def around(value: float, half: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def results(value: float = 0.3, half: float = 0.01, balance: float = 0.0) -> dict:
    """Result files in which every difference is the same."""
    difference = {"ACC": around(value, half) | {"p": 0.04}, "AUC": around(value, half) | {"p": 0.0123}}
    settings = {setting_key(*setting): difference for setting in paper.TABLE3 if setting != paper.CHOSEN}
    settings[setting_key(1e-4, 0.25)] = difference | {"ACC": around(balance, half) | {"p": 0.04}}
    return json.loads(
        json.dumps(
            {
                "08/evidence": {
                    "balance": around(balance, half),
                    "controls": {"autoencoder": {"comparison": difference}},
                    "added_to_level": difference,
                },
                "05/comparisons": settings,
                "06/comparisons": dict.fromkeys(("doubling", "third", "full", *EQUAL), difference),
                "08/localisation": {
                    "side": {"paper": around(0.5 + value, half)},
                    "differences": dict.fromkeys(
                        ("pointing", "slice_rank"),
                        dict.fromkeys(("random", "fixed", "other_random"), around(value, half)),
                    ),
                },
                "08/pretrainings": dict.fromkeys(EACH, around(value, half)) | {"side": around(0.5 + value, half)},
            }
        )
    )  # nothing shared


def verdicts(found: dict) -> list[str]:
    return claims.claims_table(found).verdict.tolist()


@pytest.mark.parametrize(
    "low, high, above, below, verdict",
    [
        (0.01, 0.02, 0.0, np.inf, claims.HOLDS),
        (-0.01, 0.02, 0.0, np.inf, claims.OPEN),
        (0.0, 0.02, 0.0, np.inf, claims.OPEN),
        (-0.02, -0.01, 0.0, np.inf, claims.FAILS),
        (-0.02, 0.0, 0.0, np.inf, claims.FAILS),
        (-0.04, 0.3, -0.05, np.inf, claims.HOLDS),
        (-0.06, 0.3, -0.05, np.inf, claims.OPEN),
        (-0.09, 0.09, -0.1, 0.1, claims.HOLDS),
        (-0.05, 0.2, -0.1, 0.1, claims.OPEN),
        (-0.2, 0.2, -0.1, 0.1, claims.OPEN),
        (0.11, 0.2, -0.1, 0.1, claims.FAILS),
        (-0.2, -0.11, -0.1, 0.1, claims.FAILS),
        (np.nan, np.nan, 0.0, np.inf, claims.OPEN),
    ],
)
def test_the_rule(low, high, above, below, verdict):
    assert claims.judge([{"low": low, "high": high}], above, below=below) == verdict


def test_one_quantity_that_disagrees_is_enough_and_all_must_agree():
    good, bad, wide = around(0.2), around(-0.2), around(0.0, 0.5)
    assert claims.judge([good, good], 0.0) == claims.HOLDS
    assert claims.judge([good, wide], 0.0) == claims.OPEN
    assert claims.judge([good, bad], 0.0) == claims.judge([wide, bad], 0.0) == claims.FAILS
    assert claims.judge([], 0.0) == claims.OPEN


def test_every_claim_can_get_every_verdict():
    assert set(verdicts(results())) == {claims.HOLDS}
    assert set(verdicts(results(-0.3, balance=0.3))) == {claims.FAILS}
    assert set(verdicts(results(0.1, half=0.4))) == {claims.OPEN}


@pytest.mark.parametrize(
    "place, path",
    [
        (0, ("05/comparisons", "w0_dr0", "ACC")),
        (0, ("05/comparisons", "w0_dr0", "AUC")),
        (1, ("05/comparisons", "w0.0001_dr0.5", "AUC")),
        (2, ("05/comparisons", "w0.0001_dr0.25", "AUC")),
        (3, ("05/comparisons", "w0.0001_dr0.25", "ACC")),
        (4, ("06/comparisons", "doubling", "AUC")),
        (5, ("06/comparisons", "third", "ACC")),
        (6, ("06/comparisons", "full", "AUC")),
        (7, ("08/evidence", "controls", "autoencoder", "comparison", "AUC")),
        (8, ("08/localisation", "differences", "pointing", "random")),
        (8, ("08/pretrainings", "random")),
        (9, ("08/localisation", "differences", "slice_rank", "random")),
        (9, ("08/pretrainings", "slice rank")),
        (10, ("08/evidence", "balance")),
        (11, ("08/localisation", "differences", "pointing", "fixed")),
        (11, ("08/pretrainings", "fixed")),
        (12, ("08/localisation", "differences", "pointing", "other_random")),
        (12, ("08/pretrainings", "other")),
        (13, ("08/localisation", "side", "paper")),
        (13, ("08/pretrainings", "side")),
        (14, ("08/localisation", "differences", "slice_rank", "fixed")),
        (14, ("08/pretrainings", "fixed rank")),
        (15, ("08/evidence", "added_to_level", "AUC")),
        *((16 + k, ("06/comparisons", name, "AUC")) for k, name in enumerate(EQUAL)),
    ],
)
def test_a_claim_is_judged_by_its_own_result_alone(place, path):
    found = results()
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = around(-0.5)
    expected = [claims.HOLDS] * 20
    expected[place] = claims.FAILS
    assert verdicts(found) == expected


def test_the_allowances_are_those_stated():
    rows = claims.claims_table(results()).set_index("claim").test
    assert verdicts(results(-0.03))[5] == claims.HOLDS and "above −0.05" in rows.iloc[5]
    assert verdicts(results(-0.03))[6] == claims.FAILS and rows.iloc[6].endswith("above 0")
    assert verdicts(results(0.15))[8] == claims.FAILS and rows.iloc[8].endswith("above 0.2")
    assert verdicts(results(balance=0.035))[3] == claims.HOLDS and rows.iloc[3].endswith("within ±0.05")
    assert verdicts(results(balance=0.085))[3] == claims.FAILS
    assert verdicts(results(balance=0.085))[10] == claims.HOLDS and rows.iloc[10].endswith("within ±0.1")
    assert rows.iloc[13].endswith("above 0.7") and verdicts(results(0.15))[13] == claims.FAILS
    assert claims.CLEARLY == localise.MARGIN and rows.iloc[8].endswith(f"above {localise.MARGIN:g}")


@pytest.mark.parametrize("name, place, low", [("random", 8, claims.CLEARLY), ("fixed", 11, 0), ("slice rank", 9, 0)])
def test_pretrainings_that_disagree_leave_the_heatmaps_open(name, place, low):
    found = results()
    found["08/pretrainings"][name] = {"value": 0.3, "low": low - 0.01, "high": 0.5}
    expected = [claims.HOLDS] * 20
    expected[place] = claims.OPEN
    assert verdicts(found) == expected


def test_every_claim_about_heatmaps_is_asked_of_each_pretraining():
    of_heat = [claim.each for claim in claims.CLAIMS if claim.place == claims.HEATMAPS]
    assert sorted(of_heat) == sorted((*EACH, "side"))


def test_readings_that_are_not_the_papers_stand_last_and_say_so():
    text = claims.claims_table(results()).claim
    assert text.str.startswith("Not the paper's: ").tolist() == [False] * 10 + [True] * 10


@pytest.mark.parametrize("missing", ["file", "keys"])
def test_lesions_without_masks_leave_the_heatmaps_open(missing):
    found = results()
    found["08/localisation"] = {}
    if missing == "file":
        del found["08/localisation"]
    table = claims.claims_table(found)
    assert (
        table.verdict.tolist()
        == [claims.HOLDS] * 8 + [claims.OPEN] * 2 + [claims.HOLDS] + [claims.OPEN] * 4 + [claims.HOLDS] * 5
    )
    assert set(table[COLUMN][[8, 9, 11, 12, 13, 14]]) == {"not measured"}


def test_too_few_labels_leave_a_comparison_on_equal_labels_open():
    found = results()
    found["06/comparisons"] |= {name: {} for name in EQUAL[:2]}
    table = claims.claims_table(found)
    assert table.verdict.tolist() == [claims.HOLDS] * 16 + [claims.OPEN] * 2 + [claims.HOLDS] * 2
    assert set(table[COLUMN][16:18]) == {"not measured"}
    assert table.claim[16].startswith("Not the paper's: with 100 labels the frozen extractor beats")


def test_numbers_are_the_papers_and_the_runs():
    table = claims.claims_table(results(0.123, 0.05))
    assert table[COLUMN][0] == "ACC +0.123 [+0.073, +0.173], p = 0.04; AUC +0.123 [+0.073, +0.173], p = 0.012"
    published = paper.TABLE3
    for place, other in ((0, (0.0, 0.0)), (1, (1e-4, 0.5))):
        for metric in ("ACC", "AUC"):
            assert f"{metric} {published[1e-4, 0.0][metric] - published[other][metric]:+.4f}" in table.paper[place]
    assert table.paper[2] == '"decreased markedly", AUC +0.0123' and table.paper[3] == '"nearly identical", ACC +0.0000'
    assert table[COLUMN][12].startswith("pointing +0.123 [")
    assert table[COLUMN][13] == "side 0.623 [0.573, 0.673]; in each pre-training 0.623 [0.573, 0.673]"
    assert table.paper[10] == "0.8750 and 0.8672"
    assert "1,024 of 3,036" in table.claim[5]


def test_places_are_in_the_paper(real_dir):
    path = real_dir.parent / "paper" / "hou2023.txt"
    if not path.is_file():
        pytest.skip(f"the paper's text not found at {path}")
    text = path.read_text(encoding="utf-8")
    for claim in claims.CLAIMS:
        for part in claim.place.split('"')[1::2] + claim.published.split('"')[1::2]:
            assert part in text


def test_it_is_saved_with_the_datas_label(tmp_path):
    for name, content in results(-0.3, balance=0.3).items():
        files.write_json(tmp_path / f"{name}.json", content)
    files.write_json(tmp_path / "stamp.json", STAMP)
    text = claims.save_claims(tmp_path, tmp_path / "figures").read_text(encoding="utf-8")
    assert f"Data: {STAMP['data']}" in text and text.count("10 × does not hold") == 2
    assert pd.read_csv(tmp_path / "figures" / "claims.csv").verdict.tolist() == [claims.FAILS] * 20
    assert "parts" not in files.read_json(tmp_path / "figures" / "claims.json")["stamp"]
    (tmp_path / "08" / "localisation.json").unlink()
    assert "4 × cannot" in claims.save_claims(tmp_path, tmp_path / "figures").read_text(encoding="utf-8")
    (tmp_path / "06" / "comparisons.json").unlink()
    with pytest.raises(UserError, match="run the earlier notebooks"):
        claims.save_claims(tmp_path, tmp_path / "figures")
