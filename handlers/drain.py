"""A worker's part in a drain (`python -m server drain`): refusing what is new, and saying what it has to finish."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

from server.folder import ServerFolder


class Drain:
    """Shares a lock on a file of the server's folder for as long as there is something to finish: calls that were
    accepted and whose answers have not left this process, or what `unfinished()` counts. The lock goes with the
    process, however that ends.

    folder  the server's; where `python -m server` did not start it there is no such file, and no drain
    """

    def __init__(self, folder: Path, unfinished: Callable[[], int]) -> None:
        self._place, self._unfinished = ServerFolder(folder), unfinished
        self._file = self._open()
        self._at_work, self._lock = False, threading.Lock()

    def accept(self) -> bool:
        """Accept the calls that have come: True; or, where the server is being drained, do not."""
        if self._place.refuses():
            return False
        self.hold()
        # Only now is it certain: who set the mark in between, and looked for the lock, may have found none.
        if self._place.refuses():
            self.release()
            return False
        return True

    def hold(self) -> None:
        """There is something to finish."""
        with self._lock:
            self._at_work = True
            self._share(True)

    def release(self) -> None:
        """All calls that have come are answered."""
        with self._lock:
            self._at_work = False
        self.look()

    def look(self) -> None:
        """See whether what was unfinished is done with."""
        with self._lock:
            if not self._at_work and not self._unfinished():
                self._share(False)

    def _open(self) -> int | None:
        if not self._place.is_ours():
            return None
        return os.open(self._place.working, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _share(self, share: bool) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_SH if share else fcntl.LOCK_UN)
