"""Tells stale notebooks from those that are up to date, by content.

A notebook is stale when it has not finished, or a module of the package that it imports, its own cells, a parameter, a
result of an earlier notebook, an installed version or one of its figures changed (another run or a checkout may have
put its own there), or one of its outputs is gone. A module has changed when what it computes has: comments and
docstrings do not count (`cache.syntax_key`).

The records of a run name everything so that a moved or copied checkout is still up to date: modules, notebooks and
folders inside the checkout relative to it, results and figures relative to their folders.
"""

import ast
import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lhdlib import cache, files
from lhdlib.errors import UserError
from lhdlib.run import workspace
from lhdlib.run.workspace import ROOT, Workspace

NOTEBOOKS = ROOT / "notebooks"
RECORDS = ".finished.json"  # in a run's results: of each finished notebook what it was made from, and made
PROFILE_VALUES = "the values of the profile"
DATA = (".toml", ".html", ".css", ".js")  # of files that modules read from their own folder
NAMED = 3  # reasons that are told; the others are counted
#: Which notebooks' results each notebook reads.
UPSTREAM = {
    "01": (),
    "02": ("01",),
    "03": ("01",),
    "04": ("01", "03"),
    "05": ("01", "03", "04"),
    "06": ("01", "03", "04"),
    "07": ("01", "03", "04"),
    "08": ("01", "03", "04"),
}
BEYOND = {"09": ("01", "03", "04", "07")}  #: the same of those that run only when they are asked for


@dataclass(frozen=True)
class Plan:
    """A run to make: the workspace, the archive (empty: the phantom), and the notebooks with what each one reads."""

    space: Workspace
    archive: str = ""
    notebooks: Path = NOTEBOOKS
    upstream: Mapping[str, tuple[str, ...]] = field(default_factory=UPSTREAM.copy)

    @property
    def parameters(self) -> dict[str, Any]:
        """Arguments of every notebook."""
        return {
            "profile": self.space.profile.name,
            "data_dir": self.archive,
            "seed": self.space.seed,
            "results_dir": str(self.space.results),
            "figures_dir": str(self.space.figures),
        }

    def source(self, number: str) -> Path:
        """The notebook's clean source."""
        found = sorted(self.notebooks.glob(f"{number}_*.ipynb"))
        if len(found) != 1:
            raise UserError(f"{self.notebooks} must hold exactly one notebook named {number}_*.ipynb: restore it.")
        return found[0]

    def outputs(self, number: str) -> Path:
        """The list of a finished notebook's results with their SHA-256, which later notebooks depend on."""
        return self.space.results / number / "outputs.json"


# Records of finished notebooks


def finished(plan: Plan, number: str) -> bool:
    """Whether the notebook's results are there, whatever they were made from."""
    return number in _records(plan.space.results)


def made_with(results: Path, number: str) -> dict[str, Any]:
    """Settings (`PROFILE_VALUES` among them) under which a notebook finished; empty when it has not."""
    return _records(results).get(number, {}).get("made from", {})


def reasons(plan: Plan, number: str) -> list[str]:
    """Why a notebook has to run again; empty when it is up to date."""
    record = _records(plan.space.results).get(number)
    if record is None:
        return ["no result yet"]
    then, now = record["made from"], _made_from(plan, number)
    changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    drawn = {plan.space.figures / name: key for name, key in _figures(record).items()}
    made = [*(plan.space.results / name for name in record["results"]), *drawn]
    missing = sorted(shown(path) for path in made if not path.exists())
    changed += sorted(shown(path) for path, key in drawn.items() if path.exists() and _sha256(path) != key)
    return [f"{name} changed" for name in changed] + [f"{name} is missing" for name in missing]


def summary(found: Sequence[str]) -> str:
    """The first few of a notebook's reasons, and how many more there are."""
    more = [f"and {len(found) - NAMED} more"] if len(found) > NAMED else []
    return "; ".join([*found[:NAMED], *more])


@contextlib.contextmanager
def recorded(plan: Plan, number: str) -> Iterator[None]:
    """Mark the notebook unfinished while the body runs; on success, record its inputs and outputs.

    A body that fails before it changed any result leaves the earlier record as it was.
    """
    path, folder, started = plan.space.results / RECORDS, plan.outputs(number).parent, time.time()
    inputs, before = _made_from(plan, number), _listing(_results(folder), folder)
    earlier = _records(plan.space.results)
    others = {name: record for name, record in earlier.items() if name != number}
    files.write_json(path, others)
    try:
        yield
    except BaseException:
        if _listing(_results(folder), folder) == before:
            files.write_json(path, earlier)
        raise
    files.write_json(plan.outputs(number), {_name(made, folder): _sha256(made) for made in _results(folder)})
    took = {"seconds": round(time.time() - started, 1), "commit": workspace.git_commit()}
    files.write_json(plan.space.results / "timings.json", timings(plan) | {number: took})
    if _made_from(plan, number) == inputs:  # otherwise edited while it ran, so what it was made from is not known
        record = {"made from": inputs, **_outputs(plan, number, started)}
        for other in others.values():  # a figure of two notebooks is as the later one has drawn it
            mine = {name: key for name, key in record["figures"].items() if name in other["figures"]}
            other["figures"] = _figures(other) | mine
        files.write_json(path, others | {number: record})


def timings(plan: Plan) -> dict[str, dict[str, Any]]:
    """Seconds and commit of each notebook's last run."""
    path = plan.space.results / "timings.json"
    return files.read_json(path) if path.exists() else {}


