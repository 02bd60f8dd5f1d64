"""The endpoints of a video's stream: its finished segments for a browser's Media Source, while it is made and after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
from starlette.requests import Request
from starlette.responses import Response

from eden_client.film.resume_journal import parts_folder
from web.answers import ApiError, json_answer
from web.fragments import NotPlayed, Span, fragment, header
from web.schemas import Segment, Stream, Video
from web.threads import threaded
from web.videos import StreamPart, Videos

T = TypeVar("T")
_AT_ONCE = 4
_LASTING = {"Cache-Control": "private, max-age=86400, immutable"}


class StreamApi:
    """Serves what the film's processes have written, without encoding anything again."""

    def __init__(self, videos: Videos) -> None:
        self._videos = videos
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def stream(self, request: Request) -> Response:
        """GET /v1/videos/{id}/stream."""
        video = self._videos.get(request.path_params["id"])
        parts = self._videos.stream(video.id)
        place = f"/v1/videos/{video.id}/stream"
        stream = Stream(None, True, None, f"{place}/init", [], video.status == "completed")
        if video.options.format == "gif":
            stream.playable, stream.reason = False, "a GIF cannot be streamed: download it when it is completed"
        elif parts:
            try:
                _, stream.mime = await self._of_segment(video, parts[0], lambda path, _: header(path))
            except NotPlayed as what:
                stream.playable, stream.reason = False, f"browsers cannot play {what}: download the file, or choose "
                "h264"
            else:
                stream.segments = [
                    Segment(f"{place}/{number}", part.start, part.duration) for number, part in enumerate(parts)
                ]
        return json_answer(stream)

    async def init(self, request: Request) -> Response:
        """GET /v1/videos/{id}/stream/init: the initialisation segment."""
        video, part = self._part(request, 0)
        try:
            begin, _ = await self._of_segment(video, part, lambda path, _: header(path))
        except NotPlayed as what:
            raise ApiError(409, f"browsers cannot play {what}") from what
        return Response(begin, headers=_LASTING, media_type="video/mp4")

    async def segment(self, request: Request) -> Response:
        """GET /v1/videos/{id}/stream/{number}."""
        number = request.path_params["number"]
        video, part = self._part(request, number)
        start = Fraction(part.start)

        def read(path: Path, whole: bool) -> bytes:
            return fragment(path, number, start, Span(start, Fraction(part.duration)) if whole else None)

        return Response(await self._of_segment(video, part, read), headers=_LASTING, media_type="video/mp4")

    def _part(self, request: Request, number: int) -> tuple[Video, StreamPart]:
        video = self._videos.get(request.path_params["id"])
        parts = self._videos.stream(video.id)
        if number >= len(parts):
            raise ApiError(404, f"no such segment: {len(parts)} are finished")
        return video, parts[number]

    async def _of_segment(self, video: Video, part: StreamPart, read: Callable[[Path, bool], T]) -> T:
        """Read a segment from its own file or, once that is gone, from the whole film.

        Raises ApiError 404, NotPlayed.
        """
        result = self._videos.result(video)

        def look() -> T:
            if part.name:
                try:
                    return read(parts_folder(result) / part.name, False)
                except OSError:  # FFmpeg's errors of files among them: the film has just been joined
                    pass
            return read(result, True)

        async with self._room:
            try:
                return await threaded(look)
            except (av.FFmpegError, OSError, ValueError) as error:
                raise ApiError(404, "this segment no longer exists") from error
