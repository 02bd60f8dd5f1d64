"""The folder where a result is made: its finished segments, and a journal that says which film they are of.

It lies beside the result (film.mp4.parts) until the result is complete. An interrupted run leaves it behind; the next
one, told to resume, goes on after the last segment in it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eden_client.folder_lock import FolderLock, LockTaken


class JournalError(Exception):
    """The folder cannot be used; the message says why, and what to do."""


@dataclass(frozen=True)
class Entry:
    """A finished segment."""

    name: str
    """of its file, or empty where the gaps up to here show nothing"""
    start: str
    """time of its first frame, in seconds, as a fraction"""
    frames: int
    gaps: int
    """that it and those before it cover"""
    reorder: int = 0
    """by how many frames its coding order runs ahead of the order shown"""


class ResumeJournal:
    """The parts of one result. Made by `open_journal`."""

    def __init__(self, folder: Path, order: Mapping[str, Any]) -> None:
        self.folder = folder
        self.entries: list[Entry] = []
        self._order = dict(order)
        self._journal = folder / "journal.json"
        try:
            self._lock = FolderLock(folder, wait=False)
        except LockTaken as error:
            raise JournalError(f"another run is at work in {folder}") from error

    @property
    def gaps(self) -> int:
        """How many gaps are done."""
        return self.entries[-1].gaps if self.entries else 0

    @property
    def frames(self) -> int:
        """How many frames are done."""
        return sum(entry.frames for entry in self.entries)

    def record(self, entry: Entry) -> None:
        """Note a finished segment, for good."""
        self.entries.append(entry)
        self._write()

    def discard(self) -> None:
        """Remove everything: the result is complete."""
        shutil.rmtree(self.folder)
        self.close()

    def close(self) -> None:
        """Let go; what is there stays."""
        self._lock.release()

    def begin(self) -> None:
        """Start with nothing."""
        self._clear(keep=set())
        self._write()

    def resume(self) -> None:
        """Take over what an earlier run of the same order finished. Raises JournalError."""
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
        self.entries = [Entry(**entry) for entry in told["segments"]]
        self._clear(keep={entry.name for entry in self.entries})

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


def open_journal(result: Path, order: Mapping[str, Any], resume: bool, overwrite: bool) -> ResumeJournal:
    """The workshop of `result`, with what an interrupted run left in it if `resume`.

    order   what decides how the result looks: a run with another one cannot go on with these parts
    Raises JournalError: parts are there and nobody said what to do with them, or another run is using them.
    """
    folder = result.with_name(result.name + ".parts")
    left_over = (folder / "journal.json").exists()
    if left_over and not (resume or overwrite):
        raise JournalError(
            f"{folder} is there from an interrupted run: --resume goes on with it, --overwrite starts over"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not left_over and any(folder.iterdir()):
        raise JournalError(f"{folder} is in the way: it was not made by an earlier run")
    workshop = ResumeJournal(folder, order)
    try:
        workshop.resume() if resume else workshop.begin()
    except BaseException:
        workshop.close() if left_over else workshop.discard()
        raise
    return workshop
