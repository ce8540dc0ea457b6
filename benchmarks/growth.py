"""Time and peak memory of index, slice store, features and heatmaps against the number of patients.

Each stage runs in a process of its own on 1, 4, 16 and 64 times a number of patients of 87 files each, with a profile's
sizes. Draws ``benchmarks/growth.png`` and projects to the archive, and to a hundred of it. Needs 7 GB in the temporary
folder, and the extra ``[bench]``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.record import record
from lhdlib import paper, profile
from lhdlib.data import dataset, dicom
from lhdlib.progress import progress_bar
from lhdlib.workspace import ROOT

# Others are imported where they are used: each process that a stage starts imports this module again.

STAGES = ("index", "store", "features", "heatmaps")
TIMES = (1, 4, 16, 64)
FILES = paper.COUNTS["images"]  # of the archive
LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run_stage(stage: str, folder: Path, settings: profile.Profile) -> None:
    """One stage on what the ones before it have left in `folder`; prints its seconds, after imports and graphs."""
    slices, store = folder / "slices.csv", folder / "store.npy"
    if stage == "index":
        work = _index(folder, slices)
    elif stage == "store":
        work = _store(folder, pd.read_csv(slices), store, settings)
    else:
        work = _network(stage, np.load(store, mmap_mode="r"), settings)
    start = time.perf_counter()
    work()
    print(time.perf_counter() - start)


def _index(folder, slices):
    def work():
        dicom.index_tree(folder / "archive")[0].to_csv(slices, index=False)

    return work


def _store(folder, slices, store, settings):
    return lambda: dataset.write_store(folder / "archive", slices, store, settings.data)


def _network(stage, images, settings):
    """Discs are the store's slices in threes, without overlap."""
    from benchmarks.finetune_cache import frozen_extractor  # TensorFlow, which the stages before do without
    from lhdlib import gradcam
    from lhdlib.model import finetune

    extractor = frozen_extractor(settings)
    rows = np.arange(len(images) // 3 * 3).reshape(-1, 3)
    weights = np.random.default_rng(0).normal(size=(3, settings.encoder.dim)).astype(np.float32)
    ways = {
        "features": lambda rows: finetune.extract_draws(extractor, images, rows, 1, 0),
        "heatmaps": lambda rows: gradcam.explain(extractor, images, rows, weights, 0.0),
    }
    ways[stage](rows[:1])  # builds the graph
    return lambda: ways[stage](rows)


def measure(stage: str, folder: Path, name: str) -> tuple[float, float]:
    """Seconds of `run_stage`, and the peak memory, MiB, of its process or of the largest one that it starts.

    A process counts as large as the one that starts it was then: a small one starts the stage.
    """
    command = [sys.executable, "-m", "benchmarks.growth", "--stage", stage, "--folder", str(folder), "--profile", name]
    run = subprocess.run([sys.executable, "-c", LAUNCHER, *command], cwd=ROOT, capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"stage {stage} ended with {run.returncode}: {run.stderr[-2000:]}")
    seconds, peak = run.stdout.split()[-2:]
    return float(seconds), float(peak) / (2**20 if sys.platform == "darwin" else 2**10)


def slope(patients: np.ndarray, values: np.ndarray) -> float:
    """Exponent of growth: the slope of a straight line through the logarithms."""
    return float(np.polyfit(np.log(patients), np.log(values), 1)[0])


def per_patient(table: pd.DataFrame, column: str) -> tuple[float, float]:
    """What one more patient costs, from the two largest runs, and what remains for none."""
    (x0, y0), (x1, y1) = table[["patients", column]].to_numpy()[-2:]
    cost = (y1 - y0) / (x1 - x0)
    return cost, y1 - cost * x1


def draw(found: pd.DataFrame, path: Path) -> None:
    """Time, beside a line of slope 1, and memory against patients."""
    from matplotlib.figure import Figure

    from lhdlib import figure_style

    colors = (figure_style.BLUE, figure_style.VERMILION, figure_style.GREEN, figure_style.ORANGE)
    ticks = sorted(set(found.patients))
    with figure_style.style():
        fig = Figure(figsize=(figure_style.PAGE * figure_style.MM, 75 * figure_style.MM), layout="constrained")
        time_axes, memory_axes = fig.subplots(1, 2)
        for (stage, table), color, marker in zip(found.groupby("stage", sort=False), colors, "os^D", strict=True):
            line = {"color": color, "marker": marker, "ms": 4, "label": stage}
            time_axes.loglog(table.patients, table.seconds, **line)
            memory_axes.semilogx(table.patients, table.MiB, **line)
        guide = found.seconds.min() / 2 * np.array(ticks) / ticks[0]
        time_axes.loglog(ticks, guide, color=figure_style.GREY, ls="--", lw=0.8, label="slope 1")
        time_axes.set(xlabel="patients", ylabel="time, s")
        memory_axes.set(xlabel="patients", ylabel="peak memory, MiB", ylim=(0, None))
        for ax in (time_axes, memory_axes):
            ax.set_xticks(ticks, ticks)
            ax.minorticks_off()
        fig.legend(*time_axes.get_legend_handles_labels(), loc="outside upper center", ncols=5)
        fig.savefig(path, dpi=figure_style.DPI, metadata={"Software": None})


def main() -> None:
    """Measure, check that the stages grow with the work, draw, project, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=int, default=4, help="patients of the smallest run")
    parser.add_argument("--times", type=int, nargs="+", default=TIMES, help="multiples of it")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--plot", type=Path, default=Path(__file__).with_suffix(".png"), help="where to draw")
    parser.add_argument("--dry-run", action="store_true", help="print and draw, do not append to RESULTS.md")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)  # the process of one measurement
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        return run_stage(args.stage, args.folder, profile.load(args.profile))
    from benchmarks.index_tree import PER_STUDY, write_tree

    rows = []
    for times in progress_bar(args.times, desc="sizes"):
        with tempfile.TemporaryDirectory() as made:  # one size at a time lies on the disk
            patients, folder = args.base * times, Path(made)
            write_tree(folder / "archive", patients * PER_STUDY)
            for stage in STAGES:
                rows.append((stage, patients, *measure(stage, folder, args.profile)))
    found = pd.DataFrame(rows, columns=["stage", "patients", "seconds", "MiB"])
    draw(found, args.plot)
    lines = [
        f"- {PER_STUDY} files of 320 x 320 per patient, half of them axial; profile {args.profile}; seconds without "
        "imports and graph building, with the start of processes; MiB: peak of the largest process, mapped pages of "
        "the store, which the system can take back, included",
        *(
            f"- {stage}: "
            + "; ".join(f"{r.patients} patients {r.seconds:.2f} s, {r.MiB:.0f} MiB" for r in table.itertuples())
            + f"; slope of time {slope(table.patients, table.seconds):.2f}, between the two largest "
            + f"{slope(table.patients[-2:], table.seconds[-2:]):.2f}"
            for stage, table in found.groupby("stage", sort=False)
        ),
        f"- projected to {FILES:,} files (the archive), and to 100 times as many, from the cost of a patient more "
        "between the two largest runs; assumes this machine, disks as fast as its page cache, and one draw of crops:",
    ]
    for stage, table in found.groupby("stage", sort=False):
        projected = []
        for archives in (1, 100):
            patients = archives * FILES / PER_STUDY
            (second, start), (mib, rest) = (per_patient(table, column) for column in ("seconds", "MiB"))
            projected.append(f"{(start + second * patients) / 60:.1f} min, {(rest + mib * patients) / 1024:.1f} GiB")
        lines.append(f"  - {stage}: {projected[0]}; {projected[1]}")
    record("Growth with the number of patients", lines, args.dry_run)


if __name__ == "__main__":
    main()
