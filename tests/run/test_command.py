"""The command: what each subcommand loads, how errors and interrupts end, and that it is installed under its name."""

import ast
import functools
import importlib
import os
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import pytest

from lhdlib.cache import PACKAGE, module_path
from lhdlib.errors import UserError
from lhdlib.run import command
from lhdlib.run.workspace import ROOT


@pytest.fixture
def planted(monkeypatch):
    """A subcommand that takes a number and does what its test says."""

    def plant(action):
        module = SimpleNamespace(
            add_arguments=lambda parser: parser.add_argument("--times", type=int, default=1),
            run=lambda args: action(args.times),
        )
        monkeypatch.setitem(command.COMMANDS, "planted", ("a.module", "Does what its test says."))
        load = importlib.import_module
        monkeypatch.setattr(command.importlib, "import_module", lambda n: module if n == "a.module" else load(n))

    return plant


def raising(error):
    def action(_):
        raise error

    return action


def test_the_modules_answer_is_the_exit_code(planted):
    planted(lambda times: times)
    assert [command.main(["planted", *more]) for more in ([], ["--times", "0"], ["--times", "7"])] == [1, 0, 7]


def test_an_error_that_a_user_can_mend_is_one_sentence(planted, capsys):
    planted(raising(UserError("The notes are missing: add them.")))
    assert command.main(["planted"]) == 2
    assert capsys.readouterr().err == "Error: The notes are missing: add them.\n"


def test_an_interrupt_says_how_to_go_on(planted, capsys):
    planted(raising(KeyboardInterrupt()))
    assert command.main(["planted"]) == 130
    assert "start the same command again" in capsys.readouterr().err


def test_a_fault_of_the_program_keeps_its_traceback(planted):
    planted(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        command.main(["planted"])


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["run", "--nonsense"], ["expect"], ["--profile", "smoke", "run"]])
def test_an_unknown_word_shows_the_usage(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(argv)
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("usage: lhdlib")


@pytest.mark.parametrize("name", command.COMMANDS)
def test_each_subcommand_has_its_module(name):
    place, purpose = command.COMMANDS[name]
    tree = ast.parse(module_path(place, PACKAGE).read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"add_arguments", "run"} <= functions.keys() and "main" not in functions
    for one in ("add_arguments", "run"):
        assert len(functions[one].args.args) == 1, f"{place}.{one} takes one argument, and others by keyword"
    assert purpose.endswith(".")


def loaded(*argv: str) -> set[str]:
    """Top packages and modules of lhdlib that a fresh process loads for a command line."""
    code = (
        "import sys; from lhdlib.run import command\n"
        "try: command.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    call = [sys.executable, "-c", code, *argv]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_loads_none_of_the_subcommands():
    found = loaded("--help")
    assert not found & {place for place, _ in command.COMMANDS.values()}
    assert not found & {"numpy", "pandas", "tensorflow", "keras"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "fetch", "compare", "explain", "expect", "review"])
def test_a_subcommand_that_computes_nothing_loads_no_tensorflow(name):
    found = loaded(name, "--help")
    assert command.COMMANDS[name][0] in found and not found & {"tensorflow", "keras"}


def test_the_installed_name_is_this_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["scripts"]["lhdlib"].split(":")
    assert getattr(importlib.import_module(module), function) is command.main


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", [["-m", "lhdlib.run"], ["-m", "lhdlib.run.command", "run"]], ids=["lhdlib.run", "lhdlib run"]
)
def test_both_ways_to_start_a_run_are_one(call, tmp_path):
    end = ["--profile", "huge", "--results", str(tmp_path)]
    run = functools.partial(subprocess.run, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=120)
    done = run([sys.executable, *call, *end])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: There is no profile 'huge': choose one of demo, paper, smoke.\n"
