"""Fills numbers into README and docs: between ``<!-- name -->`` and ``<!-- /name -->`` stands what a run has given.

lhdlib readme   # after a run of the demo has been accepted (`lhdlib expect results/demo --accept`)
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from lhdlib import files, paper, profile
from lhdlib.figures import claims, publish
from lhdlib.run import expected, timing, workspace

PAGES = ("README.md", "docs/reproduction.md", "docs/gpu.md")
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", re.S)
DEMO = "demo-seed0.json"
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
#: Names in the table of classifiers -> those in ``controls.csv``.
CONTROLS = {
    "raw pixels, the same linear classifier": "raw pixels",
    "autoencoder features": "autoencoder",
    "untrained network": "untrained network",
    "shuffled labels": "shuffled labels",
}
#: What is told of each accepted run -> its estimate.
ACCEPTED = {
    "AUC": "04/headline/metrics/AUC",
    "accuracy": "04/headline/metrics/ACC",
    "AUC, split by patient": "08/evidence/splits/split by patient/AUC",
    "heatmaps: pointing above random": "08/localisation/differences/pointing/random",
}
#: What is told of each phantom -> its estimate.
PHANTOMS = {
    "AUC": "04/headline/metrics/AUC",
    "accuracy": "04/headline/metrics/ACC",
    "AUC below the true severity's": "08/evidence/ceiling/paper/missing",
    "AUC against the truth": "08/evidence/ceiling/paper/truth/this run/metrics/AUC",
    "AUC, split by patient": "08/evidence/splits/split by patient/AUC",
    "below the true severity's, by patient": "08/evidence/ceiling/patient/missing",
    "against the truth, by patient": "08/evidence/ceiling/patient/truth/this run/metrics/AUC",
    "the features add to the level: AUC": "08/evidence/added_to_level/AUC",
    "pointing, paper's heatmap": "08/localisation/pointing/paper",
    "pointing, classic Grad-CAM": "08/localisation/pointing/classic",
    "pointing, random map": "08/localisation/pointing/random",
    "side, paper's heatmap": "08/localisation/side/paper",
}
GFLOP_PER_VIEW = 42.4  # of a training step of profile paper: `benchmarks/RESULTS.md`, GFLOP/s over views/s
GPU_TFLOPS = 20  # assumed of one GPU in such training; a recent one peaks at several times that


def _table(figures: Path, name: str) -> pd.DataFrame:
    return files.read_table(figures / f"{name}.csv", index_col=0)


def result(figures: Path) -> str:
    """The result in two sentences."""
    headline, controls = (_table(figures, name) for name in ("headline", "controls"))
    caption = files.read_json(figures / "intervals.json")["caption"]
    discs, repeats = re.search(r"(\d+ discs of \d+ patients), ([^.]+)", caption).groups()  # type: ignore[union-attr]
    verdicts = files.read_table(figures / f"{claims.NAME}.csv")
    ours, theirs = controls.loc["this run"], headline.loc["paper"]
    return (
        f"**Result.** On a phantom's {discs} ({repeats}; in brackets 95 % intervals) the AUC is {ours.AUC} and the "
        f"accuracy {ours.Accuracy}; the paper, on patients: {theirs.AUC} and {theirs.Accuracy}. "
        f"{claims.sentence(verdicts)}\n"
    )


def commands(figures: Path) -> str:
    """Both commands, with what the first takes."""
    spent = sum(timing.usual(timing.shipped("demo")).values())
    return (
        "```bash\n"
        f"./run_all.sh                   # all tables and figures: {timing.text(spent)} on two CPU cores\n"
        './run_tests.sh -m "not slow"   # the quick tests: under two minutes; without arguments all of them\n'
        "```\n"
    )


def classifiers(figures: Path) -> str:
    """The classifier beside the paper's, its controls, and the supervised network."""
    headline, controls, splits = (_table(figures, name) for name in ("headline", "controls", "splits"))
    rows = [("the paper, on patients", *headline.loc["paper", ["AUC", "Accuracy"]])]
    rows.append(("this run, phantom", *controls.loc["this run", ["AUC", "Accuracy"]]))
    rows.append(("split by patient, not by sample", *splits.loc[["AUC", "Accuracy"], "split 'patient'"]))
    if (figures / "labels_values.csv").is_file():
        supervised = files.read_table(figures / "labels_values.csv").iloc[-1]
        rows.append((f"supervised network, {supervised.labels} labels", supervised.AUC, supervised.Accuracy))
    rows += [(name, *controls.loc[theirs, ["AUC", "Accuracy"]]) for name, theirs in CONTROLS.items()]
    return publish.markdown(pd.DataFrame(rows, columns=["classifier", "AUC", "accuracy"]))


