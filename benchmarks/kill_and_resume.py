"""Is a run that was killed at random moments, and resumed, the same as an undisturbed one?

Smoke runs are ended with SIGKILL, kernels included, and started again until they finish; every table, figure, result
file and trained weight has then to be the undisturbed run's. Takes about a quarter of an hour.
"""

import argparse
import collections
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil

from benchmarks.record import record
from lhdlib.run.workspace import ROOT

DELAY_S = (3.0, 25.0)  # from a start to its kill: from before the first notebook to a notebook or two later
#: What two undisturbed runs differ in: durations, and the sums of model files, which hold the time (weights count).
NOT_COMPARED = re.compile(r"seconds|.*\.keras")


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start a smoke run whose results, figures and messages (``out``, ``err``) lie in `folder`."""
    places = ["--profile", "smoke", "--results", str(folder / "results"), "--figures", str(folder / "figures")]
    command = [sys.executable, "-m", "lhdlib.run", *places, *arguments]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err)


def running(folder: Path) -> str:
    """What the run in `folder` says that it is at: a notebook's name, or what lies between notebooks."""
    said = [line for line in (folder / "out").read_text().splitlines() if not line.startswith(" ")]  # no details
    found = re.match(r"(\w+): runs\b", said[-1]) if said else None
    return found[1] if found else "between notebooks" if said else "before the first notebook"


def kill(process: subprocess.Popen) -> None:
    """SIGKILL for the run and everything that it started."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family)
    process.wait()


def at_random(rng: np.random.Generator, kills: int) -> Iterator[Callable[[], bool]]:
    """Moments for `disturbed`: each `DELAY_S` after it was asked for, that is, after a start."""
    for _ in range(kills):
        deadline = time.monotonic() + rng.uniform(*DELAY_S)
        yield lambda deadline=deadline: time.monotonic() >= deadline


def disturbed(folder: Path, moments: Iterator[Callable[[], bool]], *arguments: str) -> list[str]:
    """Run to the end, with a kill and a new start whenever the next of the moments has come.

    Parameters
    ----------
    folder : Path
    moments : iterator of callables
        One is taken after each start, and says whether its moment has come; when they are used up nothing is killed.
    arguments : str
        Of the run.

    Returns
    -------
    list of str
        What was `running` at each kill.

    Raises
    ------
    RuntimeError
        When a run fails.
    """
    killed: list[str] = []
    while True:
        process = start(folder, *arguments)
        come = next(moments, bool)  # `bool()` is False: never
        while process.poll() is None and not come():
            time.sleep(0.02)
        if process.poll() is None:
            kill(process)
            killed.append(running(folder))
            continue
        if process.returncode != 0:
            said = (folder / "err").read_text().splitlines()[-1:]
            raise RuntimeError(f"after {len(killed)} kills the run ended with {process.returncode}: {' '.join(said)}")
        return killed


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of what a run computed: tables, figures, arrays, result files, trained models; not its times."""
    kinds = {".csv", ".md", ".png", ".pdf", ".npy", ".npz", ".json", ".keras"}
    times = {"README.md", "timings.json"}
    files = [path for path in folder.rglob("[!.]*") if path.suffix in kinds and path.name not in times]
    return {str(path.relative_to(folder)): _digest(path) for path in files}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    if path.suffix == ".json":
        return hashlib.sha256(json.dumps(_compared(json.loads(path.read_text()))).encode()).hexdigest()
    if path.suffix != ".keras":
        digest.update(path.read_bytes())
        return digest.hexdigest()

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            digest.update(name.encode() + np.asarray(item).tobytes())

    # around the weights the file holds the time, addresses in memory and unused bytes
    with zipfile.ZipFile(path) as model, h5py.File(io.BytesIO(model.read("model.weights.h5"))) as weights:
        weights.visititems(add)
    return digest.hexdigest()


def _compared(value: Any) -> Any:
    if isinstance(value, list):
        return [_compared(item) for item in value]
    if isinstance(value, dict):
        return {name: _compared(item) for name, item in value.items() if not NOT_COMPARED.fullmatch(name)}
    return value


def main() -> None:
    """Kill, resume, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as place:
        disturbed(Path(place) / "undisturbed", iter(()))
        wanted = content(Path(place) / "undisturbed")
        killed: list[str] = []
        differing: set[str] = set()
        rounds = 0
        while len(killed) < args.kills:
            folder = Path(place) / f"round{rounds}"
            killed += disturbed(folder, at_random(rng, args.kills - len(killed)))
            rounds += 1
            found = content(folder)
            differing |= {name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)}
            print(f"{len(killed)} kills, {rounds} finished runs, {len(differing)} files differ", flush=True)
    lines = [
        f"- kills: {len(killed)}, in {rounds} runs, {DELAY_S[0]:.0f} to {DELAY_S[1]:.0f} s after a start",
        "- killed while this ran: "
        + ", ".join(f"{name} {times}" for name, times in sorted(collections.Counter(killed).items())),
        f"- files compared in each run: {len(wanted)}",
        f"- files that differ from the undisturbed run: {len(differing)}",
        *(f"  - {name}" for name in sorted(differing)),
    ]
    record("Killed and resumed smoke runs", lines)
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
