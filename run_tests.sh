#!/usr/bin/env bash
# All tests; arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
find_python pytest tensorflow
cd "$ROOT"
exec "$PYTHON" -m pytest "$@"
