"""Reference companion to Hou et al. (2023), doi:10.1007/s40747-023-00981-0. A research tool, not for clinical use."""

import os
import sys

__version__ = "0.1.0"

# TensorFlow's start-up lines, some of which heed no level, go to the terminal and not into a notebook's first output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if getattr(sys.stderr, "_should_watch", False):  # a Jupyter kernel that shows what native code prints
    os.dup2(sys.stderr.fileno(), 2)
    sys.stderr._should_watch = False  # else it waits for that output to end when it shuts down
