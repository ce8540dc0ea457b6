"""Running the notebooks, and what a run leaves behind.

Importing this package, which every notebook does first, keeps TensorFlow's start-up lines, some of which heed no level,
out of a notebook's first output: they go to the terminal.
"""

import os
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
stream: Any = sys.stderr
if getattr(stream, "_should_watch", False):  # a Jupyter kernel that shows what native code prints
    os.dup2(stream.fileno(), 2)
    stream._should_watch = False  # else it waits for that output to end when it shuts down
