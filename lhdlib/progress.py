"""Output of long work: one progress bar, in plain text on standard output, and no native libraries' lines across it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

SECONDS = 5.0  # between two updates


def progress_bar(iterable: Any = None, **options: Any) -> tqdm:
    """A `tqdm` bar over `iterable`, or one with ``total`` that is updated by hand; `options` go to tqdm."""
    return tqdm(iterable, file=sys.stdout, mininterval=SECONDS, maxinterval=2 * SECONDS, ncols=100, **options)


@contextlib.contextmanager
def native_errors_to(target: int) -> Iterator[None]:
    """Let native code write to the file descriptor `target` in place of standard error while the body runs.

    So does ``sys.stderr`` where it writes to descriptor 2, as in a terminal; in a Jupyter kernel it does not.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(target, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
