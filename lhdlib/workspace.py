"""Where a run keeps its files, and who made them: folders, atomic writes, content keys, the stamp."""

import ast
import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import psutil

from lhdlib import profile as profiles
from lhdlib.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tensorflow", "keras", "numpy", "pydicom", "scikit-learn", "matplotlib", "papermill")


@dataclass(frozen=True)
class Workspace:
    """The folders of one run and its settings; every notebook starts by opening it."""

    profile: profiles.Profile
    data_dir: Path  #: archive in the layout of doi:10.17632/k57fr854j2 (the phantom's when none is given)
    seed: int
    results: Path
    figures: Path

    def part(self, name: str) -> Path:
        """Folder of one notebook's results, e.g. ``part("03")``; made when absent."""
        folder = self.results / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def stamp(self) -> dict[str, Any]:
        """What a figure carries inside: commit, versions, seed, profile and the data's label and fingerprint."""
        dataset = read_json(self.results / "01" / "dataset.json")
        return {
            "project": "lhdlib companion to doi:10.1007/s40747-023-00981-0",
            "commit": git_commit(),
            "profile": self.profile.name,
            "seed": self.seed,
            "data": dataset["data_label"],
            "fingerprint": dataset["fingerprint"],
            **versions(),
        }


def open_workspace(
    profile: str = "demo", data_dir: str = "", seed: int = 0, results: str = "", figures: str = ""
) -> Workspace:
    """Open the folders of a run; empty strings stand for the defaults.

    Raises
    ------
    UserError
        For an unknown profile, or a profile without a phantom and no `data_dir`.
    """
    settings = profiles.load(profile)
    if not data_dir and not settings.data.phantom_patients:
        raise UserError(f"Profile {profile!r} needs the real archive: name its folder with --data DIR.")
    default_data = ROOT / "data" / f"phantom-{settings.data.phantom_patients}-seed{seed}" / "archive"
    return Workspace(
        profile=settings,
        data_dir=Path(data_dir).expanduser().resolve() if data_dir else default_data,
        seed=int(seed),
        results=Path(results).resolve() if results else results_dir(profile),
        figures=Path(figures).resolve() if figures else figures_dir(profile),
    )


def results_dir(profile: str) -> Path:
    """Default folder of a profile's results."""
    return ROOT / "results" / profile


def figures_dir(profile: str) -> Path:
    """Default folder of a profile's figures; a smoke run never overwrites the real ones."""
    return ROOT / "results" / "smoke" / "figures" if profile == "smoke" else ROOT / "figures"


