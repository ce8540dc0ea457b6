"""The decoder's process: whatever becomes of it, the next image is decoded."""

import os
import signal
import sys
import time
from functools import cached_property

import numpy as np
import pytest

from lhdlib.data.dicom_file import decoder


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
        if self.deed == "memory":
            return np.ones(2**28)  # 2 GiB
        if self.deed == "panic":
            raise SystemExit
        return np.full((2, 2), int(self.deed))


@pytest.mark.parametrize("deed", ["crash", "hang", "memory", "panic"])
def test_a_decoder_that_fails_harms_no_other_image(deed, monkeypatch):
    if deed == "memory" and sys.platform != "linux":
        pytest.skip("memory is limited on Linux alone")
    np.testing.assert_array_equal(decoder.decode(Bad("1")), np.full((2, 2), 1))
    monkeypatch.setattr(decoder, "MAX_SECONDS", 1.0)
    start = time.monotonic()
    with pytest.raises(
        decoder.DecodeError, match="MemoryError" if deed == "memory" else "crashed|no answer|SystemExit"
    ):
        decoder.decode(Bad(deed))
    assert time.monotonic() - start < 3
    monkeypatch.undo()
    for number in range(3):
        np.testing.assert_array_equal(decoder.decode(Bad(f"{number}")), np.full((2, 2), number))


def test_an_interrupted_image_is_not_taken_for_the_next(monkeypatch):
    decoder.decode(Bad("1"))
    connection = decoder._child[1]

    class Interrupted:
        send, recv, close = connection.send, connection.recv, connection.close

        def poll(self, seconds):
            raise KeyboardInterrupt

    monkeypatch.setattr(decoder, "_child", (decoder._child[0], Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        decoder.decode(Bad("1"))
    assert decoder.decode(Bad("2")).max() == 2
