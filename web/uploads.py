"""Films that visitors upload: files with random names in a folder, bounded in size, number and age."""

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
    """A film that was uploaded, or is being uploaded."""

    id: str
    name: str
    length: int
    path: Path
    previews: Path
    """cache folder of this upload, made when something is kept there"""

    @property
    def offset(self) -> int:
        """How many bytes have arrived."""
        return self.path.stat().st_size

    @property
    def complete(self) -> bool:
        return self.offset == self.length

    def worded(self, text: str) -> str:
        """The text with the film's path replaced by the name that the visitor gave it."""
        return text.replace(str(self.path), self.name).replace(self.id, self.name)


class Uploads:
    """All uploads; used by one thread. The size of an upload's file says how much has arrived."""

    def __init__(self, database: sqlite3.Connection, folder: Path, limits: Limits) -> None:
        self._database, self._folder, self._limits = database, folder, limits
        self._receiving: set[str] = set()
        self._previews = folder.with_name("previews")
        for each in (folder, self._previews):
            each.mkdir(mode=0o700, exist_ok=True)

    def create(self, name: str, length: int, spare: int = 0) -> Upload:
        """A new upload of `length` bytes, and `spare` bytes more that may or may not belong to it.

        Raises ApiError: 413 it is too large, 507 there is no space.
        """
        limits = self._limits
        if length > limits.upload_bytes:
            raise ApiError(413, f"a film of more than {limits.upload_bytes} bytes is not taken")
        count, total = self._database.execute("SELECT count(*), coalesce(sum(length), 0) FROM uploads").fetchone()
        if count >= limits.uploads or total + length > limits.upload_total_bytes:
            raise ApiError(507, "too many uploads: delete some finished videos, or wait")
        if free_bytes(self._folder) - self._outstanding() - length < limits.reserve_bytes:
            raise ApiError(507, "the service's disk is nearly full: delete some finished videos")
        id_ = secrets.token_hex(16)
        self._path(id_).touch(mode=0o600, exist_ok=False)
        told = (id_, shown(name), length + spare, time.time())
        self._database.execute("INSERT INTO uploads VALUES (?, ?, ?, ?)", told)
        return self.get(id_)

    def get(self, id_: str) -> Upload:
        """The upload with this id. Raises ApiError 404."""
        row = self._database.execute("SELECT name, length FROM uploads WHERE id = ?", (id_,)).fetchone()
        if row is None:
            raise ApiError(404, "no such upload; it may have expired")
        return Upload(id_, row["name"], row["length"], self._path(id_), self._previews / id_)

    def use(self, id_: str) -> Upload:
        """The complete upload with this id, whose expiry starts again.

        Raises ApiError: 404, or 409 if it is incomplete.
        """
        upload = self.get(id_)
        if not upload.complete:
            raise ApiError(409, f"the upload is incomplete: {upload.offset} of {upload.length} bytes have arrived")
        self._touch(id_)
        return upload

    async def receive(self, upload: Upload, offset: int, chunks: AsyncIterator[bytes]) -> int:
        """Append the chunks; returns how many bytes have arrived in all. What was received stays, however this ends.

        Raises ApiError: 409 `offset` is not where the upload continues, 413 longer than announced, 423 another request
        is
        sending, 507 the disk is full.
        """
        with self.receiving(upload, offset) as file:
            async for chunk in chunks:
                await self.write(upload, file, chunk)
        self._touch(upload.id)
        return upload.offset

    @contextmanager
    def receiving(self, upload: Upload, offset: int) -> Iterator[FileIO]:
        """The upload's file, which one request at a time can append to. Raises ApiError 409 or 423."""
        if upload.id in self._receiving:
            raise ApiError(423, "another request is sending this upload")
        if offset != upload.offset:
            raise ApiError(409, f"the upload continues at byte {upload.offset}, not {offset}")
        self._receiving.add(upload.id)
        try:
            with upload.path.open("ab", buffering=0) as file:
                yield file
        finally:
            self._receiving.discard(upload.id)

    async def write(self, upload: Upload, file: FileIO, chunk: bytes) -> None:
        """Append a chunk. Raises ApiError: 413 longer than announced, 507 the disk is full."""
        if file.tell() + len(chunk) > upload.length:
            raise ApiError(413, f"more than the {upload.length} bytes that were announced")
        try:
            while chunk:
                chunk = chunk[await asyncio.to_thread(file.write, chunk) :]
        except OSError as error:
            raise ApiError(507, "the service's disk is full") from error

    def finish(self, upload: Upload, name: str, length: int) -> Upload:
        """Complete an upload whose true length is known only now. Raises ApiError 413."""
        if length > self._limits.upload_bytes:
            raise ApiError(413, f"a film of more than {self._limits.upload_bytes} bytes is not taken")
        told = (shown(name), length, time.time(), upload.id)
        self._database.execute("UPDATE uploads SET name = ?, length = ?, used_at = ? WHERE id = ?", told)
        return self.get(upload.id)

    def discard(self, upload: Upload) -> None:
        """Delete an upload in any state."""
        self._database.execute("DELETE FROM uploads WHERE id = ?", (upload.id,))
        upload.path.unlink(missing_ok=True)
        shutil.rmtree(upload.previews, ignore_errors=True)

    def delete(self, id_: str) -> None:
        """Delete an upload. Raises ApiError: 404, 409 while a video needs it, 423 while it is being sent."""
        self.get(id_)
        if id_ in self._receiving:
            raise ApiError(423, "another request is sending this upload")
        if self._database.execute(
            "SELECT 1 FROM videos WHERE upload = ? AND status IN ('queued', 'in_progress')", (id_,)
        ).fetchone():
            raise ApiError(409, "a video still needs this upload: cancel that first")
        self.discard(self.get(id_))

    def expire(self, now: float) -> None:
        """Delete expired uploads, and files that belong to none. `now`: seconds since the epoch."""
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
    """Free bytes on the disk of a folder."""
    return shutil.disk_usage(folder).free


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
