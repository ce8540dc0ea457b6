# Sourced by run_all.sh and run_tests.sh. `find_python MODULE...` leaves in $PYTHON an interpreter that imports lhdlib
# from this checkout and has the modules: the active one, else .venv, which is made (or repaired) when needed.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
VENV=$ROOT/.venv
NEED_GB=4

die() {
    echo "$0: $*" >&2
    exit 1
}

# From /, so that only an installed lhdlib counts and not the folder one happens to stand in.
can_run() {
    local python=$1
    shift
    (cd / && "$python" - "$ROOT" "$@" >/dev/null 2>&1) <<'PYTHON'
import importlib.util, os, sys
import lhdlib
here = os.path.realpath(os.path.join(sys.argv[1], "lhdlib")) == os.path.realpath(os.path.dirname(lhdlib.__file__))
sys.exit(not (here and all(importlib.util.find_spec(name) for name in sys.argv[2:])))
PYTHON
}

suitable_python() {
    local python
    for python in python3 python3.13 python3.12 python3.11 python3.10 python; do
        if "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    die "no Python 3.10 to 3.13 was found on PATH: install one (for example from python.org) and start again."
}

# The copy of the lock file is written last: an interrupted installation has none and is made anew.
make_venv() {
    local python free_kb
    [ ! -L "$VENV" ] ||
        die "$VENV is a link to another folder, which the installation would empty: remove the link and start again."
    python=$(suitable_python) || exit 1
    free_kb=$(df -Pk "$ROOT" | awk 'NR == 2 { print $4 }')
    [ "$free_kb" -ge $((NEED_GB * 1024 * 1024)) ] ||
        die "$ROOT has $((free_kb / 1024)) MB free and the installation needs $NEED_GB GB: free some space and start again."
    echo "Installing the pinned packages into $VENV; this takes some minutes, once." >&2
    "$python" -m venv --clear "$VENV" ||
        die "$python cannot make $VENV: install its venv module (Debian, Ubuntu: apt install python3-venv) and start again."
    local pip=("$VENV/bin/python" -m pip --quiet --disable-pip-version-check install)
    { "${pip[@]}" --require-hashes -r "$ROOT/requirements.lock" &&
        "${pip[@]}" --no-deps --no-build-isolation -e "$ROOT"; } ||
        die "the installation did not finish (pip's reason is above): check the network and start again."
    cp "$ROOT/requirements.lock" "$VENV/installed.lock"
}

find_python() {
    for PYTHON in python3 python; do
        if can_run "$PYTHON" "$@"; then return; fi
    done
    PYTHON=$VENV/bin/python
    if cmp -s "$ROOT/requirements.lock" "$VENV/installed.lock" && can_run "$PYTHON" "$@"; then return; fi
    make_venv
}
