"""The notebooks' sources: one skeleton, no outputs, no code that belongs in the library."""

import ast
import importlib.util
import itertools
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lhdlib.figures import tables
from lhdlib.figures.gallery import FIGURES
from lhdlib.run import stale, workspace

NAMES = (
    "01_build_dataset",
    "02_augmentation",
    "03_pretrain",
    "04_finetune",
    "05_regularization",
    "06_label_efficiency",
    "07_heatmaps",
    "08_scrutiny",
    "09_beyond",
)
DEFAULTS = {"profile": "demo", "data_dir": "", "seed": 0, "results_dir": "", "figures_dir": ""}
LONGEST, WIDEST = 15, 100  # lines of a code cell, characters of any line
NOTEBOOKS = {name: nbformat.read(stale.NOTEBOOKS / f"{name}.ipynb", as_version=4) for name in NAMES}

each = pytest.mark.parametrize("name", NAMES)


def cells(name: str, kind: str) -> list[str]:
    return [cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == kind]


def tree(name: str) -> ast.Module:
    return ast.parse("\n".join(cells(name, "code")))


def calls(name: str, method: str) -> list[ast.Call]:
    """Calls of ``<something>.<method>(...)``."""
    nodes = [node for node in ast.walk(tree(name)) if isinstance(node, ast.Call)]
    return [node for node in nodes if isinstance(node.func, ast.Attribute) and node.func.attr == method]


def constants(call: ast.Call) -> list:
    """All constants among the arguments, those inside expressions included."""
    return [n.value for argument in call.args for n in ast.walk(argument) if isinstance(n, ast.Constant)]


def test_there_are_nine_of_which_the_last_runs_when_it_is_asked_for():
    assert sorted(path.stem for path in stale.NOTEBOOKS.glob("*.ipynb")) == list(NAMES)
    assert [*stale.UPSTREAM, *stale.BEYOND] == [name[:2] for name in NAMES]
    assert list(stale.BEYOND) == ["09"]


@each
def test_the_source_is_clean(name):
    notebook = NOTEBOOKS[name]
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert all(cell.metadata.keys() <= {"tags"} for cell in notebook.cells)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


@each
def test_what_belongs_in_the_library_is_not_here(name):
    forbidden = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Try, ast.Global)
    found = [type(node).__name__ for node in ast.walk(tree(name)) if isinstance(node, forbidden)]
    assert not found
    graph = {"GradientTape", "function", "train_step", "fit", "compile"}
    assert not [n.attr for n in ast.walk(tree(name)) if isinstance(n, ast.Attribute) and n.attr in graph]


@each
def test_cells_are_short_and_lines_fit_the_screen(name):
    assert not [source for source in cells(name, "code") if len(source.splitlines()) > LONGEST]
    lines = [line for cell in NOTEBOOKS[name].cells for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > WIDEST]


@each
def test_one_cell_holds_the_parameters_and_runs_by_hand(name):
    tagged = [cell for cell in NOTEBOOKS[name].cells if cell.metadata.get("tags")]
    assert [cell.metadata.tags for cell in tagged] == [["parameters"]]
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(tagged[0].source).body}
    assert values == DEFAULTS
    assert values.keys() == stale.Plan(workspace.open_workspace("smoke")).parameters.keys()


@each
def test_it_begins_with_title_section_question_input_output(name):
    first = NOTEBOOKS[name].cells[0]
    assert first.cell_type == "markdown"
    title, _, section = first.source.splitlines()[:3]
    assert re.fullmatch(rf"# {name[:2]} · \S.*", title)
    assert section.startswith("*Section") and '"' in section
    assert all(f"**{word}" in first.source for word in ("Question", "Input", "Output"))


@each
def test_it_tells_the_section_in_words_and_its_equations(name):
    paragraphs = NOTEBOOKS[name].cells[0].source.split("\n\n")[2:]
    told = " ".join(text for text in paragraphs if not text.startswith("**"))
    assert len(told.split()) >= 40
    displayed = "".join(re.findall(r"\$\$(.*?)\$\$", "\n".join(cells(name, "markdown")), re.DOTALL))
    assert displayed
    assert not {n for n in equations(name) if f"({n})" not in displayed and rf"\tag{{{n}}}" not in displayed}


def equations(name: str) -> set[int]:
    """Numbers of the equations that the first cell names, as in "Eq. 7, 8, 16-20" or "Eq. 7 and 8"."""
    named = re.findall(r"\bEqs?\. ((?:[\d–-]|,\s|\sand\s)+)", NOTEBOOKS[name].cells[0].source)
    spans = re.findall(r"(\d+)(?:[–-](\d+))?", " ".join(named))
    return {n for first, last in spans for n in range(int(first), int(last or first) + 1)}


