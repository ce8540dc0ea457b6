"""What .ci/run adds to an environment: pinned, hashed, and never needed for the other tests."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.test_setup import LOCK as MAIN
from tests.test_setup import PROJECT, ROOT

LOCK = (ROOT / "tests" / "browser" / "requirements.lock").read_text(encoding="utf-8")


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.M))


def test_the_lock_file_has_the_extras_version_hashes_and_no_address():
    (extra,) = map(Requirement, PROJECT["optional-dependencies"]["browser"])
    assert str(extra.specifier) == f"=={pins(LOCK)[extra.name]}"
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.M)[1:]
    assert len(entries) == len(pins(LOCK))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ |^-e|^/", LOCK, re.M)


def test_the_usual_installation_has_no_browser_driver_and_keeps_its_versions():
    assert "playwright" not in pins(MAIN)
    assert all(pins(MAIN)[name] == version for name, version in pins(LOCK).items() if name in pins(MAIN))


HALVES = ["run_tests.sh -m not runs and not long -q", "run_tests.sh -m runs and not long -q"]  # side by side


@pytest.fixture
def ci(tmp_path):
    """Starts .ci/run in a folder of stand-ins; returns its exit code, what it said and what it called."""
    root, tools, calls = tmp_path / "checkout", tmp_path / "bin", tmp_path / "calls"
    (root / ".ci").mkdir(parents=True)
    tools.mkdir()
    shutil.copy(ROOT / ".ci" / "run", root / ".ci")
    (root / "setup_env.sh").write_text("find_python() { PYTHON=python3; }\n")
    for tool in ("bash", "env", "dirname", "mktemp", "cat", "rm"):
        (tools / tool).symlink_to(shutil.which(tool))

    def stand_in(path: Path, body: str) -> None:
        path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> "$CALLS"\n{body}\n')
        path.chmod(0o755)

    stand_in(root / "run_tests.sh", "exit 7")

    def start(user: int = 0, apt: str | None = "", pip: str = "", browser: bool = False) -> tuple[int, str, str]:
        calls.write_text("")
        stand_in(tools / "id", f"echo {user}")
        stand_in(tools / "python3", pip)
        if apt is not None:
            stand_in(tools / "apt-get", apt)
        if browser:
            stand_in(tools / "chromium", "")
        environment = {"PATH": str(tools), "CALLS": str(calls)}
        done = subprocess.run([root / ".ci" / "run", "-q"], env=environment, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stderr, calls.read_text()

    return start


def test_a_missing_browser_is_installed_by_root(ci):
    apt = 'case "$1" in install) /bin/ln -s "$0" "$(dirname "$0")/chromium" ;; esac'
    code, said, calls = ci(apt=apt)
    assert code == 7 and said == ""
    assert "apt-get update\napt-get install -y --no-install-recommends chromium\n" in calls
    assert calls.index("apt-get") < calls.index("--require-hashes -r tests/browser/requirements.lock")
    assert sorted(calls.splitlines()[-2:]) == HALVES


def test_with_a_browser_nothing_is_asked_of_the_system(ci):
    code, said, calls = ci(browser=True)
    assert (code, said) == (7, "") and "apt-get" not in calls and "--require-hashes" in calls


@pytest.mark.parametrize("case", [{"user": 1000}, {"apt": None}, {"apt": "exit 100"}], ids=str)
def test_where_no_browser_can_be_had_the_tests_run_and_it_is_said(ci, case):
    code, said, calls = ci(**case)
    assert code == 7 and said.endswith("no browser can be installed here, so the browser tests will skip.\n")
    assert said.count("\n") == 1 and sorted(calls.splitlines()[-2:]) == HALVES


def test_without_a_network_the_tests_run_and_it_is_said(ci):
    code, said, calls = ci(browser=True, pip='case "$*" in *pip*) exit 1 ;; esac')
    assert code == 7 and "Playwright cannot be installed here" in said and sorted(calls.splitlines()[-2:]) == HALVES