def drawn(plan: Plan) -> dict[str, list[str]]:
    """Names of the figures and tables that each finished notebook has drawn, in its order, by the notebook's title."""
    import nbformat

    found = {}
    for number, record in sorted(_records(plan.space.results).items()):
        cells = nbformat.read(plan.source(number), as_version=4).cells
        called = re.findall(r"""\bws\.(?:figure|table)\(\s*"(\w+)\"""", "\n".join(cell.source for cell in cells))
        kept = {Path(path).stem for path in record["figures"]}
        found[cells[0].source.split("\n")[0].removeprefix("# ")] = [name for name in called if name in kept]
    return found


def shown(path: str | Path) -> str:
    """Name for the reader and for the records: relative to the checkout where it lies inside."""
    return _name(Path(path), ROOT) if Path(path).is_relative_to(ROOT) else str(path)


def _records(results: Path) -> dict[str, dict[str, Any]]:
    path = results / RECORDS
    return files.read_json(path) if path.exists() else {}


def _figures(record: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of each figure; unknown ("") where an earlier version has recorded the names alone."""
    found = record["figures"]
    return found if isinstance(found, dict) else dict.fromkeys(found, "")


# What a notebook is made from


def _made_from(plan: Plan, number: str) -> dict[str, Any]:
    """Everything that decides a notebook's results, by name; whatever is large or many stands as a key of its content.

    The cells count without their outputs, which JupyterLab changes.
    """
    import nbformat  # takes three seconds, and who only asks for a finished run's settings reads no notebook

    source = plan.source(number)
    cells = nbformat.read(source, as_version=4).cells
    settings = {
        name: shown(value) if name.endswith("_dir") and value else value for name, value in plan.parameters.items()
    }
    del settings["results_dir"]
    settings |= workspace.versions()
    settings[PROFILE_VALUES] = cache.content_key(plan.space.profile)
    settings[shown(source)] = cache.content_key([(cell.cell_type, cell.source) for cell in cells])
    modules = _modules(cells)
    settings |= {shown(path): cache.syntax_key(path) for path in modules}
    settings |= {shown(path): cache.content_key(path.read_text(encoding="utf-8")) for path in data_files(modules)}
    for earlier in plan.upstream[number]:
        outputs = plan.outputs(earlier)
        settings[f"the results of {earlier}"] = cache.content_key(outputs) if outputs.exists() else "missing"
    if not plan.upstream[number]:
        settings |= _archive(plan)
    return settings


def _modules(cells: Iterable[Any]) -> set[Path]:
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return module_files(re.sub(r"^\s*[%!].*$", "", code, flags=re.M))  # without notebook magic


def module_files(source: str, *, package: Path = cache.PACKAGE) -> set[Path]:
    """Files of `package` (its folder) that Python source imports by absolute name, directly or through each other."""
    found: set[str] = set()
    pending = [ast.parse(source)]
    while pending:
        new = cache.imported(pending.pop(), package) - found
        found |= new
        paths = (cache.module_path(name, package) for name in new)
        pending += [ast.parse(path.read_text(encoding="utf-8"), path) for path in paths]
    return {cache.module_path(name, package) for name in found}


def data_files(modules: Iterable[Path]) -> set[Path]:
    """Word lists and page templates that lie beside modules, which read them."""
    return {path for module in modules for path in module.parent.iterdir() if path.suffix in DATA}


def _archive(plan: Plan) -> dict[str, str]:
    """The real archive's files, and what may lie beside it: verdicts of a review, one's own labels."""
    from lhdlib.data import dataset, second_reading  # take a second; only the first notebook needs them

    found = {}
    if plan.archive:
        archive = Path(plan.archive)
        found[f"the list of files in {shown(archive)}"] = cache.content_key(_listing(_walk(archive), archive))
    with contextlib.suppress(UserError, OSError):
        beside = dataset.inputs(plan.space.data_dir)
        beside.pop("notes", None)  # of the archive listed above, or of a phantom, which its parameters decide
        found |= {f"the {name} in {shown(path)}": cache.content_key(path) for name, path in beside.items()}
        folder = second_reading.folder_of(plan.space.data_dir)
        if folder.is_dir():
            found[f"the list of files in {shown(folder)}"] = cache.content_key(_listing(_walk(folder), folder))
    return found


# What a notebook has made


def _outputs(plan: Plan, number: str, started: float) -> dict[str, Any]:
    """Names of the notebook's results, and of the figures drawn since it started with the SHA-256 of each."""
    made = [plan.outputs(number), *_results(plan.outputs(number).parent)]
    drawn = [path for path in _walk(plan.space.figures) if path.stat().st_mtime >= started]
    return {
        "results": [_name(path, plan.space.results) for path in made],
        "figures": {_name(path, plan.space.figures): _sha256(path) for path in drawn},
    }


def _results(folder: Path) -> list[Path]:
    """A notebook's results: all files but logs, checkpoints and hidden ones."""
    return [path for path in _walk(folder) if _is_result(path.relative_to(folder))]


def _is_result(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and "checkpoints" not in path.parts and path.suffix != ".log" and path.name != "outputs.json"


def _walk(folder: Path) -> list[Path]:
    return sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names)


def _listing(paths: Iterable[Path], folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times stand for the contents of many or large files."""
    return [(_name(path, folder), (status := path.stat()).st_size, status.st_mtime_ns) for path in paths]


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
