"""The gallery page: complete, honest about its data, numbers from the result files."""

import re
import shutil

import pytest

from lhdlib import files, paper
from lhdlib.errors import UserError
from lhdlib.figures import gallery, publish, style, tables
from lhdlib.figures.gallery import FIGURES
from tests.figures.drawing import STAMP, draw, summary

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


def write_headline(results):
    values = {"ACC": summary(0.801, 0.75, 0.84), "TNR": summary(0.9, 0.8, 0.95), "AUC": summary(0.876, 0.82, 0.92)}
    headline = {
        "metrics": values,
        "per_seed": {"AUC": [0.871, 0.876, 0.881]},
        "controls": {"untrained": {"AUC": summary(0.702, 0.6, 0.8)}, "shuffled": {"AUC": summary(0.493, 0.4, 0.6)}},
    }
    files.write_json(results / "04" / "headline.json", headline)


def page(results, folder) -> str:
    return gallery.write_gallery(results, folder).read_text(encoding="utf-8")


def test_every_figure_and_table_is_shown_with_its_caption(results, drawn):
    text = page(results, drawn)
    for name in FIGURES:
        words = f"Words on {name}, with &quot;quotes&quot; &amp; &lt;signs&gt;. Data: {STAMP['data']}."
        assert f'<img src="{name}.png" width="482" alt="{words}">\n\nCaption of {name}. ([PDF]({name}.pdf))' in text
    for name in (*tables.TABLES, "counts"):
        assert f"### {name}\n" in text and f"({name}.csv)" in text
    assert "Not drawn yet" not in text and "another run" not in text
    assert text.index("fig01") < text.index("fig10") < text.index("table1") < text.index("### counts")


def test_files_shown_exist(results, drawn):
    text = page(results, drawn)
    shown = re.findall(r'src="([^"]+)"|\]\(([^)]+)\)', text)
    assert len(shown) == 2 * len(FIGURES) + len(tables.TABLES) + 1
    assert all((drawn / (a or b)).is_file() for a, b in shown)


def test_phantom_is_warned_of_and_the_archive_is_not(results, drawn):
    text = page(results, drawn)
    assert "Warning: synthetic data" in text and "no evidence about patients" in text
    assert text.index("Warning: synthetic data") < text.index("## Headline")
    files.write_json(results / "stamp.json", STAMP | {"data": "doi:10.17632/k57fr854j2, version 2"})
    assert "Warning: synthetic data" not in page(results, drawn)


def test_figures_of_another_run_are_marked(results, drawn):
    files.write_json(results / "stamp.json", STAMP | {"seed": 4})
    assert page(results, drawn).count("> **Drawn by another run** (seed: 3): its numbers") == len(FIGURES) + 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"commit": "ffffffffffff"}, "commit: ffffffffffff"),
        ({"fingerprint": "e" * 64}, f"fingerprint: {'e' * 64}"),
        ({"seed": 4, "commit": "ffffffffffff"}, "seed: 4; commit: ffffffffffff"),
        ({"commit": SPENT["03"]["commit"]}, ""),  # of a notebook that was up to date
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
        assert f"### counts\n\n{words}\n\nCounts of an earlier run." in text


def test_headline_stands_beside_the_paper(results, drawn):
    write_headline(results)
    text = page(results, drawn)
    published = paper.TABLE3[paper.CHOSEN]
    assert (
        f"| AUC | {published['AUC']:.4f} | 0.876 ± 0.021 [0.820, 0.920] | 0.871, 0.876, 0.881 | "
        "0.493 ± 0.021 [0.400, 0.600] | 0.702 ± 0.021 [0.600, 0.800] |"
    ) in text
    assert f"| Accuracy | {published['ACC']:.4f} | 0.801 ± 0.021 [0.750, 0.840] | – | – | – |" in text
    assert f"| Sensitivity | {published['TPR']:.4f} | – | – | – | – |" in text


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
    assert "notebook 04 has not run" in text and all(name in text for name in (*FIGURES, *tables.TABLES))
    assert "## Figures" not in text


def test_no_stamp_is_one_clear_sentence(tmp_path):
    with pytest.raises(UserError, match="run the earlier notebooks"):
        gallery.write_gallery(tmp_path, tmp_path)
