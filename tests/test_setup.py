"""The set-up: three lists of versions that agree, and scripts that install once, repair, and start without network."""

import os
import re
import shutil
import socket
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ["run_all.sh", "run_tests.sh", ".ci/run"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = (ROOT / "environment.yml").read_text(encoding="utf-8")
PYTHONS = ["3.11", "3.12", "3.13"]


def requirements(*lists: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name((r := Requirement(text)).name): r for texts in lists for text in texts}


def locked(python: str, platform: str = "linux") -> dict[str, str]:
    """Name and version of what the lock file installs there."""
    where = {
        "python_version": python,
        "python_full_version": f"{python}.4",
        "sys_platform": platform,
        "os_name": "posix",
    }
    lines = [Requirement(line.rstrip(" \\")) for line in re.findall(r"^[\w.-]+==.*$", LOCK, re.M)]
    chosen = [r for r in lines if r.marker is None or r.marker.evaluate(where)]
    assert len({r.name for r in chosen}) == len(chosen)
    return {canonicalize_name(r.name): str(r.specifier)[2:] for r in chosen}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_file_fulfils_the_project(python):
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    versions = locked(python)
    for name, need in requirements(PROJECT["dependencies"], PROJECT["optional-dependencies"]["dev"]).items():
        if need.marker is None or need.marker.evaluate({"python_version": python}):
            assert need.specifier.contains(versions[name]), name
    assert "setuptools" in versions  # the package itself is installed without build isolation


def test_the_conda_environment_has_the_pins_of_the_lock_file():
    python = re.search(r"- python=([\d.]+)$", CONDA, re.M)[1]
    assert python in PYTHONS
    pins = dict(re.findall(r"^ +- ([\w.-]+)==(\S+)$", CONDA, re.M))
    versions = locked(python)
    assert pins == {name: versions[name] for name in pins}
    direct = requirements(PROJECT["dependencies"], PROJECT["optional-dependencies"]["dev"])
    assert pins.keys() == {
        n for n, r in direct.items() if r.marker is None or r.marker.evaluate({"python_version": python})
    }
    assert CONDA.rstrip().endswith("- -e .")


def test_every_locked_version_has_hashes_and_no_address():
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.M)[1:]
    assert len(entries) > 100
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ |^-e|^/", LOCK, re.M)


def test_the_gpu_extra_is_tensorflow_with_cuda():
    (gpu,) = requirements(PROJECT["optional-dependencies"]["gpu"]).values()
    assert (gpu.name, gpu.extras) == ("tensorflow", {"and-cuda"})


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_are_executable(script):
    assert os.access(ROOT / script, os.X_OK)
    assert (ROOT / script).read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")


# A stand-in for Python: writes down how it is called, "installs" by leaving a file, and imports lhdlib only after that.
STAND_IN = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
    "-c "*) exit "${WRONG_VERSION:-0}" ;;
    "- "*) [ -n "$ACTIVE" ] || [ -e "$(dirname "$0")/installed" ] ;;
    "-m venv "*) rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    *"--no-deps"*) touch "$(dirname "$0")/installed" ;;
    *" install uv") cp "$UV" "$(dirname "$0")/uv" ;;
    *" install "*) sleep "${SLOW:-0}"; exit "${NO_NETWORK:-0}" ;;
esac
"""

# A stand-in for uv: "gets" a Python of its own, which is suitable whatever the others are.
STAND_IN_FOR_UV = """#!/bin/sh
echo "uv $*" >> "$CALLS"
case "$*" in
    "python install 3.13") exit "${NO_NETWORK:-0}" ;;
    "python find 3.13") echo "$UV_PYTHON_INSTALL_DIR/python3.13" && mkdir -p "$UV_PYTHON_INSTALL_DIR" &&
        cp "$GOOD" "$UV_PYTHON_INSTALL_DIR/python3.13" ;;
    *) exit 2 ;;
