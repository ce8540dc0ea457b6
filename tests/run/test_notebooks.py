"""The runner, on two small notebooks: what runs, what is skipped and why, and how each failure ends."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import filelock
import nbformat
import pytest

from lhdlib import files
from lhdlib.book import page
from lhdlib.errors import UserError
from lhdlib.figures import claims, gallery
from lhdlib.run import command, notebooks, stale, workspace

UPSTREAM = {"01": (), "02": ("01",)}
BEYOND = {"03": ("01",)}  # its notebook is there only in the test of it
PARAMETERS = 'profile = "smoke"\ndata_dir = ""\nseed = 0\nresults_dir = ""\nfigures_dir = ""'
FIRST = """
import os, sys
from pathlib import Path
os.write(2, b"a library's message")
part = Path(results_dir) / "01"
part.mkdir(parents=True, exist_ok=True)
(part / "checkpoints").mkdir(exist_ok=True)
(part / "checkpoints" / "step").write_text(str(os.getpid()))
(part / "value.txt").write_text(f"{sys.executable} {Path.cwd()} {seed}")
"""
SECOND = """
import os, signal
from pathlib import Path
from lhdlib.errors import UserError
print("epoch 1: loss 0.5")
if seed == 1:
    raise UserError("The notes are missing: add them.")
if seed == 2:
    1 / 0
if seed == 3:
    os.kill(os.getpid(), signal.SIGKILL)
if seed == 4:
    os.kill(os.getpid(), signal.SIGSEGV)
part = Path(results_dir) / "02"
part.mkdir(parents=True, exist_ok=True)
(part / "copy.txt").write_text((Path(results_dir) / "01" / "value.txt").read_text())
Path(figures_dir).mkdir(exist_ok=True)
(Path(figures_dir) / "fig.png").write_bytes(b"drawn")
"""


def write_notebook(path: Path, code: str, parameters: str = PARAMETERS) -> None:
    cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(code)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)


def make_place(folder: Path) -> SimpleNamespace:
    """Two notebooks and the command that runs them; `concluded` lists whether each complete start ran anything."""
    place = SimpleNamespace(
        folder=folder,
        notebooks=folder / "notebooks",
        results=folder / "results",
        figures=folder / "figures",
        concluded=[],
    )
    if not place.notebooks.exists():
        place.notebooks.mkdir(parents=True)
        write_notebook(place.notebooks / "01_first.ipynb", FIRST)
        write_notebook(place.notebooks / "02_second.ipynb", SECOND)

    def start(*arguments: str) -> int:
        folders = ["--results", str(place.results), "--figures", str(place.figures)]
        run = functools.partial(
            notebooks.run,
            notebooks=place.notebooks,
            upstream=UPSTREAM,
            beyond=BEYOND,
            conclude=lambda plan, ran: place.concluded.append(ran),
        )
        with mock.patch.dict(os.environ), mock.patch.object(notebooks, "run", run):
            return command.main(["run", "--profile", "smoke", *folders, *arguments])

    place.start = start
    return place


@pytest.fixture
def place(tmp_path):
    return make_place(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run; a test that uses it leaves it finished."""
    place = make_place(tmp_path_factory.mktemp("done"))
    assert place.start() == 0
    return place


def listed(place, capsys, *arguments: str) -> list[str]:
    capsys.readouterr()
    assert place.start("--list", *arguments) == 0
    return capsys.readouterr().out.splitlines()[1:]


def test_a_finished_run_ran_in_order_in_this_interpreter(done):
    seen = (done.results / "02" / "copy.txt").read_text()
    assert seen == f"{sys.executable} {done.notebooks} 0"
    assert {path.name for path in (done.results / "notebooks").glob("*.ipynb")} == {"01_first.ipynb", "02_second.ipynb"}
    assert json.loads((done.results / "01" / "outputs.json").read_text()).keys() == {"value.txt"}
    assert json.loads((done.results / "timings.json").read_text()).keys() == {"01", "02"}
    assert done.concluded[0] is True


def test_messages_of_libraries_go_to_the_kernel_log_and_not_into_the_notebook(done):
    folder = done.results / "notebooks"
    assert "a library's message" in (folder / "01_first.kernel.log").read_text()
    outputs = [cell.get("outputs") for cell in nbformat.read(folder / "01_first.ipynb", as_version=4).cells]
    assert "a library's message" not in json.dumps(outputs)


