"""Runs the notebooks in order through papermill, those that are stale; a failure is one sentence and an exit code."""

import argparse
import contextlib
import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import filelock

from lhdlib import files
from lhdlib.errors import UserError
from lhdlib.run import provenance, stale, timing, workspace
from lhdlib.run.ending import conclude
from lhdlib.run.stale import BEYOND, NOTEBOOKS, UPSTREAM, Plan
from lhdlib.run.workspace import ROOT

PAUSE_S = 20  # between two lines of a progress bar
START_S = 600  # for a kernel to start on a busy machine
DISK_GB = {"smoke": 1, "demo": 3, "paper": 60}


class NotebookFailed(Exception):
    """A cell raised; the message names the cell's error and the executed notebook."""


# Running one notebook


class _Screen:
    """Passes a notebook's lines to the terminal; in-place updates at most every `PAUSE_S`."""

    def __init__(self) -> None:
        self._rest, self._last = "", 0.0

    def write(self, text: str) -> None:
        *lines, self._rest = re.split(r"(?<=[\r\n])", self._rest + text)
        for line in lines:
            in_place = line.endswith("\r")
            if line.strip() and not (in_place and time.monotonic() - self._last < PAUSE_S):
                print(f"  {line.rstrip()}", file=sys.stderr, flush=True)
                self._last = time.monotonic()

    def flush(self) -> None:
        sys.stderr.flush()


def _execute(source: Path, target: Path, parameters: Mapping[str, Any]) -> None:
    """Run a notebook in a kernel of this interpreter; `target` appears only when every cell succeeded."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    unknown = parameters.keys() - papermill.inspect_notebook(str(source)).keys()
    if unknown:
        raise UserError(
            f"{stale.shown(source)} has no parameter {sorted(unknown)[0]!r}: add it to its cell 'parameters'."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    failed = target.with_suffix(".failed.ipynb")
    running = target.with_suffix(".running.ipynb")
    log = target.with_suffix(".kernel.log")
    kernels: list[subprocess.Popen] = []
    try:
        with log.open("wb") as native:
            papermill.execute_notebook(
                str(source),
                str(running),
                parameters=dict(parameters),
                kernel_name="python3",
                start_timeout=START_S,
                cwd=str(source.parent),  # as in JupyterLab
                progress_bar=False,
                stdout_file=_Screen(),
                stderr_file=_Screen(),
                kernel_manager_class=_kernel_manager(native, kernels),
                extra_arguments=["--IPKernelApp.log_level=ERROR", "--IPKernelApp.capture_fd_output=False"],
                shutdown_kernel="immediate",
            )
    except papermill.PapermillExecutionError as error:
        os.replace(running, failed)
        if error.ename == "UserError":
            raise UserError(error.evalue) from None
        raise NotebookFailed(f"{_plain(error)}\n{source.stem} failed; the executed notebook is {failed}") from None
    except DeadKernelError:
        os.replace(running, failed)
        raise NotebookFailed(
            f"The kernel of {source.stem} {_cause(kernels[-1].returncode)}; the executed notebook is {failed}, the "
            f"kernel's own messages are in {log}"
        ) from None
    os.replace(running, target)
    failed.unlink(missing_ok=True)


def _kernel_manager(log: IO[bytes], kernels: list[subprocess.Popen]) -> type:
    """Kernels whose libraries (TensorFlow's start-up lines, for one) write to `log` and not to the terminal.

    Each process is added to `kernels`, since nbclient does not tell how it ended.
    """
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            """Of this interpreter: no kernel of the same name that JUPYTER_PATH or the user's folder has."""
            super().__init__(**options | {"kernel_spec_manager": KernelSpecManager(kernel_dirs=[])})

        async def start_kernel(self, **options: Any) -> None:
            await super().start_kernel(stdout=log, stderr=log, **options)
            kernels.append(self.provisioner.process)

    return Manager


def _cause(status: int) -> str:
    """What a kernel that ended with the `status` of `subprocess` died of, and what mends it."""
    if status in {-signal.SIGKILL, 128 + signal.SIGKILL}:
        return (
            f"was killed, probably for lack of memory (peak {_peak_gb():.1f} GB): close other programs or take a "
            "smaller profile, and start again"
        )
    return (
        f"crashed in a library ({_signal(status)}): start again, and if it does so again, with TF_ENABLE_ONEDNN_OPTS=0 "
        "in the environment, which takes other, slower kernels"
    )


def _signal(status: int) -> str:
    return signal.Signals(-status).name if -status in set(signal.Signals) else f"status {status}"


def _plain(error: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error)).strip()


