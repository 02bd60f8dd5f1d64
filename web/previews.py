"""Cache of what was computed for an upload: bounded, in a folder that is deleted with the upload."""

from __future__ import annotations

import os
from contextlib import suppress

from web.settings import Limits
from web.uploads import Upload, free_bytes


class Previews:
    """Small files by name. What cannot be kept is computed again."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def read(self, upload: Upload, name: str) -> bytes | None:
        """The file kept under this name; None if there is none."""
        try:
            return (upload.previews / name).read_bytes()
        except OSError:
            return None

    def keep(self, upload: Upload, name: str, data: bytes) -> None:
        """Keep a file, if it fits and the upload still exists."""
        with suppress(OSError):
            if not upload.path.exists() or free_bytes(upload.path.parent) < self._limits.reserve_bytes:
                return
            upload.previews.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept = [entry.stat().st_size for entry in os.scandir(upload.previews)]
            if len(kept) >= self._limits.previews or sum(kept) + len(data) > self._limits.preview_bytes:
                return
            fresh = upload.previews / f"{name}.new"
            fresh.write_bytes(data)
            fresh.replace(upload.previews / name)
