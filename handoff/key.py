"""The secret key with which both nodes sign and verify tickets."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from handoff.errors import HandoffError

VARIABLE = "EDEN_HANDOFF_KEY"
FILE = "handoff.key"
SHORTEST = 16


def load_key(folder: Path) -> bytes:
    """The key from the environment, or from `folder`/handoff.key, which is created (mode 0600) if it is missing.

    Workers start at the same time: the first one to link its file wins, and the others read that file.
    Raises `HandoffError` if the key has less than SHORTEST characters.
    """
    text = os.environ.get(VARIABLE, "").strip()
    source = f"the environment's {VARIABLE}"
    if not text:
        source = str(folder / FILE)
        text = _read_or_make(folder)
    if len(text) < SHORTEST:
        raise HandoffError(f"the key in {source} has {len(text)} characters; it needs at least {SHORTEST}")
    return text.encode()


def _read_or_make(folder: Path) -> str:
    path = folder / FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=folder)  # mkstemp gives mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
        Path(name).unlink()
    return path.read_text().strip()
