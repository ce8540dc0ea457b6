"""``python -m lhdlib.run``: what ``./run_all.sh`` calls."""

import sys

from lhdlib.run.notebooks import main

sys.exit(main())
