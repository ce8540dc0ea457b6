"""The gallery page: complete, honest about its data, numbers from the result files."""

import re
import shutil

import pandas as pd
import pytest

from lhdlib import files
from lhdlib.errors import UserError
from lhdlib.figures import claims, gallery, publish, style, tables
from lhdlib.figures.gallery import FIGURES
from lhdlib.run import stale
from tests.figures.drawing import STAMP, draw

pytestmark = pytest.mark.slow  # all of them need what is written once for this file

SPENT = {"01": {"seconds": 61.0, "commit": "0123456789ab"}, "03": {"seconds": 700.4, "commit": "ba9876543210"}}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    for name in FIGURES:
        fig = style.described(draw("calibration_curve"), f'Words on {name}, with "quotes" & <signs>.')
        publish.save_figure(fig, name, folder, STAMP, f"Caption of {name}.")
    for name in tables.TABLES:
        publish.save_table(tables.counts_table({}), name, folder, STAMP, f"Caption of {name}.")
    publish.save_table(tables.counts_table({"patients": 8}), "counts", folder, STAMP, "Counts.")
    return folder


@pytest.fixture
def results(tmp_path):
    files.write_json(tmp_path / "stamp.json", STAMP | {"parts": SPENT})
    return tmp_path


DRAWN = {"02 · Second": [*reversed(FIGURES), "not_drawn"], "01 · First": [*tables.TABLES, "counts"]}


def page(results, folder, drawn=DRAWN) -> str:
    return gallery.write_gallery(results, folder, drawn).read_text(encoding="utf-8")


def test_every_figure_and_table_is_shown_with_its_caption_in_the_notebooks_order(results, drawn):
    text = page(results, drawn)
    for name in FIGURES:
        words = f"Words on {name}, with &quot;quotes&quot; &amp; &lt;signs&gt;. Data: {STAMP['data']}."
        assert f'<img src="{name}.png" width="482" alt="{words}">\n\nCaption of {name}. ([PDF]({name}.pdf))' in text
    for name in (*tables.TABLES, "counts"):
        assert f"### {gallery.title(name)}\n" in text and f"({name}.csv)" in text
    assert "Not drawn yet" not in text and "another run" not in text
    headings = re.findall(r"^#{2,3} (.*)", text, re.M)
    wanted = ["02 · Second", *map(gallery.title, reversed(FIGURES)), "01 · First"]
    assert headings[1 : len(wanted) + 1] == wanted


def test_the_contents_lead_to_every_heading(results, drawn):
    text = page(results, drawn)
    links = dict(re.findall(r"\[([^]]+)\]\(#([^)]+)\)", text))
    headings = re.findall(r"^### (.*)", text, re.M)
    assert list(links) == headings
    assert links["Figure 8. ROC curves"] == "figure-8-roc-curves"
    assert f'<a href="#{links["Figure 8. ROC curves"]}"><img src="fig08_roc.png" height="{gallery.THUMBNAIL}"' in text


def test_the_claims_stand_first_in_three_columns(results, drawn, tmp_path):
    folder = shutil.copytree(drawn, tmp_path / "figures")
    rows = [("A is above B", claims.HOLDS), ("C is", claims.FAILS), (f"{claims.OURS}d is", claims.HOLDS)]
    table = pd.DataFrame([(claim, "p", "1", "2", "t", verdict) for claim, verdict in rows])
    table.columns = ["claim", "place", "paper", "this run", "test", "verdict"]
    publish.save_table(table, claims.NAME, folder, STAMP, "The claims.")
    text = page(results, folder)
    assert "|  | holds | does not hold | undecided |" in text
    assert (
        "| the paper says | • A is above B | • C is | – |" in text
        and "| this companion asks | • D is | – | – |" in text
    )
    assert (
        text.index("undecided") < text.index("<details>") < text.index("| A is above B |") < text.index("## Contents")
    )
    assert claims.sentence(table) == "Of the paper's 2 claims, this data supports 1, contradicts 1, and leaves 0 open."


