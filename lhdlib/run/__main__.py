"""``python -m lhdlib.run``: what ``./run_all.sh`` calls, the same as ``lhdlib run``."""

import sys

from lhdlib.run import command

sys.exit(command.main(["run", *sys.argv[1:]]))
