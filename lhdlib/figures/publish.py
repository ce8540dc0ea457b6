"""The one way to save a figure or a table, and to show it in a notebook.

What a reader needs goes with the drawing: the caption, the alternative text, the stamp, and on which data it was
obtained. Equal input gives equal bytes. A file whose content is as before keeps the stamp that it has: only its time of
change is new.
"""

import ast
import contextlib
import html
import inspect
import io
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import PIL.Image
from IPython.display import Image, Markdown, display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.transforms import Bbox

from lhdlib.figures.style import COLUMN, DPI, MIDDLE, MM, PAGE, SMALL, style
from lhdlib.files import read_json, replacing, write_json, write_text

FOOTER = "DejaVu Sans"  # the font of `style`, whatever is set when a figure is saved
SCREEN_DPI = 144  # pixels per printed inch in a notebook and in the gallery
CONTENT = ("data", "fingerprint", "profile", "seed")  #: of a stamp; the rest says with what the same was drawn again
#: Where a page has its stamp: the gallery's last section, the foot of the book and of the atlas.
STAMPED = re.compile(rb"^## How it was obtained.*|<footer.*?</footer>", re.M | re.S)


def save_figure(
    fig: Figure, name: str, folder: Path, stamp: Mapping[str, Any], caption: str, *, details: str = ""
) -> Path:
    """Write ``name.png``, ``name.pdf`` and ``name.json`` (caption, details, alternative text, stamp).

    The data's label is drawn below the figure, so that no copy of it loses it. A figure that differs from the one there
    by nothing but its stamp is left as it is.

    Parameters
    ----------
    fig
        `style.described`; `style.COLUMN`, ``MIDDLE`` or ``PAGE`` wide.
    stamp
        `workspace.Workspace.stamp`; needs ``data``.
    caption
        What it shows, and what follows.
    details
        Folded below it.

    Returns
    -------
    Path
        The PNG.

    Raises
    ------
    ValueError
        When the figure has no alternative text, or another width.
    """
    width = round(fig.get_figwidth() / MM, 6)
    if width not in (COLUMN, MIDDLE, PAGE):
        raise ValueError(f"Figure {name} is {width:g} mm wide: draw it at {COLUMN}, {MIDDLE} or {PAGE} mm.")
    if not fig.get_label():
        raise ValueError(f"Figure {name} has no alternative text: return it through style.described.")
    alt = f"{fig.get_label()} Data: {stamp['data']}."
    path, kept, again = folder / f"{name}.png", _kept(name, folder, stamp), io.BytesIO()
    layout = fig.get_layout_engine()
    if kept:
        _draw(fig, again, "png", name, kept["stamp"], alt)
        fig.set_layout_engine("none")  # a second layout may lie a little beside the first
    said = {"caption": caption, "details": details, "alt": alt}
    same = kept and said.items() <= kept.items() and path.read_bytes() == again.getvalue()
    if not same:
        for kind in ("png", "pdf"):
            with replacing(folder / f"{name}.{kind}") as temporary:
                _draw(fig, temporary, kind, name, stamp, alt)
        _describe("figure", name, folder, stamp, [f"{name}.png", f"{name}.pdf"], **said)
    fig.set_layout_engine(layout)
    _touch(folder, name)
    return path


def _draw(fig: Figure, target: Path | io.BytesIO, kind: str, name: str, stamp: Mapping[str, Any], alt: str) -> None:
    text = json.dumps(stamp, sort_keys=True)
    inside = {
        "png": {"Software": None, "Description": alt, "Comment": text},
        "pdf": {"CreationDate": None, "Title": name, "Subject": alt, "Keywords": text},
    }
    sheet = _with_footer(fig, stamp)
    with style():
        fig.savefig(target, format=kind, dpi=DPI, metadata=inside[kind], bbox_inches=sheet)


def _kept(name: str, folder: Path, stamp: Mapping[str, Any]) -> dict[str, Any]:
    """Description of what lies there under the name, if all its files do and it is of the same data and settings."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return {}
    entry = read_json(path)
    whole = all((folder / file).is_file() for file in entry["files"])
    return entry if whole and all(entry["stamp"].get(key) == stamp.get(key) for key in CONTENT) else {}


def _touch(folder: Path, name: str) -> None:
    """Mark the files of a figure or a table as written now."""
    for file in (*read_json(folder / f"{name}.json")["files"], f"{name}.json"):
        (folder / file).touch()


@contextlib.contextmanager
def keeping(page: Path) -> Iterator[None]:
    """Undo what the body writes into a page that differs from the earlier one by nothing but its stamp (`STAMPED`)."""
    earlier = page.read_bytes() if page.is_file() else b""
    yield
    if earlier and STAMPED.sub(b"", earlier) == STAMPED.sub(b"", page.read_bytes()):
        with replacing(page) as temporary:
            temporary.write_bytes(earlier)


def _with_footer(fig: Figure, stamp: Mapping[str, Any]) -> Bbox:
    """Write the data's label and the stamp below the figure; the sheet that holds both, in inches."""
    for old in [text for text in fig.texts if text.get_gid() == "footer"]:
        old.remove()
    width, height = fig.get_size_inches()
    facts = " · ".join(f"{key} {stamp[key]}" for key in ("profile", "seed", "commit") if key in stamp)
    lines = [line for text in (f"Data: {stamp['data']}", facts) for line in _wrapped(text, width - 2 * MM)]
    footer = {"ha": "left", "va": "top", "fontsize": SMALL, "color": "0.25", "family": FOOTER, "gid": "footer"}
    gap, line = 1.5 * MM, 1.25 * SMALL / 72
    fig.text(MM / width, -gap / height, "\n".join(lines), **footer)
    return Bbox([[0, -(gap + line * len(lines) + MM)], [width, height]])


