"""The dataset card's figures: every number, no value dropped."""

from tests.figures.drawing import draw, steps, texts


def test_the_flow_states_every_number_and_the_whole_of_each_step():
    fig = draw("dataset_flow")
    words = " ".join(texts(fig).split())
    for row in steps().itertuples():
        assert f"{row.number:,} {row.outcome}" in words
    for whole in ("77,254 files", "60,035 set aside", "17,219 axial slices", "1,990 T2 slabs", "3,552 samples"):
        assert whole in words
    assert "split 'patient'" in words and "90 set aside" in words and "652 set aside" in words


def test_histograms_drop_no_value():
    fig = draw("acquisition")
    top, thickness, distance = fig.axes
    heights = [sum(bar.get_height() for bar in ax.patches) for ax in (thickness, distance)]
    assert heights == [902, 3]
    assert {"T1: 2, median 4.00 mm, 1 unknown", "T2: 3, median 4.40 mm, 1 above 10 mm"} <= set(texts(fig).split("\n"))
    [line] = [line for line in top.lines if line.get_marker() == "o"]
    assert [float(y) for y in line.get_ydata()] == [0.1, 1.0, 0.2]
