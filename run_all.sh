#!/usr/bin/env bash
# Every table and figure of the paper: ./run_all.sh [--profile smoke|demo|paper] [--data DIR] ... (--help for all)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
find_python papermill tensorflow latex2mathml
exec "$PYTHON" -P -m lhdlib.run "$@" # -P: not the folder one stands in
