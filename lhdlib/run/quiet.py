"""TensorFlow, imported with its start-up lines in the terminal and not in a notebook's first output.

Notebooks import this module before all others that need TensorFlow. Later lines heed the level that is set here; those
of the import come before TensorFlow reads it.
"""

import io
import os
import sys

from lhdlib.progress import native_errors_to


def _terminal() -> int:
    """Standard error as the kernel was started with it, where it shows what native code writes; else descriptor 2."""
    try:
        return sys.stderr.fileno()
    except io.UnsupportedOperation:
        return 2


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with native_errors_to(_terminal()):
    import tensorflow  # noqa: F401
