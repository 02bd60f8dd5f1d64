"""A lock among processes on a folder, on every platform."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Self

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

AGAIN = 0.05
"""Seconds between two tries where the platform cannot wait for a lock itself."""


class LockTaken(Exception):
    """Another one holds the lock."""


class FolderLock:
    """Held from its making until `release`; the system releases it when the process ends, however it does.

    On POSIX it is on the folder itself: it leaves no file behind, and needs no right to write. Windows cannot open
    folders, so there it is on the first byte of a file beside it (FOLDER.lock), removed by whoever releases it last.

    wait  until whoever holds it lets go; else LockTaken is raised

    Raises LockTaken, or OSError where the folder cannot be opened or the file not be made.
    """

    def __init__(self, folder: Path, *, wait: bool) -> None:
        self._file = f"{folder.absolute()}.lock"
        self._held = -1
        if sys.platform == "win32":
            self._open = os.open(self._file, os.O_RDWR | os.O_CREAT)
        else:
            self._open = os.open(folder, os.O_RDONLY)
        try:
            while not self._taken(wait):
                if not wait:
                    raise LockTaken(str(folder))
                time.sleep(AGAIN)
        except BaseException:
            os.close(self._open)
            raise
        self._held = self._open

    def release(self) -> None:
        """Let go. Harmless a second time."""
        if self._held < 0:
            return
        held, self._held = self._held, -1
        if sys.platform == "win32":
            os.lseek(held, 0, os.SEEK_SET)
            msvcrt.locking(held, msvcrt.LK_UNLCK, 1)
            os.close(held)
            with contextlib.suppress(OSError):  # Windows keeps a file that another one has open
                os.unlink(self._file)  # noqa: PTH108
        else:
            fcntl.flock(held, fcntl.LOCK_UN)  # not left to close, which gevent puts off
            os.close(held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()

    def _taken(self, wait: bool) -> bool:
        if sys.platform == "win32":
            try:
                msvcrt.locking(self._open, msvcrt.LK_NBLCK, 1)
            except PermissionError:
                return False
        else:
            try:
                fcntl.flock(self._open, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True