def test_nothing_runs_when_nothing_changed(done, capsys):
    before = {path: path.stat().st_mtime_ns for path in (done.results / "notebooks").iterdir()}
    assert done.start() == 0
    assert capsys.readouterr().out == "01_first: up to date\n02_second: up to date\n"
    assert {path: path.stat().st_mtime_ns for path in (done.results / "notebooks").iterdir()} == before
    assert done.concluded[-1] is False
    assert all(line.split()[2] == "s" and line.endswith("up to date") for line in listed(done, capsys))


def test_list_names_the_changed_parameter_and_what_follows(done, capsys):
    first, second = listed(done, capsys, "--seed", "5")
    assert first.endswith("stale: seed changed") and second.endswith("stale: seed changed")


def test_list_names_the_missing_figure(done, capsys):
    figure = done.figures / "fig.png"
    content = figure.read_bytes()
    figure.unlink()
    first, second = listed(done, capsys)
    assert first.endswith("up to date") and second.endswith(f"stale: {figure} is missing")
    figure.write_bytes(content)


def test_outputs_and_metadata_saved_by_jupyterlab_change_nothing(done, capsys):
    path = done.notebooks / "02_second.ipynb"
    clean = path.read_text()
    notebook = nbformat.reads(clean, as_version=4)
    notebook.cells[1].execution_count = 7
    nbformat.write(notebook, path)
    assert listed(done, capsys)[1].endswith("up to date")
    path.write_text(clean)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "code", "said"),
    [
        ("1", 2, "The notes are missing"),
        ("2", 1, "ZeroDivisionError"),
        ("3", 1, "02_second was killed, probably for lack of memory"),
        ("4", 1, "02_second crashed in a library (SIGSEGV): start again"),
    ],
)
def test_a_failure_ends_the_run_and_leaves_earlier_results(done, capsys, seed, code, said):
    concluded = len(done.concluded)
    assert done.start("--only", "2", "--seed", seed) == code
    printed = capsys.readouterr()
    assert said in printed.err and "\x1b" not in printed.err
    assert "epoch 1: loss 0.5" in printed.err or seed in "34"
    failed = done.results / "notebooks" / "02_second.failed.ipynb"
    if code == 1:
        assert str(failed) in printed.err
    else:
        assert printed.err.splitlines()[-1] == "Error: The notes are missing: add them."
        assert "Traceback" not in printed.err
    assert failed.exists() and len(done.concluded) == concluded
    assert all(line.endswith("up to date") for line in listed(done, capsys))


@pytest.mark.slow
def test_only_what_changed_runs_again(place, capsys):
    assert place.start() == 0
    write_notebook(place.notebooks / "01_first.ipynb", FIRST + "# the same values")
    first, second = listed(place, capsys)
    assert first.endswith(f"stale: {place.notebooks / '01_first.ipynb'} changed") and second.endswith("01 is stale")
    assert place.start() == 0
    assert "02_second: up to date" in capsys.readouterr().out
    (place.results / "01" / "outputs.json").write_text("{}")
    assert listed(place, capsys)[1].endswith("stale: the results of 01 changed")


@pytest.mark.slow
def test_interrupted_the_next_start_goes_on_with_the_unfinished_notebook(place, capsys):
    write_notebook(place.notebooks / "02_second.ipynb", "import time\nprint('asleep')\ntime.sleep(600)")
    code = (
        "import signal, sys; from pathlib import Path; from tests.run.test_notebooks import make_place;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # the tests may run where it is ignored
        "sys.exit(make_place(Path(sys.argv[1])).start())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(place.folder)],
        cwd=workspace.ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    seen = ""
    while "asleep" not in seen and (line := process.stderr.readline()):
        seen += line
    os.killpg(process.pid, signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in rest
    assert rest.splitlines()[-1].startswith("Interrupted: start the same command again to go on")
    first, second = listed(place, capsys)
    assert first.endswith("up to date") and second.endswith("stale: no result yet")
    write_notebook(place.notebooks / "02_second.ipynb", SECOND)
    assert place.start() == 0
    assert "01_first: up to date" in capsys.readouterr().out and place.concluded == [True]


@pytest.fixture
def no_kernel(monkeypatch):
    """Fails the test if a notebook is executed."""
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("a notebook was executed"))


def test_an_unknown_parameter_is_refused(place, capsys, no_kernel):
    write_notebook(place.notebooks / "01_first.ipynb", FIRST, PARAMETERS.replace("seed", "seeds"))
    assert place.start() == 2
    assert "01_first.ipynb has no parameter 'seed'" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["results", "figures"])
def test_a_second_run_into_the_same_results_or_figures_is_refused(place, capsys, no_kernel, folder):
    used = getattr(place, folder)
    used.mkdir()
    with filelock.FileLock(used / ".lock"):
        assert place.start() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"Error: Another run is using {used}: wait for it") and error.count("\n") == 1


