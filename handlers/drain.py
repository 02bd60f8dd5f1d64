"""A worker's part in a drain (`python -m server drain`): it refuses new calls, and shows if some are unfinished."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

from server.folder import ServerFolder


class Drain:
    """Holds a shared lock on a file in the server's folder while this process has something to finish.

    That is: calls that were accepted and are not yet answered, and whatever `unfinished()` counts. The kernel releases
    the lock when the process ends.

    folder  the server's; without the file (another command than `python -m server` started it) there is no drain
    """

    def __init__(self, folder: Path, unfinished: Callable[[], int]) -> None:
        self._place, self._unfinished = ServerFolder(folder), unfinished
        self._file = self._open()
        self._at_work, self._lock = False, threading.Lock()

    def accept(self) -> bool:
        """Accept the calls of a batch; False if the server is being drained, and they are to be refused."""
        if self._place.refuses():
            return False
        self.hold()
        # Check again: a drain that began before the lock was taken may have found no lock.
        if self._place.refuses():
            self.release()
            return False
        return True

    def hold(self) -> None:
        """Take the lock: there is something to finish."""
        with self._lock:
            self._at_work = True
            self._share(True)

    def release(self) -> None:
        """All accepted calls are answered: release the lock unless something else is unfinished."""
        with self._lock:
            self._at_work = False
        self.look()

    def look(self) -> None:
        """Release the lock if nothing is unfinished any more."""
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
