"""The videos in all states: their rows in the database, their order, and the paths of their files."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from eden_client.film.resume_journal import rescued_part
from web.answers import ApiError
from web.events import Events
from web.schemas import Options, Status, Video, VideoPage
from web.settings import Limits
from web.uploads import Upload


class StreamPart(msgspec.Struct, frozen=True, array_like=True):
    """A segment: its beginning and duration in seconds, and its file while the video is being made."""

    start: float
    duration: float
    name: str


_ENDED = ("completed", "failed", "cancelled")


class Videos:
    """All videos; used by one thread. Each change is published as an event."""

    def __init__(self, database: sqlite3.Connection, folder: Path, limits: Limits, events: Events) -> None:
        self._database, self._folder, self._limits, self._events = database, folder, limits, events
        folder.mkdir(mode=0o700, exist_ok=True)

    def create(self, upload: Upload, options: Options) -> Video:
        """A new video, last in the queue. Raises ApiError 429: there are too many."""
        self.check_room()
        id_ = secrets.token_hex(16)
        (self._folder / id_).mkdir(mode=0o700)
        self._database.execute(
            "INSERT INTO videos (id, upload, name, options, status, rank, created_at) "
            "VALUES (?, ?, ?, ?, 'queued', (SELECT coalesce(max(rank), 0) + 1 FROM videos), ?)",
            (id_, upload.id, upload.name, msgspec.json.encode(options).decode(), time.time()),
        )
        return self._told(id_)

    def check_room(self) -> None:
        """Raises ApiError 429: there are too many."""
        waiting, count = self._database.execute(
            "SELECT count(*) FILTER (WHERE status IN ('queued', 'in_progress')), count(*) FROM videos"
        ).fetchone()
        if waiting >= self._limits.queue or count >= self._limits.videos:
            raise ApiError(429, "too many videos: wait until some are finished, or delete some")

    def counts(self) -> tuple[int, int]:
        """How many videos wait, and how many are being made."""
        counted = self._database.execute("SELECT status, count(*) FROM videos GROUP BY status").fetchall()
        by_status = {row[0]: row[1] for row in counted}
        return by_status.get("queued", 0), by_status.get("in_progress", 0)

    def get(self, id_: str) -> Video:
        """The video with this id. Raises ApiError 404."""
        row = self._database.execute("SELECT * FROM videos WHERE id = ?", (id_,)).fetchone()
        if row is None:
            raise ApiError(404, "no such video; it may have expired")
        return self._video(row)

    def page(self, limit: int, cursor: int | None, status: str | None) -> VideoPage:
        """A page of at most `limit` videos, the latest first.

        cursor: that of the page before it; None: the first page.
        """
        rows = self._database.execute(
            "SELECT * FROM videos WHERE (?1 IS NULL OR seq < ?1) AND (?2 IS NULL OR status = ?2) "
            "ORDER BY seq DESC LIMIT ?3",
            (cursor, status, limit + 1),
        ).fetchall()
        more = len(rows) > limit
        return VideoPage([self._video(row) for row in rows[:limit]], rows[limit - 1]["seq"] if more else None)

    def next(self) -> Video | None:
        """The next video to make; None if none waits."""
        row = self._database.execute(
            "SELECT * FROM videos WHERE status = 'queued' AND NOT paused ORDER BY rank LIMIT 1"
        ).fetchone()
        return row and self._video(row)

    def set(self, id_: str, status: Status | None = None, **columns: Any) -> Video:
        """Change a video's columns, and publish it. Raises ApiError 404: it was deleted."""
        if status is not None:
            columns["status"] = status
            if status != "in_progress":
                columns |= {"eta_s": None, "frames_per_second": None, "limited_by": None}
            columns["ended_at"] = time.time() if status in _ENDED else None
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._database.execute(f"UPDATE videos SET {assignments} WHERE id = ?", (*columns.values(), id_))
        return self._told(id_)

    def stream(self, id_: str) -> list[StreamPart]:
        """The finished segments of a video, in order."""
        row = self._database.execute("SELECT stream FROM videos WHERE id = ?", (id_,)).fetchone()
        return [] if row is None else msgspec.json.decode(row["stream"], type=list[StreamPart])

    def set_stream(self, id_: str, parts: list[StreamPart]) -> None:
        """Store the finished segments of a video, unless they are known. Raises ApiError 404."""
        if parts != self.stream(id_):
            self.set(id_, segments=len(parts), stream=msgspec.json.encode(parts).decode())

    def note(self, id_: str, text: str) -> None:
        """Add a note to a video, unless it has many."""
        notes = self.get(id_).notes
        if text not in notes and len(notes) < 50:
            self.set(id_, notes=json.dumps([*notes, text]))

    def move(self, id_: str, position: int) -> None:
        """Move a video to this position among those that wait."""
        rows = self._database.execute("SELECT id, rank FROM videos WHERE status = 'queued' ORDER BY rank").fetchall()
        order = [row["id"] for row in rows if row["id"] != id_]
        order.insert(position, id_)
        self._rank(order)
        for each in order:
            self._told(each)

    def requeue_interrupted(self) -> None:
        """After a restart: videos that were being made come first in the queue; those with a result are completed."""
        rows = self._database.execute("SELECT * FROM videos WHERE status = 'in_progress' ORDER BY rank").fetchall()
        for row in rows:
            video = self._video(row)
            self.set(video.id, "completed" if self.result(video).is_file() else "queued")

    def delete(self, id_: str) -> None:
        """Delete a video and its files. It must not be in progress."""
        self._database.execute("DELETE FROM videos WHERE id = ?", (id_,))
        shutil.rmtree(self._folder / id_, ignore_errors=True)
        self._events.publish("deleted", {"id": id_})

    def expire(self, now: float) -> None:
        """Delete expired videos, and folders that belong to none. `now`: seconds since the epoch."""
        old = self._database.execute("SELECT id FROM videos WHERE ended_at < ?", (now - self._limits.keep_s,))
        for row in old.fetchall():
            self.delete(row["id"])
        known = {row["id"] for row in self._database.execute("SELECT id FROM videos")}
        for path in self._folder.iterdir():
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)

    def result(self, video: Video) -> Path:
        """The path of the result."""
        return self._folder / video.id / f"film.{video.options.format}"

    def content(self, video: Video) -> Path | None:
        """The file that can be shown: the result, or the finished part of a video that has ended; None: nothing."""
        if video.status == "in_progress":
            return None
        result = self.result(video)
        return next((path for path in (result, rescued_part(result)) if path.is_file()), None)

    def _rank(self, ids: Iterable[str]) -> None:
        self._database.execute("BEGIN")
        (last,) = self._database.execute("SELECT coalesce(max(rank), 0) FROM videos").fetchone()
        ranked = [(last + number, id_) for number, id_ in enumerate(ids, 1)]
        self._database.executemany("UPDATE videos SET rank = ? WHERE id = ?", ranked)
        self._database.execute("COMMIT")

    def _told(self, id_: str) -> Video:
        video = self.get(id_)
        self._events.publish("video", video)
        return video

    def _video(self, row: sqlite3.Row) -> Video:
        frames, expected, status = row["frames"], row["expected_frames"], row["status"]
        options = msgspec.json.decode(row["options"], type=Options)
        position = None
        if status == "queued":
            (position,) = self._database.execute(
                "SELECT count(*) FROM videos WHERE status = 'queued' AND rank < ?", (row["rank"],)
            ).fetchone()
        video = Video(
            id=row["id"],
            name=row["name"],
            upload=row["upload"],
            options=options,
            status=status,
            paused=bool(row["paused"]),
            position=position,
            progress=100 if status == "completed" else min(99, 100 * frames // expected) if expected else 0,
            frames=frames,
            expected_frames=expected,
            frames_per_second=row["frames_per_second"],
            eta_s=row["eta_s"],
            limited_by=row["limited_by"],
            segments=row["segments"],
            error=row["error"],
            notes=json.loads(row["notes"]),
            bytes=None,
            created_at=row["created_at"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
        )
        content = self.content(video)
        video.bytes = None if content is None else content.stat().st_size
        return video
