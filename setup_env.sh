# Sourced by run_all.sh and run_tests.sh. `find_python MODULE...` leaves in $PYTHON an interpreter that imports lhdlib
# from this checkout and has the modules: the active one, else .venv, which is made (or repaired) when needed.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
VENV=$ROOT/.venv
NEED_GB=4
FETCH_GB=1
ALIVE_S=20   # seconds between two signs of life

die() {
    echo "$0: $*" >&2
    exit 1
}

# From / and without PYTHONPATH, so that only an installed lhdlib counts: not the folder one happens to stand in, and not
# another checkout.
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
    for python in python3 python3.13 python3.12 python3.11 python; do
        if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    python_of_uv
}

# TensorFlow has packages for Python 3.11 to 3.13 only. Where there is none, uv fetches one that nothing else sees.
python_of_uv() {
    local uv=uv
    echo "No Python 3.11 to 3.13 is on PATH: uv gets one (about 30 MB) for this checkout alone." >&2
    if ! command -v uv >/dev/null; then
        uv=$ROOT/.uv/bin/uv
        [ -x "$uv" ] || { python3 -m venv --clear "$ROOT/.uv" && "$ROOT/.uv/bin/python" -m pip --quiet install uv; } >&2 ||
            die "uv cannot be installed (the reason is above): install Python 3.13 (from python.org) and start again."
    fi
    export UV_PYTHON_INSTALL_DIR=$ROOT/.uv/python UV_PYTHON_INSTALL_BIN=0 UV_PYTHON_PREFERENCE=only-managed
    { "$uv" python install 3.13 >&2 && "$uv" python find 3.13; } ||
        die "uv cannot get a Python (its reason is above): install Python 3.13 (from python.org) and start again."
}

# Runs a command and says every so often that it still does.
alive() {
    local started=$SECONDS pid next=$ALIVE_S megabytes
    "$@" &
    pid=$!
    trap 'kill "$pid" 2>/dev/null; unlock' EXIT
    while kill -0 "$pid" 2>/dev/null; do
        if [ $((SECONDS - started)) -ge "$next" ]; then
            read -r megabytes _ < <(du -sm "$VENV" 2>/dev/null) || megabytes="?"
            echo "... still installing, $((SECONDS - started)) s, $megabytes MB so far" >&2
            next=$((next + ALIVE_S))
        fi
        sleep 0.2
    done
    trap unlock EXIT
    wait "$pid"
}

# One start installs at a time: a second one would empty the first one's folder. Only one process can create the file,
# which names it; what a killed one has left is taken over.
lock() {
    local holder said=""
    until (set -C && echo "$HOSTNAME:$$" >"$VENV.lock") 2>/dev/null; do
        holder=$(cat "$VENV.lock" 2>/dev/null) || continue # gone meanwhile
        if [ "${holder%:*}" = "$HOSTNAME" ] && ! kill -0 "${holder##*:}" 2>/dev/null; then
            rm -f "$VENV.lock"
            continue
        fi
        [ -n "$said" ] || echo "Another start installs into $VENV: waiting. If there is none, remove $VENV.lock." >&2
        said=yes
        sleep 1
    done
    trap unlock EXIT
}

unlock() {
    rm -f "$VENV.lock"
    trap - EXIT
}

# `make_venv MODULE...`: the copy of the lock file is written last, so that a broken installation is made anew.
make_venv() {
    local python free_kb
    [ ! -L "$VENV" ] ||
        die "$VENV is a link to another folder, which the installation would empty: remove the link and start again."
    [ -w "$ROOT" ] ||
        die "$ROOT cannot be written to, so nothing can be installed there: copy the checkout to a folder of your own."
    free_kb=$(df -Pk "$ROOT" | awk 'NR == 2 { print $4 }')
    [ "$free_kb" -ge $((NEED_GB * 1024 * 1024)) ] ||
        die "$ROOT has $((free_kb / 1024)) MB free and the installation needs $NEED_GB GB: free some space and start again."
    lock
    if installed "$@"; then unlock && return; fi # another start has done it meanwhile
    python=$(suitable_python) || exit 1
    echo "Installing the pinned packages into $VENV, once: about $FETCH_GB GB to fetch, some minutes." >&2
    "$python" -m venv --clear "$VENV" ||
        die "$python cannot make $VENV: install its venv module (Debian, Ubuntu: apt install python3-venv) and start again."
    local pip=("$VENV/bin/python" -m pip --quiet --disable-pip-version-check install)
    { alive "${pip[@]}" --require-hashes -r "$ROOT/requirements.lock" &&
        "${pip[@]}" --no-deps --no-build-isolation -e "$ROOT"; } ||
        die "the installation did not finish (pip's reason is above): check the network and start again."
    # JupyterLab saves the notebooks without what running them has added (lhdlib/run/lab.py).
    "$VENV/bin/python" -m lhdlib.run.lab || die "JupyterLab could not be set up (the reason is above): start again."
    cp "$ROOT/requirements.lock" "$VENV/installed.lock"
    unlock
}

installed() {
    cmp -s "$ROOT/requirements.lock" "$VENV/installed.lock" && can_run "$VENV/bin/python" "$@"
}

find_python() {
    unset PYTHONPATH PYTHONHOME PYTHONSTARTUP
    for PYTHON in python3 python; do
        if can_run "$PYTHON" "$@"; then return; fi
    done
    PYTHON=$VENV/bin/python
    if installed "$@"; then return; fi
    make_venv "$@"
}