def test_locks_are_given_back_and_one_folder_may_be_both(tmp_path):
    with (
        pytest.raises(UserError, match="Another run"),
        notebooks.locked(tmp_path / "b"),
        notebooks.locked(tmp_path / "a", tmp_path / "b"),
    ):
        pytest.fail("locked twice")
    with notebooks.locked(tmp_path / "a", tmp_path / "b", tmp_path / "a"):
        pass


def test_a_full_disk_is_refused(place, capsys, no_kernel, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2e8))
    assert place.start() == 2
    assert "has 0.2 GB of free space and profile 'smoke' needs 1 GB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "huge"], "There is no profile 'huge'"),
        (["--data", "/nowhere/at/all"], "There is no folder /nowhere/at/all"),
        (["--only", "9"], "There is no notebook '9': choose one of 01, 02, 03."),
        (["--from", "02"], "Notebook 02 reads the results of 01, which has not finished: run it first."),
    ],
)
def test_a_mistake_is_one_sentence(place, capsys, no_kernel, arguments, said):
    assert place.start(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"Error: {said}") and error.count("\n") == 1


def test_force_runs_what_is_up_to_date(done, capsys, monkeypatch):
    executed = []
    monkeypatch.setattr(notebooks, "_execute", lambda source, *_: executed.append(source.stem))
    figure = done.figures / "fig.png"
    assert done.start("--from", "02", "--force") == 0
    assert executed == ["02_second"]
    assert figure.exists() and all(line.endswith("up to date") for line in listed(done, capsys))


def test_what_lies_beyond_runs_only_when_it_is_asked_for(place, capsys, monkeypatch):
    """And a complete run is complete without it."""
    executed = []
    monkeypatch.setattr(notebooks, "_execute", lambda source, *_: executed.append(source.stem))
    write_notebook(place.notebooks / "03_third.ipynb", SECOND)
    assert place.start() == 0 and executed == ["01_first", "02_second"] and place.concluded == [True]
    assert [line.split()[0] for line in listed(place, capsys)] == ["01_first", "02_second"]
    assert place.start("--beyond") == 0 and executed[2:] == ["03_third"] and place.concluded == [True, True]
    assert [line.split()[0] for line in listed(place, capsys, "--beyond")][-1] == "03_third"
    assert all(line.endswith("up to date") for line in listed(place, capsys, "--beyond"))
    executed.clear()
    for arguments, ran in (
        (["--only", "3"], ["03_third"]),
        (["--from", "2"], ["02_second"]),
        (["--from", "2", "--beyond"], ["02_second", "03_third"]),
        (["--from", "3"], ["03_third"]),
    ):
        assert place.start(*arguments, "--force") == 0 and executed == ran
        executed.clear()


def test_a_complete_run_leaves_its_stamp_and_the_gallery(place, monkeypatch, capsys):
    shown, judged, booked = [], [], []
    readme, book = place.figures / "README.md", place.figures / "book.html"
    monkeypatch.setattr(gallery, "write_gallery", lambda *places: shown.append(places[:2]) or readme)
    monkeypatch.setattr(page, "write_book", lambda *places: booked.append(places) or book)
    monkeypatch.setattr(claims, "save_claims", lambda *places: judged.append(places))
    monkeypatch.setattr(claims, "sentence", lambda verdicts: "Nothing was claimed.")
    monkeypatch.setattr(files, "read_table", lambda path: None)
    space = workspace.open_workspace("smoke", seed=4, results=str(place.results), figures=str(place.figures))
    dataset = {"data_label": "phantom", "fingerprint": "abc", "counts": {"studies": 2}}
    files.write_json(place.results / "01" / "dataset.json", dataset)
    files.write_json(place.results / "timings.json", {"01": {"seconds": 3.0, "commit": "c"}})
    plan = stale.Plan(space, "", place.notebooks, UPSTREAM)
    notebooks.conclude(plan, ran=True)
    stamp = files.read_json(place.results / "stamp.json")
    assert (stamp["seed"], stamp["data"], stamp["fingerprint"]) == (4, "phantom", "abc")
    assert stamp["parts"] == {"01": {"seconds": 3.0, "commit": "c"}}
    assert stamp["python"] and stamp["commit"]
    files.write_json(place.results / "timings.json", {})
    notebooks.conclude(plan, ran=False)
    assert files.read_json(place.results / "stamp.json") == stamp  # nothing ran: the stamp stays that run's
    assert shown == judged == booked == [(place.results, place.figures)] * 2
    out = capsys.readouterr().out
    assert "README.md" in out and "book.html" in out and "Nothing was claimed." in out
