"""JupyterLab on the loopback address and what a reader does in it: open a notebook, run it, look at its outputs.

The browser tests and ``benchmarks.slider_latency`` share this module. Its functions need Playwright and an installed
browser; to import it needs neither, so that the tests can skip.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import papermill.iorw
import papermill.parameterize
import psutil

from lhdlib import files
from lhdlib.run import stale, workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--disable-gpu", "--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
WINDOW = {"width": 1440, "height": 1000}
TALL = {"width": 1440, "height": 2400}
NOTEBOOK_S = 300  # for one notebook: tens of seconds where nothing else runs
#: No news, which would be asked for and fetched; every cell in the page, also far from what is in view.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
#: Of the caller, but not of a user at home: they would hide what a user's kernel prints, or lead to another server.
UNUSUAL = ("TF_CPP_MIN_LOG_LEVEL", "PYTEST_CURRENT_TEST", "MPLBACKEND", "JUPYTER_TOKEN", "JPY_PARENT_PID")


def find_browser() -> str | None:
    """Path of an installed Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def launch(playwright: Playwright) -> Browser:
    """A headless browser without a profile; no name outside this machine is resolved."""
    return playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)


def copy_notebook(number: str, folder: Path, results: Path, profile: str = "smoke") -> Path:
    """A notebook in `folder` whose parameters name a copy of a finished run's `results`, made beside it.

    What the notebook writes then leaves the run as it was.
    """
    copy = folder / number
    shutil.copytree(results, copy / "results", ignore=shutil.ignore_patterns("figures", "notebooks"))
    plan = stale.Plan(workspace.open_workspace(profile, results=str(copy / "results"), figures=str(copy / "figures")))
    source = papermill.iorw.load_notebook_node(str(plan.source(number)))
    target = folder / plan.source(number).name
    papermill.iorw.write_ipynb(papermill.parameterize.parameterize_notebook(source, plan.parameters), str(target))
    return target


@contextlib.contextmanager
def jupyterlab(folder: Path, home: Path) -> Iterator[str]:
    """Serve `folder` while the body runs; all settings lie in `home`.

    Yields the address of a notebook, token included, to be formatted with its stem; each has a workspace of its own, so
    that it opens alone.

    Raises
    ------
    RuntimeError
        When the server does not start within a minute, with the end of its log.
    """
    files.write_json(home / "config" / "labconfig" / "default_setting_overrides.json", SETTINGS)
    places = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
        "PYTHONPATH": workspace.ROOT,
    }
    usual = {name: value for name, value in os.environ.items() if name not in UNUSUAL}
    environment = usual | {name: str(place) for name, place in places.items()} | {"JUPYTER_PREFER_ENV_PATH": "1"}
    options = ["--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--LabApp.news_url=None"]
    root = ["--allow-root"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyter", "lab", *options, *root, f"--ServerApp.root_dir={folder}"]
    log = home / "server.log"
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment, cwd=home, stdout=file, stderr=file)
    try:
        yield _address(server, home / "runtime", log)
    finally:
        _stop(server)


def _address(server: subprocess.Popen, runtime: Path, log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        for path in runtime.glob(f"jpserver-{server.pid}.json"):
            with contextlib.suppress(Exception):  # half written
                found = files.read_json(path)
                return f"{found['url']}lab/workspaces/{{0}}/tree/{{0}}.ipynb?token={found['token']}"
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text(errors='replace')[-2000:]}")


def _stop(server: subprocess.Popen) -> None:
    """End the server and its kernels, which run in sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(server.pid).children(recursive=True)
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=15)
        server.kill()
        for member in psutil.wait_procs(family, timeout=2)[1]:
            member.kill()
    server.wait()


# In the page


def open_notebook(page: Page, address: str, notebook: Path) -> None:
    """Open and wait for the kernel to be idle: cells started before that are lost."""
    page.goto(address.format(notebook.stem), timeout=60_000)
    page.locator("#jp-main-statusbar").get_by_text("(ipykernel) | Idle").wait_for(timeout=60_000)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()


def run_all(page: Page) -> None:
    """Start all cells by the menu."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def dark_theme(page: Page) -> None:
    """Choose JupyterLab's dark theme by the menu."""
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Theme", exact=True).click()
    page.get_by_role("menuitem", name="JupyterLab Dark", exact=True).click()
    page.locator("body[data-jp-theme-light=false]").wait_for(state="attached")


def wait_until_run(page: Page) -> None:
    """Wait until every code cell has a number, or one has failed.

    Raises
    ------
    AssertionError
        With the text of the error that a cell shows.
    """
    page.wait_for_function(
        """() => document.querySelector('[data-mime-type="application/vnd.jupyter.error"]') ||
        [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].every(p => /\\[\\d+\\]/.test(p.textContent))""",
        timeout=1000 * NOTEBOOK_S,
        polling=250,
    )
    errors = outputs(page, "application/vnd.jupyter.error").all_inner_texts()
    assert not errors, errors[0][-2000:]


def outputs(page: Page, kind: str) -> Locator:
    """Outputs of one MIME type."""
    return page.locator(f'.jp-OutputArea-output[data-mime-type="{kind}"]')


def pixels(picture: Locator) -> str:
    """What an image shows, as a PNG's address: equal for equal pixels, whatever file they came from.

    `picture` is an ``img``, a ``canvas`` or something that holds one of them.
    """
    return picture.first.evaluate(
        """async node => {
            const image = node.matches("img, canvas") ? node : node.querySelector("img, canvas")
            if (image.decode) await image.decode().catch(() => image.decode())  // replaced meanwhile
            const canvas = document.createElement("canvas")
            canvas.width = image.naturalWidth ?? image.width
            canvas.height = image.naturalHeight ?? image.height
            canvas.getContext("2d").drawImage(image, 0, 0)
            return canvas.toDataURL()
        }"""
    )


def until_changed(read: Callable[[], object], before: object, seconds: float = 20) -> object:
    """What `read` returns as soon as it differs from `before`.

    Raises
    ------
    AssertionError
        When it stays the same.
    """
    deadline = time.monotonic() + seconds
    while (now := read()) == before:
        assert time.monotonic() < deadline, f"still {str(before)[:200]!r} after {seconds:.0f} s"
        time.sleep(0.05)
    return now


def settled(read: Callable[[], object], seconds: float = 1) -> object:
    """What `read` returns when it has not changed for so long: of a change that may have nothing to change."""
    now = read()
    while True:
        time.sleep(seconds)
        before, now = now, read()
        if now == before:
            return now


def contrast(text: Locator) -> float:
    """Contrast ratio of a text with what lies behind it, from 1 to 21 (WCAG 2.2, 1.4.3: at least 4.5)."""
    return text.evaluate(
        r"""node => {
            const parts = colour => colour.match(/[\d.]+/g).map(Number)
            const light = colour => parts(colour).slice(0, 3).map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
            const ink = getComputedStyle(node).color
            let behind = node
            while (behind.parentElement && parts(getComputedStyle(behind).backgroundColor)[3] === 0) {
                behind = behind.parentElement
            }
            const [low, high] = [light(ink), light(getComputedStyle(behind).backgroundColor)].sort((a, b) => a - b)
            return (high + 0.05) / (low + 0.05)
        }"""
    )