def test_long_tables_are_folded(results, drawn, tmp_path):
    folder = shutil.copytree(drawn, tmp_path / "figures")
    long = pd.DataFrame({"n": range(gallery.LONG + 1)})
    publish.save_table(long, "counts", folder, STAMP, "Counts.")
    fold = "<details><summary>{} rows</summary>\n\n| n |".format
    assert fold(gallery.LONG + 1) in page(results, folder)
    publish.save_table(long[1:], "counts", folder, STAMP, "Counts.")
    assert "\n\n| n |" in page(results, folder) and fold(gallery.LONG) not in page(results, folder)


def test_every_figure_and_table_of_the_notebooks_has_a_title():
    sources = "".join(path.read_text(encoding="utf-8") for path in stale.NOTEBOOKS.glob("*.ipynb"))
    names = set(re.findall(r'ws\.(?:figure|table)\((?:\\n",\s*")?\s*\\"(\w+)', sources))
    assert len(names) > 35 and names <= gallery.TITLES.keys()
    assert len(set(gallery.TITLES.values())) == len(gallery.TITLES)


def test_files_shown_exist(results, drawn):
    text = page(results, drawn)
    shown = [a or b for a, b in re.findall(r'src="([^"]+)"|\]\(([^)#]+)\)', text)]
    assert len(shown) == 2 * len(FIGURES) + len(tables.TABLES) + 1 + len(gallery.SHOWN_FIRST)
    assert all((drawn / name).is_file() for name in shown)


def test_phantom_is_warned_of_and_the_archive_is_not(results, drawn):
    text = page(results, drawn)
    assert "Warning: synthetic data" in text and "no evidence about patients" in text
    assert text.index("Warning: synthetic data") < text.index("## Contents")
    files.write_json(results / "stamp.json", STAMP | {"data": "doi:10.17632/k57fr854j2, version 2"})
    assert "Warning: synthetic data" not in page(results, drawn)


def test_figures_of_another_run_are_marked(results, drawn):
    files.write_json(results / "stamp.json", STAMP | {"seed": 4})
    assert page(results, drawn).count("> **Drawn by another run** (seed: 3): its numbers") == len(FIGURES) + 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"commit": "ffffffffffff"}, ""),  # it was drawn with the same content
        ({"fingerprint": "e" * 64}, f"fingerprint: {'e' * 64}"),
        ({"seed": 4, "fingerprint": "e" * 64}, f"fingerprint: {'e' * 64}; seed: 4"),
        ({"numpy": "9"}, ""),
    ],
)
def test_one_stale_table_is_marked_and_no_other(results, drawn, tmp_path, changed, said):
    folder = shutil.copytree(drawn, tmp_path / "figures")
    publish.save_table(tables.counts_table({}), "counts", folder, STAMP | changed, "Counts of an earlier run.")
    text = page(results, folder)
    assert text.count("Drawn by another run") == bool(said)
    if said:
        words = f"> **Drawn by another run** ({said}): its numbers need not agree with the others on this page."
        assert f"### {gallery.title('counts')}\n\n{words}\n\nCounts of an earlier run." in text


def test_what_this_run_did_not_draw_stands_apart(results, drawn):
    text = page(results, drawn, {"01 · First": FIGURES})
    assert text.index("## Drawn by another run") < text.index(f"### {gallery.title('counts')}")


def test_stamp_and_durations_are_on_the_page(results, drawn):
    text = page(results, drawn)
    for key, value in STAMP.items():
        assert f"| {key} | {value} |" in text
    assert (
        "| duration of 03 | 11 min 40 s, commit ba9876543210 |" in text and "| duration in all | 12 min 41 s |" in text
    )


def test_a_run_in_progress_lists_what_is_missing(results, tmp_path):
    folder = tmp_path / "empty"
    text = page(results, folder)
    assert "Not drawn yet: " in text
    assert all(gallery.title(name) in text for name in (*FIGURES, *tables.TABLES)) and "###" not in text


def test_no_stamp_is_one_clear_sentence(tmp_path):
    with pytest.raises(UserError, match="run the earlier notebooks"):
        gallery.write_gallery(tmp_path, tmp_path, {})