def _wrapped(text: str, width: float) -> list[str]:
    """Lines of the footer's size that are at most `width` inches long."""
    renderer = FigureCanvasAgg(Figure(dpi=72)).get_renderer()
    font = FontProperties(family=FOOTER, size=SMALL)
    for characters in range(int(width / MM), 0, -1):  # few are narrower than a millimetre
        lines = textwrap.wrap(text, characters)
        if all(renderer.get_text_width_height_descent(line, font, False)[0] <= 72 * width for line in lines):
            return lines
    return [text]


@dataclass(frozen=True)
class Shown:
    """A saved figure with its alternative text and its caption, or a saved table, as a notebook shows it."""

    path: Path  #: PNG of `save_figure` or Markdown of `save_table`

    def parts(self) -> tuple[Image | Markdown, ...]:
        """Outputs of the cell, in order."""
        if self.path.suffix == ".md":
            return (Markdown(filename=self.path),)
        entry = read_json(self.path.with_suffix(".json"))
        return Image(self.path, alt=entry["alt"], width=_pixels(self.path)), Markdown(captioned(entry))

    def _ipython_display_(self) -> None:
        display(*self.parts())


def captioned(entry: Mapping[str, Any], *, link: str = "") -> str:
    """Caption of a figure or table, with a link, and its details folded below, as Markdown."""
    caption = f"{entry['caption']} {link}".rstrip()
    details = entry.get("details")  # those drawn before there were details have none
    return f"{caption}\n\n{folded('In detail', details)}" if details else caption


def folded(summary: str, text: str) -> str:
    """Markdown that shows only its summary until a reader opens it."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def source(*functions: Callable) -> Markdown:
    """Show functions as they are written, without their docstrings, as the last line of a cell."""
    return Markdown("\n".join(["```python", *(_body(function) for function in functions), "```"]))


def _body(function: Callable) -> str:
    """A function's source under the name of its module; a docstring and the empty line below it are left out."""
    plain = inspect.unwrap(function)
    lines = textwrap.dedent(inspect.getsource(plain)).splitlines()
    tree = ast.parse("\n".join(lines)).body[0]
    if isinstance(tree, ast.FunctionDef) and ast.get_docstring(tree):
        text = tree.body[0]
        end = text.end_lineno or text.lineno
        end += end < len(lines) and not lines[end].strip()
        del lines[text.lineno - 1 : end]
    return "\n".join([f"# {plain.__module__}", *lines, ""])


def picture(path: Path) -> str:
    """A saved figure as an element of a Markdown page beside it, with its alternative text."""
    alt = read_json(path.with_suffix(".json"))["alt"]
    return f'<img src="{path.name}" width="{_pixels(path)}" alt="{html.escape(alt)}">'


def _pixels(path: Path) -> int:
    """Width on the screen: the printed one at `SCREEN_DPI`, so that text has one size in all figures."""
    with PIL.Image.open(path) as image:
        return round(image.width * SCREEN_DPI / DPI)


def save_table(
    table: pd.DataFrame, name: str, folder: Path, stamp: Mapping[str, Any], caption: str, *, details: str = ""
) -> Path:
    """Write ``name.md`` (caption, table, details, the data's label), ``name.csv``, ``name.json``; see `save_figure`.

    Returns
    -------
    Path
        The Markdown file.
    """
    data = f"Data: {stamp['data']}\n"
    texts = {
        f"{name}.md": "\n".join([f"{caption}\n", markdown(table), *([f"{details}\n"] if details else []), data]),
        f"{name}.csv": table.to_csv(index=False, lineterminator="\n"),
    }
    kept = _kept(name, folder, stamp)
    if not kept or any((folder / file).read_bytes() != text.encode() for file, text in texts.items()):
        for file, text in texts.items():
            write_text(folder / file, text)
        _describe("table", name, folder, stamp, list(texts), caption=caption, details=details)
    _touch(folder, name)
    return folder / f"{name}.md"


def markdown(table: pd.DataFrame) -> str:
    """A data frame as a Markdown table, without its index."""
    cells = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).values.tolist()]
    escaped = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in cells]
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


def _describe(kind: str, name: str, folder: Path, stamp: Mapping, files: list[str], **said: str) -> None:
    entry = {"kind": kind, "name": name, **said, "stamp": dict(stamp), "files": files}
    write_json(folder / f"{name}.json", entry)


def save_card(sections: Mapping[str, Sequence[str]], folder: Path, stamp: Mapping[str, Any], closing: str) -> Path:
    """Write ``dataset_card.md``: figures and tables that `folder` already holds, under headings.

    Parameters
    ----------
    sections : mapping of heading -> sequence of names
        As given to `save_figure` and `save_table`.
    closing : str
        Markdown below the last section.

    Returns
    -------
    Path
        The page.
    """
    parts = ["# Dataset card", f"**Data: {stamp['data']}**"]
    for heading, names in sections.items():
        parts.append(f"## {heading}")
        for name in names:
            entry = read_json(folder / f"{name}.json")
            if entry["kind"] == "table":
                parts.append((folder / f"{name}.md").read_text(encoding="utf-8").rstrip())
            else:
                parts += [picture(folder / f"{name}.png"), captioned(entry)]
    page = folder / "dataset_card.md"
    write_text(page, "\n\n".join([*parts, closing]) + "\n")
    return page
