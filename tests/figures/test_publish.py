"""Saving and showing: the stamp, the words and the label go with every figure and table; equal input, equal bytes."""

import functools
import html
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lhdlib import figures, files
from lhdlib.errors import UserError
from lhdlib.figures import publish, style, tables
from tests.figures.drawing import STAMP, draw, every_figure, placed

PRINTED = (style.COLUMN, style.MIDDLE, style.PAGE)


@pytest.mark.slow
@every_figure
def test_figure_draws_saves_and_carries_its_stamp(name, saved, tmp_path):
    first = saved(name)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with mpl.rc_context({"font.size": 30, "pdf.fonttype": 3}):  # a user's own settings change nothing
            second_figure = draw(name)
            second = publish.save_figure(second_figure, name, tmp_path, STAMP, "A caption.")
    assert first.read_bytes() == second.read_bytes()
    pdf = first.with_suffix(".pdf").read_bytes()
    assert pdf == second.with_suffix(".pdf").read_bytes()
    assert b"CreationDate" not in pdf and b"FontFile2" in pdf and b"/Type3" not in pdf
    alt = f"{second_figure.get_label()} Data: {STAMP['data']}."
    with Image.open(first) as image:
        assert json.loads(image.text["Comment"]) == STAMP and image.text["Description"] == alt
        width = image.width / style.DPI * 25.4
        assert min(abs(width - printed) for printed in PRINTED) < 0.2, "cut or widened by what is drawn"
    assert any(STAMP["data"] in text.get_text() for text in second_figure.texts)
    entry = json.loads(first.with_suffix(".json").read_text(encoding="utf-8"))
    assert entry["caption"] == "A caption." and entry["alt"] == alt
    assert entry["stamp"] == STAMP and entry["kind"] == "figure"
    assert sorted(path.name for path in first.parent.iterdir()) == [f"{name}.{kind}" for kind in ("json", "pdf", "png")]


@pytest.mark.slow
@every_figure
def test_alternative_text_describes_in_a_few_sentences(name, saved):
    alt = saved(name)[0].get_label()
    assert 8 <= len(alt.split()) <= 130 and alt.endswith(".") and alt[0] in alt[0].upper()
    assert "nan" not in alt and "None" not in alt and "\n" not in alt and "{" not in alt


@pytest.mark.parametrize(("fig", "message"), [(Figure((3, 2)), "wide"), (Figure((85 / 25.4, 2)), "alternative text")])
def test_a_figure_of_another_width_or_without_words_is_not_saved(fig, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        publish.save_figure(fig, "x", tmp_path, STAMP, "c")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_notebook_shows_the_picture_its_words_and_its_caption(tmp_path):
    path = publish.save_figure(draw("calibration_curve"), "x", tmp_path, STAMP, "The *caption*.")
    picture, caption = publish.Shown(path).parts()
    data, metadata = (found["image/png"] for found in picture._repr_mimebundle_())
    assert metadata["alt"] == json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["alt"]
    assert metadata["width"] == round(85 / 25.4 * publish.SCREEN_DPI) and data
    assert caption.data == "The *caption*."


@pytest.mark.slow
def test_saving_twice_leaves_one_footer_and_long_labels_are_wrapped(tmp_path):
    fig = draw("calibration_curve")
    stamp = STAMP | {"data": "archive " + "word " * 60}
    for _ in range(2):
        path = publish.save_figure(fig, "x", tmp_path, stamp, "c")
    footers = [text.get_text() for text in fig.texts]
    assert len(footers) == 1 and " ".join(footers[0].split()).startswith(f"Data: {stamp['data'].strip()}")
    assert all(box.x0 >= 0 and box.x1 <= fig.get_figwidth() * fig.dpi for _, box in placed(fig))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert (pixels[-4:] == 255).all() and (pixels[-60:-10] < 128).any(), "the footer's last line is cut off"


@pytest.mark.slow
def test_a_failed_save_leaves_the_earlier_file(tmp_path):
    path = publish.save_figure(draw("calibration_curve"), "x", tmp_path, STAMP, "c")
    before = path.read_bytes()
    with pytest.raises(TypeError):
        publish.save_figure(draw("calibration_curve"), "x", tmp_path, STAMP | {"bad": object()}, "another")
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_the_card_shows_what_was_saved_and_names_the_data(tmp_path):
    publish.save_figure(draw("dataset_flow"), "flow", tmp_path, STAMP, "The flow.")
    publish.save_table(tables.counts_table({"patients": 8}), "counts", tmp_path, STAMP, "Counts of both.")
    page = publish.save_card({"Numbers": ["counts"], "Flow": ["flow"]}, tmp_path, STAMP, "## The end")
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# Dataset card\n\n**Data: {STAMP['data']}**\n\n## Numbers\n\nCounts of both.")
    alt = html.escape(json.loads((tmp_path / "flow.json").read_text(encoding="utf-8"))["alt"])
    assert "| patients | 515 | 8 |" in text
    assert f'<img src="flow.png" width="482" alt="{alt}">\n\nThe flow.\n\n## The end\n' in text
    with pytest.raises(UserError, match="missing.json"):
        publish.save_card({"Flow": ["missing"]}, tmp_path, STAMP, "")
    assert page.read_text(encoding="utf-8") == text


def test_saved_tables_carry_caption_data_and_escaped_cells(tmp_path):
    table = pd.DataFrame({"a|b": ["x|y", "two\nlines"], "n": [1, 2]})
    path = publish.save_table(table, "t", tmp_path, STAMP, "The caption.")
    text = path.read_text(encoding="utf-8")
    assert "The caption." in text and f"Data: {STAMP['data']}" in text
    assert r"| a\|b | n |" in text and r"| x\|y | 1 |" in text and "| two lines | 2 |" in text
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table)
    assert json.loads((tmp_path / "t.json").read_text())["kind"] == "table"


