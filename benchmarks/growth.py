"""Time and peak memory of index, slice store, discs, features and heatmaps against the number of patients.

Each stage runs in a process of its own on 1, 4, 16 and 64 times a number of patients of 87 files each, with a profile's
sizes, several times. Draws ``benchmarks/growth.png`` and projects to the archive, and to a hundred of it, for which the
extractor of profile paper is timed on few samples. Needs 7 GB in the temporary folder, and the extra ``[bench]``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# Others are imported where they are used: each process that a stage starts imports this module again.

STAGES = ("index", "store", "discs", "features", "heatmaps")
TIMES = (1, 4, 16, 64)
PAPER_SAMPLES = 8  # of three slices each; all slices of an extractor cost the same
LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run_stage(stage: str, folder: Path, name: str, repeats: int) -> None:
    """One stage on what the ones before it have left in `folder`; prints the seconds of each repeat.

    Imports and graph building are not timed.
    """
    from lhdlib import profile

    work = _work(stage, folder, profile.load(name))
    print(*[_seconds(work) for _ in range(repeats)])


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _work(stage, folder, settings):
    """Index and store in one process at all sizes: a run starts more of them from some size on."""
    import pandas as pd

    from lhdlib.data import dicom, discs
    from lhdlib.data.store import write_store

    archive, table, store = folder / "archive", folder / "slices.csv", folder / "store.npy"
    if stage == "index":
        return lambda: dicom.index_tree(archive, workers=1)[0].to_csv(table, index=False)
    if stage in ("store", "discs"):
        slices = pd.read_csv(table, dtype={"patient": str})
        if stage == "store":
            return lambda: write_store(archive, slices, store, settings.data, workers=1)
        return lambda: discs.disc_samples(discs.group_discs(slices))
    return _network(stage, np.load(store, mmap_mode="r"), settings)


def _network(stage, images, settings):
    from benchmarks.finetune_cache import frozen_extractor  # TensorFlow, which the other stages do without
    from lhdlib import gradcam
    from lhdlib.model import finetune

    extractor = frozen_extractor(settings)
    weights = np.random.default_rng(0).normal(size=(3, settings.encoder.dim)).astype(np.float32)
    ways = {
        "features": lambda rows: finetune.extract_crops(extractor, images, rows, 1, 0),
        "heatmaps": lambda rows: gradcam.explain(extractor, images, rows, weights, 0.0),
    }
    rows = np.arange(len(images) // 3 * 3).reshape(-1, 3)  # slices in threes stand for discs
    ways[stage](rows)  # builds the graph for batches of all sizes
    return lambda: ways[stage](rows)


def measure(stage: str, folder: Path, name: str, repeats: int) -> tuple[list[float], float]:
    """Seconds of each repeat of `run_stage`, and the peak memory, MiB, of its process.

    A process counts as large as the one that starts it was then: a small one starts the stage.
    """
    command = [sys.executable, "-m", "benchmarks.growth", "--stage", stage, "--folder", str(folder), "--profile", name]
    command += ["--repeats", str(repeats)]
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", LAUNCHER, *command], cwd=root, capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"stage {stage} ended with {run.returncode}: {run.stderr[-2000:]}")
    *seconds, peak = map(float, run.stdout.split()[-repeats - 1 :])
    return seconds, peak / (2**20 if sys.platform == "darwin" else 2**10)


def measure_paper(repeats: int) -> dict[str, tuple[float, float]]:
    """Seconds per sample, and MiB, of features and heatmaps with the extractor of profile paper."""
    from lhdlib import profile

    size = profile.load("paper").data.image_size
    images = np.random.default_rng(0).random((3 * PAPER_SAMPLES, size, size)).astype(np.float16)
    found = {}
    with tempfile.TemporaryDirectory() as made:
        np.save(Path(made) / "store.npy", images)
        for stage in ("features", "heatmaps"):
            seconds, peak = measure(stage, Path(made), "paper", repeats)
            found[stage] = np.median(seconds) / PAPER_SAMPLES, peak
    return found


def slope(patients: np.ndarray, values: np.ndarray) -> float:
    """Exponent of growth: the slope of a straight line through the logarithms."""
    return float(np.polyfit(np.log(patients), np.log(values), 1)[0])


def per_patient(table: "pd.DataFrame", column: str) -> tuple[float, float]:
    """What one more patient costs, from the two largest runs, and what remains for none."""
    (x0, y0), (x1, y1) = table[["patients", column]].to_numpy()[-2:]
    cost = (y1 - y0) / (x1 - x0)
    return cost, y1 - cost * x1


def draw(found: "pd.DataFrame", path: Path) -> None:
    """Time, beside a line of slope 1, and memory against patients."""
    from matplotlib.figure import Figure

    from lhdlib.figures import style

    colors = (style.BLUE, style.VERMILION, "black", style.GREEN, style.ORANGE)
    ticks = sorted(set(found.patients))
    with style.style():
        fig = Figure(figsize=(style.PAGE * style.MM, 75 * style.MM), layout="constrained")
        time_axes, memory_axes = fig.subplots(1, 2)
        for (stage, table), color, marker in zip(found.groupby("stage", sort=False), colors, "osv^D", strict=True):
            line = {"color": color, "marker": marker, "ms": 4, "label": stage}
            time_axes.loglog(table.patients, table.seconds, **line)
            memory_axes.semilogx(table.patients, table.MiB, **line)
        guide = found.seconds.min() / 2 * np.array(ticks) / ticks[0]
        time_axes.loglog(ticks, guide, color=style.GREY, ls="--", lw=0.8, label="slope 1")
        time_axes.set(xlabel="patients", ylabel="time, s")
        memory_axes.set(xlabel="patients", ylabel="peak memory, MiB", ylim=(0, None))
        for ax in (time_axes, memory_axes):
            ax.set_xticks(ticks, ticks)
            ax.minorticks_off()
        fig.legend(*time_axes.get_legend_handles_labels(), loc="outside upper center", ncols=6)
        fig.savefig(path, dpi=style.DPI, metadata={"Software": None})


def projected(found: "pd.DataFrame", repeats: int) -> list[str]:
    """The archive, and a hundred of it: stages without the network from the cost of a patient more."""
    from benchmarks.dicom_reading import PER_STUDY
    from lhdlib import paper, profile

    counts, draws = paper.COUNTS, profile.load("paper").finetune.draws
    lines = []
    for stage in STAGES[:3]:
        table = found[found.stage == stage]
        (second, start), (mib, rest) = (per_patient(table, column) for column in ("seconds", "MiB"))
        patients = counts["images"] / PER_STUDY * np.array([1, 100])
        minutes, gib = (start + second * patients) / 60, (rest + mib * patients) / 1024
        lines.append(f"  - {stage}: {minutes[0]:.1f} min, {gib[0]:.1f} GiB; {minutes[1]:.1f} min, {gib[1]:.1f} GiB")
    samples = {"features": counts["training samples"] * draws, "heatmaps": counts["test samples"]}
    what = {"features": f"{draws} draws of the training samples", "heatmaps": "the test samples"}
    for stage, (second, mib) in measure_paper(repeats).items():
        hours = second * samples[stage] / 3600
        lines.append(
            f"  - {stage} of {what[stage]} with the extractor of profile paper, {second:.2f} s per sample here: "
            f"{hours:.1f} h; {100 * hours:.0f} h; {mib / 1024:.1f} GiB beside the results and the store's mapped pages"
        )
    return lines


def main() -> None:
    """Measure, check that the stages grow with the work, draw, project, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=int, default=4, help="patients of the smallest run")
    parser.add_argument("--times", type=int, nargs="+", default=TIMES, help="multiples of it")
    parser.add_argument("--repeats", type=int, default=3, help="how often each size is timed")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--plot", type=Path, default=Path(__file__).with_suffix(".png"), help="where to draw")
    parser.add_argument("--dry-run", action="store_true", help="print and draw, do not append to RESULTS.md")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)  # the process of one measurement
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        return run_stage(args.stage, args.folder, args.profile, args.repeats)
    import pandas as pd

    from benchmarks.dicom_reading import PER_STUDY, write_tree
    from benchmarks.record import record
    from lhdlib.progress import progress_bar

    rows = []
    for times in progress_bar(args.times, desc="sizes"):
        with tempfile.TemporaryDirectory() as made:  # one size at a time lies on the disk
            patients, folder = args.base * times, Path(made)
            write_tree(folder / "archive", patients * PER_STUDY)
            for stage in STAGES:
                seconds, mib = measure(stage, folder, args.profile, args.repeats)
                rows.append((stage, patients, np.median(seconds), min(seconds), max(seconds), mib))
    found = pd.DataFrame(rows, columns=["stage", "patients", "seconds", "least", "most", "MiB"])
    draw(found, args.plot)
    lines = [
        f"- {PER_STUDY} files of 320 x 320 per patient, half of them axial; profile {args.profile}; median seconds "
        f"(least to most) of {args.repeats}, without imports and graph building; index and store in one process; MiB: "
        "peak of the process. What features and heatmaps grow by is mostly mapped pages of the store, which the system "
        "can take back",
        *(
            f"- {stage}: "
            + "; ".join(
                f"{r.patients} patients {r.seconds:.2f} ({r.least:.2f} to {r.most:.2f}) s, {r.MiB:.0f} MiB"
                for r in table.itertuples()
            )
            + f"; slope of time {slope(table.patients, table.seconds):.2f}, between the two largest "
            + f"{slope(table.patients[-2:], table.seconds[-2:]):.2f}"
            for stage, table in found.groupby("stage", sort=False)
        ),
        "- projected to the files of the archive, and to 100 times as many, from the cost of a patient more between "
        "the two largest runs; assumes this machine and disks as fast as its page cache:",
        *projected(found, args.repeats),
    ]
    record("Growth with the number of patients", lines, args.dry_run)


if __name__ == "__main__":
    main()
