"""One HTML file for a reader without Python: a slider over the discs, from the disk, with no server and no network.

Pictures and words come from `reading`, as in the live viewer. Each disc has its slices and the same under full heat;
the page lays one over the other, which is what drawing with any opacity in between would give.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from lhdlib import files
from lhdlib.progress import progress_bar
from lhdlib.show import disc as readings
from lhdlib.show.disc import Look, Reading
from lhdlib.show.pictures import data_url

LIMIT = 10 * 10**6  # bytes of the page
SMALL = 1.5e6  # bytes: a page that is not larger may have better pictures than its reader needs
LARGEST = 300  # side of a slice in a picture, pixels
#: Side of a slice over the slice store's, WebP quality, and bytes that the page may have: the first that fit are taken.
STEPS = (
    (3, 85, SMALL),
    *((factor, quality, LIMIT) for factor, quality in ((1.5, 60), (1.5, 40), (1, 35), (0.7, 50), (0.7, 30), (0.5, 30))),
)
HEAT_QUALITY = 0.6  # of the slices' quality, for the heat: it is smooth, and the slices show through it
TRIED = 16  # pictures that tell how large all will be
LOOK = Look(opacity=1, always=True)
NOT_CLINICAL = "Research software, not for clinical use: it must not be used to diagnose, treat or triage anyone."


@dataclass(frozen=True)
class Written:
    """What `write_atlas` made: the page, the side of a slice in its pictures (pixels), the rows of discs left out."""

    path: Path
    side: int
    left_out: tuple[int, ...]


def write_atlas(
    reading: Reading,
    path: str | Path,
    stamp: Mapping[str, Any],
    title: str = "Heatmaps of the test discs",
    warning: str = "",
    details: str = "",
    limit: int = LIMIT,
) -> Written:
    """Write the page, atomically; equal input gives equal bytes.

    Pictures shrink until the page fits. Discs for which even the smallest leave no room are left out, from the last
    one backwards; the page names them.

    Parameters
    ----------
    reading : Reading
    path : path
        Of the page.
    stamp : mapping
        `workspace.Workspace.stamp`.
    title : str
    warning : str
        Stands large above everything; by default the data's label.
    details : str
        HTML below the discs, its contents escaped.
    limit : int
        Bytes that the page may have.

    Raises
    ------
    UserError
        When the truth has no mask that fits a slice, or the disk is full.
    """
    path = Path(path)
    words = [_words(reading, row) for row in range(len(reading.discs))]
    frame = {"title": title, "warning": warning or f"Data: {reading.data_label}", "stamp": stamp, "details": details}
    room = limit - len(_page(reading, words[:0], frame, ()).encode()) - 4096  # for the sentence about what is left out
    side, pictures = _pictures(reading, [len(_json(disc)) for disc in words], room)
    discs = [disc | shown for disc, shown in zip(words, pictures, strict=False)]
    left_out = tuple(range(len(discs), len(words)))
    with files.replacing(path) as temporary:
        temporary.write_text(_page(reading, discs, frame, left_out), encoding="utf-8")
    return Written(path, side, left_out)


# What the page shows of a disc


def _words(reading: Reading, row: int) -> dict[str, Any]:
    said = readings.facts(reading, row)
    known = {"abnormal": 1, "normal": 0, None: None}[said["label"]]
    return {
        "name": f"patient {said['patient']}, {said['level']}",
        "outcome": said["outcome"],
        "level": said["level"],
        "probability": round(said["probability"], 4),
        "error": None if known is None else round(abs(known - said["probability"]), 4),
        "called": said["called"],
        "caption": readings.caption(said),
    }


def _pictures(reading: Reading, sizes: list[int], room: int) -> tuple[int, list[dict[str, str]]]:
    """Side of a slice, and the pictures of as many discs as there is room for; `sizes` are their words' bytes."""
    tried = np.linspace(0, len(sizes) - 1, min(TRIED, len(sizes))).astype(int)
    for step in STEPS:
        factor, quality, most = step
        side = min(LARGEST, round(factor * reading.images.shape[-1]))
        typical = np.mean([len(_json(_slices(reading, row, side, quality))) for row in tried]) if sizes else 0
        pictures: list[dict[str, str]] = []
        if sum(sizes) + typical * len(sizes) <= min(room, most) or step == STEPS[-1]:
            left = room
            for row, words in enumerate(progress_bar(sizes, desc="atlas", disable=len(sizes) < 100)):
                shown = _slices(reading, row, side, quality) | _lesion(reading, row, side)
                left -= words + len(_json(shown))
                if left < 0:
                    break
                pictures.append(shown)
        if len(pictures) == len(sizes):
            break
    return side, pictures


def _slices(reading: Reading, row: int, side: int, quality: int) -> dict[str, str]:
    """The slices, and the same under full heat."""
    drawn = readings.draw_disc(reading, row, LOOK, side)
    grey, hot = (drawn.crop((0, top, drawn.width, top + side)) for top in (0, side))
    return {
        "slices": data_url(grey, "WEBP", quality=quality, method=6),
        "heat": data_url(hot, "WEBP", quality=round(HEAT_QUALITY * quality), method=6),
    }


