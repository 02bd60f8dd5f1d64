"""Which payloads a producer holds, who is reading them, and whether the producer lives: one small file per producer.

The file is called its ledger:

    byte 0            locked by the producer as long as it lives; the kernel releases the lock when it dies
    bytes 1, 2        set by consumers: 1, one could read the producer's GPU memory; 2, one could not
    slot i (32 bytes) the id of the payload held there (16 bytes, written by the producer only),
                      the id of the payload last taken there (16 bytes, written by consumers)

A consumer holds a shared lock on a slot while it reads that payload; the producer needs the exclusive lock to clear the
slot. So memory is never reused while it is read, and the kernel releases the lock of a reader that is killed. A payload
counts as taken when both ids of its slot are equal: a late mark, on a slot that has been reused, has no effect.

The locks belong to the open file (`F_OFD_SETLK`), not to the process: threads of one process exclude each other too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import secrets
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from handoff.errors import NO_ROOM, REMEDY, HandoffError, OverCapacity, PayloadGone, PeerLost

_LOG = logging.getLogger(__name__)
PREFIX = "eden-handoff-"
_ID = 16
_PROVED, _REFUSED = 1, 2
_FIRST = 64
_SLOT = 2 * _ID
_NOTHING = bytes(_ID)
_START_S = 60.0
"""Seconds after which a ledger that has neither lock nor final name counts as left behind."""
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_PRODUCER = re.compile("[0-9a-f]{32}")
_SWEPT = re.compile(PREFIX + r"[0-9a-f]{32}\.(ledger|new|[0-9]+\.segment)")


def ledger_path(folder: Path, producer: str) -> Path:
    """The path of a producer's ledger."""
    return folder / f"{PREFIX}{producer}.ledger"


class PayloadLeases:
    """The producer's ledger, in the first of `folders` that has room. Not thread-safe: `PayloadStore` locks it.

    slots: how many slots disk space is reserved for. Raises `OverCapacity` if no folder has room for them,
    `HandoffError` if none is writable.
    """

    def __init__(self, folders: Sequence[Path], slots: int = 1) -> None:
        self.producer = secrets.token_hex(_ID)
        self.path, self._file = _create(folders, self.producer, _FIRST + slots * _SLOT)
        self._free: list[int] = []
        self._slots = 0

    def enter(self, payload: str) -> int:
        """Write a payload's id into a free slot; returns the slot. Raises `OverCapacity` if the file cannot grow."""
        slot = self._free[-1] if self._free else self._slots
        with _growing(self.path.parent):
            os.pwrite(self._file, bytes.fromhex(payload) + _NOTHING, _FIRST + slot * _SLOT)
        if self._free:
            self._free.pop()
        else:
            self._slots += 1
        return slot

    def taken(self) -> set[int]:
        """The slots whose payloads have been taken."""
        records = os.pread(self._file, _SLOT * self._slots, _FIRST)
        starts = range(0, len(records), _SLOT)
        return {
            start // _SLOT
            for start in starts
            if records[start : start + _ID] == records[start + _ID : start + _SLOT] != _NOTHING
        }

    @property
    def proved(self) -> bool:
        """Whether a consumer has reported that it can read this producer's GPU memory."""
        return os.pread(self._file, 1, _PROVED) == b"\1"

    @property
    def refused(self) -> bool:
        """Whether a consumer has reported that it cannot read this producer's GPU memory."""
        return os.pread(self._file, 1, _REFUSED) == b"\1"

    def being_read(self, slot: int) -> bool:
        """Whether a consumer is reading the slot's payload."""
        return not _unlocked(self._file, _FIRST + slot)

    def retire(self, slot: int) -> bool:
        """Clear the slot and return True, unless its payload is being read. Afterwards nobody can begin to read it."""
        if not _lock(self._file, fcntl.F_WRLCK, _FIRST + slot):
            return False
        os.pwrite(self._file, bytes(_SLOT), _FIRST + slot * _SLOT)
        _lock(self._file, fcntl.F_UNLCK, _FIRST + slot)
        self._free.append(slot)
        return True

    def close(self) -> None:
        """Remove the ledger; to consumers this producer has then ended."""
        self.path.unlink(missing_ok=True)
        os.close(self._file)


def _create(folders: Sequence[Path], producer: str, nbytes: int) -> tuple[Path, int]:
    """Create a ledger; returns its path and its file descriptor."""
    for folder in folders:
        try:
            return _create_in(folder, producer, nbytes)
        except HandoffError as error:
            if folder == folders[-1]:
                raise
            _LOG.warning("%s; this process sends nothing by shared memory until it is restarted", error)
    raise AssertionError("no folder was named")


