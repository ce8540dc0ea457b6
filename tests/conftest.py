"""Fixtures shared by all tests."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]


#: Tests that start the runner; those that need what it made have the fixture `smoke`.
RUNS = ("browser/", "run/", "test_faults.py", "test_smoke.py", "test_surroundings.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark `runs`, so that CI can run them beside the others; all of them are slow."""
    for item in items:
        starts = item.path.relative_to(ROOT / "tests").as_posix().startswith(RUNS)
        if starts or "smoke" in item.fixturenames:
            item.add_marker(pytest.mark.runs)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def real_dir() -> Path:
    """Folder of real slices, notes and header values beside the checkout; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}")
    return folder


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> SimpleNamespace:
    """A finished smoke run of all eight notebooks, started as users do; a test that uses it leaves it finished.

    ``results`` and ``figures`` are its folders, ``out`` and ``err`` what it printed, and ``start(*arguments)`` is the
    command again. Its phantom lies in the checkout's own ``data``, where the next run finds it.
    """
    folder = tmp_path_factory.mktemp("smoke")
    results, figures = folder / "results", folder / "figures"

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        places = ["--profile", "smoke", "--results", str(results), "--figures", str(figures)]
        command = [sys.executable, "-m", "lhdlib.run", *places, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)

    done = start()
    assert done.returncode == 0, done.stderr[-4000:]
    return SimpleNamespace(results=results, figures=figures, out=done.stdout, err=done.stderr, start=start)
