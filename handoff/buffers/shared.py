"""Memory shared by processes of one machine: files in /dev/shm, called segments and named after their producer."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from handoff.buffers.host import HostBuffer
from handoff.errors import NO_ROOM, REMEDY, HandoffError, MachineExhausted, OverCapacity, PeerLost
from handoff.payload.leases import PREFIX

_LOG = logging.getLogger(__name__)


class Segment(HostBuffer):
    """A segment, mapped. It keeps no file descriptor: a consumer may have hundreds of segments mapped."""

    def __init__(self, file: int, path: Path, number: int, gpu: torch.device | None) -> None:
        super().__init__(_map(file), gpu)
        self.number = number
        self._path = path

    @property
    def unlinked(self) -> bool:
        """Whether its producer has removed the file. Its name is never used again."""
        return not self._path.exists()

    def remove(self) -> None:
        """Remove the file; a consumer that is reading it keeps its pages until it is done."""
        self._path.unlink(missing_ok=True)
        self.close()

    def discard(self) -> None:
        """Remove the file and free its pages at once, even if consumers have it mapped: none may be reading it."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self._path, 0)
        self.remove()


def segment_maker(folder: Path, producer: str, gpu: torch.device | None) -> Callable[[int], Segment]:
    """A function that makes a producer's next segment, of a capacity in bytes; it raises `MachineExhausted`."""
    numbers = iter(range(1 << 62))

    def make(capacity: int) -> Segment:
        number = next(numbers)
        path = _path(folder, producer, number)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.posix_fallocate(file, 0, capacity)  # a full tmpfs would otherwise kill the writer with SIGBUS
                return Segment(file, path, number, gpu)
            except BaseException:
                path.unlink()
                raise
            finally:
                os.close(file)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise MachineExhausted(f"{folder} has no room for {capacity} bytes more: {REMEDY}") from error

    return make


class SegmentMaps:
    """A consumer's mapped segments, of any producer; they stay mapped as long as their files exist. Thread-safe."""

    def __init__(self, folder: Path, gpu: torch.device | None) -> None:
        self._folder = folder
        self._gpu = gpu
        self._maps: dict[tuple[str, int], Segment] = {}
        self._users: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def mapped(self, producer: str, number: int) -> Iterator[torch.Tensor]:
        """A context with the bytes of a segment (uint8, on the CPU). Raises `PeerLost` if its file is gone."""
        key = (producer, number)
        with self._lock:
            segment = self._open(key)
            self._users[key] += 1
        try:
            yield segment.bytes
        finally:
            with self._lock:
                self._users[key] -= 1

    def close(self) -> None:
        """Unmap everything."""
        with self._lock:
            for segment in self._maps.values():
                segment.close()
            self._maps.clear()

    def _open(self, key: tuple[str, int]) -> Segment:
        for other, segment in list(self._maps.items()):
            if segment.unlinked and not self._users[other]:
                del self._users[other]
                self._maps.pop(other).close()
        if key not in self._maps:
            path = _path(self._folder, *key)
            try:
                file = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                raise PeerLost("the process that held the payload has removed it") from None
            try:
                self._maps[key] = Segment(file, path, key[1], self._gpu)
            finally:
                os.close(file)
        return self._maps[key]


def check_folder(folder: Path, largest: int) -> None:
    """Raise `HandoffError` if segments cannot be made in this folder; warn if `largest` bytes cannot fit."""
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise HandoffError(
            f"shared memory needs {folder}, which is missing or not writable here; mount a tmpfs there, "
            "name another place (shared_folder), or choose another kind of hand-off"
        )
    if (size := size_of(folder)) < largest:
        _LOG.warning(
            "%s holds %d bytes in all; a payload may have %d (max_payload_bytes): %s", folder, size, largest, REMEDY
        )


def size_of(folder: Path) -> int:
    """How many bytes the folder's file system holds in all."""
    status = os.statvfs(folder)
    return status.f_blocks * status.f_frsize or sys.maxsize  # a tmpfs without a bound says 0


def free_room(folder: Path) -> int:
    """How many more bytes fit into the folder's file system."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize if status.f_blocks else sys.maxsize


def _map(file: int) -> torch.Tensor:
    """Map all of an open file; unlike with Python's mmap, no file descriptor stays open."""
    size = os.fstat(file).st_size
    try:
        return torch.from_file(f"/proc/self/fd/{file}", shared=True, size=size, dtype=torch.uint8)
    except RuntimeError as error:
        raise OverCapacity(f"{size} bytes of shared memory cannot be mapped now: {error}") from error


def _path(folder: Path, producer: str, number: int) -> Path:
    return folder / f"{PREFIX}{producer}.{number}.segment"
