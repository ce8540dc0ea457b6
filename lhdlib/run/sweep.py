"""The pre-trainings of a profile, one by one or many at once: on this machine, or on others by a scheduler's array.

    lhdlib sweep [--profile demo] [--data DIR] [--seed 0]   lists them
    lhdlib sweep ... --task 2                               runs number 2
    lhdlib sweep ... --workers 2                            runs all, two at a time

Each is one that a notebook would run: the notebooks find it finished (needs the results of notebook 01). On a cluster
``cluster/pretrain_array.sbatch`` gives each a job of its own. The result is the same, byte by byte, whatever runs
beside it, as long as TensorFlow uses the same number of threads (``--threads``; by default, one per core): sums are
split among threads, and their number decides the last digits. On GPUs, start one ``--task`` per GPU with
``CUDA_VISIBLE_DEVICES``; with ``TF_CONFIG``, several machines run one ``--task`` together (`lhdlib.model.distribute`).
"""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tensorflow as tf

from lhdlib import files, paper
from lhdlib.data import dataset
from lhdlib.errors import UserError
from lhdlib.model import distribute, pretrain
from lhdlib.profile import Profile, setting_key
from lhdlib.progress import progress_bar
from lhdlib.run import workspace
from lhdlib.run.notebooks import locked
from lhdlib.run.workspace import ROOT, Workspace


@dataclass(frozen=True)
class Training:
    """One pre-training, independent of all others."""

    profile: Profile
    seed: int
    root: Path  #: its folder lies here, see `pretrain.training_folder`

    @property
    def name(self) -> str:
        """For tables and names of files."""
        return f"{setting_key(self.profile.pretrain.w, self.profile.pretrain.drop_rate)}_seed{self.seed}"


def trainings(space: Workspace, *, seeds: Iterable[int] = ()) -> list[Training]:
    """Table 3's extractors, where notebooks 03 and 05 look for them, and again for every other seed.

    Parameters
    ----------
    space : Workspace
        Its own seed comes first.
    seeds : iterable of int
        More seeds of weights, batches and views, on the same dataset; their results lie in the part "seeds".
    """
    found = []
    for seed in dict.fromkeys([space.seed, *seeds]):
        for w, drop_rate in paper.TABLE3:
            profile = space.profile.replace(pretrain={"w": w, "drop_rate": drop_rate})
            root = space.part("03" if profile == space.profile else "05")
            found.append(Training(profile, seed, root if seed == space.seed else space.part("seeds") / str(seed)))
    return found


def train(space: Workspace, training: Training) -> None:
    """Run it, go on from its checkpoint, or find it finished.

    Raises
    ------
    UserError
        When another process is running it, notebook 01 has not finished, or for the reasons of `pretrain.pretrain`.
    """
    data = dataset.load_dataset(space.part("01"))
    lock = locked(space.part("sweep") / training.name) if distribute.is_chief() else contextlib.nullcontext()
    with lock:
        pretrain.pretrained(data, training.profile, training.seed, training.root)


def train_all(space: Workspace, chosen: Sequence[Training], command: Sequence[str], workers: int) -> None:
    """Run all trainings, each in a process of its own with a log beside it.

    Parameters
    ----------
    space : Workspace
    chosen : sequence of Training
    command : sequence of str
        Arguments of this module's command that name the same trainings.
    workers : int
        Processes at a time.

    Raises
    ------
    UserError
        Naming those that failed, after all others have finished.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    logs = [space.part("sweep") / f"{training.name}.log" for training in chosen]

    def start(number: int) -> tuple[int, int]:
        call = [sys.executable, "-m", "lhdlib.run.command", "sweep", *command, "--task", str(number)]
        with logs[number].open("wb") as log:
            return number, subprocess.run(call, env=environment, stdout=log, stderr=log).returncode

    failed = []
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(start, number) for number in range(len(chosen))]
        for done in progress_bar(as_completed(running), total=len(running), desc="pre-trainings"):
            number, code = done.result()
            failed += [logs[number]] * (code != 0)
    if failed:
        raise UserError(f"{len(failed)} of {len(chosen)} trainings failed: read {', '.join(map(str, failed))}.")


def table(chosen: Sequence[Training]) -> pd.DataFrame:
    """List the trainings and what lies in each one's folder; a run decides whether it is still valid.

    Returns
    -------
    pd.DataFrame
        ``task, name, state, epochs, accuracy`` (the best on held-out slices), the last two of finished ones.
    """
    rows = [(number, training.name, *_state(training)) for number, training in enumerate(chosen)]
    return pd.DataFrame(rows, columns=["task", "name", "state", "epochs", "accuracy"])


def _state(training: Training) -> tuple[str, str, str]:
    folder = pretrain.training_folder(training.root, training.profile.pretrain)
    if (folder / "encoder.key").is_file():
        history = files.read_table(folder / "history.csv")
        return "finished", str(len(history)), f"{history.validation_accuracy.max():.3f}"
    return "begun" if (folder / "checkpoint.npz").is_file() else "-", "", ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``lhdlib sweep``."""
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--data", default="", metavar="DIR", help="the real archive; without it, the phantom")
    parser.add_argument("--seed", type=int, default=0, help="the run's own")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="others, to see how much the start decides")
    parser.add_argument("--results", default="", metavar="DIR")
    parser.add_argument("--threads", type=int, default=0, help="TensorFlow's threads for one operation (0: all cores)")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--task", type=int, metavar="K", help="run number K of the list")
    action.add_argument("--workers", type=int, metavar="N", help="run all, N at a time")


def run(args: argparse.Namespace) -> int:
    """Run ``lhdlib sweep``."""
    space = workspace.open_workspace(args.profile, data_dir=args.data, seed=args.seed, results=args.results)
    chosen = trainings(space, seeds=args.seeds)
    if args.task is not None:
        if not 0 <= args.task < len(chosen):
            raise UserError(f"There is no task {args.task}: choose one of 0 to {len(chosen) - 1}.")
        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        train(space, chosen[args.task])
    elif args.workers is not None:
        if os.environ.get("TF_CONFIG"):
            raise UserError("TF_CONFIG shares one training among machines: start a single --task, or unset it.")
        command = ["--profile", args.profile, "--data", args.data, "--seed", args.seed, "--results", space.results]
        command += ["--threads", args.threads, *(["--seeds", *args.seeds] if args.seeds else [])]
        train_all(space, chosen, list(map(str, command)), max(1, args.workers))
    print(table(chosen).to_string(index=False))
    return 0
