"""README and its companions: links that lead somewhere, commands that parse, numbers that a run has written."""

import importlib.util
import pkgutil
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from lhdlib import __version__, paper, report, run
from lhdlib import profile as profiles
from lhdlib.workspace import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
}
page = pytest.mark.parametrize("name", PAGES)
CHOICES = 18  # places where the paper is silent or contradicts itself


def section(title: str) -> str:
    """Text under the second-level heading that begins with `title`."""
    found = re.search(rf"^## {re.escape(title)}.*?\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert found, f"README has no section {title!r}"
    return found[1]


def code(text: str) -> list[str]:
    """Every command line in a fenced block, and every piece of inline code, on one line each."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    lines = [line.split("#")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.strip() for line in (*lines, *(piece.replace("\n", " ") for piece in inline)) if line.strip()]


ALL_CODE = [line for text in PAGES.values() for line in code(text)]
COMMANDS = sorted({line for line in ALL_CODE if line.startswith("./run_all.sh")})
MODULES = sorted({m for line in ALL_CODE for m in re.findall(r"python3? -m ([\w.]+)", line)})


def test_both_commands_are_there():
    assert "./run_all.sh" in COMMANDS and any(line.startswith("./run_tests.sh") for line in code(README))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_runner_understands(command):
    arguments = run._arguments(shlex.split(command)[1:])
    assert arguments.profile in profiles.names()
    for number in filter(None, (arguments.only, arguments.first)):
        assert number in run.UPSTREAM


def test_an_invented_option_would_be_noticed():
    with pytest.raises(SystemExit):
        run._arguments(["--invented"])


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
    assert "no evidence about patients" in report.WARNING and "phantom" in report.WARNING


def test_every_choice_is_listed():
    rows = re.findall(r"^\| *(\d+) *\|(.+)\|(.+)\|$", section("Choices"), re.M)
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


def untraced(text: str, tables: str) -> set[str]:
    """Decimal numbers of a text's table rows that no table of a run has, also not with more digits."""
    known = [float(number) for number in re.findall(r"\d+\.\d+", tables)]
    stated = {n for row in re.findall(r"^\|.*\|$", text, re.M) for n in re.findall(r"\d+\.\d+", row)}
    return {n for n in stated if not any(f"{value:.{len(n.split('.')[1])}f}" == n for value in known)}


def test_untraced_numbers_are_found():
    assert untraced("| AUC | 0.87 ± 0.01 |\nabout 0.5", "a,0.8712 ± 0.009") == set()
    assert untraced("| AUC | 0.88 |", "a,0.8712") == {"0.88"}


def test_the_demos_numbers_are_those_of_the_last_run():
    tables = [*sorted((ROOT / "figures").glob("*.csv")), ROOT / "lhdlib" / "expected_numbers" / "demo-seed0.json"]
    if not (ROOT / "figures" / "headline.csv").is_file():
        pytest.skip("figures/headline.csv not found: ./run_all.sh has not written it yet")
    assert not untraced(section("What the demo shows"), "\n".join(path.read_text(encoding="utf-8") for path in tables))


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