def _peak_gb() -> float:
    """Largest resident size of any ended kernel of this run."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


# Running all of them


def update(plan: Plan, numbers: Iterable[str], *, force: bool = False) -> list[str]:
    """Bring notebooks up to date, in order; `force` runs them regardless.

    Returns
    -------
    list of str
        The numbers of the notebooks that ran.

    Raises
    ------
    UserError
        When another run uses the folder, an earlier notebook is missing, the disk is full, or a cell raised it.
    NotebookFailed
        When a cell raised anything else, or its kernel died.
    """
    ran, numbers = [], list(numbers)
    for position, number in enumerate(numbers):
        source, reasons = plan.source(number), ["--force"] if force else stale.reasons(plan, number)
        if not reasons:
            print(f"{source.stem}: up to date", flush=True)
            continue
        _check_upstream(plan, number)
        _check_disk(plan)
        print(f"{source.stem}: runs, {timing.place(plan, numbers[position:], number)}", flush=True)
        print(f"  why: {stale.summary(reasons)}", flush=True)
        with stale.recorded(plan, number):
            _execute(source, plan.space.results / "notebooks" / source.name, plan.parameters)
        print(f"{source.stem}: done in {timing.text(stale.timings(plan)[number]['seconds'])}", flush=True)
        if not stale.finished(plan, number):
            print(f"{source.stem}: its inputs changed while it ran, so the next start runs it again", flush=True)
        ran.append(number)
    return ran


def _check_upstream(plan: Plan, number: str) -> None:
    for earlier in plan.upstream[number]:
        if not stale.finished(plan, earlier):
            raise UserError(f"Notebook {number} reads the results of {earlier}, which has not finished: run it first.")


def _check_disk(plan: Plan) -> None:
    need, free = DISK_GB.get(plan.space.profile.name, 3), shutil.disk_usage(plan.space.results).free / 1e9
    if free < need:
        raise UserError(
            f"{plan.space.results} has {free:.1f} GB of free space and profile {plan.space.profile.name!r} needs "
            f"{need} GB: free some, or name another folder with --results DIR."
        )


@contextlib.contextmanager
def locked(*folders: Path) -> Iterator[None]:
    """Keep a second run out of these folders while the body runs; `UserError` for whoever comes second."""
    with contextlib.ExitStack() as held:
        for folder in dict.fromkeys(folders):  # results and figures may be one
            folder.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(filelock.FileLock(folder / ".lock", timeout=0))
            except filelock.Timeout:
                raise UserError(
                    f"Another run is using {folder}: wait for it to end, or name other folders with --results DIR and "
                    "--figures DIR."
                ) from None
        yield


def table(plan: Plan) -> str:
    """Say what is up to date, what is stale and why, and how long each notebook took last time."""
    lines, behind = [f"{'notebook':<24}{'last time':>10}  state"], set()
    for number in plan.upstream:
        why = stale.reasons(plan, number) or [f"{n} is stale" for n in plan.upstream[number] if n in behind]
        if why:
            behind.add(number)
        last = stale.timings(plan).get(number)
        seconds = f"{last['seconds']:.0f} s" if last else "-"
        lines.append(
            f"{plan.source(number).stem:<24}{seconds:>10}  {'stale: ' + stale.summary(why) if why else 'up to date'}"
        )
    return "\n".join(lines)


# The command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``lhdlib run``."""
    parser.epilog = (
        "Exit code: 0 done, 1 a notebook failed, 2 an error that you can mend, 130 interrupted. A run that ends with "
        "NOT as earlier runs is done: `lhdlib expect results/PROFILE` tells by its exit code, 1."
    )
    parser.add_argument("--profile", default="demo", help="smoke, demo (default) or paper")
    parser.add_argument("--data", default="", metavar="DIR", help="the real archive; without it, a phantom is made")
    parser.add_argument("--seed", type=int, default=0)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--only", metavar="NN", help="one notebook, such as 05")
    part.add_argument("--from", metavar="NN", dest="first", help="this notebook and those after it")
    parser.add_argument("--beyond", action="store_true", help="also notebook 09, which asks more than the paper")
    parser.add_argument("--force", action="store_true", help="run the chosen notebooks even when up to date")
    parser.add_argument("--list", action="store_true", help="show what is up to date, and why not; run nothing")
    parser.add_argument("--explain", nargs="+", type=Path, metavar="FILE", help="say where figures or tables came from")
    parser.add_argument("--results", default="", metavar="DIR", help="default: results/<profile>")
    parser.add_argument("--phantom", default="", metavar="DIR", help="where phantoms are kept; default: data")
    parser.add_argument("--figures", default="", metavar="DIR", help="default: figures (smoke: results/smoke/figures)")


