"""Is a run that was killed at random moments, and resumed, the same as an undisturbed one?

Smoke runs are ended with SIGKILL, kernels included, and started again until they finish; every table, figure and
trained weight has then to be the undisturbed run's, byte for byte. Takes about a quarter of an hour.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import psutil

from benchmarks.record import record
from lhdlib.workspace import ROOT

DELAY_S = (3.0, 25.0)  # from a start to its kill: from before the first notebook to a notebook or two later


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start a smoke run whose results and figures lie in `folder`."""
    places = ["--profile", "smoke", "--results", str(folder / "results"), "--figures", str(folder / "figures")]
    command = [sys.executable, "-m", "lhdlib.run", *places, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen) -> None:
    """SIGKILL for the run and everything that it started."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family)
    process.communicate()


def disturbed(folder: Path, kills: int, rng: np.random.Generator, *arguments: str) -> int:
    """Kill and resume a run until it finishes, at most `kills` times; returns how often it was killed.

    Raises
    ------
    RuntimeError
        When a resumed run fails.
    """
    done = 0
    while True:
        process = start(folder, *arguments)
        deadline = time.monotonic() + rng.uniform(*DELAY_S) if done < kills else np.inf
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.poll() is None:
            kill(process)
            done += 1
            continue
        if process.returncode != 0:
            raise RuntimeError(f"after {done} kills the run ended with {process.returncode}: {process.stderr.read()}")
        return done


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of what a run computed: tables, figures, arrays, trained models; not its times and paths."""
    kinds = {".csv", ".md", ".png", ".pdf", ".npy", ".npz", ".keras"}
    files = [path for path in folder.rglob("*") if path.suffix in kinds and path.name != "README.md"]
    return {str(path.relative_to(folder)): _digest(path) for path in files}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
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


def main() -> None:
    """Kill, resume, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as place:
        disturbed(Path(place) / "undisturbed", 0, rng)
        wanted = content(Path(place) / "undisturbed")
        killed = rounds = 0
        differing: set[str] = set()
        while killed < args.kills:
            folder = Path(place) / f"round{rounds}"
            killed += disturbed(folder, args.kills - killed, rng)
            rounds += 1
            found = content(folder)
            differing |= {name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)}
            print(f"{killed} kills, {rounds} finished runs, {len(differing)} files differ", flush=True)
    lines = [
        f"- kills: {killed}, in {rounds} runs, {DELAY_S[0]:.0f} to {DELAY_S[1]:.0f} s after a start",
        f"- files compared in each run: {len(wanted)}",
        f"- files that differ from the undisturbed run: {len(differing)}",
        *(f"  - {name}" for name in sorted(differing)),
    ]
    record("Killed and resumed smoke runs", lines)
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
