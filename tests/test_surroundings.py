"""What surrounds a run changes none of its numbers: it works, or one sentence says what to do."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lhdlib import cache
from lhdlib.run import command, notebooks, stale, workspace
from lhdlib.run.workspace import ROOT


def python(code: str, *arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process that finds this checkout first."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    environment |= {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **variables}
    call = [sys.executable, "-c", code, *arguments]
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


# Keras

SETTINGS = """
import lhdlib
from lhdlib import model
import keras
c = keras.config
print("SAID", c.backend(), c.floatx(), c.epsilon(), c.image_data_format(), c.max_epochs(), c.max_steps_per_epoch())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "variables"),
    [
        ('{"image_data_format": "channels_first"}', {}),
        ('{"backend": "theano", "image_dim_ordering": "th"}', {}),
        ('{"floatx": "float16", "epsilon": 0.5, "backend": "torch"}', {}),
        ("", {"KERAS_BACKEND": "jax", "KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1"}),
        ("no JSON", {"KERAS_BACKEND": ""}),
    ],
)
def test_settings_of_keras_are_the_projects_own(tmp_path, file, variables):
    home = tmp_path / "home" / ".keras"
    home.mkdir(parents=True)
    if file:
        (home / "keras.json").write_text(file)
    done = python(SETTINGS, HOME=str(home.parent), **variables)
    assert done.stdout.splitlines()[-1:] == ["SAID tensorflow float32 1e-07 channels_last None None"], done.stderr[
        -500:
    ]
    assert [path.name for path in home.iterdir()] == ["keras.json"] * bool(file)  # and nothing is written there


@pytest.mark.slow
def test_keras_imported_before_is_set_right_too(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "float64", "image_data_format": "channels_first"}')
    done = python("import keras\n" + SETTINGS, KERAS_HOME=str(tmp_path))
    assert "SAID tensorflow float32 1e-07 channels_last" in done.stdout


# Kernels


@pytest.fixture
def no_run(monkeypatch, tmp_path):
    """A run that executes nothing and hands back the environment that its kernels would get."""

    def start(*arguments: str) -> tuple[int, dict[str, str]]:
        seen: dict[str, str] = {}

        def update(*_, **__):
            seen.update(os.environ)
            return []

        monkeypatch.setattr(notebooks, "update", update)
        folders = ["--results", str(tmp_path / "results"), "--figures", str(tmp_path / "figures")]
        return command.main(["run", "--profile", "smoke", *folders, *arguments]), seen

    before = dict(os.environ)
    yield start
    os.environ.clear()
    os.environ.update(before)


def test_a_foreign_kernel_of_the_same_name_is_not_taken(tmp_path, monkeypatch):
    spec = tmp_path / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(
        json.dumps({"argv": ["/another/python", "{connection_file}"], "display_name": "x", "language": "x"})
    )
    for name in ("JUPYTER_PATH", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    with (tmp_path / "log").open("wb") as log:
        manager = notebooks._kernel_manager(log, [])(kernel_name="python3")
        assert manager.kernel_spec.argv[0] == sys.executable
        assert manager.kernel_spec.argv[1:3] == ["-m", "ipykernel_launcher"]


@pytest.mark.parametrize(
    ("name", "value", "there"),
    [
        ("PYTHONSTARTUP", "/my/startup.py", None),
        ("MATPLOTLIBRC", "/my/matplotlibrc", None),
        ("MPLBACKEND", "tkagg", "module://matplotlib_inline.backend_inline"),
        ("PYTHONHASHSEED", "77", "0"),
        ("PYTHONUTF8", "0", "1"),
    ],
)
def test_kernels_do_not_inherit_what_is_set_for_other_work(no_run, monkeypatch, name, value, there):
    monkeypatch.setenv(name, value)
    code, seen = no_run()
    assert code == 0 and seen.get(name) == there


def test_kernels_run_no_profile_of_the_users(no_run, monkeypatch, tmp_path):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "mine"))
    code, seen = no_run()
    assert code == 0 and seen["IPYTHONDIR"] != str(tmp_path / "mine") and not Path(seen["IPYTHONDIR"]).exists()


