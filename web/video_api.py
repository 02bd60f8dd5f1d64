"""The endpoints under /v1/videos."""

from __future__ import annotations

from pathlib import PurePath
from typing import get_args

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from web.answers import ApiError, content_type, json_answer, json_body, number
from web.film_options import arguments
from web.forms import read_form
from web.queue import FilmQueue
from web.schemas import Change, NewVideo, Options, Status, Video
from web.settings import Limits
from web.uploads import Upload, Uploads
from web.videos import Videos

MEDIA_TYPES = {
    "mp4": "video/mp4",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "gif": "image/gif",
}
_LAST = (1 << 63) - 1


class VideoApi:
    """The endpoints: videos as HTTP resources."""

    def __init__(self, videos: Videos, uploads: Uploads, queue: FilmQueue, limits: Limits) -> None:
        self._videos, self._uploads, self._queue, self._limits = videos, uploads, queue, limits

    async def create(self, request: Request) -> Response:
        """POST /v1/videos: from a form that holds the film, or from an upload."""
        self._videos.check_room()
        if content_type(request) == "multipart/form-data":
            upload, options = await read_form(request, self._uploads, self._limits)
            try:
                video = self._created(upload, options)
            except ApiError:
                self._uploads.discard(upload)
                raise
        else:
            wanted = await json_body(request, NewVideo, self._limits.body_bytes)
            video = self._created(self._uploads.use(wanted.upload), wanted.options)
        return json_answer(video, 201, {"Location": f"/v1/videos/{video.id}"})

    async def page(self, request: Request) -> Response:
        """GET /v1/videos."""
        limit = number(request, "limit", 1, 100, 20) or 20
        status = request.query_params.get("status")
        if status is not None and status not in get_args(Status):
            raise ApiError(400, f"status must be one of {', '.join(get_args(Status))}")
        return json_answer(self._videos.page(limit, number(request, "cursor", 0, _LAST, None), status))

    async def get(self, request: Request) -> Response:
        """GET /v1/videos/{id}."""
        return json_answer(self._videos.get(request.path_params["id"]))

    async def change(self, request: Request) -> Response:
        """PATCH /v1/videos/{id}."""
        id_ = request.path_params["id"]
        self._videos.get(id_)
        change = await json_body(request, Change, self._limits.body_bytes)
        if isinstance(change.paused, bool):
            await self._pause(self._videos.get(id_), change.paused)
        if isinstance(change.position, int):
            if self._videos.get(id_).status != "queued":
                raise ApiError(409, "the video is not waiting in the queue")
            self._videos.move(id_, change.position)
        if change.status == "cancelled":
            await self._cancel(self._videos.get(id_))
        elif change.status == "queued":
            self._retry(self._videos.get(id_))
        self._queue.wake()
        return json_answer(self._videos.get(id_))

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/videos/{id}."""
        video = self._videos.get(request.path_params["id"])
        await self._queue.end(video.id, "cancelled")
        self._videos.delete(video.id)
        self._queue.wake()
        return Response(status_code=204)

    async def content(self, request: Request) -> Response:
        """GET /v1/videos/{id}/content; supports ranges."""
        video = self._videos.get(request.path_params["id"])
        path = self._videos.content(video)
        if path is None:
            raise ApiError(409, f"nothing of the video can be shown yet: it is {video.status.replace('_', ' ')}")
        name = f"{PurePath(video.name).stem}.{video.options.format}"
        return FileResponse(
            path, media_type=MEDIA_TYPES[video.options.format], filename=name, content_disposition_type="inline"
        )

    def _created(self, upload: Upload, options: Options) -> Video:
        arguments(options)  # which refuses what excludes each other
        video = self._videos.create(upload, options)
        self._queue.wake()
        return video

    async def _pause(self, video: Video, paused: bool) -> None:
        if video.status not in ("queued", "in_progress"):
            raise ApiError(409, f"the video is {video.status}: it cannot be paused")
        self._videos.set(video.id, paused=int(paused))
        if paused:
            await self._queue.end(video.id, "queued")

    async def _cancel(self, video: Video) -> None:
        if video.status == "in_progress":
            await self._queue.end(video.id, "cancelled")
        elif video.status == "queued":
            self._videos.set(video.id, "cancelled", paused=0)
        elif video.status != "cancelled":
            raise ApiError(409, f"the video is already {video.status}")

    def _retry(self, video: Video) -> None:
        if video.status in ("cancelled", "failed"):
            self._uploads.use(video.upload)
            self._videos.check_room()
            self._videos.set(video.id, "queued", error=None, paused=0)
        elif video.status == "completed":
            raise ApiError(409, "the video is already completed")
