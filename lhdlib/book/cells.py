"""Cells of an executed notebook as HTML: what they show first, their code below it, folded where it only draws."""

import ast
import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lhdlib.book import prose

#: Calls whose cell sets up, draws, saves or shows: its code is folded.
DRAWING = {"open_workspace", "figure", "table", "source", "close", "from_workspace", "write_atlas", "save_card"}
SOURCE = "publish.source("  # the cell shows code: that it does so is left out
FOLDED, END = '<details class="code"><summary>Code</summary>', "</details>"
LINES = 12  # of printed output, above which it is folded
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
ATLAS = '<a href="atlas.html">the atlas</a>'


def teaches(source: str) -> bool:
    """Whether a cell computes something worth reading, and is not one that only sets up, draws or shows."""
    tree = ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.M))
    nodes = list(ast.walk(tree))
    called = {node.func for node in nodes if isinstance(node, ast.Call)}
    names = {func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in called}
    imports = any(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes)
    return bool(called) and not imports and not names & DRAWING


def render(cell: Mapping[str, Any], chapter: prose.Chapter, widgets: Mapping[str, Any]) -> str:
    """A cell of any kind as HTML.

    Parameters
    ----------
    widgets : mapping of model's id -> its state
        As the notebook's metadata have them (`widget_states`).
    """
    if cell["cell_type"] == "markdown":
        return chapter.html(cell["source"])
    if cell["cell_type"] != "code" or "injected-parameters" in cell["metadata"].get("tags", []):
        return ""
    shown = "".join(_outputs(cell["outputs"], chapter, widgets))
    if SOURCE in cell["source"]:
        return shown
    code = prose.code(cell["source"])
    if teaches(cell["source"]):
        return f"{code}\n{shown}"
    return f"{shown}{FOLDED}{code}{END}"


def widget_states(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """States of the notebook's live widgets, by the ids of their models; empty when it has none."""
    return metadata.get("widgets", {}).get(STATE, {}).get("state", {})


def _outputs(outputs: list[Mapping[str, Any]], chapter: prose.Chapter, widgets: Mapping[str, Any]) -> Iterator[str]:
    printed = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    if printed.strip():
        yield _printed(printed)
    for output in outputs:
        if output["output_type"] != "stream":
            yield _data(output["data"], output["metadata"], chapter, widgets)


def _printed(text: str) -> str:
    """Printed lines as a terminal leaves them, a carriage return starting the line anew; no progress bars."""
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n")]
    kept = [line for line in lines if line and not re.search(r"\d%\|", line)]
    if not kept:
        return ""
    block = f'<pre class="printed">{html.escape(chr(10).join(kept))}</pre>'
    if len(kept) <= LINES:
        return block
    return f'<details class="code"><summary>{len(kept)} printed lines</summary>{block}</details>'


def _data(
    data: Mapping[str, Any], metadata: Mapping[str, Any], chapter: prose.Chapter, widgets: Mapping[str, Any]
) -> str:
    """The richest form of an output that needs no kernel."""
    if VIEW in data:
        return _widget(data[VIEW]["model_id"], widgets)
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.S)
        return f'<div class="wide">{table}</div>'
    if "image/png" in data:
        facts = metadata.get("image/png", {})
        width = f' width="{facts["width"]}"' if "width" in facts else ""
        alt = html.escape(facts.get("alt", ""))
        pixels = data["image/png"].replace("\n", "")
        return f'<img class="figure" src="data:image/png;base64,{pixels}" alt="{alt}"{width}>'
    if "text/markdown" in data:
        return chapter.html(data["text/markdown"])
    return f'<pre class="printed">{html.escape(data.get("text/plain", ""))}</pre>'


def _widget(model: str, widgets: Mapping[str, Any]) -> str:
    """The pictures that a live widget shows, and where it lives."""
    pictures = re.findall(r"<img\b[^>]*>", "".join(_texts(model, widgets)))
    said = f"Live in JupyterLab, here as a picture. All test discs, without a kernel: {ATLAS}."
    return f'<div class="live">{"".join(pictures)}<p>{said}</p></div>'


def _texts(model: str, widgets: Mapping[str, Any]) -> Iterator[str]:
    """HTML of a widget and of those inside it, from top to bottom."""
    state = widgets.get(model, {}).get("state", {})
    if isinstance(value := state.get("value"), str):
        yield value
    for child in state.get("children", ()):
        yield from _texts(child.removeprefix("IPY_MODEL_"), widgets)
