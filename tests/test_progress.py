"""The one progress bar: every value once, on standard output, at most an update in five seconds."""

from lhdlib.progress import progress_bar


def test_every_value_comes_once_and_in_order(capsys):
    assert list(progress_bar(range(1000), desc="counting")) == list(range(1000))
    shown = capsys.readouterr()
    assert "counting" in shown.out and "1000/1000" in shown.out and shown.err == ""
    assert shown.out.count("\r") < 10, "a bar that is drawn at every step floods logs"


def test_a_bar_that_is_updated_by_hand_reaches_its_total(capsys):
    with progress_bar(total=10, desc="bytes") as bar:
        bar.update(4)
        bar.update(6)
    assert "10/10" in capsys.readouterr().out
