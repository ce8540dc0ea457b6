"""One browser and one JupyterLab for the tests of this folder, and the screenshots that they leave."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.browser import lab

ARTEFACTS = Path(__file__).with_name("artefacts")
STARTED = pytest.StashKey[bool]()
NOTEBOOKS = {"07": "viewer", "01": "browser", "02": "playground"}  # with their widgets; the slowest first


@pytest.fixture(scope="package")
def browser(pytestconfig):
    """Headless Chromium; skips where it or Playwright is not installed. Ends with the folder's last test."""
    reason = "Playwright is not installed: .ci/run installs it, or pip install -r tests/browser/requirements.lock."
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    if lab.find_browser() is None:
        pytest.skip(
            f"None of {', '.join(lab.BROWSERS)} is on PATH: .ci/run installs one (Debian: apt install chromium)."
        )
    shutil.rmtree(ARTEFACTS, ignore_errors=True)
    ARTEFACTS.mkdir()
    pytestconfig.stash[STARTED] = True
    with playwright.sync_playwright() as started, lab.launch(started) as browser:
        yield browser


@pytest.fixture(scope="package")
def opened(browser, request, tmp_path_factory) -> dict[str, SimpleNamespace]:
    """Notebooks that were opened in JupyterLab and run by the menu, at the same time: ``page``, ``results``, ``said``.

    Each works on a copy of the smoke run; ``said`` are the browser console's errors.
    """
    smoke = request.getfixturevalue("smoke")  # two minutes, so only after the browser is known to be there
    folder, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home")
    sources = {number: lab.copy_notebook(number, folder, smoke.results) for number in NOTEBOOKS}
    with lab.jupyterlab(folder, home) as address:
        found = {}
        for number, source in sources.items():
            page = browser.new_context(viewport=lab.WINDOW).new_page()
            found[number] = SimpleNamespace(page=page, results=folder / number / "results", said=_listen(page))
            lab.open_notebook(page, address, source)
            lab.run_all(page)
        try:
            for notebook in found.values():
                lab.wait_until_run(notebook.page)
        finally:
            for number, notebook in found.items():
                notebook.page.screenshot(path=ARTEFACTS / f"notebook_{number}.png")
        yield found


def _listen(page) -> list[str]:
    """Errors on the browser's console; a picture of the checkout's gallery is no part of the copied notebooks."""
    said = []

    def hear(message) -> None:
        if message.type == "error" and "/figures/" not in message.location.get("url", ""):
            said.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


@pytest.fixture
def keep(request):
    """``keep(page_or_locator)`` leaves a screenshot under the test's name, whether it passes or fails."""
    kept = []
    yield kept.append
    for thing in kept:
        page = getattr(thing, "page", thing)
        window = page.viewport_size
        if thing is not page:  # a widget may be longer than the window
            page.set_viewport_size(lab.TALL)
        name = re.sub(r"\W+", "_", request.node.name.removeprefix("test_")).strip("_")
        thing.screenshot(path=ARTEFACTS / f"{name}.png")
        page.set_viewport_size(window)


def pytest_terminal_summary(terminalreporter, config):
    """Say where the screenshots are."""
    if config.stash.get(STARTED, False):
        count = len(list(ARTEFACTS.glob("*.png")))
        terminalreporter.write_line(f"{count} screenshots of the browser tests: {ARTEFACTS}")