def _plan(args: argparse.Namespace, notebooks: Path, upstream: Mapping[str, tuple[str, ...]]) -> Plan:
    if args.phantom:
        os.environ[workspace.PHANTOMS] = str(Path(args.phantom).expanduser().resolve())  # the kernels inherit it
    archive = Path(args.data).expanduser().resolve() if args.data else None
    if archive and not archive.is_dir():
        raise UserError(f"There is no folder {archive}: name the archive's folder with --data DIR.")
    space = workspace.open_workspace(
        args.profile, data_dir=args.data, seed=args.seed, results=args.results, figures=args.figures
    )
    return Plan(space, str(archive or ""), notebooks, upstream)


def _chosen(args: argparse.Namespace, usual: Sequence[str], beyond: Sequence[str]) -> list[str]:
    """Numbers of the notebooks to run; those beyond the usual ones only when they, or all of them, are asked for."""
    wanted, offered = args.only or args.first, [*usual, *beyond]
    if wanted is None:
        return offered if args.beyond else list(usual)
    if (number := wanted.zfill(2)) not in offered:
        raise UserError(f"There is no notebook {wanted!r}: choose one of {', '.join(offered)}.")
    if args.only:
        return [number]
    return [one for one in offered if one >= number and (args.beyond or one in usual or number in beyond)]


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """While the body runs, kernels inherit this checkout and nothing that a user's other work has set."""
    for name in ("PYTHONSTARTUP", "MATPLOTLIBRC"):
        os.environ.pop(name, None)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryDirectory(prefix="lhdlib-") as folder:
        os.environ |= {
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",
            "IPYTHONDIR": folder,  # a profile of one's own may run code in every kernel
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }
        yield


def _check_writable(plan: Plan) -> None:
    places = {"--results": plan.space.results, "--figures": plan.space.figures}
    if not plan.archive and not (plan.space.data_dir.parent / "phantom.json").exists():
        places["--phantom"] = plan.space.data_dir.parents[1]
    for option, folder in places.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
                raise
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise UserError(f"{folder} cannot be written to: name another folder with {option} DIR.")


def run(
    args: argparse.Namespace,
    *,
    notebooks: Path = NOTEBOOKS,
    upstream: Mapping[str, tuple[str, ...]] = UPSTREAM,
    beyond: Mapping[str, tuple[str, ...]] = BEYOND,
    conclude: Callable[[Plan, bool], None] = conclude,
) -> int:
    """Run ``lhdlib run``; returns 1 when a notebook failed."""
    if args.explain:
        print("\n\n".join(provenance.explain(args.explain)))
        return 0
    chosen = _chosen(args, list(upstream), list(beyond))
    asked = {number: earlier for number, earlier in beyond.items() if number in chosen}
    plan = _plan(args, notebooks, {**upstream, **asked})
    if args.list:
        print(table(plan))
        return 0
    _check_writable(plan)
    folders = (plan.space.results, plan.space.figures)
    try:
        with files.disk_space(plan.space.results), locked(*folders), _surroundings():
            for folder in folders:
                files.sweep(folder)
            ran = update(plan, chosen, force=args.force)
            if all(stale.finished(plan, number) for number in upstream):
                conclude(plan, bool(ran))
    except NotebookFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0
