"""How long does a slider move of notebook 07's viewer take? ``python -m benchmarks.slider_latency [--dry-run]``

Opens the notebook of a finished run in JupyterLab, as the browser tests do, and presses an arrow key again and again.
Timed in the page: from the key's event until the new picture is decoded and the next frame is drawn.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.record import record
from lhdlib import workspace
from lhdlib.progress import progress_bar
from tests.browser import lab

# Resolves with the milliseconds of one move; a key that changes nothing lets Playwright's time limit pass.
MOVE = """picture => new Promise(resolve => {
    let pressed
    document.addEventListener("keydown", () => pressed = performance.now(), {capture: true, once: true})
    const look = new MutationObserver(async () => {
        look.disconnect()
        await (picture.matches("img") ? picture : picture.querySelector("img")).decode()
        requestAnimationFrame(() => resolve(performance.now() - pressed))
    })
    look.observe(picture, {attributes: true, attributeFilter: ["src"], childList: true, subtree: true})
})"""


def move(page: Page, key: str) -> float:
    """Milliseconds from a key press in the viewer's slider until the picture has changed."""
    picture = page.locator(".lhd-viewer .lhd-picture").element_handle()
    page.evaluate(f"picture => {{ window.moved = ({MOVE})(picture) }}", picture)
    page.keyboard.press(key)
    return page.evaluate("() => window.moved")


def measure(profile: str, moves: int) -> np.ndarray:
    """Milliseconds of each of `moves` moves, one after the other, to the last disc and back."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder, home = Path(place) / "notebooks", Path(place) / "home"
        folder.mkdir()
        home.mkdir()
        source = lab.copy_notebook("07", folder, workspace.results_dir(profile), profile)
        with lab.jupyterlab(folder, home) as address, lab.launch(playwright) as browser:
            page = browser.new_page(viewport=lab.WINDOW)
            print(f"{source.name} runs in JupyterLab", flush=True)
            lab.open_notebook(page, address, source)
            lab.run_all(page)
            lab.wait_until_run(page)
            handle = page.locator(".lhd-viewer .lhd-slider .noUi-handle")
            handle.focus()
            discs = int(float(handle.get_attribute("aria-valuemax")) - float(handle.get_attribute("aria-valuemin"))) + 1
            keys = ["ArrowRight"] * (discs - 1) + ["ArrowLeft"] * (discs - 1)
            return np.array([move(page, keys[number % len(keys)]) for number in progress_bar(range(moves))])


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="smoke", help="of a finished run in results/<profile>")
    parser.add_argument("--moves", type=int, default=50)
    parser.add_argument("--dry-run", action="store_true", help="print, and leave RESULTS.md as it is")
    args = parser.parse_args()
    times = measure(args.profile, args.moves)
    median, slow = np.percentile(times, [50, 95])
    lines = [
        f"- {args.moves} moves: median {median:.0f} ms, 95th percentile {slow:.0f} ms, slowest {times.max():.0f} ms"
    ]
    record(f"A slider move in JupyterLab, profile {args.profile}", lines, args.dry_run)


if __name__ == "__main__":
    main()
