"""What was computed from the same inputs is read: keys of code and content, arrays and models kept under a key."""

import ast
import contextlib
import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lhdlib.errors import UserError
from lhdlib.files import replacing, save_arrays


def content_key(*parts: Any) -> str:
    """SHA-256 over settings and files' contents; equal keys mean equal results.

    A `Path` counts by its contents, a dataclass by its values, everything else by its JSON text.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            digest.update(part.read_bytes())
        else:
            text = json.dumps(
                asdict(part) if is_dataclass(part) and not isinstance(part, type) else part, sort_keys=True
            )
            digest.update(text.encode())
        digest.update(b"\0")
    return digest.hexdigest()


PACKAGE = Path(__file__).resolve().parent
#: Modules that a key of code does not follow: the data's fingerprint and the profile's values are in every key
#: themselves, and the others decide no number. Modules of `lhdlib.data` follow each other.
APART = ("lhdlib.data", "lhdlib.profile", "lhdlib.files", "lhdlib.cache", "lhdlib.errors", "lhdlib.progress")


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

    def generic_visit(self, node: Any) -> Any:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
        if isinstance(getattr(node, "body", None), list) and not node.body and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        return None if all(_own(alias.name) for alias in node.names) else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
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
