"""Makes ``book.html``: one page, from the disk, without network, script or kernel."""

import html
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import nbformat

from lhdlib import files, paper
from lhdlib.book import cells, prose
from lhdlib.figures import claims, publish

NAME = "book.html"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
DEEPEST = 2  # level of the headings that the contents list
FOLDER = Path(__file__).parent


def write_book(results: Path, figures: Path) -> Path:
    """Write the executed notebooks of a run as one page into the figures' folder; equal input gives equal bytes.

    Parameters
    ----------
    results : Path
        With ``stamp.json`` and the executed notebooks in ``notebooks``.

    Raises
    ------
    UserError
        When there is no ``stamp.json``.
    """
    stamp = files.read_json(results / "stamp.json")
    executed = sorted((results / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    chapters = [_chapter(path, figures) for path in executed if path.suffixes == [".ipynb"]]  # none that failed
    page = figures / NAME
    with publish.keeping(page):
        files.write_text(page, _page([*_verdicts(figures), *chapters], stamp))
    return page


def _verdicts(figures: Path) -> list[tuple[list[prose.Heading], str]]:
    """The paper's claims in three columns, as the first chapter, once they have been judged."""
    path = figures / f"{claims.NAME}.csv"
    if not path.is_file():
        return []
    table, chapter = files.read_table(path), prose.Chapter("00", figures)
    short = publish.markdown(claims.columns(table))
    return [(chapter.headings, chapter.html(f"# What holds on this data\n\n{claims.sentence(table)}\n\n{short}"))]


def _chapter(path: Path, figures: Path) -> tuple[list[prose.Heading], str]:
    notebook = nbformat.read(path, as_version=4)
    chapter, widgets = prose.Chapter(path.stem[:2], figures), cells.widget_states(notebook.metadata)
    parts = [cells.render(cell, chapter, widgets) for cell in notebook.cells]
    body = "\n".join(part for part in parts if part).replace(f"{cells.END}\n{cells.FOLDED}", "\n")  # folded as one
    return chapter.headings, body


def _page(chapters: list[tuple[list[prose.Heading], str]], stamp: Mapping[str, Any]) -> str:
    bodies = "\n".join(f"<section>\n{body}\n</section>" for _, body in chapters)
    return Template((FOLDER / "book.html").read_text(encoding="utf-8")).substitute(
        policy=POLICY,
        style=(FOLDER / "book.css").read_text(encoding="utf-8") + prose.code_style(),
        citation=html.escape(paper.CITATION),
        data=html.escape(stamp["data"]),
        contents="\n".join(_contents(headings) for headings, _ in chapters),
        chapters=bodies,
        stamp=" · ".join(f"{key} {html.escape(str(value))}" for key, value in stamp.items() if key != "parts"),
    )


def _contents(headings: list[prose.Heading]) -> str:
    """A chapter of the contents: its title, and its sections folded below it."""
    title, *sections = (_link(one) for one in headings if one.level <= DEEPEST)
    inner = "".join(f"<li>{section}</li>" for section in sections)
    return f"<li>{title}<ul>{inner}</ul></li>" if inner else f"<li>{title}</li>"


def _link(heading: prose.Heading) -> str:
    return f'<a href="#{heading.place}">{heading.text}</a>'
