"""Numbers in README: blocks are written from a run's files, and nothing outside them changes."""

import pandas as pd
import pytest

from lhdlib import files
from lhdlib.figures import claims
from lhdlib.run import expected, readme, timing

INTERVAL = "0.{} [0.100, 0.900]"


@pytest.fixture
def figures(tmp_path):
    def table(name: str, first: str, columns: list[str], rows: dict[str, list[str]]) -> None:
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        files.write_table(tmp_path / f"{name}.csv", frame.rename_axis(first).reset_index())

    metrics = ["Accuracy", "AUC"]
    names = ["this run", *readme.CONTROLS.values()]
    table("headline", "classifier", metrics, {"paper": ["0.8711", "0.9487"], "this run": ["x", "y"]})
    table(
        "controls",
        "classifier",
        metrics,
        {n: [INTERVAL.format(k), INTERVAL.format(k + 50)] for k, n in enumerate(names)},
    )
    table("splits", "test metric", ["split 'patient'"], {"Accuracy": ["0.71"], "AUC": ["0.72"]})
    files.write_json(
        tmp_path / "intervals.json", {"caption": "Test metrics: 160 discs of 103 patients, 3 pre-trainings."}
    )
    verdicts = pd.DataFrame(
        {"claim": ["a", "b", f"{claims.OURS}c"], "verdict": [claims.HOLDS, claims.OPEN, claims.HOLDS]}
    )
    files.write_table(tmp_path / "claims.csv", verdicts)
    return tmp_path


def test_the_result_is_read_from_the_figures_folder(figures):
    said = readme.result(figures)
    for part in ("160 discs of 103 patients", "3 pre-trainings", INTERVAL.format(0), INTERVAL.format(50), "0.9487"):
        assert part in said
    assert "Of the paper's 2 claims, this data supports 1," in said


def test_the_table_has_the_supervised_network_once_it_is_known(figures):
    rows = [line.split(" | ")[0] for line in readme.classifiers(figures).splitlines()]
    assert len(rows) == 5 + len(readme.CONTROLS)
    files.write_table(
        figures / "labels_values.csv",
        pd.DataFrame({"classifier": ["semi", "supv"], "labels": [5, 9], "Accuracy": ["p", "q"], "AUC": ["r", "s"]}),
    )
    assert "| supervised network, 9 labels | s | q |" in readme.classifiers(figures)


def test_durations_have_a_row_per_timed_profile_and_say_what_is_computed(figures):
    text, kept = readme.durations(figures), files.read_json(timing.SHIPPED)
    assert all(f"| `{name}` | {one['machine']} |" in text for name, one in kept.items())
    assert "one GPU, computed" in text and readme.gpu_text() in readme.gpu(figures)


def test_what_lies_beyond_has_a_row_of_its_own_and_lengthens_no_other(figures, monkeypatch, tmp_path):
    usual = readme.commands(figures), readme.gpu_text()
    kept = files.read_json(timing.SHIPPED)
    seconds = {number: took for number, took in kept["demo"]["seconds"].items() if number != "09"}
    monkeypatch.setattr(timing, "SHIPPED", tmp_path / "durations.json")
    files.write_json(timing.SHIPPED, {"demo": kept["demo"] | {"seconds": seconds}})
    before = readme.durations(figures).splitlines()
    files.write_json(timing.SHIPPED, {"demo": kept["demo"] | {"seconds": seconds | {"09": 4200}}})
    after = readme.durations(figures).splitlines()
    assert [line for line in after if line not in before] == [
        f"| `demo`, then `--beyond` | {kept['demo']['machine']} | 70 min more |  |"
    ]
    assert (readme.commands(figures), readme.gpu_text()) == usual


def test_every_accepted_run_has_a_column(figures):
    kept = files.read_json(readme.expected.FOLDER / readme.DEMO)
    header, _, *rows = readme.accepted(figures).splitlines()
    assert header.count("|") == len(kept["commits"]) + 2 and len(rows) == len(readme.ACCEPTED)


def test_only_what_stands_in_blocks_is_written(figures):
    page = "before 0.5\n<!-- accepted -->\nold\n<!-- /accepted -->\nafter\n"
    wanted = f"before 0.5\n<!-- accepted -->\n{readme.accepted(figures)}<!-- /accepted -->\nafter\n"
    assert readme.filled(page, figures) == wanted == readme.filled(wanted, figures)
    with pytest.raises(KeyError):
        readme.filled("<!-- unknown -->\n<!-- /unknown -->", figures)


def test_phantoms_stand_side_by_side_each_as_the_mean_of_its_accepted_runs(tmp_path, monkeypatch):
    for seed, values in ((10, [0.5]), (2, [0.1, 0.2])):
        estimates = {place: {"values": values} for place in readme.PHANTOMS.values()}
        files.write_json(tmp_path / f"demo-seed{seed}.json", {"run": {"seed": seed}, "estimates": estimates})
    monkeypatch.setattr(expected, "FOLDER", tmp_path)
    first, _, *rows = readme.phantoms(tmp_path).splitlines()
    assert first == "| phantom | seed 2 | seed 10 | mean ± spread |" and len(rows) == len(readme.PHANTOMS)
    assert rows[0] == "| AUC | 0.150 | 0.500 | 0.325 ± 0.247 |"
