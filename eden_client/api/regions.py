"""Shared memory regions of this process: files in memory through which frames reach a server on the same host.

media.region_format defines their layout. A region is locked (flock) while its process lives. If the process is killed,
the lock is free, and the next client of this user removes the region.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import secrets
import stat
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eden_client.api.errors import RegionUnavailable
from media import Frame
from media.region_format import (
    KEY_BYTES,
    PREFIX,
    SUFFIX,
    UNFINISHED,
    region_header,
    region_name,
)

if sys.platform != "win32":
    import fcntl

GRAIN = 1 << 20
"""Bytes; regions are made in multiples of it."""
START_S = 60.0
"""Seconds without a write after which a region counts as left behind, if nobody holds its lock."""


_made_here: weakref.WeakSet[Region] = weakref.WeakSet()
"""All regions that this process has made."""


class Region:
    """One region, mapped. `capacity`: bytes. Raises RegionUnavailable: no space in the folder, or it cannot be made."""

    def __init__(self, folder: Path, capacity: int) -> None:
        self.name = region_name(os.getuid(), secrets.token_hex(16))
        self.key = secrets.token_bytes(KEY_BYTES)
        self.capacity = capacity
        path = folder / self.name
        try:
            self.bytes: Frame = _made(path, capacity)
        except OSError as error:
            what = f"no room for {capacity} bytes" if error.errno == errno.ENOSPC else str(error.strerror)
            raise RegionUnavailable(f"a shared memory region cannot be made in {folder}: {what}") from error
        header = region_header(self.key)
        self.bytes[: len(header)] = np.frombuffer(header, np.uint8)
        self._remove = weakref.finalize(self, _remove, path, os.getpid())
        _made_here.add(self)

    def discard(self) -> None:
        """Remove the file; who has it open keeps it."""
        self._remove()


class RegionPool:
    """The regions of one client, one per call in flight, which are reused. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Raises RegionUnavailable: the platform has no such memory."""
        if sys.platform == "win32":
            raise RegionUnavailable("Windows has no shared memory regions: use the transport npy or png")
        self._folder = folder
        self._free: list[Region] = []
        self._closed = False
        self._lock = threading.Lock()
        remove_abandoned(folder)

    @contextlib.contextmanager
    def lease(self, nbytes: int) -> Iterator[Region]:
        """A region of at least `nbytes`, header included, that no other call uses. Raises RegionUnavailable.

        It is reused only if the block ends without an error: otherwise the server may still be using it.
        """
        region = self._acquire(nbytes)
        try:
            yield region
        except BaseException:
            region.discard()
            raise
        self._give_back(region)

    def close(self) -> None:
        """Remove all regions; those in use are removed when they are returned."""
        with self._lock:
            self._closed = True
            for region in self._free:
                region.discard()
            self._free.clear()

    def _acquire(self, nbytes: int) -> Region:
        with self._lock:
            fitting = [region for region in self._free if region.capacity >= nbytes]
            if fitting:
                region = min(fitting, key=lambda region: region.capacity)
                self._free.remove(region)
                return region
            if self._free:  # too small: the new one takes its place
                self._free.pop().discard()
        return Region(self._folder, -(-nbytes // GRAIN) * GRAIN)

    def _give_back(self, region: Region) -> None:
        with self._lock:
            if not self._closed:
                self._free.append(region)
                return
        region.discard()


def discard_all() -> None:
    """Remove all regions of this process, which is about to end by os._exit, without Python's clean-up."""
    for region in list(_made_here):
        region.discard()


def remove_abandoned(folder: Path) -> None:
    """Remove this user's regions that no process holds any longer."""
    mine = f"{PREFIX}{os.getuid()}-"
    for path in folder.glob(f"{mine}*"):
        if path.suffix in (SUFFIX, UNFINISHED):
            with contextlib.suppress(OSError):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        held = os.fstat(file)
        if not stat.S_ISREG(held.st_mode) or held.st_uid != os.getuid():
            return
        if time.time() - held.st_mtime < START_S:
            return  # its maker may be about to lock it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(file)


def _made(path: Path, capacity: int) -> Frame:
    """Make a file and map it. It is locked before it gets its name, so that nobody takes it for abandoned.

    Raises OSError.
    """
    hidden = path.with_suffix(UNFINISHED)
    held = os.statvfs(path.parent)
    if capacity > held.f_bavail * held.f_frsize // 2:  # the server's hand-off lives there too
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.posix_fallocate(file, 0, capacity)  # a full folder would otherwise end this process at its first touch
        pages = mmap.mmap(file, capacity)  # holds the open file, and so the lock
        hidden.rename(path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return np.frombuffer(pages, np.uint8)


def _remove(path: Path, maker: int) -> None:
    if os.getpid() == maker:  # a forked child ends without taking its parent's
        path.unlink(missing_ok=True)
