"""The main result under other readings of the paper."""

import re
import shutil

import numpy as np
import pytest

from lhdlib import evaluate, files, profile
from lhdlib.errors import UserError
from lhdlib.run import command, sensitivity, workspace


@pytest.mark.parametrize("alternative", sensitivity.ALTERNATIVES, ids=lambda a: a.name)
@pytest.mark.parametrize("name", profile.names())
def test_each_alternative_is_a_change_of_a_named_option(alternative, name):
    p = profile.load(name)
    for section, values in alternative.change.items():
        kinds = {f.name: f.type for f in type(getattr(p, section)).__dataclass_fields__.values()}
        assert all(profile._typed("here", key, kinds[key], value) == value for key, value in values.items())


def test_a_profiles_own_reading_is_no_alternative():
    for one in sensitivity.ALTERNATIVES:
        changing = [name for name in profile.names() if sensitivity.changes(one, profile.load(name))]
        assert "demo" in changing
        assert ("paper" in changing) == (one.choice not in (19, 20, 22))  # published as the paper implies


def result(seed: int, discs: tuple = ("a",)) -> sensitivity.Result:
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % 2
    return sensitivity.Result(labels, rng.normal(labels, 1, (3, 60)), np.arange(60) // 3, discs)


def test_the_difference_is_paired_where_the_discs_are_the_same():
    one, other, elsewhere = result(0), result(1), result(1, ("b",))
    paired, unpaired = sensitivity.difference(one, other), sensitivity.difference(one, elsewhere)
    auc = [evaluate.over_seeds(r.labels, r.logits, r.patients)["AUC"]["mean"] for r in (one, other)]
    assert paired["value"] == pytest.approx(auc[0] - auc[1]) == pytest.approx(unpaired["value"])
    assert paired == evaluate.compare(one.labels, one.logits, other.logits, one.patients)["AUC"]
    assert sensitivity.difference(one, one)["value"] == 0


@pytest.mark.long
def test_a_table_of_the_smoke_run(smoke, tmp_path, capsys):
    """One alternative that only builds another dataset, one that only trains again, and the run itself unchanged."""
    for part in ("01", "03"):
        shutil.copytree(smoke.results / part, tmp_path / part)
    space = workspace.open_workspace("smoke", results=str(tmp_path), figures=str(tmp_path / "figures"))
    names = ["four slices give the upper sample only (the paper takes both)", "Eq. 6 averages over the 2n rows"]
    chosen = [a for a in sensitivity.ALTERNATIVES if a.name in names]
    assert len(chosen) == 2
    table = sensitivity.sensitivity(space, alternatives=chosen)
    first, *_ = files.read_json(smoke.results / "04" / "headline.json")["per_seed"]["AUC"]
    assert table.AUC[0].startswith(f"{first:.3f} [")
    assert list(table.choice) == ["–", "3", "–"] and set(table.alternative[1:]) == set(names)
    for row in table[1:].itertuples():
        value, low, high = (float(n.replace("−", "-")) for n in re.findall(r"[+−]\d\.\d{3}", row.difference))
        assert low <= value <= high
        assert value == pytest.approx(float(row.AUC[:5]) - float(table.AUC[0][:5]), abs=0.0011)
    encoders = sorted(p.parent.name for p in (tmp_path / "sensitivity").rglob("encoder.keras"))
    assert len(encoders) == 1 and not (tmp_path / "05").exists()  # the upper samples' slices are known already
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.keras")}
    assert sensitivity.sensitivity(space, alternatives=chosen).equals(table)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.keras")} == before
    assert "1 of 2: " in capsys.readouterr().out


def test_without_a_finished_run_it_says_so(tmp_path, capsys):
    assert (
        command.main(["sensitivity", "--profile", "smoke", "--results", str(tmp_path), "--figures", str(tmp_path)]) == 2
    )
    assert re.fullmatch(
        r"Error: .*dataset.json cannot be read: run the earlier notebooks first.*\n", capsys.readouterr().err
    )
    with pytest.raises(UserError):
        sensitivity.main_result(workspace.open_workspace("smoke", results=str(tmp_path)), {})
