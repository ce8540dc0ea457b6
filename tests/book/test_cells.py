"""Cells as HTML: results first, drawing code folded, teaching code shown, widgets as pictures."""

from pathlib import Path

import pytest

from lhdlib.book import cells, prose


def cell(source: str, *outputs: dict, tags: tuple[str, ...] = ()) -> dict:
    return {"cell_type": "code", "source": source, "outputs": list(outputs), "metadata": {"tags": list(tags)}}


def data(kind: str, value, **metadata) -> dict:
    return {"output_type": "display_data", "data": {kind: value, "text/plain": "plain"}, "metadata": metadata}


def printed(text: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": text}


def render(one: dict, widgets: dict | None = None) -> str:
    return cells.render(one, prose.Chapter("01", Path()), widgets or {})


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("x = f(1)", True),
        ("%matplotlib inline\nx = a.f(1)", True),
        ("import numpy as np", False),
        ("seed = 0", False),
        ("fig = draw(x)\nws.figure('n', fig, c)", False),
        ("ws = workspace.open_workspace(profile)", False),
        ("viewer.HeatmapViewer.from_workspace(ws)", False),
    ],
)
def test_code_is_shown_where_it_computes_and_folded_where_it_draws(source, shown):
    assert cells.teaches(source) is shown
    assert render(cell(source)).startswith(cells.FOLDED) is not shown


def test_results_stand_above_folded_code_and_below_shown_code():
    drawn, computed = (render(cell(source, printed("out\n"))) for source in ("ws.close()", "f(1)"))
    assert drawn.index("out") < drawn.index("<details") and computed.index("highlight") < computed.index("out")


def test_parameters_of_the_run_and_calls_that_show_source_are_left_out():
    assert render(cell("seed = 0", tags=("injected-parameters",))) == ""
    shown = render(cell("publish.source(f)", data("text/markdown", "```python\nreturn 1\n```")))
    assert "publish" not in shown and '<span class="k">return</span>' in shown


def test_printed_lines_are_as_a_terminal_leaves_them_and_fold_when_many():
    text = render(cell("f()", printed("first\n one\r two\rthree\n 42%|██ | 3/7\nlast <&>\n")))
    assert "first\nthree\nlast &lt;&amp;&gt;</pre>" in text
    long = render(cell("f()", printed("".join(f"{n}\n" for n in range(cells.LINES + 1)))))
    assert f"<summary>{cells.LINES + 1} printed lines</summary>" in long and "<summary>" not in text


def test_a_figure_keeps_its_words_and_width_and_a_table_loses_its_style():
    figure = data("image/png", "QUJD\n", **{"image/png": {"alt": 'a "b"', "width": 482}})
    assert 'src="data:image/png;base64,QUJD" alt="a &quot;b&quot;" width="482"' in render(cell("f()", figure))
    table = data("text/html", "<div><style scoped>\n.x {}\n</style><table></table></div>")
    assert '<div class="wide"><div><table></table></div></div>' in render(cell("f()", table))
    assert "a &lt; b" in render(
        cell("f()", {"output_type": "execute_result", "data": {"text/plain": "a < b"}, "metadata": {}})
    )


def test_a_live_widget_is_its_pictures_and_a_way_to_the_atlas():
    widgets = {
        "top": {"state": {"children": ["IPY_MODEL_row", "IPY_MODEL_gone"]}},
        "row": {"state": {"children": ["IPY_MODEL_words", "IPY_MODEL_slider", "IPY_MODEL_picture"]}},
        "words": {"state": {"value": "<p>caption</p>"}},
        "slider": {"state": {"value": 3}},
        "picture": {"state": {"value": '<b>x</b><img src="data:image/png;base64,QQ==" alt="a disc">'}},
    }
    text = render(cell("play", data(cells.VIEW, {"model_id": "top"})), widgets)
    assert '<img src="data:image/png;base64,QQ==" alt="a disc">' in text and 'href="atlas.html"' in text
    assert "caption" not in text
    assert cells.widget_states({"widgets": {cells.STATE: {"state": widgets}}}) == widgets
    assert cells.widget_states({}) == {}
