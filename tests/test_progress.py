"""Long work: every value of the one bar once, on standard output, and native lines where they are sent."""

import os

import pytest

from lhdlib.progress import native_errors_to, progress_bar


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


@pytest.mark.parametrize("fails", [False, True])
def test_native_lines_go_elsewhere_while_the_body_runs_and_no_longer(tmp_path, capfd, fails):
    before = len(os.listdir("/proc/self/fd"))
    with (tmp_path / "log").open("wb") as log, pytest.raises(OSError) if fails else log:
        with native_errors_to(log.fileno()):
            os.write(2, b"during")
            if fails:
                raise OSError
    os.write(2, b"after")
    assert (tmp_path / "log").read_bytes() == b"during" and capfd.readouterr().err == "after"
    assert len(os.listdir("/proc/self/fd")) == before