def _lesion(reading: Reading, row: int, side: int) -> dict[str, str]:
    """Where the truth is known and there is a lesion: its outline, to lay over the slices."""
    if reading.lesion is None:
        return {}
    edge = np.concatenate(list(readings.outline(reading.lesion(row), side)), axis=1)
    if not edge.any():
        return {}
    picture = Image.fromarray(edge.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *readings.CONTOUR])
    return {"lesion": data_url(picture, "PNG", transparency=0, bits=1, optimize=True)}


def _json(value: Any) -> str:
    """JSON in ASCII that may stand in a script element: no ``<`` could end it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


# The page


def _page(reading: Reading, discs: list[dict[str, Any]], frame: Mapping[str, Any], left_out: tuple[int, ...]) -> str:
    colors = mpl.colormaps[LOOK.color_map](np.linspace(0, 1, 9))[:, :3]
    stops = ", ".join("rgb({} {} {})".format(*(255 * color).astype(int)) for color in colors)
    lesions = reading.lesion is not None
    missing = ""
    if left_out:
        first, last = (readings.facts(reading, row) for row in (left_out[0], left_out[-1]))
        name = "patient {patient}, {level}".format
        missing = (
            f"{len(left_out)} of {len(reading.discs)} discs found no room in this file and are not shown: the last "
            f"ones, {name(**first)} to {name(**last)}."
        )
    return PAGE.substitute(
        policy="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'",
        title=html.escape(frame["title"]),
        warning=html.escape(frame["warning"]),
        not_clinical=NOT_CLINICAL,
        missing=f"<p class='warning'>{html.escape(missing)}</p>" if missing else "",
        style=STYLE,
        script=SCRIPT,
        stops=stops,
        contour="rgb({} {} {})".format(*readings.CONTOUR),
        lesion_hidden="" if lesions else "hidden",
        columns="".join(f"<span>{name}</span>" for name in readings.POSITIONS),
        details=frame["details"],
        stamp=" · ".join(f"{html.escape(str(key))} {html.escape(str(value))}" for key, value in frame["stamp"].items()),
        data=_json(discs),
    )


PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>:root { --contour: $contour; --ramp: $stops; }$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="warning">$warning</p>
<p class="quiet">$not_clinical</p>
$missing
</header>
<main>
<noscript><p class="warning">The slider needs JavaScript, which is off here.</p></noscript>
<section id="controls" aria-label="Choose a disc">
<div class="fields">
<label>Outcome <select id="outcome"></select></label>
<label>Level <select id="level"></select></label>
<label>Order <select id="order">
<option value="listed">as listed</option>
<option value="high">probability, highest first</option>
<option value="low">probability, lowest first</option>
<option value="wrong">most wrong first</option>
</select></label>
</div>
<div class="move">
<button id="previous" type="button">◀ Previous</button>
<input id="slider" type="range" min="1" value="1" aria-label="Disc">
<button id="next" type="button">Next ▶</button>
<output id="place" for="slider"></output>
</div>
</section>
<p id="nothing" role="status" hidden>No disc has this outcome at this level: choose another.</p>
<figure id="disc">
<div>
<div class="row head">$columns</div>
<p class="side">Input</p>
<div class="row"><img id="input" alt=""></div>
<p class="side" id="heated"></p>
<div class="row"><img id="under" alt=""><img id="heat" class="over" alt=""><img id="lesion" class="over" alt=""></div>
</div>
<div>
<div class="fields">
<label>Opacity of the heat <input id="opacity" type="range" min="0" max="100" value="60"></label>
<label><input id="always" type="checkbox"> Heat for discs called normal, too</label>
<label $lesion_hidden><input id="truth" type="checkbox"> <span class="key"></span> Outline of the true lesion (phantom)
<span id="outlined"></span></label>
</div>
<p class="quiet legend">cold <span class="ramp"></span> hot. Each slice's heat is divided by its own maximum:
every map has a hottest place, whether or not there is a lesion.</p>
<figcaption id="caption" aria-live="polite" aria-atomic="true"></figcaption>
</div>
</figure>
$details
</main>
<footer class="quiet"><p>The arrow keys move the slider. $stamp</p></footer>
<script type="application/json" id="data">$data</script>
<script>$script</script>
</body>
</html>
""")

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --quiet: #57606a; --line: #c3c9d0;
  --alarm: #7a2e00; --alarm-paper: #fff1e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --paper: #14171b; --quiet: #a4adb8; --line: #444c56;
  --alarm: #ffc48a; --alarm-paper: #33220f; } }
body { margin: 0 auto; max-width: 76rem; padding: 0 1rem 1rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 1rem 0 .5rem; }
.warning { font-size: 1.25rem; font-weight: 600; margin: .5rem 0; padding: .4rem .8rem; color: var(--alarm);
  background: var(--alarm-paper); border-left: .3rem solid; }
