#!/usr/bin/env bash
# Makes .venv from Python 3.11 or newer ($PYTHON, else the first that fits), and installs requirements.txt into it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "make install: $*" >&2
    exit 1
}

fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if ! .venv/bin/python -c '' >/dev/null 2>&1; then
    chosen=
    for python in ${PYTHON:-python3.11 python3.12 python3 python}; do
        if fits "$python"; then
            chosen=$python
            break
        fi
    done
    if [[ ! $chosen ]]; then
        fail "needs Python 3.11 or newer, and found none (looked for ${PYTHON:-python3.11, python3.12, python3, python});" \
            "install one, or name it: make install PYTHON=/path/to/python3.11"
    fi
    "$chosen" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        fail "$chosen lacks its venv module (on Debian and Ubuntu: the package python3-venv)"
    echo "Making .venv with $("$chosen" --version) ..."
    "$chosen" -m venv .venv || fail "could not make .venv with $chosen"
fi
fits .venv/bin/python || fail ".venv holds $(.venv/bin/python --version), too old: remove .venv and try again"

echo "Installing requirements.txt into .venv (the first time this takes minutes) ..."
.venv/bin/python -m pip install --quiet --no-compile --requirement requirements.txt ||
    fail "pip could not install requirements.txt: its own words are above"
# By all cores, where pip takes one. Like pip, it passes over files that are for another Python.
.venv/bin/python -m compileall -qq -j 0 .venv/lib || true
# In place: the command eden-interpolate, whose code stays in this folder.
.venv/bin/python -m pip install --quiet --no-build-isolation --no-deps --editable . ||
    fail "pip could not install the command eden-interpolate: its own words are above"
