#!/bin/sh
# Packs the archives of a topology into the model store: `python -m server pack`, from any folder, with .venv where it is.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
python=$here/.venv/bin/python
if ! [ -x "$python" ]; then
    python=$(command -v python) || {
        echo "archive.sh: python is missing: run \`make install\` first" >&2
        exit 1
    }
fi
# -P and not PYTHONPATH: the caller's folder may hold a `server` of its own, and this one's name a colon.
exec "$python" -P -c '
import sys
sys.path.insert(0, sys.argv[1])
try:
    from server.pack import main
except ModuleNotFoundError as error:
    sys.exit(f"archive.sh: {error.name} is missing: run `make install` first")
sys.exit(main(sys.argv[2:], "archive.sh"))
' "$here" "$@"
