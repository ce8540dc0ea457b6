"""The one progress bar: plain text on standard output, so that it shows in notebooks, terminals and logs alike."""

import sys
from typing import Any

from tqdm import tqdm

SECONDS = 5.0  # between two updates


def progress_bar(iterable: Any = None, **options: Any) -> tqdm:
    """A `tqdm` bar over `iterable`, or one with ``total`` that is updated by hand; `options` go to tqdm."""
    return tqdm(iterable, file=sys.stdout, mininterval=SECONDS, maxinterval=2 * SECONDS, ncols=100, **options)
