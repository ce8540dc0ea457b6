"""How long does a change in notebook 07's viewer take? ``python -m benchmarks.slider_latency [--dry-run]``

Opens the notebook of a finished run in JupyterLab, as the browser tests do, and presses keys: arrows in the slider, one
after the other, and with rests in which the sagittal view follows; arrows in the opacity's slider; the space bar in the
box of the lesion's outline. Timed in the page: from the key's event until the new picture is decoded and the next frame
is drawn.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import Locator, sync_playwright

from benchmarks.record import record
from lhdlib.run import workspace
from lhdlib.show import viewer
from tests.browser import lab

REST_S = 0.5  # between moves, so that the sagittal view follows each
# Resolves with the milliseconds from the next key press to another picture in this place; fails after ten seconds.
CHANGE = """place => new Promise((resolve, reject) => {
    let pressed
    setTimeout(() => reject(Error("The picture stays the same.")), 10_000)
    document.addEventListener("keydown", () => pressed = performance.now(), {capture: true, once: true})
    const look = new MutationObserver(async () => {
        look.disconnect()
        await place.querySelector("img").decode()
        requestAnimationFrame(() => resolve(performance.now() - pressed))
    })
    look.observe(place, {childList: true, subtree: true})
})"""


def changes(place: Locator, control: Locator, keys: Sequence[str], times: int, rest: float = 0) -> np.ndarray:
    """Milliseconds from each key press in a control to the new picture in a place; the keys come round and round."""
    page, node, found = place.page, place.element_handle(), []
    control.focus()
    for key in itertools.islice(itertools.cycle(keys), times):
        page.evaluate(f"place => {{ window.changed = ({CHANGE})(place) }}", node)
        page.keyboard.press(key)
        found.append(page.evaluate("() => window.changed"))
        time.sleep(rest)
    return np.array(found)


def measure(profile: str, times: int) -> dict[str, np.ndarray]:
    """Milliseconds of `times` changes of each kind; the slider goes to the last disc and back."""
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
            shown = page.locator(".lhd-viewer")
            picture, sagittal = (shown.locator(f".lhd-{name}") for name in ("picture", "sagittal"))
            slider, opacity, *_ = shown.get_by_role("slider").all()
            discs = int(float(slider.get_attribute("aria-valuemax")) - float(slider.get_attribute("aria-valuemin")))
            there_and_back = ["ArrowRight"] * discs + ["ArrowLeft"] * discs
            found = {"moves, one after the other": changes(picture, slider, there_and_back, times)}
            slider.press("Home")
            time.sleep(4 * REST_S)
            name = f"the sagittal view, which waits {1000 * viewer.REST_S:.0f} ms for the slider to rest"
            found[name] = changes(sagittal, slider, there_and_back, times, REST_S)
            shown.get_by_label("heatmap for discs called normal too").check()
            for outcome in ("true positive", "false negative"):  # an abnormal disc, which has an outline
                outcomes = shown.locator(".lhd-outcome select")
                offered = outcomes.locator("option").all_inner_texts()  # with their numbers
                outcomes.select_option(
                    label=next(name for name in offered if name.replace("\xa0", " ").startswith(outcome))
                )
                time.sleep(REST_S)
                if picture.locator("img").count():
                    break
            found["steps of the opacity"] = changes(picture, opacity, ["ArrowLeft", "ArrowRight"], times)
            outline = shown.get_by_label("outline of the lesion (truth)")
            found["the outline on or off"] = changes(picture, outline, ["Space"], times)
            return found


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="smoke", help="of a finished run in results/<profile>")
    parser.add_argument("--times", type=int, default=50, help="of each kind of change")
    parser.add_argument("--dry-run", action="store_true", help="print, and leave RESULTS.md as it is")
    args = parser.parse_args()
    lines = [
        f"- {name}: {len(times)}, median {median:.0f} ms, 95th percentile {slow:.0f} ms, slowest {times.max():.0f} ms"
        for name, times in measure(args.profile, args.times).items()
        for median, slow in [np.percentile(times, [50, 95])]
    ]
    record(f"Changes in the viewer in JupyterLab, profile {args.profile}", lines, args.dry_run)


if __name__ == "__main__":
    main()
