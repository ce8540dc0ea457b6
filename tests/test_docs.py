"""README and its companions: links that lead somewhere, commands that parse, numbers that a run has written."""

import ast
import importlib.util
import pkgutil
import re
import shlex
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

from lhdlib import __version__, paper
from lhdlib import profile as profiles
from lhdlib.figures import gallery
from lhdlib.run import command, readme, stale
from lhdlib.run.workspace import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
}
page = pytest.mark.parametrize("name", PAGES)
CHOICES = 22  # places where the paper is silent or contradicts itself
LONGEST = 130  # lines of README, which it has fewer of


def section(title: str, text: str = README) -> str:
    """Text under the second-level heading that begins with `title`."""
    found = re.search(rf"^## {re.escape(title)}.*?\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, f"there is no section {title!r}"
    return found[1]


def code(text: str) -> list[str]:
    """Every command line in a fenced block, and every piece of inline code, on one line each."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    lines = [line.split("#")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.strip() for line in (*lines, *(piece.replace("\n", " ") for piece in inline)) if line.strip()]


ALL_CODE = [line for text in PAGES.values() for line in code(text)]
COMMANDS = sorted({line for line in ALL_CODE if line.startswith("./run_all.sh")})
SUBCOMMANDS = sorted({line for line in ALL_CODE if re.match(r"(\.venv/bin/)?lhdlib [a-z]+ ", line)})
MODULES = sorted({m for line in ALL_CODE for m in re.findall(r"python3? -m ([\w.]+)", line)})


def test_both_commands_are_there():
    assert "./run_all.sh" in COMMANDS and any(line.startswith("./run_tests.sh") for line in code(README))


@pytest.mark.parametrize("line", COMMANDS)
def test_the_runner_understands(line):
    _, arguments = command.parse(["run", *shlex.split(line)[1:]])
    assert arguments.profile in profiles.names()
    for number in filter(None, (arguments.only, arguments.first)):
        assert number in {**stale.UPSTREAM, **stale.BEYOND}


def test_an_invented_option_would_be_noticed():
    with pytest.raises(SystemExit):
        command.parse(["run", "--invented"])


@pytest.mark.parametrize("line", SUBCOMMANDS)
def test_the_command_understands(line):
    command.parse([re.sub(r"^[<\[].*", "0", word) for word in shlex.split(line)[1:]])


def test_modules_to_start_exist():
    for module in MODULES:
        assert importlib.util.find_spec(module), module


@page
def test_local_links_lead_to_files(name):
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]) if "://" not in target]
    assert targets or name != "README.md"
    missing = [target for target in targets if not (ROOT / name).parent.joinpath(target.split("#")[0]).exists()]
    if not (ROOT / "figures" / "README.md").exists():  # written by the demo run
        missing = [target for target in missing if not target.startswith("figures/")]
    assert not missing


def test_files_named_in_the_text_exist():
    named = {p for p in code(README) if re.fullmatch(r"[\w*./-]+(\.(py|md|toml|sh|yml|ipynb|cff|lock)|/)", p)}
    kept = {piece for piece in named if piece.strip("/") not in ("figures", "results", "data")}
    assert kept
    assert not [p for p in kept if not any(True for base in (ROOT, ROOT / "lhdlib") for _ in base.glob(p.strip("/")))]


def test_nobody_can_take_it_for_medicine_or_the_phantom_for_patients():
    opening = README[: README.index("## ")]
    assert re.search(r"not for clinical use", opening, re.I)
    demo = section("What the demo shows")
    assert "phantom" in demo and re.search(r"no evidence about patients", demo)
    assert "no evidence about patients" in gallery.WARNING and "phantom" in gallery.WARNING


def test_every_choice_is_listed():
    rows = re.findall(r"^\| *(\d+) *\|(.+)\|(.+)\|$", PAGES["docs/choices.md"], re.M)
    assert [int(number) for number, *_ in rows] == list(range(1, CHOICES + 1))
    assert all(silent.strip() and ours.strip() for _, silent, ours in rows)


def test_the_map_of_the_method_names_what_exists_and_every_equation():
    text = PAGES["docs/method.md"]
    names = re.findall(r"`([a-z]+(?:\.[a-z_0-9]+)+)`", "\n".join(re.findall(r"^\|.*\|$", text, re.M)))
    assert len(names) > 30
    for name in names:
        assert pkgutil.resolve_name(f"lhdlib.{name}") is not None
    stated = set()
    for first, last in re.findall(r"Eq\. (\d+)(?:[–, ]+(\d+))?", text):
        stated |= set(range(int(first), int(last or first) + 1))
    assert set(range(1, 24)) <= stated


@pytest.mark.skipif(
    not (ROOT / "figures" / "headline.csv").is_file(), reason="figures/headline.csv: ./run_all.sh has not written it"
)
@pytest.mark.parametrize("name", readme.PAGES)
def test_the_demos_numbers_are_those_of_the_last_run(name):
    assert readme.BLOCK.search(PAGES[name])
    assert readme.filled(PAGES[name], ROOT / "figures") == PAGES[name], "run `lhdlib readme`"


def test_no_result_of_the_demo_is_typed():
    typed_in = README[: README.index("## ")] + section("What the demo shows")
    untraced = re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*[/\d])", readme.BLOCK.sub("", typed_in))
    assert [number for number in untraced if number not in ("3.11", "3.13")] == []  # of Python


def test_readme_is_one_screen_and_a_few():
    assert len(README.splitlines()) < LONGEST
    opening = " ".join(README.splitlines()[:40])
    for told in ("every table and figure", "**Result.**", " min on two CPU cores", "./run_all.sh", "book.html"):
        assert told in opening


#: What a caption may say in digits: levels of intervals, names in the paper, ends of a scale.
CONSTANTS = re.compile(
    r"95 %|(Table|Fig\.|Eq\.) \d+(–\d+)?|log\(2n - 1\)|99\.5th percentile|(?<![\w.])[01](?![\w.]*\d)"
)


def literal_numbers(source: str) -> set[str]:
    """Numbers typed into the captions of a cell; what an f-string computes is not among them."""
    captions = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign | ast.AugAssign) and re.search(
            "caption|details", ast.unparse(node).split("=")[0]
        ):
            captions.append(node.value)
        elif isinstance(node, ast.Call) and re.fullmatch(r"ws\.(figure|table)", ast.unparse(node.func)):
            captions += node.args[2:] + [
                keyword.value for keyword in node.keywords if keyword.arg in ("caption", "details")
            ]
    text = CONSTANTS.sub("", "\n".join(text for caption in captions for text in typed(caption)))
    return set(re.findall(r"(?<!\w)\d+(?:\.\d+)?", text))


def typed(node: ast.AST) -> list[str]:
    """Texts of an expression that are not inside a computed part."""
    if isinstance(node, ast.FormattedValue | ast.Call | ast.Subscript):
        return []
    own = [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
    return own + [text for child in ast.iter_child_nodes(node) for text in typed(child)]


def test_typed_numbers_of_captions_are_found():
    for source, wanted in {
        'caption = "AUC 0.84 of 160 T2 discs"': {"0.84", "160"},
        'caption = (f"{n:.3f} of {len(x)} discs " + "and 12 more" if a else "Eq. 7")': {"12"},
        'ws.table("n", t, "An AUC of 0.9, 95 % interval")': {"0.9"},
        'caption = f"{auc:.2f} [95 % interval], Eq. 16–20, grey from 0 to 1, log(2n - 1), {best.format(3)}"': set(),
        'caption = "from 1.5 to 10"': {"1.5", "10"},
        "size = 12": set(),
    }.items():
        assert literal_numbers(source) == wanted


def test_captions_of_notebooks_hold_no_typed_results():
    cells_with_captions = 0
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells, start=1):
            if cell.cell_type == "code" and re.search(r"\bws\.(figure|table)\(", cell.source):
                cells_with_captions += 1
                assert not literal_numbers(cell.source), f"{path.name}, cell {number}"
    assert cells_with_captions > 20


def test_the_package_description_and_licence_are_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (ROOT / project["readme"]).is_file()
    assert re.search(r"Permission is hereby granted, free of charge", (ROOT / "LICENSE").read_text(encoding="utf-8"))


def test_the_citation_file_cites_this_version_and_the_paper():
    citation = yaml.safe_load(Path(ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] and citation["message"] and citation["title"] and citation["authors"]
    assert citation["version"] == __version__ and citation["license"] == "MIT"
    article = citation["preferred-citation"]
    assert all(author["family-names"] in paper.CITATION for author in article["authors"])
    for fact in (article["title"], article["doi"], f"{article['volume']}:{article['start']}-{article['end']}"):
        assert fact in paper.CITATION
    assert str(article["year"]) in paper.CITATION