def _create_in(folder: Path, producer: str, nbytes: int) -> tuple[Path, int]:
    folder.mkdir(parents=True, exist_ok=True)
    path = ledger_path(folder, producer)
    hidden = path.with_suffix(".new")
    with _growing(folder):
        file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(file, 0, nbytes)
            _lock(file, fcntl.F_WRLCK, 0)
            hidden.rename(path)  # visible only once it is locked, so that no sweep removes it
        except BaseException:
            os.close(file)
            hidden.unlink()
            raise
    return path, file


@contextlib.contextmanager
def _growing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FORBIDDEN:
            raise HandoffError(f"no ledger can be made in {folder}: {error}") from error
        if error.errno in NO_ROOM:
            raise OverCapacity(f"{folder} has no room for a ledger: {REMEDY}") from error
        raise


@dataclass(frozen=True)
class Lease:
    """A payload that cannot be dropped while this is held."""

    file: int
    slot: int
    payload: bytes

    def mark_taken(self) -> None:
        """Tell the producer that the payload has been taken; it is kept until its memory is needed."""
        os.pwrite(self.file, self.payload, _FIRST + self.slot * _SLOT + _ID)

    def report(self, *, usable: bool) -> None:
        """Tell the producer whether this process can read its GPU memory."""
        os.pwrite(self.file, b"\1", _PROVED if usable else _REFUSED)

    def producer_lives(self) -> bool:
        """Whether the process that holds the payload is alive."""
        return not _unlocked(self.file, 0)


@contextlib.contextmanager
def read_lease(folders: Sequence[Path], producer: str, slot: int, payload: str) -> Iterator[Lease]:
    """A context in which a payload, of this or another process of this machine, is not dropped.

    Raises `PeerLost` if its producer is gone, `PayloadGone` if the slot holds another payload or none.
    """
    if not _PRODUCER.fullmatch(producer):
        raise PeerLost(f"{producer!r} is no producer")
    file = _open(folders, producer)
    try:
        if not _lock(file, fcntl.F_RDLCK, _FIRST + slot):
            raise PayloadGone("the payload is being dropped")
        if _unlocked(file, 0):
            raise PeerLost("the process that held the payload has died")
        wanted = bytes.fromhex(payload)
        if os.pread(file, _ID, _FIRST + slot * _SLOT) != wanted:
            raise PayloadGone("the payload is held no longer: taken and dropped since, or expired")
        yield Lease(file, slot, wanted)
    finally:
        os.close(file)


def _open(folders: Sequence[Path], producer: str) -> int:
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            return os.open(f"{folder}/{PREFIX}{producer}.ledger", os.O_RDWR)
    raise PeerLost("the process that held the payload has ended")


def sweep(folder: Path) -> int:
    """Remove ledgers and segments of dead producers in `folder`; returns how many files were removed."""
    return sum(_remove(path) for path in left_behind(folder))


def left_behind(folder: Path) -> list[Path]:
    """Files of dead producers in `folder`, segments first.

    Files that are another user's, or not regular files, are left out.
    """
    found = [path for path in sorted(folder.glob(f"{PREFIX}*")) if _SWEPT.fullmatch(path.name)]
    ours = [path for path in found if _is_ours(path)]
    if len(ours) < len(found):
        other = next(path for path in found if path not in ours)
        _LOG.info("left alone in %s: %d files that are not ours, %s the first", folder, len(found) - len(ours), other)
    ledgers = [path for path in ours if path.suffix in (".ledger", ".new")]
    dead = [path for path in ledgers if _abandoned(path)]
    segments = {path: path.with_name(f"{path.name.split('.')[0]}.ledger") for path in ours if path.suffix == ".segment"}
    left = [path for path, ledger in segments.items() if ledger in dead or not ledger.exists()]
    return [*left, *dead]  # ledgers last: they show whose the segments were


def _is_ours(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:  # gone meanwhile, or out of reach
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:  # another process that starts was faster
        return False
    except OSError as error:
        _LOG.warning("%s, left behind by a process that is gone, cannot be removed: %s", path, error)
        return False
    return True


def _abandoned(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            _LOG.warning("%s is left alone: %s", path, error)
        return False
    try:
        starting = path.suffix == ".new" and time.time() - os.fstat(file).st_mtime < _START_S
        # tested, not taken: even a brief lock could make a consumer believe that a dead producer lives
        return _unlocked(file, 0) and not starting
    finally:
        os.close(file)


def _lock(file: int, kind: int, byte: int) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0))
    except BlockingIOError:
        return False
    return True


def _unlocked(file: int, byte: int) -> bool:
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    answer: tuple[int, ...] = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))
    return answer[0] == fcntl.F_UNLCK
