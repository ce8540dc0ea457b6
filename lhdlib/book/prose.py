"""Markdown as HTML that needs no network: equations as MathML, code in colours, links between notebooks on the page."""

import html
import re
from dataclasses import dataclass
from pathlib import Path

from latex2mathml.converter import convert
from nbconvert.filters import markdown_mistune
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

APART = r"\\qquad|(?<=\d\))\s*\\quad"  # between equations that stand beside each other
NOTEBOOK, BESIDE = r"(\d\d)_\w+\.ipynb", "../figures/"  # links of a notebook


@dataclass(frozen=True)
class Heading:
    """A heading, and where on the page it is."""

    level: int
    text: str  #: HTML
    place: str


def mathml(tex: str, *, display: str = "inline") -> str:
    """TeX as a MathML element."""
    return convert(tex.strip().replace(r"\arg", r"\operatorname{arg}"), display=display)


def equations(tex: str) -> str:
    """Displayed TeX as a line of equations; those that stand `APART` come below each other on a narrow page."""
    pieces = re.split(APART, tex)
    whole = all(piece.count("{") == piece.count("}") for piece in pieces)
    found = (mathml(piece, display="block") for piece in (pieces if whole else [tex]))
    return f'<span class="equations">{"".join(f"<span>{one}</span>" for one in found)}</span>'


def code(source: str) -> str:
    """Python, highlighted."""
    return highlight(source, PythonLexer(), HtmlFormatter(nowrap=False)).rstrip()


def code_style() -> str:
    """Colours of `code`, on light and on dark pages."""
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    kept = [re.sub(r"background: #\w+;? ?", "", one) for one in (light, dark)]
    return f"{kept[0]}\n@media (prefers-color-scheme: dark) {{\n{kept[1]}\n}}"


class _Renderer(markdown_mistune.IPythonRenderer):
    """HTML of a chapter; remembers its headings."""

    def __init__(self, chapter: str, figures: str) -> None:
        super().__init__(escape=False, embed_images=True, path=figures)
        self.chapter = chapter
        self.headings: list[Heading] = []

    def heading(self, text: str, level: int, **attrs: dict) -> str:
        words = re.findall(r"\w+", html.unescape(re.sub("<[^>]+>", "", text)).lower())
        place = self.chapter if level == 1 else f"{self.chapter}-{'-'.join(words)}"
        self.headings.append(Heading(level, text, place))
        return f'<h{level} id="{place}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, re.sub(f"^{NOTEBOOK}$", r"#\1", url).removeprefix(BESIDE), title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return super().image(text, url.removeprefix(BESIDE), title)

    def block_html(self, text: str) -> str:
        """HTML as it stands; nbconvert would close what a fold leaves open until its text has followed."""
        return super().block_html(text) if "<img" in text else f"{text}\n"

    def table(self, text: str) -> str:
        return f'<div class="wide"><table>{text}</table></div>\n'

    def block_code(self, code_: str, info: str | None = None) -> str:
        return code(code_) if info == "python" else super().block_code(code_, info)

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return equations(body)


class Chapter:
    """Turns one chapter's Markdown into HTML, piece by piece.

    Parameters
    ----------
    name : str
        Begins the places of its headings on the page.
    figures : Path
        Whose pictures go into the page.
    """

    def __init__(self, name: str, figures: Path):
        self._renderer = _Renderer(name, str(figures))

    @property
    def headings(self) -> list[Heading]:
        """Those seen so far, in order."""
        return self._renderer.headings

    def html(self, text: str) -> str:
        """A piece of Markdown as HTML."""
        return markdown_mistune.MarkdownWithMath(renderer=self._renderer).render(text)
