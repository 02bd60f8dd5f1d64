"""Makes the videos in the queue in order, and continues them after a restart."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

from eden_client.film.resume_journal import parts_folder
from eden_client.folder_lock import FolderLock, LockTaken
from web.answers import ApiError
from web.film_options import arguments
from web.film_process import FilmProcess
from web.schemas import Status, Video
from web.settings import Settings
from web.streams import follow, note_segments
from web.uploads import Uploads, free_bytes
from web.videos import Videos

logger = logging.getLogger(__name__)

_ORPHAN = 60.0
"""Seconds to wait for a film's process that an earlier service started, and which ends with it."""
_LOOK_AGAIN = 0.1


class FilmQueue:
    """Makes up to `settings.at_once` films at a time."""

    def __init__(self, settings: Settings, videos: Videos, uploads: Uploads) -> None:
        self._settings, self._videos, self._uploads = settings, videos, uploads
        self._made: dict[str, _Making] = {}
        self._come = asyncio.Event()

    def wake(self) -> None:
        """Look again for a film to make: something has changed."""
        self._come.set()

    async def run(self) -> None:
        """Make films until this is cancelled; those in progress are then ended, and continue after a restart."""
        self._videos.requeue_interrupted()
        try:
            while True:
                self._come.clear()
                while len(self._made) < self._settings.at_once and (video := self._videos.next()):
                    self._begin(video)
                await self._come.wait()
        finally:
            tasks = [making.task for making in self._made.values()]
            for making in self._made.values():
                making.become = "in_progress"
                making.process.end()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def end(self, id_: str, become: Status) -> None:
        """End a film that is being made, and give it the status `become`. Returns once it has ended."""
        making = self._made.get(id_)
        if making is not None:
            making.become = become
            making.process.end()
            await asyncio.wait([making.task])

    def _begin(self, video: Video) -> None:
        try:
            making = _Making(self._settings, self._videos, self._uploads, video)
        except ApiError as error:
            self._videos.set(video.id, "failed", error=error.message)
            return
        self._made[video.id] = making
        making.task = asyncio.create_task(making.make())

        def ended(task: asyncio.Task[None]) -> None:
            del self._made[video.id]
            if not task.cancelled() and (error := task.exception()):
                logger.error("video %s: internal error", video.id, exc_info=error)
                with suppress(ApiError):
                    self._videos.set(video.id, "failed", error="internal error; the service's log says more")
            self.wake()

        making.task.add_done_callback(ended)


class _Making:
    """A film that is being made."""

    task: asyncio.Task[None]

    def __init__(self, settings: Settings, videos: Videos, uploads: Uploads, video: Video) -> None:
        self._settings, self._videos, self._uploads, self._video = settings, videos, uploads, video
        self.become: Status | None = None
        """The status that it gets once its process has ended, if that was told to end."""
        self._error: str | None = None
        self._done: dict[str, Any] | None = None
        self._begun, self._before = time.monotonic(), 0
        self._target = videos.result(video)
        self._source = uploads.get(video.upload)
        videos.set(video.id, "in_progress", error=None, started_at=video.started_at or time.time())
        self.process = FilmProcess(self._command(), self._hear)

    async def make(self) -> None:
        if free_bytes(self._settings.folder) < self._settings.limits.reserve_bytes:
            self._end("failed", "the service's disk is nearly full: delete some videos, then retry")
            return
        await self._alone()
        following = asyncio.create_task(follow(self._videos, self._video))
        try:
            code = await self.process.run()
        finally:
            following.cancel()
            await asyncio.wait([following])
        await note_segments(self._videos, self._video)
        if self._target.is_file():
            self._end("completed")
        elif self.become == "in_progress":  # the service ends; the next one finds it so
            return
        elif self.become is not None:
            self._end(self.become)
        else:
            ended = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            self._end("failed", self._error or f"its process ended {ended}: retry continues from there")

    def _command(self) -> list[str]:
        told = [*arguments(self._video.options), *self._settings.film_options]
        told += ["--resume", "--json-lines", "--wait-for-server"]
        return [*self._settings.command, str(self._source.path), str(self._target), *told]

    async def _alone(self) -> None:
        """Wait until no other process works on the film."""
        until = time.monotonic() + _ORPHAN
        while time.monotonic() < until and self.become is None:
            try:
                FolderLock(parts_folder(self._target), wait=False).release()
            except LockTaken:
                await asyncio.sleep(_LOOK_AGAIN)
            except OSError:  # nothing of it is there
                return
            else:
                return

    def _end(self, status: Status, error: str | None = None) -> None:
        told = {} if self._done is None else {"frames": self._done["frames_out"]}
        self._videos.set(self._video.id, status, error=error, **told)

    def _hear(self, told: dict[str, Any]) -> None:
        match told.get("event"):
            case "begin":
                self._begun, self._before = time.monotonic(), told["frames"]
                self._videos.set(self._video.id, expected_frames=told["expected"], frames=told["frames"])
            case "progress":
                self._progress(told["frames"], told["limit"], told["drawn"])
            case "note":
                self._videos.note(self._video.id, self._worded(told["text"]))
            case "done":
                self._done = told
            case "failed":
                self._error = self._worded(told["reason"])

    def _progress(self, frames: int, limit: str | None, drawn: bool) -> None:
        """Note the progress; rate and time left only once a frame was drawn: frames of the source come faster."""
        expected = self._videos.get(self._video.id).expected_frames
        rate = max(frames - self._before, 0) / max(time.monotonic() - self._begun, 1e-3) if drawn else None
        left = max(expected - frames, 0) / rate if rate and expected is not None else None
        self._videos.set(self._video.id, frames=frames, limited_by=limit, frames_per_second=rate, eta_s=left)

    def _worded(self, text: str) -> str:
        """The text with the film's name as the visitor gave it, and without paths of the service."""
        text = self._source.worded(text)
        text = text.replace(str(self._target), self._video.name).replace(self._target.name, self._video.name)
        return text.replace(str(self._settings.folder), "the service's folder")[:1000]
