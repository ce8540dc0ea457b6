"""The house: where modules and tests lie, how long they are, and how functions are called and described."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lhdlib.run.workspace import ROOT

PACKAGE, TESTS = ROOT / "lhdlib", ROOT / "tests"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__"))
TOP, LINES, WORDS = 10, 450, 80
#: Signatures that are fixed as they are, for those who call them from outside.
FIXED = {"contrastive_loss", "sample_crops", "binary_metrics", "progress_bar"}  # the last is called as tqdm is
HELPERS = {
    *("browser/lab.py", "data/foreign.py", "data/hostile.py", "data/server.py", "data/trees.py"),
    *("evidence/made_up.py", "figures/drawing.py", "phantom/studies.py"),
}
#: Tests of the checkout as a whole; they lie at the top.
OF_THE_WHOLE = {
    "test_docs",
    "test_examples",
    "test_faults",
    "test_house",
    "test_notebooks",
    "test_setup",
    "test_smoke",
    "test_surroundings",
}
OF_A_BROWSER = {"test_atlas_page", "test_book_page", "test_install", "test_jupyterlab", "test_markdown_pages"}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), path)


def public(tree: ast.Module) -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """Name, node and owner of each public class, function and method of a module."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node, tree
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, ast.FunctionDef) and not (inner.name.startswith("_") and inner.name != "__init__"):
                    yield f"{node.name}.{inner.name}", inner, node


def by_place(tree: ast.Module) -> list[str]:
    """Public functions and methods with an optional argument that may be given by its place."""
    return [
        name
        for name, node, owner in public(tree)
        if isinstance(node, ast.FunctionDef) and node.args.defaults and not exempt(name, node, owner)
    ]


def exempt(name: str, node: ast.FunctionDef, owner: ast.AST) -> bool:
    """Fixed signatures, the entry point, and methods that a library calls in place of its own."""
    foreign = isinstance(owner, ast.ClassDef) and any("." in ast.unparse(base) for base in owner.bases)
    return name in FIXED or name == "main" or (foreign and not name.endswith("__init__"))


def docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Docstrings of a module and of its public names."""
    for name, node in [("the module", tree), *((name, node) for name, node, _ in public(tree))]:
        if text := ast.get_docstring(node):
            yield name, text


def wordy(tree: ast.Module) -> list[str]:
    """Public names whose docstring is too long; headings and underlines of its sections do not count."""
    counted = ((name, len(re.sub(r"^\w+\n-+$", "", text, flags=re.M).split())) for name, text in docstrings(tree))
    return [f"{name}: {count} words" for name, count in counted if count > WORDS and name != "the module"]


def asking(tree: ast.Module) -> list[str]:
    """Names whose docstring begins with a question word, or says only where a thing comes from."""
    return [name for name, text in docstrings(tree) if re.match(r"What\b", text) or re.search(r"\b(As )?Of `", text)]


def stray(package: Path, tests: Path) -> list[str]:
    """Modules without a test file of their own, and test files of a sub-folder without a module."""
    modules = {p.relative_to(package) for p in package.rglob("*.py") if not p.name.startswith("__")}
    wanted = {module.with_name(f"test_{module.name}") for module in modules}
    there = {p.relative_to(tests) for p in tests.rglob("test_*.py")}
    apart = {".": OF_THE_WHOLE, "browser": OF_A_BROWSER}
    there = {p for p in there if p.stem not in apart.get(p.parent.as_posix(), ())}
    helpers = {p.relative_to(tests).as_posix() for p in tests.rglob("*.py")} - {p.as_posix() for p in there}
    unknown = {h for h in helpers - HELPERS if not re.search(r"(^|/)(test_\w+|__init__|conftest)\.py$", h)}
    lines = [f"tests/{path.as_posix()} is missing" for path in sorted(wanted - there)]
    lines += [f"tests/{path.as_posix()} tests no module of its name" for path in sorted(there - wanted)]
    return lines + [f"tests/{path} is neither test nor helper" for path in sorted(unknown)]


# The house as it stands


def test_every_module_has_its_tests_and_every_test_its_module():
    assert stray(PACKAGE, TESTS) == []


def test_the_ground_floor_is_small():
    assert len([path for path in MODULES if path.parent == PACKAGE]) <= TOP


@pytest.mark.slow
@pytest.mark.parametrize(
    ("find", "rule"),
    [
        (by_place, "optional arguments are given by keyword"),
        (asking, "a docstring begins with a verb or a noun, and says more than where a thing comes from"),
        (wordy, f"a docstring has at most {WORDS} words: the rest goes to the code that it explains, or to docs/"),
    ],
)
def test_public_names_keep_the_rules(find, rule):
    found = {path.relative_to(ROOT).as_posix(): lines for path in MODULES if (lines := find(parsed(path)))}
    assert found == {}, rule


def test_no_module_is_long():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > LINES} == {}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the package and of what says how it may import."""
    pytest.importorskip("importlinter")
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(PACKAGE, folder / "lhdlib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
def test_no_import_leads_upwards(copy):
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("errors", "from lhdlib import files"),
        ("cache", "from lhdlib import evaluate"),
        ("evaluate", "from lhdlib.phantom import truth"),
        ("phantom/truth", "from lhdlib import paper"),
        ("data/dicom", "from lhdlib.run import workspace"),
        ("model/losses", "def late():\n    import lhdlib.gradcam"),
        ("run/stale", "from lhdlib.show import study"),
    ],
)
def test_a_planted_upward_import_is_found(copy, module, line):
    path = copy / "lhdlib" / f"{module}.py"
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n\n{line}\n", encoding="utf-8")
    try:
        done = lint_imports(copy)
        assert done.returncode == 1 and f"lhdlib.{module.replace('/', '.')} -> lhdlib." in done.stdout
    finally:
        path.write_text(before, encoding="utf-8")


# Planted faults


def test_optional_arguments_by_place_are_found():
    tree = ast.parse(
        "def good(a, *, b=1): ...\n"
        "def _own(a, b=1): ...\n"
        "def bad(a, b=1): ...\n"
        "def binary_metrics(a, b=1): ...\n"
        "class Box(widgets.VBox):\n"
        "    def __init__(self, a=1): ...\n"
        "    def close(self, a=1): ...\n"
        "class Own:\n"
        "    def draw(self, a=1): ...\n"
        "    def _draw(self, a=1): ...\n"
        "    def __eq__(self, a=1): ...\n"
    )
    assert by_place(tree) == ["bad", "Box.__init__", "Own.draw"]


def test_docstrings_that_break_a_rule_are_found():
    many = "word " * (WORDS + 1)
    tree = ast.parse(
        f'def a():\n    """{many}"""\ndef b():\n    """What it is."""\ndef c():\n    """Rows, as of `d`."""\n'
    )
    assert wordy(tree) == [f"a: {WORDS + 1} words"]
    assert asking(tree) == ["b"]
    assert asking(ast.parse('"""What is here."""\ndef c():\n    """Rows.\n\n    Of `d`.\n    """\n')) == [
        "the module",
        "c",
    ]


def test_a_stray_test_or_module_is_found(tmp_path):
    package, tests = tmp_path / "p", tmp_path / "t"
    for name in ("p/a.py", "p/in/b.py", "p/in/__init__.py", "t/test_a.py", "t/in/test_c.py", "t/in/help.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert stray(package, tests) == [
        "tests/in/test_b.py is missing",
        "tests/in/test_c.py tests no module of its name",
        "tests/in/help.py is neither test nor helper",
    ]
