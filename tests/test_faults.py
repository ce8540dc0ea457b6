"""A run that is killed, or whose disk fills up, goes on to the end of an undisturbed one."""

import json
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from benchmarks import kill_and_resume
from lhdlib.run.workspace import ROOT


@pytest.mark.long
def test_killed_while_it_starts_trains_or_draws_and_resumed(smoke, tmp_path):
    """Events and not times, so that fast and slow machines are killed at the same places."""
    wanted = kill_and_resume.content(smoke.results.parent)
    kill_and_resume.disturbed(tmp_path, iter(()), "--only", "01")
    moments = [
        lambda: kill_and_resume.running(tmp_path) == "03_pretrain",
        lambda: any((tmp_path / "results" / "03").glob("*/*.*")),  # the first checkpoint, until the encoder is done
        lambda: (tmp_path / "figures" / "fig05_pretraining.png").exists(),
    ]
    assert kill_and_resume.disturbed(tmp_path, iter(moments), "--only", "03") == ["03_pretrain"] * 3
    found = kill_and_resume.content(tmp_path)
    for name in ("results/03/w0.0001_dr0/encoder.keras", "figures/fig05_pretraining.png", "results/01/dataset.json"):
        assert name in found
    assert {name: found[name] for name in found if found[name] != wanted[name]} == {}


def test_a_changed_result_is_seen_and_a_duration_is_not(tmp_path):
    def content(value):
        (tmp_path / "a.json").write_text(json.dumps(value))
        return kill_and_resume.content(tmp_path)

    first = {"parts": [{"seconds": 1.5, "auc": 0.8}], "encoder.keras": "sum", "history.csv": "sum"}
    wanted = content(first)
    assert wanted.keys() == {"a.json"}
    assert content(first | {"encoder.keras": "other", "parts": [{"seconds": 2, "auc": 0.8}]}) == wanted
    for changed in ({"history.csv": "other"}, {"parts": [{"seconds": 1.5, "auc": 0.81}]}, {"more": 1}):
        assert content(first | changed) != wanted


@pytest.mark.slow
def test_a_run_that_fails_is_no_success(tmp_path):
    with pytest.raises(RuntimeError, match="after 0 kills the run ended with 2: Error: Notebook 03 reads"):
        kill_and_resume.disturbed(tmp_path, iter(()), "--only", "03")


@pytest.fixture
def small_disk(tmp_path):
    """Runs Python code with a disk of 1 MB mounted on its first argument; needs no privileges."""

    def start(*command: str) -> subprocess.CompletedProcess[str]:
        mount = shlex.join(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)])
        apart = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *command]
        return subprocess.run(apart, cwd=ROOT, capture_output=True, text=True, timeout=300)

    if shutil.which("unshare") is None or start("true").returncode:
        pytest.skip("mounting a small disk needs Linux and user namespaces, which this machine does not have or allow")
    return lambda code: start(sys.executable, "-c", code, str(tmp_path))


MAPPED = """
import sys
from pathlib import Path
import numpy as np
from lhdlib import files
with files.replacing(Path(sys.argv[1]) / "features.npy") as temporary:
    array = {}np.float32, (2**20,))
    array[:] = 1
"""


def test_a_map_larger_than_the_disk_is_one_sentence_and_no_dead_process(small_disk):
    plain = small_disk(MAPPED.format("np.lib.format.open_memmap(temporary, 'w+', "))
    assert plain.returncode == -signal.SIGBUS  # what the disk does to an ordinary map
    done = small_disk(MAPPED.format("files.mapped(temporary, "))
    assert done.returncode == 1
    assert "features.npy was not written: free some space and start again." in done.stderr.splitlines()[-1]


RUN = """
import json, subprocess, sys
from pathlib import Path
from lhdlib.run import notebooks
from tests.run import test_notebooks

def earlier():
    return {path.name: path.read_text() for path in (place.results / "01").iterdir() if path.is_file()}

notebooks.DISK_GB["smoke"] = 0
place = test_notebooks.make_place(Path(sys.argv[1]))
test_notebooks.write_notebook(place.notebooks / "02_second.ipynb", test_notebooks.SECOND + FILLING)
codes, kept = [place.start()], earlier()
subprocess.run(["mount", "-o", "remount,size=64m", sys.argv[1]], check=True)
codes.append(place.start())
print(json.dumps([codes, kept, earlier(), (place.results / "02" / "copy.txt").read_text()]))
"""
FILLING = {
    "the notebook": "print('x' * 2_000_000)",
    "a file of a library": "(part / 'maps.bin').write_bytes(bytes(2_000_000))",
    "everything": """
from lhdlib import files
ballast = Path(results_dir).parent / "ballast"
if not ballast.exists():
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
files.write_json(part / "more.json", "x" * 8192)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", FILLING)
def test_a_run_whose_disk_fills_up_ends_in_one_sentence_and_goes_on_once_there_is_space(small_disk, what):
    done = small_disk(RUN.replace("FILLING", repr(FILLING[what])))
    assert done.returncode == 0, done.stderr[-2000:]
    codes, kept, later, copied = json.loads(done.stdout.splitlines()[-1])
    assert codes == [2, 0] and kept.keys() == {"value.txt", "outputs.json"} and kept == later
    assert "01_first: up to date" in done.stdout and copied == kept["value.txt"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and errors[0].startswith("Error: The disk is full, ")
    assert "Traceback" not in done.stderr