def git_commit() -> str:
    """Commit of the checkout, with ``+changes`` when the working tree differs; ``unknown`` outside git."""
    try:
        run = lambda *a: subprocess.run(  # noqa: E731
            ["git", "-C", str(ROOT), *a], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changed = run("status", "--porcelain", "--untracked-files=no", "--", "lhdlib", "notebooks")
        return run("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the results depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def content_key(*parts: Any) -> str:
    """SHA-256 over settings and files' contents; equal keys mean equal results.

    A `Path` counts by its contents, a dataclass by its values, everything else by its JSON text.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            digest.update(part.read_bytes())
        else:
            text = json.dumps(asdict(part) if is_dataclass(part) else part, sort_keys=True)
            digest.update(text.encode())
        digest.update(b"\0")
    return digest.hexdigest()


PACKAGE = Path(__file__).resolve().parent
#: Modules that a key of code does not follow: the data's fingerprint and the profile's values are in every key
#: themselves, and the others decide no number. Modules of `lhdlib.data` follow each other.
APART = ("lhdlib.data", "lhdlib.profile", "lhdlib.workspace", "lhdlib.errors", "lhdlib.progress")


def code_key(*modules: str, package: Path = PACKAGE) -> str:
    """SHA-256 of what modules of this package compute, and of those that they import; comments and docstrings are out.

    Where a module lies does not matter. Of `paper` those constants count that a module names, and a data file counts
    with the module beside which it lies and which names it.

    Parameters
    ----------
    modules : str
        Dotted names.
    package : Path
        Folder of the package.
    """
    pending, seen, digests = list(modules), set(modules), set()
    while pending:
        path = module_path(pending.pop(), package)
        tree = ast.parse(path.read_text(encoding="utf-8"), path)
        digests.add(syntax_key(path))
        digests |= _constants_of_paper(tree, package)
        inside = path.is_relative_to(package / "data")
        for name in imported(tree, package) - seen:
            seen.add(name)
            if not (name == "lhdlib.paper" or _apart(name, inside)):
                pending.append(name)
    return content_key(sorted(digests))


def syntax_key(path: Path) -> str:
    """SHA-256 of a module without comments, docstrings and imports of this package, with the data files it names."""
    tree = ast.parse(path.read_text(encoding="utf-8"), path)
    named = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    beside = [file for file in sorted(path.parent.iterdir()) if file.name in named and file.suffix != ".py"]
    return content_key(ast.unparse(_Bare().visit(tree)), *(file for file in beside if file.is_file()))


class _Bare(ast.NodeTransformer):
    """Takes out what decides no result: docstrings, and the places that modules of this package have."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = node.body[1:]
        if isinstance(getattr(node, "body", None), list) and not node.body and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST | None:  # noqa: N802  ast's name
        return None if all(_own(alias.name) for alias in node.names) else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:  # noqa: N802
        return None if _own(node.module or "") else node


def _own(name: str, package: Path = PACKAGE) -> bool:
    return name == package.name or name.startswith(f"{package.name}.")


def _apart(name: str, inside_data: bool) -> bool:
    """Whether a key leaves a module out; the modules of `lhdlib.data` follow each other, and no version counts."""
    found = any(name == apart or name.startswith(f"{apart}.") for apart in APART) or name == "lhdlib"
    return found and not (inside_data and name.startswith("lhdlib.data"))


def _constants_of_paper(tree: ast.AST, package: Path) -> set[str]:
    """Each constant of `paper` that a module names, with those that it is made of."""
    wanted = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "paper"
    }
    values: dict[str, ast.AST] = {}
    for node in ast.parse((package / "paper.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            values |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in values:
            found.add(f"{name} = {ast.unparse(values[name])}")
            wanted |= {part.id for part in ast.walk(values.pop(name)) if isinstance(part, ast.Name)}
    return found


def module_path(name: str, package: Path = PACKAGE) -> Path:
    """File of a module of the package by its dotted name."""
    place = package.joinpath(*name.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def imported(tree: ast.AST, package: Path = PACKAGE) -> set[str]:
    """Modules of the package that Python source imports by absolute name, the packages that hold them among them."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    parts = {name.rsplit(".", depth)[0] for name in names for depth in range(name.count(".") + 1)}
    return {part for part in parts if _own(part, package) and module_path(part, package).is_file()}


@contextlib.contextmanager
def disk_space(path: Path) -> Iterator[None]:
    """While the body writes `path`: a full disk, here or in a kernel that hands on its traceback, is one sentence.

    Raises
    ------
    UserError
        When the disk is full.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not any(f"[Errno {number}]" in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
            raise
        raise UserError(f"The disk is full, {path} was not written: free some space and start again.") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` and rename it on success, so that `path` is always whole.

    Raises
    ------
    UserError
        When the disk is full.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}")  # keeps the suffix, which Keras and NumPy look at
    try:
        with disk_space(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def mapped(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A new ``.npy`` file of zeros, mapped to be written; its whole size is taken from the disk now.

    A disk that fills up under a map kills the process (SIGBUS); here it is an error, and found out before the work.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written (`replacing`); what a living one writes stays."""
    for path in folder.rglob(".*-*"):
        writer = re.match(r"\.(\d+)-", path.name)
        if writer and path.is_file() and not psutil.pid_exists(int(writer[1])):
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a result file.

    Raises
    ------
    UserError
        When it is absent or damaged: an earlier notebook has to run first.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: run the earlier notebooks first (./run_all.sh).") from error


def assert_written(paths: list[Path], since: float) -> None:
    """Check that a notebook's outputs are there, not empty, and newer than its start (`time.time()`).

    Raises
    ------
    AssertionError
        Naming the first that is not.
    """
    for path in paths:
        assert path.is_file() and path.stat().st_size > 0, f"{path} was not written"
        assert path.stat().st_mtime >= since - 2, f"{path} is older than this run"  # 2 s: coarse file times


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write CSV atomically."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """Read a CSV result; see `read_json` for the error."""
    try:
        return pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: run the earlier notebooks first (./run_all.sh).") from error


def save_arrays(path: Path, /, **arrays: np.ndarray) -> None:
    """Write arrays by name as ``.npz``, atomically."""
    with replacing(path) as temporary:
        np.savez(temporary, **arrays)


def cached(path: Path, key: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` written under the same key, or computed and written now.

    A changed colour in a figure reruns a notebook; what was computed before is then only read.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile):  # damaged: made anew
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) == key:
                return {name: stored[name] for name in stored.files if name != "key"}
    arrays = {name: np.asarray(values) for name, values in compute().items()}
    save_arrays(path, key=np.array(key), **arrays)
    return arrays


def save_model(path: Path, model: Any, key: str) -> None:
    """Save a Keras model and, last, the key under which it may be loaded again."""
    key_file = path.with_suffix(".key")
    key_file.unlink(missing_ok=True)
    with replacing(path) as temporary:
        model.save(temporary)
    with replacing(key_file) as temporary:
        temporary.write_text(key, encoding="utf-8")


def load_model(path: Path, key: str | None = None) -> Any:
    """Load a Keras model in safe mode; None when it is absent or was saved under another key.

    Raises
    ------
    UserError
        For a damaged file.
    """
    import keras  # takes seconds; most users of this module need no model

    key_file = path.with_suffix(".key")
    if not path.is_file() or (key is not None and (not key_file.is_file() or key_file.read_text() != key)):
        return None
    try:
        return keras.saving.load_model(path, safe_mode=True, compile=False)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a model of this project or is damaged: delete it and run again.") from error
