"""How long a run takes: of each notebook the last time or another machine's, and of a whole profile on this machine.

    lhdlib time --profile paper --data DIR   # twenty steps of pre-training, and what follows from them

Durations of accepted runs are kept in ``durations.json``: a profile's machine, and seconds by notebook.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lhdlib import files, paper
from lhdlib.profile import Profile
from lhdlib.run import stale, workspace
from lhdlib.run.stale import Plan

if TYPE_CHECKING:
    from lhdlib.model.pretrain import Batches

SHIPPED = Path(__file__).with_name("durations.json")
STEPS = 20
TRAINING = ("03", "05")  # notebooks whose time is pre-training
REFERENCE = "demo"  # the profile whose durations say how much time the other notebooks take


def machine() -> str:
    """Cores and processor of this machine."""
    return f"{os.cpu_count()} CPU cores ({_processor()})"


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def shipped(profile: str) -> dict[str, float]:
    """Seconds by notebook of an accepted run; empty for a profile that has none."""
    return files.read_json(SHIPPED).get(profile, {}).get("seconds", {})


def usual(seconds: Mapping[str, float]) -> dict[str, float]:
    """Those of the notebooks that run without being asked for."""
    return {number: value for number, value in seconds.items() if number in stale.UPSTREAM}


def keep(results: Path, profile: str) -> None:
    """Keep a run's durations as those that a profile takes, with this machine's name."""
    took = files.read_json(results / "timings.json")
    seconds = {number: round(one["seconds"]) for number, one in took.items()}
    files.write_json(SHIPPED, files.read_json(SHIPPED) | {profile: {"machine": machine(), "seconds": seconds}})


def expected(plan: Plan) -> dict[str, float]:
    """Seconds that each notebook is likely to take: its last run's, else those of an accepted run."""
    return shipped(plan.space.profile.name) | {n: one["seconds"] for n, one in stale.timings(plan).items()}


def text(seconds: float) -> str:
    """A duration for a reader: ``40 s``, ``18 min``, ``3.2 h``, ``2.1 days``."""
    for unit, size, form in (("days", 86400 * 2, ".1f"), ("h", 3600 * 2, ".1f"), ("min", 120, ".0f")):
        if seconds >= size:
            return f"{seconds / {'days': 86400, 'h': 3600, 'min': 60}[unit]:{form}} {unit}"
    return f"{seconds:.0f} s"


def place(plan: Plan, numbers: Iterable[str], number: str) -> str:
    """Where a run is: which of the notebooks to run, how long it took last, and how long all that is left will take."""
    left, known = list(numbers), expected(plan)
    names = list(plan.upstream)
    said = f"notebook {names.index(number) + 1} of {len(names)}"
    if number in known:
        said += f", last time {text(known[number])}"
    if known.keys() >= set(left):
        said += f", {text(sum(known[one] for one in left))} left"
    return said


# The command


def step_seconds(batches: Batches) -> float:
    """Median seconds of `STEPS` steps of pre-training, after the first, which builds the graph."""
    import keras
    import tensorflow as tf

    from lhdlib.model import encoder, pretrain

    profile, size = batches.profile, batches.images.shape[1]
    model = encoder.build_encoder(size, profile.encoder, profile.pretrain.drop_rate, batches.seed)
    optimizer = keras.optimizers.Adam(profile.pretrain.lr)
    optimizer.build(model.trainable_variables)
    step, ends = pretrain.make_step(model, optimizer, profile), [time.perf_counter()]
    epochs = itertools.chain.from_iterable(batches.epoch(number) for number in itertools.count())
    for views, rows in itertools.islice(epochs, STEPS + 1):
        labels = None if batches.labels is None else tf.constant(np.repeat(batches.labels[rows], 2))
        float(step(views, tf.constant(np.repeat(batches.patients[rows], 2)), labels)["loss"])
        ends.append(time.perf_counter())
    return float(np.median(np.diff(ends)[1:]))


def forecast(seconds: float, steps: int, profile: Profile) -> dict[str, Any]:
    """Forecast of a whole run from the seconds of a step.

    Returns
    -------
    dict
        ``trainings``, ``steps`` of one at most, ``pretraining`` and ``whole`` in seconds.
    """
    trainings = profile.finetune.encoders + len(paper.TABLE3) - 1
    steps *= profile.pretrain.max_epochs
    spent = usual(shipped(REFERENCE))
    others = sum(spent.values()) / sum(spent[number] for number in TRAINING)
    pretraining = seconds * steps * trainings
    return {"trainings": trainings, "steps": steps, "pretraining": pretraining, "whole": pretraining * others}


def said(seconds: float, found: Mapping[str, Any]) -> str:
    """The forecast in words, with what it takes for granted."""
    return (
        f"One step of pre-training takes {seconds:.3g} s here: {machine()}.\n"
        f"{found['trainings']} pre-trainings of at most {found['steps']:,} steps: {text(found['pretraining'])}.\n"
        f"The whole run: about {text(found['whole'])}, if no training ends early and the other notebooks take the "
        f"share that they take in profile {REFERENCE}."
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``lhdlib time``."""
    parser.add_argument("--profile", default="demo", help="smoke, demo (default) or paper")
    parser.add_argument("--data", default="", metavar="DIR", help="the real archive; without it, a phantom is made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", default="", metavar="DIR", help="default: results/<profile>")


def run(args: argparse.Namespace) -> int:
    """Run ``lhdlib time``; the dataset is built where notebook 01 builds it, and kept for it."""
    from lhdlib.data import dataset
    from lhdlib.model.pretrain import Batches
    from lhdlib.phantom.archive import write_phantom

    space = workspace.open_workspace(args.profile, data_dir=args.data, seed=args.seed, results=args.results)
    if not args.data:
        write_phantom(space.data_dir.parent, space.profile.data.phantom_patients, seed=space.seed, progress=True)
    data = dataset.build_dataset(space.data_dir, space.part("01"), space.profile, space.seed)
    rows = data.pretrain_rows("train")
    batches = Batches(data.images, rows, data.patients(), space.profile, space.seed)
    seconds = step_seconds(batches)
    print(said(seconds, forecast(seconds, batches.steps, space.profile)))
    return 0