def test_kernels_import_this_checkout_before_another(no_run, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/another/checkout")
    assert no_run()[1]["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/another/checkout"]


# Git


@pytest.fixture
def another_repository(tmp_path):
    """A repository with a commit of its own."""
    folder = tmp_path / "another"
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "other"], check=True)
    done = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True)
    return folder, done.stdout.strip()


@pytest.mark.parametrize("names", [["GIT_DIR"], ["GIT_DIR", "GIT_WORK_TREE"], ["GIT_DIR", "GIT_INDEX_FILE"]])
def test_the_commit_is_this_checkouts_whatever_git_is_told(another_repository, monkeypatch, names):
    own, (folder, commit) = workspace.git_commit(), another_repository
    values = {"GIT_DIR": folder / ".git", "GIT_WORK_TREE": folder, "GIT_INDEX_FILE": folder / ".git" / "index"}
    for name in names:
        monkeypatch.setenv(name, str(values[name]))
    assert workspace.git_commit() == own != commit


def test_a_copy_inside_another_repository_has_no_commit(another_repository, monkeypatch):
    folder, _ = another_repository
    (folder / "copy").mkdir()
    monkeypatch.setattr(workspace, "ROOT", (folder / "copy").resolve())
    assert workspace.git_commit() == "unknown"
    monkeypatch.setattr(workspace, "ROOT", folder.resolve())
    assert workspace.git_commit() == another_repository[1]


# Line ends


def test_line_ends_change_no_key(tmp_path):
    source = '"""Words."""\nNAME = "list.toml"\nTEXT = """a\nb"""\n'
    keys = []
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "words.py").write_bytes(source.replace("\n", end).encode())
        (tmp_path / "list.toml").write_bytes(f"a = 1{end}b = 2{end}".encode())
        keys.append(cache.syntax_key(tmp_path / "words.py"))
    assert len(set(keys)) == 1
    (tmp_path / "list.toml").write_bytes(b"a = 1\nb = 3\n")
    assert cache.syntax_key(tmp_path / "words.py") not in keys


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout of git")
@pytest.mark.parametrize("name", ["run_all.sh", "requirements.lock", "notebooks/03_pretrain.ipynb", "lhdlib/paper.py"])
def test_git_writes_the_same_line_ends_everywhere(name):
    call = ["git", "-C", str(ROOT), "-c", "core.autocrlf=true", "check-attr", "text", "eol", "--", name]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert "text: auto" in said and "eol: lf" in said


# Folders that cannot be written to


