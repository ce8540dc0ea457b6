"""What is up to date, decided by content with doit.

A notebook is stale when it has not finished, or a module of the package that it imports, its own cells, a parameter, a
result of an earlier notebook or an installed version changed, or one of its outputs is gone. A module has changed when
what it computes has: comments and docstrings do not count (`workspace.syntax_key`).
"""

import ast
import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from doit.dependency import Dependency, JsonDB, get_file_md5
from doit.task import Task

from lhdlib import cache, files
from lhdlib.errors import UserError
from lhdlib.run import workspace
from lhdlib.run.workspace import ROOT, Workspace

NOTEBOOKS = ROOT / "notebooks"
PROFILE_VALUES = "the values of the profile"
DATA = (".toml", ".html", ".css", ".js")  # of files that modules read from their own folder
#: Which notebooks' results each notebook reads.
UPSTREAM = {
    "01": (),
    "02": ("01",),
    "03": ("01",),
    "04": ("01", "03"),
    "05": ("01", "03", "04"),
    "06": ("01", "03", "04"),
    "07": ("01", "03", "04"),
}


@dataclass(frozen=True)
class Plan:
    """What to run: the workspace, the archive (empty: the phantom), and the notebooks with what each one reads."""

    space: Workspace
    archive: str = ""
    notebooks: Path = NOTEBOOKS
    upstream: Mapping[str, tuple[str, ...]] = field(default_factory=UPSTREAM.copy)

    @property
    def parameters(self) -> dict[str, Any]:
        """What every notebook is called with."""
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


class _Database(JsonDB):
    """doit's own writes in place: an interrupt there would forget every finished notebook."""

    def dump(self) -> None:
        files.write_json(Path(self.name), self._db)


def _database(results: Path) -> Dependency:
    return Dependency(_Database, str(results / ".doit.json"))


def finished(plan: Plan, number: str) -> bool:
    """Whether the notebook's results are there, whatever they were made from."""
    return bool(_database(plan.space.results).get_values(number))


def made_with(results: Path, number: str) -> dict[str, Any]:
    """Settings (`PROFILE_VALUES` among them) under which a notebook finished; empty when it has not."""
    return (_database(results).get_values(number) or {}).get("settings", {})


def reasons(plan: Plan, number: str) -> list[str]:
    """Why a notebook has to run again; empty when it is up to date."""
    database = _database(plan.space.results)
    saved = database.get_values(number)
    if not saved:
        return ["it has not finished yet"]
    task = _task(plan, number, saved)
    found = database.get_status(task, {}, get_log=True).reasons
    now, then = task.values["settings"], saved["settings"]
    changed = [name for name in sorted(now.keys() | then.keys()) if now.get(name) != then.get(name)]
    changed += sorted({*found.get("changed_file_dep", []), *found.get("removed_file_dep", [])})
    missing = sorted([*found.get("missing_target", []), *found.get("missing_file_dep", [])])
    return [f"{shown(name)} changed" for name in changed] + [f"{shown(name)} is missing" for name in missing]


@contextlib.contextmanager
def recorded(plan: Plan, number: str) -> Iterator[None]:
    """While the body runs a notebook it counts as unfinished; afterwards, what it was made from and made is kept.

    A body that fails before it changed any result leaves the earlier record as it was.
    """
    task, folder = _task(plan, number, {}), plan.outputs(number).parent
    inputs, results, started = _inputs(task), _listing(_results(folder)), time.time()
    database = plan.space.results / ".doit.json"
    earlier = files.read_json(database) if database.exists() else {}
    files.write_json(database, {name: record for name, record in earlier.items() if name != number})
    try:
        yield
    except BaseException:
        if _listing(_results(folder)) == results:
            files.write_json(database, earlier)
        raise
    made = _results(folder)
    drawn = [path for path in plan.space.figures.rglob("*") if path.is_file() and path.stat().st_mtime >= started]
    files.write_json(plan.outputs(number), {path.relative_to(folder).as_posix(): _sha256(path) for path in made})
    took = {"seconds": round(time.time() - started, 1), "commit": workspace.git_commit()}
    files.write_json(plan.space.results / "timings.json", timings(plan) | {number: took})
    if _inputs(_task(plan, number, {})) != inputs:
        return  # edited while it ran: what it was made from is not known, so it stays unfinished
    task.values["targets"] = [str(path) for path in (plan.outputs(number), *made, *sorted(drawn))]
    with contextlib.closing(_database(plan.space.results)) as dependency:
        dependency.save_success(task)


def timings(plan: Plan) -> dict[str, dict[str, Any]]:
    """Seconds and commit of each notebook's last run."""
    path = plan.space.results / "timings.json"
    return files.read_json(path) if path.exists() else {}


def shown(path: str | Path) -> str:
    """Name for the reader: relative to the checkout where it lies inside."""
    return os.path.relpath(path, ROOT) if Path(path).is_relative_to(ROOT) else str(path)


def module_files(source: str, package: Path = cache.PACKAGE) -> set[Path]:
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


def _task(plan: Plan, number: str, saved: Mapping[str, Any]) -> Task:
    cells = nbformat.read(plan.source(number), as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    modules = module_files(re.sub(r"^\s*[%!].*$", "", code, flags=re.M))  # without notebook magic
    settings = _settings(plan, number, cells) | {shown(path): cache.syntax_key(path) for path in modules}
    settings |= {shown(path): cache.content_key(path) for path in data_files(modules)}
    task = Task(
        number,
        None,
        file_dep=list(map(plan.outputs, plan.upstream[number])),
        targets=saved.get("targets", []),
        uptodate=[saved.get("settings") == settings],
    )
    task.values = {"settings": settings}
    return task


def _settings(plan: Plan, number: str, cells: Iterable[Any]) -> dict[str, Any]:
    """Everything but files that decides a result; the cells count without their outputs, which JupyterLab changes."""
    settings = {name: value for name, value in plan.parameters.items() if name != "results_dir"}
    settings |= workspace.versions()
    settings[PROFILE_VALUES] = cache.content_key(plan.space.profile)
    settings[shown(plan.source(number))] = cache.content_key([(cell.cell_type, cell.source) for cell in cells])
    if plan.archive and not plan.upstream[number]:
        settings[f"the list of files in {plan.archive}"] = cache.content_key(_listing(_walk(Path(plan.archive))))
    if not plan.upstream[number]:
        settings |= _verdicts(plan.space.data_dir)
    return settings


def _verdicts(archive: Path) -> dict[str, str]:
    """The review's verdicts, which lie beside the notes, thus not always in the archive; none where there are none."""
    from lhdlib.data import dataset, overrides  # takes a second; only notebook 01 needs it

    with contextlib.suppress(UserError, OSError):
        path = dataset.find_notes(archive).with_name(overrides.NAME)
        return {f"the verdicts in {path}": cache.content_key(path)}
    return {}


def _inputs(task: Task) -> tuple[dict[str, Any], dict[str, str]]:
    """All that the notebook is made from, by content."""
    return task.values["settings"], {path: get_file_md5(path) for path in task.file_dep}


def _walk(folder: Path) -> list[Path]:
    return sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names)


def _listing(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Names, sizes and times stand for the contents of many or large files."""
    return [(str(path), (status := path.stat()).st_size, status.st_mtime_ns) for path in paths]


def _results(folder: Path) -> list[Path]:
    """A notebook's results: all files but logs, checkpoints and hidden ones."""
    return [path for path in _walk(folder) if _is_result(path.relative_to(folder))]


def _is_result(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and "checkpoints" not in path.parts and path.suffix != ".log" and path.name != "outputs.json"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
