"""The folder in which a result is made: its finished segments, and a journal of which film they belong to.

It lies beside the result (film.mp4.parts) until the result is complete. An interrupted run leaves it behind; the next
one, told to resume, makes the segments that are missing in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from eden_client.folder_lock import FolderLock, LockTaken

JOURNAL_VERSION = 4
"""Version of the segments: a run cannot continue with those of another version."""

LONGEST_NAME = 255
"""Most bytes of a file's name, on nearly every file system."""
_ENDING = ".parts"


class JournalError(Exception):
    """The folder cannot be used; the message says why, and what to do."""


@dataclass(frozen=True)
class Entry:
    """A finished segment."""

    number: int
    name: str
    """of its file; empty: the segment has no frames"""
    start: str
    """time of its first frame, in seconds, as a fraction"""
    frames: int
    reorder: int = 0
    """by how many frames its coding order runs ahead of the order shown"""

    @classmethod
    def empty(cls, number: int) -> Self:
        """The entry of a segment without frames."""
        return cls(number, "", "0", 0)


class ResumeJournal:
    """The finished segments of one result, and their journal. Made by `open_journal`."""

    def __init__(self, folder: Path, order: Mapping[str, Any]) -> None:
        self.folder = folder
        self._entries: dict[int, Entry] = {}
        self._recording = threading.RLock()
        self._order = dict(order)
        self._journal = folder / "journal.json"
        try:
            self._lock = FolderLock(folder, wait=False)
        except LockTaken as error:
            raise JournalError(f"another run is using {folder}") from error

    @property
    def entries(self) -> list[Entry]:
        """The finished segments in the film's order; some before them may still be missing."""
        with self._recording:
            return sorted(self._entries.values(), key=lambda entry: entry.number)

    @property
    def done(self) -> frozenset[int]:
        """The numbers of the finished segments."""
        return frozenset(self._entries)

    @property
    def frames(self) -> int:
        """Frames in the finished segments."""
        return sum(entry.frames for entry in self.entries)

    def record(self, entry: Entry) -> None:
        """Record a finished segment durably. Thread-safe."""
        with self._recording:
            self._entries[entry.number] = entry
            self._write()

    def discard(self) -> None:
        """Remove everything: the result is complete."""
        shutil.rmtree(self.folder)
        self.close()

    def close(self) -> None:
        """Release the folder; its files stay."""
        self._lock.release()

    def begin(self) -> None:
        """Start anew, without finished segments."""
        self._clear(keep=set())
        self._write()

    def resume(self) -> None:
        """Take over what an earlier run with the same options finished. Raises JournalError: the options differ."""
        if not self._journal.exists():
            self.begin()
            return
        told = json.loads(self._journal.read_text(encoding="utf-8"))
        changed = [name for name in self._order if told["order"].get(name) != self._order[name]]
        if changed:
            raise JournalError(
                f"{self.folder} was made with another {', '.join(changed)}: "
                "repeat the earlier settings to resume, or start over with --overwrite"
            )
        self._entries = {entry["number"]: Entry(**entry) for entry in told["segments"]}
        self._clear(keep={entry.name for entry in self._entries.values()})

    def _clear(self, keep: set[str]) -> None:
        for path in self.folder.iterdir():
            if path.name not in keep and path != self._journal:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _write(self) -> None:
        told = {"order": self._order, "segments": [asdict(entry) for entry in self.entries]}
        fresh = self.folder / "journal.new"
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._journal)


def parts_folder(result: Path) -> Path:
    """The folder of a result's segments, beside it; a name that is too long is cut, and gets a hash."""
    name = result.name + _ENDING
    if len(os.fsencode(name)) > LONGEST_NAME:
        mark = f"~{hashlib.sha256(os.fsencode(result.name)).hexdigest()[:8]}{_ENDING}"
        name = os.fsencode(result.name)[: LONGEST_NAME - len(mark)].decode(errors="ignore") + mark
    return result.with_name(name)


def rescued_part(result: Path) -> Path:
    """The file with the finished part of a result whose run ended early."""
    return parts_folder(result) / f"so-far{result.suffix}"


def finished_segments(result: Path) -> list[Entry]:
    """The finished segments of a result up to the first missing one; may be called while another process makes it."""
    try:
        told = json.loads((parts_folder(result) / "journal.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    entries = sorted((Entry(**entry) for entry in told["segments"]), key=lambda entry: entry.number)
    return [entry for number, entry in enumerate(entries) if entry.number == number]


def open_journal(result: Path, order: Mapping[str, Any], resume: bool, overwrite: bool) -> ResumeJournal:
    """The journal of `result`, with what an interrupted run left in it if `resume`.

    order   the options that decide how the result looks: a run with others cannot continue with these segments
    Raises JournalError: segments exist and neither `resume` nor `overwrite` is set, or another run is using them.
    """
    folder = parts_folder(result)
    left_over = (folder / "journal.json").exists()
    if left_over and not (resume or overwrite):
        raise JournalError(f"{folder} is left from an interrupted run: --resume continues it, --overwrite starts over")
    folder.mkdir(parents=True, exist_ok=True)
    if not left_over and any(folder.iterdir()):
        raise JournalError(f"{folder} exists, but was not made by an earlier run: move it away")
    journal = ResumeJournal(folder, order)
    try:
        journal.resume() if resume else journal.begin()
    except BaseException:
        journal.close() if left_over else journal.discard()
        raise
    return journal