@pytest.fixture
def closed(tmp_path):
    """A folder where nothing can be made, whoever asks: a file stands in its place or its rights are gone."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize("option", ["--results", "--figures", "--phantom"])
def test_a_closed_folder_is_one_sentence_that_names_the_option(no_run, closed, monkeypatch, capsys, option):
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed and access(path, mode))  # root may all
    code, seen = no_run(option, str(closed))
    assert code == 2 and not seen
    assert capsys.readouterr().err == f"Error: {closed} cannot be written to: name another folder with {option} DIR.\n"


@pytest.mark.parametrize("option", ["--results", "--figures", "--phantom"])
def test_a_file_in_place_of_a_folder_is_one_sentence(no_run, tmp_path, capsys, option):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        code, _ = no_run(option, str(tmp_path / place))
        error = capsys.readouterr().err
        assert code == 2 and error.endswith(f"name another folder with {option} DIR.\n") and error.count("\n") == 1


def test_the_phantom_goes_where_it_is_told(no_run, tmp_path, monkeypatch):
    monkeypatch.delenv(workspace.PHANTOMS, raising=False)
    default = workspace.open_workspace("smoke").data_dir
    code, seen = no_run("--phantom", str(tmp_path / "phantoms"))
    assert code == 0 and seen[workspace.PHANTOMS] == str(tmp_path / "phantoms")
    monkeypatch.setenv(workspace.PHANTOMS, seen[workspace.PHANTOMS])  # as a kernel has it
    moved = workspace.open_workspace("smoke").data_dir
    assert moved.relative_to(tmp_path / "phantoms") == default.relative_to(ROOT / "data")


def test_a_finished_phantom_in_a_closed_checkout_is_read(no_run, tmp_path, monkeypatch):
    folder = workspace.open_workspace("smoke").data_dir.parent.name
    (tmp_path / "phantoms" / folder).mkdir(parents=True)
    (tmp_path / "phantoms" / folder / "phantom.json").write_text("{}")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "phantoms" and access(path, mode))
    assert no_run("--phantom", str(tmp_path / "phantoms"))[0] == 0


@pytest.mark.slow
@pytest.mark.skipif(
    os.getuid() == 0 and shutil.which("setpriv") is None, reason="root writes everywhere, without setpriv"
)
def test_a_read_only_checkout_says_where_to_write(tmp_path):
    main, out = tmp_path / "main", tmp_path / "out"
    out.mkdir()
    for name in ("lhdlib", "notebooks"):
        shutil.copytree(ROOT / name, main / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chmod", "-R", "a-w", str(main)], check=True)
    drop = "-dac_override,-dac_read_search,-fowner"
    apart = ["setpriv", "--bounding-set", drop, "--inh-caps", drop] if os.getuid() == 0 else []
    start = [*apart, sys.executable, "-m", "lhdlib.run", "--profile", "smoke", "--only", "01"]
    places = ["--results", str(out / "results"), "--figures", str(out / "figures")]
    environment = os.environ | {"PYTHONPATH": str(main), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop(workspace.PHANTOMS, None)
    try:
        for more, option in (([], "--results"), (places, "--phantom")):
            done = subprocess.run(
                [*start, *more], cwd=main, env=environment, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 2 and done.stderr.count("\n") == 1
            assert done.stderr.endswith(f"cannot be written to: name another folder with {option} DIR.\n")
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(main)], check=True)


# What the system and the terminal allow


def limited(soft: int, hard: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "from lhdlib.run import command\n"
        "code = command.main(sys.argv[1:])\n"
        "print('OPEN', resource.getrlimit(resource.RLIMIT_NOFILE)[0]); sys.exit(code)"
    )
    return python(code, *arguments)


@pytest.mark.slow
def test_few_open_files_are_raised_where_the_system_lets_us(tmp_path):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for soft in (64, 200):
        done = limited(soft, hard, "explain", str(tmp_path / "nothing.png"))
        assert done.returncode == 2 and "does not say where it came from" in done.stderr
        assert f"OPEN {command.OPEN_FILES}" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("hard", [64, 255])
def test_too_few_open_files_are_one_sentence(hard):
    done = limited(hard, hard, "run", "--profile", "smoke", "--list")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"Error: Only {hard} files may be open at once and 256 are needed")


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=lambda v: next(iter(v)),
)
def test_a_terminal_without_greek_letters_ends_no_command(variables):
    code = (
        "from types import SimpleNamespace; from lhdlib.run import command\n"
        "said = SimpleNamespace(run=lambda args: print('\\u03c3 of 95 \\xd7 3 \\u2013 done') or 0)\n"
        "command.parse = lambda argv: (said, None)\n"
        "raise SystemExit(command.main([]))"
    )
    done = python(code, **variables)
    assert done.returncode == 0 and done.stdout.endswith("done\n") and done.stderr == ""


@pytest.mark.parametrize("name", ["TZ", "LC_ALL", "OMP_NUM_THREADS", "PYTHONHASHSEED"])
def test_what_decides_no_number_makes_nothing_stale(tmp_path, monkeypatch, name):
    space = workspace.open_workspace("smoke", results=str(tmp_path / "r"), figures=str(tmp_path / "f"))
    plan = stale.Plan(space)
    before = stale._made_from(plan, "02")
    monkeypatch.setenv(name, {"TZ": "Pacific/Apia", "LC_ALL": "tr_TR.UTF-8", "OMP_NUM_THREADS": "1"}.get(name, "5"))
    assert stale._made_from(plan, "02") == before
