"""Decoding compressed pixels in a process of its own: on hostile data a decoder written in C may crash, hang, or ask
for all memory, and neither must end a build of 48,345 files.
"""

import contextlib
import logging
import os
import signal
import threading
import warnings
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pydicom

MAX_SECONDS = 3.0  # for one image; a slice of 320 x 320 takes some milliseconds
START_SECONDS = 60.0  # for the process to start, on a busy machine
MAX_MEMORY = 512 * 2**20  # beyond what the process has when it starts; where the system can limit it (Linux)


class DecodeError(ValueError):
    """Reason why pixels cannot be decoded; the message quotes nothing of the file."""


_lock = threading.Lock()
_child: tuple | None = None  # process and connection; kept for the next image


def decode(image: pydicom.Dataset) -> np.ndarray:
    """Pixels of a compressed image as stored: `image.pixel_array`, but bounded in time and memory.

    Parameters
    ----------
    image : pydicom.Dataset
        With its pixel data and ``file_meta``.

    Returns
    -------
    np.ndarray

    Raises
    ------
    DecodeError
        When the decoder refuses the data, crashes, or takes more than `MAX_SECONDS`.
    """
    global _child
    with _lock:
        _child = _child or _start()
        process, connection = _child
        answer: np.ndarray | str | None = None
        try:
            connection.send(image)
            answer = connection.recv() if connection.poll(MAX_SECONDS) else None
            reason = answer if isinstance(answer, str) else f"no answer within {MAX_SECONDS:g} s"
        except (EOFError, ConnectionError):
            reason = "the decoder crashed"
        finally:
            if answer is None:  # also on Ctrl-C: a late answer must not be taken for the next image's
                process.kill()
                process.join()
                connection.close()
                _child = None
    if isinstance(answer, np.ndarray):
        return answer
    raise DecodeError(f"pixels not decodable: {reason}")


def _start() -> tuple:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    with contextlib.suppress(EOFError, ConnectionError):
        if here.poll(START_SECONDS):
            here.recv()
            return process, here
    process.kill()
    raise OSError('No process starts to decode in: guard your script with `if __name__ == "__main__":`.')


def _serve(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders print what they stumble over
    warnings.simplefilter("ignore")
    logging.disable()
    _limit_memory()
    connection.send("ready")
    with contextlib.suppress(EOFError, ConnectionError):  # the parent is gone
        while True:
            image = connection.recv()
            try:
                answer = image.pixel_array
            except BaseException as error:
                answer = type(error).__name__
            connection.send(answer)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + MAX_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