esac
"""


# A stand-in for df: how full this machine's disk is does not matter.
STAND_IN_FOR_DF = """#!/bin/sh
echo head
echo "/dev/x 90000000 1000000 ${FREE_KB:-89000000} 2% /"
"""


class Checkout:
    """A copy of the scripts in a folder where the only Python is the stand-in."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.calls = folder / "a checkout", folder / "bin", folder / "calls"
        self.root.mkdir()
        self.bin.mkdir()
        for name in ("run_all.sh", "setup_env.sh", "requirements.lock"):
            shutil.copy(ROOT / name, self.root)
        for tool in ("bash", "env", "sh", "dirname", "awk", "cmp", "cp", "rm", "mkdir", "touch", "cat", "sleep"):
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.put(self.bin / "df", STAND_IN_FOR_DF)
        self.put(self.bin / "python3", STAND_IN)
        self.uv = self.put(folder / "uv", STAND_IN_FOR_UV)
        self.good = self.put(folder / "good", STAND_IN)

    def put(self, path: Path, script: str) -> Path:
        path.write_text(script)
        path.chmod(0o755)
        return path

    def start(self, **variables: str) -> tuple[int, str, str]:
        """Exit code, error text and calls of one start."""
        self.calls.write_text("")
        places = {"CALLS": self.calls, "UV": self.uv, "GOOD": self.good}
        environment = {"PATH": str(self.bin), **{name: str(path) for name, path in places.items()}, **variables}
        command = [str(self.root / "run_all.sh"), "--list"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stderr, self.calls.read_text()


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_the_first_start_installs_and_the_second_does_not(checkout):
    code, error, calls = checkout.start()
    assert code == 0 and "about 1 GB to fetch, some minutes" in error
    assert "--require-hashes -r" in calls and calls.endswith("-P -m lhdlib.run --list\n")
    code, error, calls = checkout.start()
    assert code == 0 and error == "" and " install " not in calls and " venv " not in calls
    assert calls.endswith("-P -m lhdlib.run --list\n")


@pytest.mark.slow
def test_a_new_lock_file_is_installed(checkout):
    checkout.start()
    with (checkout.root / "requirements.lock").open("a") as lock:
        lock.write("# newer\n")
    assert "--require-hashes" in checkout.start()[2]
    assert " install " not in checkout.start()[2]


@pytest.mark.slow
def test_an_installation_that_broke_off_is_repaired(checkout):
    code, error, calls = checkout.start(NO_NETWORK="1")
    assert code == 1 and "did not finish" in error.splitlines()[-1] and "lhdlib.run" not in calls
    code, _, calls = checkout.start()
    assert code == 0 and "-m venv --clear" in calls and "--require-hashes" in calls


@pytest.mark.slow
def test_of_two_starts_at_once_one_installs_and_the_other_waits(checkout):
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: checkout.start(SLOW="1"), range(2))
    assert (first[0], second[0]) == (0, 0), first[1] + second[1]
    assert (first[1] + second[1]).count("Another start installs into") == 1
    assert checkout.calls.read_text().count("--require-hashes") == 1
    assert not (checkout.root / ".venv.lock").exists()


@pytest.mark.parametrize("variables", [{}, {"NO_NETWORK": "1"}])
def test_what_a_killed_installation_has_locked_is_taken_over(checkout, variables):
    dead = subprocess.Popen(["true"])
    dead.wait()
    lock = checkout.root / ".venv.lock"
    lock.write_text(f"{socket.gethostname()}:{dead.pid}\n")
    code, error, _ = checkout.start(**variables)
    assert code == bool(variables) and "Another start" not in error
    assert not lock.exists()


def test_an_environment_that_is_a_link_is_left_alone(checkout, tmp_path):
    kept = tmp_path / "elsewhere" / "kept"
    kept.parent.mkdir()
    kept.touch()
    (checkout.root / ".venv").symlink_to(kept.parent)
    code, error, calls = checkout.start()
    assert code == 1 and "is a link to another folder" in error and error.count("\n") == 1
    assert " venv " not in calls and kept.exists()


def test_the_active_python_is_used_when_it_has_the_package(checkout):
    code, _, calls = checkout.start(ACTIVE="1")
    assert code == 0 and calls.splitlines()[-1] == "-P -m lhdlib.run --list"
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("on_path", [True, False])
def test_without_a_suitable_python_uv_gets_one(checkout, on_path):
    """On PATH, or installed from the package index into a folder of its own; once."""
    if on_path:
        shutil.copy(checkout.uv, checkout.bin / "uv")
    code, error, calls = checkout.start(WRONG_VERSION="1")
    assert code == 0, error
    assert error.count("uv gets one") == 1 and "No Python 3.11 to 3.13 is on PATH" in error
    assert "uv python install 3.13\n" in calls and calls.endswith("-P -m lhdlib.run --list\n")
    assert (checkout.root / ".uv" / "python" / "python3.13").exists()
    assert (" install uv\n" in calls) is not on_path and (checkout.root / ".uv" / "bin" / "uv").exists() is not on_path
    code, error, calls = checkout.start(WRONG_VERSION="1")
    assert (code, error) == (0, "") and "uv " not in calls


@pytest.mark.parametrize("on_path", [True, False])
def test_where_uv_gets_none_the_need_is_named(checkout, on_path):
    if on_path:
        shutil.copy(checkout.uv, checkout.bin / "uv")
    else:
        checkout.uv.unlink()  # as if the package index could not be reached
    code, error, calls = checkout.start(WRONG_VERSION="1", NO_NETWORK="1")
    assert code == 1 and "install Python 3.13 (from python.org) and start again." in error.splitlines()[-1]
    assert ".venv" not in calls and not (checkout.root / ".venv").exists()


@pytest.mark.slow
def test_a_long_installation_shows_that_it_lives(checkout):
    script = checkout.root / "setup_env.sh"
    script.write_text(re.sub(r"^ALIVE_S=\d+", "ALIVE_S=1", script.read_text(), flags=re.M))
    code, error, _ = checkout.start(SLOW="2.5")
    assert code == 0 and re.search(r"once: about 1 GB to fetch, some minutes", error)
    assert re.findall(r"still installing, (\d) s", error)[:2] == ["1", "2"]


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"])
def test_another_checkouts_modules_are_not_looked_at(checkout, name):
    shown = f'echo "{name}=[${{{name}}}]" >> "$CALLS"\n'
    checkout.put(checkout.bin / "python3", STAND_IN.replace("#!/bin/sh\n", "#!/bin/sh\n" + shown))
    _, _, calls = checkout.start(ACTIVE="1", **{name: "/another/checkout"})
    assert f"{name}=[]" in calls and "/another/checkout" not in calls


def test_too_little_disk_is_named_before_anything_is_written(checkout):
    code, error, calls = checkout.start(FREE_KB="1000000")
    assert code == 1 and "976 MB free and the installation needs 4 GB" in error and " venv " not in calls
