"""The decoder's process: whatever becomes of it, the next image is decoded."""

import io
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from lhdlib.data.dicom_file import decoder
from tests.data import trees
from tests.data.hostile import in_syntax


class Bad:
    """Stands for an image whose decoder does what `deed` says."""

    def __init__(self, deed: str) -> None:
        self.deed = deed

    @cached_property
    def pixel_array(self):
        if self.deed == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.deed == "hang":
            time.sleep(60)
        while self.deed == "spin":
            pass
        if self.deed == "wait":
            time.sleep(1.2)
            return np.ones((2, 2))
        if self.deed == "memory":
            return np.ones(2**28)  # 2 GiB
        if self.deed == "panic":
            raise SystemExit
        return np.full((2, 2), int(self.deed))


@pytest.mark.slow
@pytest.mark.parametrize("deed", ["crash", "hang", "spin", "memory", "panic"])
def test_a_decoder_that_fails_harms_no_other_image(deed, monkeypatch):
    if deed == "memory" and sys.platform != "linux":
        pytest.skip("memory is limited on Linux alone")
    np.testing.assert_array_equal(decoder.decode(Bad("1")), np.full((2, 2), 1))
    monkeypatch.setattr(decoder, "MAX_SECONDS", 0.5)
    monkeypatch.setattr(decoder, "WAIT_SECONDS", 1.0 if deed == "hang" else 60.0)
    start = time.monotonic()
    said = {"memory": "MemoryError", "hang": "no answer in time", "spin": "no answer in time", "panic": "SystemExit"}
    with pytest.raises(decoder.DecodeError, match=said.get(deed, "crashed")):
        decoder.decode(Bad(deed))
    assert time.monotonic() - start < 30
    monkeypatch.undo()
    for number in range(3):
        np.testing.assert_array_equal(decoder.decode(Bad(f"{number}")), np.full((2, 2), number))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="only the clock can be limited")
def test_a_busy_machine_loses_no_image(monkeypatch):
    """What counts is the time that the decoder computes, not the time that it waits for the processor."""
    monkeypatch.setattr(decoder, "MAX_SECONDS", 0.2)
    for _ in range(2):
        assert decoder.decode(Bad("wait")).max() == 1


@pytest.mark.slow
def test_an_interrupted_image_is_not_taken_for_the_next(monkeypatch):
    decoder.decode(Bad("1"))

    def interrupt(stream):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(decoder, "_receive", interrupt)
        decoder.decode(Bad("1"))
    assert decoder.decode(Bad("2")).max() == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"what the decoder printed\n",
        b"[]\n",
        b'{"dtype": "O", "shape": [1]}\n12345678',
        b'{"dtype": "<u2", "shape": [90000, 90000]}\n',
        b'{"dtype": "<u2", "shape": [-1, 2]}\n',
        b'{"dtype": "<u2", "shape": [2, 2]}\n1234',
        b'{"dtype": "no type", "shape": [2, 2]}\n',
        b'{"shape": [2, 2]}\n',
        b"0" * 5000,
        pickle.dumps(np.zeros(2)),
    ],
)
def test_an_answer_that_is_none_is_not_believed(answer):
    with pytest.raises(EOFError):
        decoder._receive(io.BytesIO(answer))


@pytest.mark.parametrize("pixels", [np.arange(6, dtype=">i2").reshape(2, 3), np.ones((3, 1), np.uint8), np.eye(4).T])
def test_an_answer_is_the_array_that_was_sent(pixels):
    stream = io.BytesIO()
    decoder._send(stream, pixels)
    stream.seek(0)
    np.testing.assert_array_equal(decoder._receive(stream), pixels)


@pytest.mark.slow
def test_a_forked_process_has_a_decoder_of_its_own():
    decoder.decode(Bad("1"))
    with get_context("fork").Pool(1) as pool:
        assert pool.apply(decoder.decode, (Bad("2"),)).max() == 2
    assert decoder.decode(Bad("3")).max() == 3


WAYS = {
    "script": lambda text: ["script.py"],
    "module": lambda text: ["-m", "script"],
    "isolated from the environment": lambda text: ["-c", f"import sys; sys.path[:0] = {sys.path!r}\n{text}"],
    "command": lambda text: ["-c", text],
    "standard input": lambda text: ["-"],
    "interactive": lambda text: ["-i", "-q"],
    "from a folder that has a pickle.py": lambda text: [str(Path("script.py").resolve())],
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_script_without_main_guard_reads_compressed_pixels(way, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = trees.save(in_syntax(uid.RLELossless), tmp_path / "a")
    text = f"from lhdlib.data import dicom\nprint('shape', dicom.read_pixels({str(path)!r}).shape)\n"
    Path("script.py").write_text(text)
    place, environment = tmp_path, {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    if "pickle" in way:
        place = tmp_path / "shadows"
        place.mkdir()
        (place / "pickle.py").write_text("raise SystemExit")
    if "isolated" in way:
        del environment["PYTHONPATH"]
    command = [sys.executable, *WAYS[way](text)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=place, env=environment, timeout=300)
    assert done.stdout.count("shape (24, 20)") == 1, done.stderr
