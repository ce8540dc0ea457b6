"""Markdown of notebooks as HTML: equations as MathML, links inside the page, code in colours."""

import re
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest

from lhdlib.book import prose
from lhdlib.figures import publish
from lhdlib.run import stale

MATH = r"\$\$(.+?)\$\$|(?<![\\$])\$([^$]+?)\$"
NOTEBOOKS = sorted(stale.NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_equation_of_the_notebooks_keeps_a_command_of_tex(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    found = [match[1] or match[2] for match in re.finditer(MATH, text, re.S)]
    assert found
    for tex in found:
        tree = ElementTree.fromstring(prose.mathml(tex))
        assert tree.tag.endswith("math") and "\\" not in "".join(tree.itertext()), tex


def test_an_equation_says_the_same_in_mathml():
    tree = ElementTree.fromstring(prose.mathml(r"\frac{a}{b_i} \in \arg"))
    assert "".join(tree.itertext()).split() == ["abi∈arg"]
    assert [node.tag.split("}")[1] for node in tree.iter()].count("mfrac") == 1


@pytest.mark.parametrize(
    ("tex", "count"),
    [
        (r"a = 1 \quad (1) \qquad b = 2 \quad (2)", 2),
        (r"a \;(16) \quad b \;(17) \quad c", 3),
        (r"x, \quad i \neq j \quad (5)", 1),
        (r"\underbrace{a \qquad b}_L", 1),  # inside braces it parts nothing
    ],
)
def test_equations_beside_each_other_may_come_below_each_other(tex, count):
    assert prose.equations(tex).count("<math") == count


def test_a_chapter_keeps_its_headings_and_links_other_notebooks_on_the_page():
    chapter = prose.Chapter("03", Path())
    text = chapter.html(
        "# 03 · A *title*\n\n## How sure, $n$ times?\n\nSee [02](02_views.ipynb) and [it](../figures/x.md)."
    )
    assert [(one.level, one.place) for one in chapter.headings] == [(1, "03"), (2, "03-how-sure-n-times")]
    assert all(f'id="{one.place}">{one.text}</h' in text for one in chapter.headings)
    assert 'href="#02"' in text and 'href="x.md"' in text


def test_code_and_tables_are_rendered():
    text = prose.Chapter("01", Path()).html("```python\nreturn 1\n```\n\n| a | b |\n| --- | --- |\n| 1 | $x$ |\n")
    assert '<span class="k">return</span>' in text and '<div class="wide"><table>' in text and "<mi>x</mi>" in text


def test_colours_of_code_have_no_background_of_their_own():
    style = prose.code_style()
    assert "prefers-color-scheme: dark" in style and not re.search(r"\.highlight\s*\{[^}]*background", style)


def test_pictures_beside_the_notebooks_go_into_the_page(tmp_path):
    (tmp_path / "a.png").write_bytes(b"pixels")
    text = prose.Chapter("01", tmp_path).html("![a disc](../figures/a.png)")
    assert 'src="data:image/png;base64,cGl4ZWxz"' in text and 'alt="a disc"' in text


def test_a_fold_holds_its_text():
    folded = publish.folded("In detail", "One.\n\n- Two.")
    text = prose.Chapter("03", Path()).html(f"Before.\n\n{folded}\n\nAfter.")
    fold = ElementTree.fromstring(f"<page>{text}</page>").find("details")
    assert [part.tag for part in fold] == ["summary", "p", "ul"] and fold.find("p").text == "One."