@pytest.mark.slow
def test_details_are_folded_below_the_caption_and_stand_below_a_table(tmp_path):
    table, more = pd.DataFrame({"n": [1]}), {"details": "All the numbers."}
    shown = publish.Shown(publish.save_figure(draw("fig04_structure"), "f", tmp_path, STAMP, "A caption.", **more))
    text = publish.save_table(table, "t", tmp_path, STAMP, "A caption.", **more).read_text(encoding="utf-8")
    folded = "<details><summary>In detail</summary>\n\nAll the numbers.\n\n</details>"
    assert shown.parts()[1].data == f"A caption.\n\n{folded}"
    assert publish.captioned(files.read_json(tmp_path / "f.json"), link="(PDF)") == f"A caption. (PDF)\n\n{folded}"
    assert text.index("A caption.") < text.index("| 1 |") < text.index("All the numbers.") < text.index("Data: ")


@pytest.mark.slow
def test_drawing_needs_no_deep_learning_library():
    modules = "lhdlib.figures.method, lhdlib.figures.results, lhdlib.figures.gallery"
    check = f"import sys, {modules}; assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    root = Path(figures.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", check], cwd=root, check=False).returncode == 0


def undocumented(x):
    """One line."""
    return x  # as written


def described(x):
    """A first line.

    Parameters
    ----------
    x
    """

    def inner():
        """Stays."""
        return x

    return inner


def without(x):
    return "no docstring"


def test_source_is_shown_as_written_without_its_docstring():
    shown = publish.source(undocumented, without).data
    module = f"# {__name__}"
    assert shown == "\n".join(
        [
            "```python",
            *(module, "def undocumented(x):", "    return x  # as written", ""),
            *(module, "def without(x):", '    return "no docstring"', ""),
            "```",
        ]
    )
    first = publish.source(described).data.splitlines()[2:5]
    assert first == [
        "def described(x):",
        "    def inner():",
        '        """Stays."""',
    ]


def test_source_of_a_wrapped_function_is_its_own():
    wrapped = functools.wraps(undocumented)(lambda x: x)
    assert publish.source(wrapped).data == publish.source(undocumented).data


# What is the same stays


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def save_both(folder: Path, stamp: dict, caption: str = "A caption.", details: str = "", value: int = 8) -> None:
    publish.save_figure(draw("fig04_structure"), "fig", folder, stamp, caption, details=details)
    publish.save_table(tables.counts_table({"patients": value}), "table", folder, stamp, caption, details=details)


@pytest.mark.slow
def test_a_new_stamp_alone_changes_no_byte_and_renews_the_time(tmp_path):
    save_both(tmp_path, STAMP)
    before = contents(tmp_path)
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    save_both(tmp_path, STAMP | {"commit": "ffffffffffff", "numpy": "9"})
    assert contents(tmp_path) == before
    assert all(path.stat().st_mtime > 0 for path in tmp_path.iterdir()), "closing a workspace asks for the time"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stamp", "more"),
    [
        ({"seed": 9}, {}),
        ({"fingerprint": "e" * 64}, {}),
        ({}, {"caption": "Another."}),
        ({}, {"details": "More."}),
        ({}, {"value": 9}),
    ],
)
def test_other_data_words_or_numbers_are_written_with_the_new_stamp(stamp, more, tmp_path):
    save_both(tmp_path, STAMP)
    later = STAMP | {"commit": "ffffffffffff"} | stamp
    save_both(tmp_path, later, **more)
    changed = [name for name in ("fig", "table") if files.read_json(tmp_path / f"{name}.json")["stamp"] == later]
    assert changed == (["table"] if "value" in more else ["fig", "table"])


@pytest.mark.slow
def test_new_words_do_not_move_what_is_drawn(tmp_path):
    """A figure whose layout is not the same when it is made twice (a colour bar beside several panels)."""

    def save(commit: str, caption: str) -> bytes:
        stamp = STAMP | {"commit": commit}
        return publish.save_figure(draw("label_map"), "label_map", tmp_path, stamp, caption).read_bytes()

    save("aaaaaaaaaaaa", "Some words.")
    reworded = save("bbbbbbbbbbbb", "Other words.")
    assert save("cccccccccccc", "Other words.") == reworded


@pytest.mark.slow
def test_a_lost_file_is_written_again(tmp_path):
    save_both(tmp_path, STAMP)
    before = contents(tmp_path)
    for name in ("fig.pdf", "table.csv"):
        (tmp_path / name).unlink()
    save_both(tmp_path, STAMP)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "frame", ["<p>{}</p>\n<footer class='x'>{}\n</footer>", "{}\n\n## How it was obtained\n\n{}\n"]
)
def test_a_page_is_kept_unless_more_than_its_stamp_changed(frame, tmp_path):
    page = tmp_path / "page"
    for body, stamp, wanted in (("a", "1", ("a", "1")), ("a", "2", ("a", "1")), ("b", "3", ("b", "3"))):
        with publish.keeping(page):
            page.write_text(frame.format(body, stamp), encoding="utf-8")
        assert page.read_text(encoding="utf-8") == frame.format(*wanted)
