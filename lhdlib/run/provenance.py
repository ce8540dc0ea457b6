"""Where a figure or table came from: commit, data, seed, versions, and the cell that drew it."""

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from lhdlib import cache
from lhdlib.errors import UserError
from lhdlib.run import workspace
from lhdlib.run.stale import NOTEBOOKS


def explain(paths: Iterable[Path]) -> list[str]:
    """A paragraph for each figure or table; its files (PNG, PDF, CSV ...) count once.

    Parameters
    ----------
    paths : iterable of Path
        Files that `publish.save_figure` or `publish.save_table` wrote. A PNG carries its stamp inside and may have
        been moved; the others need their JSON file beside them.

    Raises
    ------
    UserError
        For a file that is neither.
    """
    return [_paragraph(path) for path in {path.with_suffix(""): path for path in sorted(paths)}.values()]


def _paragraph(path: Path) -> str:
    stamp = _stamp(path)
    facts = {
        "made by": " and ".join(makers(path.stem)) or "nothing in this checkout",
        **{key: stamp[key] for key in ("commit", "data", "fingerprint", "profile", "seed") if key in stamp},
        "versions": ", ".join(f"{name} {stamp[name]}" for name in ("python", *workspace.PACKAGES) if name in stamp),
    }
    return "\n".join([path.stem, *(f"  {name + ':':<13}{value}" for name, value in facts.items())])


def _stamp(path: Path) -> Mapping[str, Any]:
    beside = path.with_suffix(".json")
    try:
        if beside.is_file():
            return json.loads(beside.read_text(encoding="utf-8"))["stamp"]
        with Image.open(path.with_suffix(".png")) as image:
            return json.loads(image.info["Comment"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not say where it came from: name a figure or table of a run, such as figures/fig08_roc.png."
        ) from error


def makers(name: str) -> list[str]:
    """Notebook cells (counted from 1), else modules, that save the figure or table of this name."""
    quoted = rf"""["']{re.escape(name)}["']"""
    saving = re.compile(rf"ws\.(?:figure|table)\(\s*{quoted}|save_\w+\((?:(?!save_).)*{quoted}", re.DOTALL)
    cells = [
        f"{notebook.name}, cell {number}"
        for notebook in sorted(NOTEBOOKS.glob("*.ipynb"))
        for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"], start=1)
        if cell["cell_type"] == "code" and saving.search("".join(cell["source"]))
    ]
    modules = (file for file in sorted(cache.PACKAGE.rglob("*.py")) if saving.search(file.read_text(encoding="utf-8")))
    return cells or [file.relative_to(cache.PACKAGE.parent).as_posix() for file in modules]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument of ``lhdlib explain``."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="such as figures/fig08_roc.png")


def run(args: argparse.Namespace) -> int:
    """Run ``lhdlib explain``."""
    print("\n\n".join(explain(args.files)))
    return 0
