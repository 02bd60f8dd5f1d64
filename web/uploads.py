"""Films that visitors send: files of random names in a folder of their own, bounded in size, number and time."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from web.answers import ApiError, shown
from web.settings import Limits


@dataclass(frozen=True)
class Upload:
    """A film that has been sent, or is still being sent."""

    id: str
    name: str
    length: int
    path: Path
    previews: Path
    """a folder for what has been found out of it; made by whoever keeps something there"""

    @property
    def offset(self) -> int:
        """How many of its bytes are there."""
        return self.path.stat().st_size

    @property
    def complete(self) -> bool:
        return self.offset == self.length

    def worded(self, text: str) -> str:
        """With the visitor's name of the film in place of its path."""
        return text.replace(str(self.path), self.name).replace(self.id, self.name)


class Uploads:
    """All uploads; one thread uses it. What the files hold is the truth on how much has come."""

    def __init__(self, database: sqlite3.Connection, folder: Path, limits: Limits) -> None:
        self._database, self._folder, self._limits = database, folder, limits
        self._receiving: set[str] = set()
        self._previews = folder.with_name("previews")
        for each in (folder, self._previews):
            each.mkdir(mode=0o700, exist_ok=True)

    def create(self, name: str, length: int, spare: int = 0) -> Upload:
        """Room for a film, and for so many bytes more of which nobody knows yet whether they belong to it.

        Raises ApiError: 413 it is too long, 507 there is no room.
        """
        limits = self._limits
        if length > limits.upload_bytes:
            raise ApiError(413, f"a film of more than {limits.upload_bytes} bytes is not taken")
        count, total = self._database.execute("SELECT count(*), coalesce(sum(length), 0) FROM uploads").fetchone()
        if count >= limits.uploads or total + length > limits.upload_total_bytes:
            raise ApiError(507, "there are too many uploads: delete some videos that are done, or wait")
        if free_bytes(self._folder) - self._outstanding() - length < limits.reserve_bytes:
            raise ApiError(507, "the disk of the service is nearly full: delete some videos that are done")
        id_ = secrets.token_hex(16)
        self._path(id_).touch(mode=0o600, exist_ok=False)
        told = (id_, shown(name), length + spare, time.time())
        self._database.execute("INSERT INTO uploads VALUES (?, ?, ?, ?)", told)
        return self.get(id_)

    def get(self, id_: str) -> Upload:
        """Raises ApiError 404."""
        row = self._database.execute("SELECT name, length FROM uploads WHERE id = ?", (id_,)).fetchone()
        if row is None:
            raise ApiError(404, "there is no such upload; it may have been removed, being old")
        return Upload(id_, row["name"], row["length"], self._path(id_), self._previews / id_)

    def use(self, id_: str) -> Upload:
        """It is kept for a while again. Raises ApiError: 404, or 409 as long as it is not complete."""
        upload = self.get(id_)
        if not upload.complete:
            raise ApiError(409, f"the upload is not complete: {upload.offset} of {upload.length} bytes are there")
        self._touch(id_)
        return upload

    async def receive(self, upload: Upload, offset: int, chunks: AsyncIterator[bytes]) -> int:
        """Add what comes; returns how much is there then. What has come stays, however this ends.

        Raises ApiError: 409 it does not go on at `offset`, 423 another one is sending, 413 it is longer than announced.
        """
        with self.receiving(upload, offset) as file:
            async for chunk in chunks:
                await self.write(upload, file, chunk)
        self._touch(upload.id)
        return upload.offset

    @contextmanager
    def receiving(self, upload: Upload, offset: int) -> Iterator[FileIO]:
        """Its file, for one at a time to write to. Raises ApiError 409 or 423."""
        if upload.id in self._receiving:
            raise ApiError(423, "another request is sending this upload")
        if offset != upload.offset:
            raise ApiError(409, f"the upload goes on at {upload.offset}, not at {offset}")
        self._receiving.add(upload.id)
        try:
            with upload.path.open("ab", buffering=0) as file:
                yield file
        finally:
            self._receiving.discard(upload.id)

    async def write(self, upload: Upload, file: FileIO, chunk: bytes) -> None:
        """Add this much. Raises ApiError: 413 it is longer than announced, 507 the disk is full."""
        if file.tell() + len(chunk) > upload.length:
            raise ApiError(413, f"more than the {upload.length} bytes that were announced")
        try:
            while chunk:
                chunk = chunk[await asyncio.to_thread(file.write, chunk) :]
        except OSError as error:
            raise ApiError(507, "the disk of the service is full") from error

    def finish(self, upload: Upload, name: str, length: int) -> Upload:
        """It is complete, and turned out to be so long. Raises ApiError 413."""
        if length > self._limits.upload_bytes:
            raise ApiError(413, f"a film of more than {self._limits.upload_bytes} bytes is not taken")
        told = (shown(name), length, time.time(), upload.id)
        self._database.execute("UPDATE uploads SET name = ?, length = ?, used_at = ? WHERE id = ?", told)
        return self.get(upload.id)

    def discard(self, upload: Upload) -> None:
        """Remove it, whatever it is."""
        self._database.execute("DELETE FROM uploads WHERE id = ?", (upload.id,))
        upload.path.unlink(missing_ok=True)
        shutil.rmtree(upload.previews, ignore_errors=True)

    def delete(self, id_: str) -> None:
        """Remove it. Raises ApiError: 404, 409 while a film is to be made of it, 423 while it is sent."""
        self.get(id_)
        if id_ in self._receiving:
            raise ApiError(423, "another request is sending this upload")
        if self._database.execute(
            "SELECT 1 FROM videos WHERE upload = ? AND status IN ('queued', 'in_progress')", (id_,)
        ).fetchone():
            raise ApiError(409, "a video is still to be made of it: cancel that first")
        self.discard(self.get(id_))

    def expire(self, now: float) -> None:
        """Remove what nobody has used for long, and files of which nothing is known."""
        old = self._database.execute(
            "SELECT id FROM uploads WHERE used_at < ? AND id NOT IN "
            "(SELECT upload FROM videos WHERE status IN ('queued', 'in_progress'))",
            (now - self._limits.keep_s,),
        ).fetchall()
        for row in old:
            if row["id"] not in self._receiving:
                self.discard(self.get(row["id"]))
        known = {row["id"] for row in self._database.execute("SELECT id FROM uploads")}
        for path in self._folder.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)
        for path in self._previews.iterdir():
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)

    def _outstanding(self) -> int:
        rows = self._database.execute("SELECT id, length FROM uploads")
        return sum(max(row["length"] - _size(self._path(row["id"])), 0) for row in rows)

    def _touch(self, id_: str) -> None:
        self._database.execute("UPDATE uploads SET used_at = ? WHERE id = ?", (time.time(), id_))

    def _path(self, id_: str) -> Path:
        return self._folder / id_


def free_bytes(folder: Path) -> int:
    """Of the disk that it lies on."""
    return shutil.disk_usage(folder).free


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