def test_every_equation_of_the_paper_is_named():
    assert sorted(n for name in NAMES for n in equations(name)) == list(range(1, 24))


@each
def test_every_figure_is_shown_with_its_caption_and_alternative_text(name):
    saved = calls(name, "figure")
    shown = []
    for source in cells(name, "code"):
        body = ast.parse(source).body
        given = [call for call in ast.walk(ast.parse(source)) if _name(call) == "display"]
        shown += [ast.unparse(argument) for call in given for argument in call.args]
        shown += [ast.unparse(body[-1].value)] if body and isinstance(body[-1], ast.Expr) else []
    assert saved and all(ast.unparse(call) in shown for call in saved), "let ws.figure(...) be the cell's last line"


def _name(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


@each
def test_the_sections_named_are_the_papers(name, real_dir):
    paper = real_dir.parent / "paper" / "hou2023.txt"
    if not paper.is_file():
        pytest.skip(f"the paper's text not found at {paper}")
    headings = {line.strip() for line in paper.read_text(encoding="utf-8").splitlines()}
    named = NOTEBOOKS[name].cells[0].source.split("\n\n")[1].replace("\n", " ")
    sections = re.findall(r'"([^"]+)"', named)
    assert sections and set(sections) <= headings


@pytest.mark.slow
@each
def test_it_ends_with_the_next_step_and_a_check_of_what_it_wrote(name):
    *_, farewell, check = NOTEBOOKS[name].cells
    assert farewell.source.startswith("**Next:**") and re.fullmatch(r"ws\.close\(.*\)", check.source, re.DOTALL)
    following = dict(itertools.pairwise(NAMES)).get(name)
    assert following is None or f"]({following}.ipynb)" in farewell.source
    assert not calls(name, "save_figure") and not calls(name, "save_table")  # which the check would not know of


@each
def test_imports_stand_in_the_first_code_cell_alone(name):
    kinds = (ast.Import, ast.ImportFrom)
    with_imports = [any(isinstance(n, kinds) for n in ast.walk(ast.parse(c))) for c in cells(name, "code")]
    assert with_imports[0] and not any(with_imports[1:])
    assert all(isinstance(node, kinds) for node in ast.parse(cells(name, "code")[0]).body)


@pytest.mark.parametrize("name", NAMES[1:])  # the first needs no TensorFlow
def test_tensorflow_is_imported_quietly_before_anything_that_needs_it(name):
    own = [line for line in cells(name, "code")[0].splitlines() if re.match(r"(import|from) lhdlib", line)]
    assert own[0].startswith("import lhdlib.run.quiet "), "its start-up lines would be the notebook's first output"


@each
def test_no_imported_name_gets_another_meaning(name):
    nodes = list(ast.walk(tree(name)))
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = {alias.asname or alias.name.partition(".")[0] for node in imports for alias in node.names}
    assert not imported & {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


@pytest.mark.slow
@each
def test_paths_come_from_the_workspace(name):
    texts = [n.value for n in ast.walk(tree(name)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    assert not [text for text in texts if re.match(r"[/~]|[A-Za-z]:\\|\.\.?/", text)]
    everything = "\n".join(cell.source for cell in NOTEBOOKS[name].cells)
    assert not re.search(r"/(home|Users|root|work|tmp)/", everything)
    modules = {alias.name for node in ast.walk(tree(name)) if isinstance(node, ast.Import) for alias in node.names}
    assert not modules & {"os", "pathlib", "glob", "sys"}


def test_every_figure_and_table_of_the_paper_is_saved_once():
    for method, wanted in (("figure", FIGURES), ("table", tables.TABLES)):
        saved = [call.args[0].value for name in NAMES for call in calls(name, method)]
        assert len(set(saved)) == len(saved) and set(wanted) <= set(saved)


@each
def test_results_of_others_are_read_only_where_declared(name):
    number = name[:2]
    folders = [call for call in calls(name, "part") if ast.unparse(call.func) == "ws.part"]  # data.part is another one
    parts = {value for call in folders for value in constants(call)}
    assert parts - {number} <= set({**stale.UPSTREAM, **stale.BEYOND}[number])


@each
def test_links_lead_to_files(name):
    targets = re.findall(r"\]\(([^)#]+)\)", "\n".join(cells(name, "markdown")))
    assert all((stale.NOTEBOOKS / target).is_file() for target in targets if "://" not in target)


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is not installed (extra [dev])")
@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_has_nothing_to_say(command):
    arguments = [sys.executable, "-m", "ruff", *command, "--no-cache", str(stale.NOTEBOOKS)]
    done = subprocess.run(arguments, cwd=Path(workspace.ROOT), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