.quiet { color: var(--quiet); font-size: .875rem; margin: .4rem 0; }
.fields, .move { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; align-items: center; margin: .6rem 0; }
.move #slider { flex: 1 1 14rem; min-width: 0; }
.move output { flex: 0 0 8.5em; }
@media (max-width: 40rem) { .move #slider { flex-basis: 100%; order: 1; } }
select, button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line);
  border-radius: .3rem; padding: .15rem .5rem; max-width: 100%; }
option { color: #000; background: #fff; }
:focus-visible { outline: 3px solid #4c8bc9; outline-offset: 2px; }
figure { margin: 0; }
@media (min-width: 60rem) { figure { display: grid; grid-template-columns: minmax(0, 1fr) 24rem; gap: 0 1.5rem; } }
.row { position: relative; background: #000; aspect-ratio: 3; }
.row img { display: block; width: 100%; height: 100%; }
.row .over { position: absolute; inset: 0; }
.head { display: grid; grid-template-columns: repeat(3, 1fr); aspect-ratio: auto; text-align: center; background: none;
  font-size: .875rem; }
.side { margin: .2rem 0; font-size: .875rem; font-weight: 600; }
.key { display: inline-block; width: 1em; height: .25em; vertical-align: middle; background: var(--contour);
  outline: 1px solid var(--line); }
.ramp { display: inline-block; width: 8em; height: .8em; background: linear-gradient(to right, var(--ramp)); }
table { border-collapse: collapse; font-size: .9rem; }
.wide { overflow-x: auto; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0; border-bottom: 1px solid var(--line); }
[hidden] { display: none !important; }
"""

SCRIPT = """
"use strict";
const at = id => document.getElementById(id);
const discs = JSON.parse(at("data").textContent);
const orders = {
  listed: () => 0,
  high: (a, b) => b.probability - a.probability,
  low: (a, b) => a.probability - b.probability,
  wrong: (a, b) => b.error - a.error,
};
let chosen = [], disc;

function offer(select, name) {
  const values = discs.map(disc => disc[name]), add = (text, value) => select.add(new Option(text, value));
  add(`all (${discs.length})`, "");
  for (const value of [...new Set(values)].sort()) add(`${value} (${values.filter(v => v === value).length})`, value);
}

function choose() {
  const keep = name => disc => !at(name).value || disc[name] === at(name).value;
  chosen = discs.filter(keep("outcome")).filter(keep("level")).sort(orders[at("order").value]);
  at("slider").max = Math.max(1, chosen.length);
  at("slider").value = Math.max(0, chosen.indexOf(disc)) + 1;
  at("disc").hidden = !chosen.length;
  at("nothing").hidden = Boolean(chosen.length);
  show();
}

function show() {
  const number = chosen.length && Number(at("slider").value), slices = "three cross-sections, cranial to caudal";
  at("place").value = `disc ${number} of ${chosen.length}`;
  at("slider").disabled = chosen.length < 2;
  at("previous").disabled = number <= 1;
  at("next").disabled = number >= chosen.length;
  if (!chosen.length) return;
  const moved = disc !== chosen[number - 1];
  disc = chosen[number - 1];
  at("slider").setAttribute("aria-valuetext", `${at("place").value}: ${disc.name}`);
  for (const id of ["input", "under"]) at(id).src = disc.slices;
  at("heat").src = disc.heat;
  at("input").alt = `${disc.name}: ${slices}.`;
  const drawn = disc.called === "abnormal" || at("always").checked;
  at("heated").textContent = drawn ? "Under the heat" : "No heat: the disc is called normal";
  at("heat").hidden = !drawn;
  at("heat").style.opacity = at("opacity").value / 100;
  at("heat").alt = `${disc.name}, called ${disc.called}: the same ${slices}, under the heat of the classifier.`;
  at("under").alt = drawn ? "" : `${disc.name}, called ${disc.called}: the same ${slices}, without heat.`;
  at("lesion").hidden = !(at("truth").checked && disc.lesion);
  if (disc.lesion) at("lesion").src = disc.lesion;
  at("lesion").alt = "Outline of the true lesion.";
  at("outlined").textContent = at("truth").checked && !disc.lesion ? "(this disc has none on these slices)" : "";
  if (moved) at("caption").innerHTML = disc.caption;
}

function move(step) {
  at("slider").value = Number(at("slider").value) + step;
  show();
}

offer(at("outcome"), "outcome");
offer(at("level"), "level");
if (discs.some(disc => disc.error === null)) at("order").querySelector("[value=wrong]").remove();
for (const id of ["outcome", "level"]) at(id).addEventListener("change", choose);
at("order").addEventListener("change", () => { disc = null; choose(); });
for (const id of ["slider", "opacity", "always", "truth"]) at(id).addEventListener("input", show);
at("previous").addEventListener("click", () => move(-1));
at("next").addEventListener("click", () => move(1));
document.addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && !event.altKey && !event.ctrlKey && !event.metaKey && !event.target.closest("input, select")) move(step);
});
choose();
"""
