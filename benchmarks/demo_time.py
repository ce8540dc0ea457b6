"""How long does a run take now, and how long did it take before? ``python -m benchmarks.demo_time --base COMMIT``

Both commits are cloned and run notebook by notebook in turn, each from an empty results folder, with this Python; the
time of a notebook includes the start of its kernel, imports and the building of graphs. Beside them, what importing
the notebook's libraries takes alone. A clone without history, or changes that are not committed, cannot be measured.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import record
from lhdlib.progress import progress_bar
from lhdlib.run.workspace import ROOT


def checkout(commit: str, folder: Path) -> Path:
    """Clone this repository into `folder` at a commit."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "checkout", "-q", commit], check=True)
    return folder


def seconds(folder: Path, *command: str) -> float:
    """Of a Python process in a folder."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def imports(notebook: Path) -> str:
    """The import statements of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code").splitlines()
    return "\n".join(line for line in lines if line.startswith(("import ", "from ")))


def main() -> None:
    """Run both in turn and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True, metavar="COMMIT", help="what the present commit is compared with")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--place", type=Path, metavar="DIR", help="where both clones stay; none of them when left out")
    parser.add_argument("--dry-run", action="store_true", help="print, do not append to RESULTS.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = args.place or Path(temporary)
        before, now = checkout(args.base, place / "before"), checkout("HEAD", place / "now")
        notebooks = sorted((now / "notebooks").glob("0*.ipynb"))
        found = []
        for notebook in progress_bar(notebooks, desc="notebooks"):
            run = ("-m", "lhdlib.run", "--profile", args.profile, "--only", notebook.name[:2])
            found.append((seconds(before, *run), seconds(now, *run), seconds(now, "-c", imports(notebook))))
    lines = [
        f"- {notebook.stem}: {old:.0f} s before, {new:.0f} s now, {alone:.1f} s of these for imports alone"
        for notebook, (old, new, alone) in zip(notebooks, found, strict=True)
    ]
    old, new, _ = map(sum, zip(*found, strict=True))
    lines.append(f"- sum: {old / 60:.1f} min before, {new / 60:.1f} min now, {old / new:.2f} times as fast")
    record(f"A run of profile {args.profile}, beside commit {args.base}", lines, args.dry_run)


if __name__ == "__main__":
    main()