def durations(figures: Path) -> str:
    """A row per profile that an accepted run has timed."""
    kept = files.read_json(timing.SHIPPED)
    rows = []
    for name, one in kept.items():
        seconds = timing.usual(one["seconds"])
        whole, training = sum(seconds.values()), sum(seconds[number] for number in timing.TRAINING)
        rows.append((f"`{name}`", one["machine"], timing.text(whole), timing.text(training)))
        if further := sum(one["seconds"].values()) - whole:
            rows.append((f"`{name}`, then `--beyond`", one["machine"], f"{timing.text(further)} more", ""))
    rows.append(("`paper`", "one GPU, computed", f"{gpu_text()}, see [GPUs](docs/gpu.md)", ""))
    return publish.markdown(pd.DataFrame(rows, columns=["profile", "machine", "whole run", "of it pre-training"]))


def gpu_text() -> str:
    """How long profile paper takes on the assumed GPU."""
    return f"about {timing.text(_gpu()['whole'])}"


def _gpu() -> dict[str, float]:
    settings = profile.load("paper")
    views = 2 * settings.pretrain.batch
    slices = paper.COUNTS["pre-training images"]
    steps = settings.pretrain.steps_per_epoch or slices // settings.pretrain.batch
    return timing.forecast(views * GFLOP_PER_VIEW / (1000 * GPU_TFLOPS), steps, settings)


def gpu(figures: Path) -> str:
    """The forecast for profile paper with what it takes for granted."""
    found = _gpu()
    return (
        f"No GPU was at hand to time it. A view costs {GFLOP_PER_VIEW:g} GFLOP in training; on a GPU that does "
        f"{GPU_TFLOPS} TFLOP/s, {found['trainings']} pre-trainings of at most {found['steps']:,} steps take "
        f"{timing.text(found['pretraining'])} and the whole run {gpu_text()}, if no training ends early.\n"
    )


def accepted(figures: Path) -> str:
    """The accepted runs of the demo, a column each."""
    kept = files.read_json(expected.FOLDER / DEMO)
    runs = ORDINALS[: len(kept["commits"])]
    rows = [(name, *(f"{v:.3f}" for v in kept["estimates"][place]["values"])) for name, place in ACCEPTED.items()]
    return publish.markdown(pd.DataFrame(rows, columns=["accepted runs", *runs]))


def phantoms(figures: Path) -> str:
    """The demo on phantoms of other seeds side by side: of each the mean of its accepted runs."""
    kept = {
        one["run"]["seed"]: one["estimates"] for one in map(files.read_json, expected.FOLDER.glob("demo-seed*.json"))
    }
    means = pd.DataFrame(
        {
            f"seed {seed}": {place: np.mean(kept[seed][place]["values"]) for place in PHANTOMS.values()}
            for seed in sorted(kept)
        }
    )
    table = means.map("{:.3f}".format)
    table["mean ± spread"] = [f"{row.mean():.3f} ± {row.std():.3f}" for _, row in means.iterrows()]
    return publish.markdown(table.set_axis(list(PHANTOMS)).rename_axis("phantom").reset_index())


WRITERS: dict[str, Callable[[Path], str]] = {
    writer.__name__: writer for writer in (result, commands, classifiers, durations, gpu, accepted, phantoms)
}


def filled(text: str, figures: Path) -> str:
    """A page with its blocks written anew.

    Raises
    ------
    KeyError
        For a block that nobody writes.
    """
    return BLOCK.sub(lambda found: found[1] + WRITERS[found[2]](figures) + found[3], text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``lhdlib readme``: none."""


def run(args: argparse.Namespace) -> int:
    """Run ``lhdlib readme``."""
    for name in PAGES:
        path = workspace.ROOT / name
        files.write_text(path, filled(path.read_text(encoding="utf-8"), workspace.ROOT / "figures"))
    return 0
