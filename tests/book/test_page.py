"""The page: every chapter and section in the contents, nothing that asks a network, equal input, equal bytes."""

import re

import nbformat
import pytest

from lhdlib import files
from lhdlib.book import page
from lhdlib.errors import UserError

STAMP = {"data": "phantom (synthetic), no evidence about patients", "seed": 3, "commit": "0123456789ab"}
FIRST = ["# 01 · First\n\nText, $x_1$.", "## One\n\n[02](02_b.ipynb)", "### Deeper", "## Two & three"]


@pytest.fixture
def results(tmp_path):
    files.write_json(tmp_path / "stamp.json", STAMP | {"parts": {}})
    code = nbformat.v4.new_code_cell("import a", id="a")
    more = nbformat.v4.new_code_cell("import b", id="b")
    for name, texts in (("01_a", FIRST), ("02_b", ["# 02 · Second"]), ("02_b.failed", ["# failed"])):
        texts = [nbformat.v4.new_markdown_cell(text, id=f"m{n}") for n, text in enumerate(texts)]
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(cells=[*texts, code, more]), tmp_path / "notebooks" / f"{name}.ipynb")
    return tmp_path


def test_every_link_leads_somewhere_on_the_page_or_beside_it(results):
    text = page.write_book(results, results / "figures").read_text(encoding="utf-8")
    targets = set(re.findall(r'href="([^"]+)"', text))
    places = set(re.findall(r'id="([^"]+)"', text))
    assert {target[1:] for target in targets if target.startswith("#")} <= places
    assert {target for target in targets if not target.startswith("#")} == {"atlas.html", "README.md"}
    assert {"#01", "#02", "#01-one", "#01-two-three"} <= targets and "#01-deeper" not in targets


def test_it_names_its_data_and_asks_nobody_for_anything(results):
    text = page.write_book(results, results / "figures").read_text(encoding="utf-8")
    assert STAMP["data"] in text and "not for clinical use" in text and "failed" not in text
    assert not re.search(r"https?://(?!www\.w3\.org/1998/Math)", text) and "<script" not in text
    assert "default-src 'none'" in text


def test_folded_code_of_neighbouring_cells_is_one_fold(results):
    assert page.write_book(results, results / "figures").read_text(encoding="utf-8").count("<details") == 2


def test_equal_input_gives_equal_bytes_and_no_stamp_is_one_sentence(results):
    first = page.write_book(results, results / "figures").read_bytes()
    assert page.write_book(results, results / "figures").read_bytes() == first
    (results / "stamp.json").unlink()
    with pytest.raises(UserError):
        page.write_book(results, results / "figures")
