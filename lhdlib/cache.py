"""Keys of code and content, and arrays and models kept under a key: nothing is computed twice from the same inputs.

A key of code is made of syntax trees, so that it tells a change from a comment. It follows imports inside the package.
"""

import ast
import contextlib
import functools
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lhdlib.errors import UserError
from lhdlib.files import replacing, save_arrays

PACKAGE = Path(__file__).resolve().parent
PAPER = "lhdlib.paper"  #: of which the constants count that are used, one by one
DATA = "lhdlib.data"  #: whose modules follow each other; to all others the data's fingerprint stands for them
#: Their values are in the keys (profile, data), or they decide no number.
APART = ("lhdlib", PAPER, DATA, "lhdlib.profile", "lhdlib.files", "lhdlib.cache", "lhdlib.errors", "lhdlib.progress")


def content_key(*parts: Any) -> str:
    """SHA-256 over settings and files' contents; equal keys mean equal results.

    A `Path` counts by its contents, a dataclass by its values, everything else by its JSON text.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            digest.update(part.read_bytes())
        else:
            values = asdict(part) if is_dataclass(part) and not isinstance(part, type) else part
            digest.update(json.dumps(values, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()


# Keys of code


def code_key(*modules: str, package: Path = PACKAGE) -> str:
    """SHA-256 of what modules, and those that they import, compute; comments and docstrings are out.

    Where a module lies does not matter. A constant of `paper` counts where a module names it, and a data file with the
    module that names it and lies beside it.

    Parameters
    ----------
    modules : str
        Dotted names; `package` is the folder in which they are found.
    """
    pending, keys = list(modules), {}
    while pending:
        name = pending.pop()
        path = module_path(name, package)
        code = _read(path)
        keys[name] = {syntax_key(path), *_constants_of_paper(code.of_paper, package)}
        following = {other for other in _inside(code.imports, package) if _followed(other, name)}
        pending += following - keys.keys()
    return content_key(sorted(set().union(*keys.values())))


def _followed(name: str, importer: str) -> bool:
    """Whether a key goes on from a module to one that it imports."""
    if _within(name, DATA):
        return _within(importer, DATA)
    return name not in APART


def syntax_key(path: Path) -> str:
    """SHA-256 of a module without comments, docstrings and imports of this package, with the data files it names."""
    code = _read(path)
    data_files = [file for file in sorted(path.parent.iterdir()) if file.name in code.texts and file.suffix != ".py"]
    texts = (file.read_text(encoding="utf-8") for file in data_files if file.is_file())  # line ends do not count
    return content_key(code.computing, *texts)


def imported(tree: ast.AST, package: Path) -> set[str]:
    """Modules of the package that a syntax tree imports by absolute name, and the packages that hold them."""
    return _inside(_imports(tree), package)


def module_path(name: str, package: Path) -> Path:
    """File of a module of the package by its dotted name."""
    place = package.joinpath(*name.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


class _Code(NamedTuple):
    """What keys need to know of a module."""

    computing: str  #: its source without what decides no result
    texts: frozenset[str]  #: the string constants, names of data files among them
    imports: frozenset[str]
    of_paper: frozenset[str]  #: names that stand in it as ``paper.NAME``


def _read(path: Path) -> _Code:
    return _analysed(path.read_text(encoding="utf-8"))


@functools.cache  # most modules are in several keys
def _analysed(source: str) -> _Code:
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    texts = frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    of_paper = frozenset(
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "paper"
    )
    imports = frozenset(_imports(tree))
    return _Code(ast.unparse(_Bare().visit(tree)), texts, imports, of_paper)  # last: it takes the tree apart


def _imports(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


class _Bare(ast.NodeTransformer):
    """Takes out what decides no result: docstrings, and the places that modules of this package have."""

    def generic_visit(self, node: Any) -> Any:
        super().generic_visit(node)
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        if isinstance(getattr(node, "body", None), list) and not node.body and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        return None if all(_within(alias.name, PACKAGE.name) for alias in node.names) else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if _within(node.module or "", PACKAGE.name) else node


def _constants_of_paper(names: Iterable[str], package: Path) -> set[str]:
    """Constants of `paper` with those that they are made of, as source text."""
    values: dict[str, ast.AST] = {}
    for node in ast.parse(module_path(PAPER, package).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            values |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    wanted, constants = set(names), set()
    while wanted:
        name = wanted.pop()
        if name in values:
            constants.add(f"{name} = {ast.unparse(values[name])}")
            wanted |= {part.id for part in ast.walk(values.pop(name)) if isinstance(part, ast.Name)}
    return constants


def _inside(imports: Iterable[str], package: Path) -> set[str]:
    """Those of imported names that are modules of the package, and the packages that hold them."""
    parts = {name.rsplit(".", depth)[0] for name in imports for depth in range(name.count(".") + 1)}
    return {part for part in parts if _within(part, package.name) and module_path(part, package).is_file()}


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


# Kept under a key


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


def load_model(path: Path, *, key: str | None = None) -> Any:
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
