"""Decoding compressed pixels in a process of its own: on hostile data a decoder written in C may crash, hang, or ask
for all memory, and neither must end a build of 48,345 files.

The process runs this module and nothing of the caller's script, which needs no main guard.
"""

import atexit
import contextlib
import json
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import IO

import numpy as np
import pydicom

MAX_SECONDS = 3.0  # of the processor, where the system can limit it, for one image; a slice takes some milliseconds
WAIT_SECONDS = 600.0  # for an answer: a busy machine must lose no slice
MAX_MEMORY = 512 * 2**20  # beyond what the process has when it starts; where the system can limit it (Linux)
MAX_ANSWER = 64 * 2**20  # bytes
COMMAND = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from lhdlib.data.dicom_file import decoder; decoder.serve()"
)


class DecodeError(ValueError):
    """Reason why pixels cannot be decoded; the message quotes nothing of the file."""


_lock = threading.Lock()
_child: subprocess.Popen | None = None  # kept for the next image


def decode(image: pydicom.Dataset) -> np.ndarray:
    """Pixels of a compressed image as stored: `image.pixel_array`, but bounded in time and memory.

    Parameters
    ----------
    image : pydicom.Dataset
        With its pixel data and ``file_meta``.

    Raises
    ------
    DecodeError
        When the decoder refuses the data, crashes, or takes more than `MAX_SECONDS` or, idle, `WAIT_SECONDS`.
    """
    global _child
    with _lock:
        if _child is None:
            _child = _start()
        answer, in_time = None, True
        try:
            wait = WAIT_SECONDS if hasattr(signal, "setitimer") else MAX_SECONDS  # not on Windows
            answer, in_time = _ask(_child, (image, MAX_SECONDS), wait)
        finally:
            if answer is None or not in_time:  # also on Ctrl-C: a late answer must not be taken for the next image's
                in_time = _end() and in_time
    if isinstance(answer, np.ndarray):
        return answer
    reason = answer or ("the decoder crashed" if in_time else "no answer in time")
    raise DecodeError(f"pixels not decodable: {reason}")


def _start() -> subprocess.Popen:
    # -P: a file of the working folder must not stand for a module of Python's
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        child = subprocess.Popen([sys.executable, "-P", "-c", COMMAND], **pipes)  # type: ignore[call-overload]
    except OSError:
        raise DecodeError("no process starts to decode in") from None
    answer, _ = _ask(child, sys.path, WAIT_SECONDS)
    if answer is None:
        _stop(child)
        raise DecodeError("no process starts to decode in")
    return child


def _ask(child: subprocess.Popen, question: object, seconds: float) -> tuple[np.ndarray | str | None, bool]:
    """Send something and wait: the answer, None where there is none; and whether the process was let live."""
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    answer = None
    try:
        assert child.stdin and child.stdout
        pickle.dump(question, child.stdin)
        child.stdin.flush()
        answer = _receive(child.stdout)
    except (EOFError, OSError):  # it has died
        pass
    finally:
        timer.cancel()
    return answer, not late.is_set()


def _receive(stream: IO[bytes]) -> np.ndarray | str:
    """An array, or the name of an error; no pickle, for what hostile data made of the process is not known."""
    line = stream.readline(1000)
    try:
        head = json.loads(line)
        if "error" in head:
            return str(head["error"])
        kind, shape = np.dtype(head["dtype"]), tuple(map(int, head["shape"]))
        size = kind.itemsize * math.prod(shape)
        if kind.hasobject or not 0 <= size <= MAX_ANSWER:
            raise EOFError
        data = stream.read(size)
        return np.frombuffer(data, kind).reshape(shape)
    except (ValueError, TypeError, KeyError):
        raise EOFError from None


def _send(stream: IO[bytes], answer: np.ndarray | str) -> None:
    if isinstance(answer, str):
        stream.write(json.dumps({"error": answer}).encode() + b"\n")
    else:
        stream.write(json.dumps({"dtype": answer.dtype.str, "shape": answer.shape}).encode() + b"\n")
        stream.write(np.ascontiguousarray(answer).data)
    stream.flush()


def _stop(child: subprocess.Popen) -> bool:
    """End the process; False when its time had run out."""
    child.kill()
    in_time = child.wait() != -getattr(signal, "SIGPROF", 0)
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):  # what was not sent yet cannot be
            pipe.close()
    return in_time


@atexit.register
def _end() -> bool:
    global _child
    child, _child = _child, None
    return child is None or _stop(child)


def _forget() -> None:
    """In a forked process: the parent's decoder answers the parent."""
    global _child, _lock
    _child, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)


def serve() -> None:
    """Answer on standard output each image that comes on standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    images, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # decoders print what they stumble over
        os.dup2(nowhere, stream)
    warnings.simplefilter("ignore")
    logging.disable()
    _limit_memory()
    _send(answers, "ready")
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            image, seconds = pickle.load(images)
            answer: np.ndarray | str
            _limit_time(seconds)
            try:
                answer = image.pixel_array
            except BaseException as error:  # a panic of the RLE decoder is no Exception
                answer = type(error).__name__
            _limit_time(0)
            _send(answers, answer)


def _limit_time(seconds: float) -> None:
    """Let the system end this process after so many seconds of the processor; 0: let it live."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + MAX_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
