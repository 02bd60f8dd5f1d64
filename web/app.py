"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from eden_client.folder_lock import FolderLock
from web.answers import ApiError, json_answer
from web.database import open_database
from web.eden import Eden
from web.events import Events
from web.live import Live
from web.openapi import document
from web.page import page_routes
from web.preview_api import PreviewApi
from web.queue import FilmQueue
from web.security import Guard
from web.server_status import Status
from web.sessions import Sessions
from web.settings import Settings
from web.stream_api import StreamApi
from web.tus import Tus
from web.uploads import Uploads
from web.video_api import VideoApi
from web.videos import Videos

logger = logging.getLogger(__name__)

_SWEEP_S = 600.0


class IdConvertor(Convertor[str]):
    """Matches an id: the only part of a request's path that is ever used in a file's path."""

    regex = "[0-9a-f]{32}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("film_id", IdConvertor())


class Service:
    """The parts of one service, and their ASGI application `app`.

    Raises LockTaken: another service is using the folder; OSError, sqlite3.Error or ValueError: it cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.folder.chmod(0o700)
        self._lock = FolderLock(settings.folder, wait=False)
        self._database = open_database(settings.folder / "service.db")
        limits = settings.limits
        self.events = Events(settings.heartbeat_s, limits.event_streams)
        self._uploads = Uploads(self._database, settings.folder / "uploads", limits)
        self._sessions = Sessions(self._database, settings.token, limits)
        self._eden = Eden(settings.film_options, limits.calls)
        self._previews = PreviewApi(self._uploads, limits, settings.wait_s, self._eden)
        self._videos = Videos(self._database, settings.folder / "videos", limits, self.events)
        self.app: ASGIApp = Guard(
            Starlette(
                routes=self._routes(),
                lifespan=self._lifespan,
                exception_handlers={
                    ApiError: _refused,
                    HTTPException: _not_served,
                    ClientDisconnect: _gone,
                    Exception: _failed,
                },
            ),
            settings,
            self._sessions,
        )

    def sweep(self, now: float) -> None:
        """Remove expired uploads and videos, and files that belong to none. `now`: seconds since the epoch."""
        self._videos.expire(now)
        self._uploads.expire(now)

    def close(self) -> None:
        """Release the folder; the application does so itself when it shuts down."""
        self._eden.close()
        self._database.close()
        self._lock.release()

    def _routes(self) -> list[BaseRoute]:
        limits = self._settings.limits
        self._queue = FilmQueue(self._settings, self._videos, self._uploads)
        tus, videos = Tus(self._uploads, limits), VideoApi(self._videos, self._uploads, self._queue, limits)
        previews, streams = self._previews, StreamApi(self._videos)
        described = document(self._settings.token is not None)

        async def openapi(request: Request) -> Response:
            return json_answer(described)

        return [
            Route("/v1/uploads", tus.collection, methods=["OPTIONS", "POST"]),
            Route("/v1/uploads/{id:film_id}", tus.one, methods=["HEAD", "PATCH", "DELETE", "POST"]),
            Route("/v1/uploads/{id:film_id}/film", previews.film, methods=["GET"]),
            Route("/v1/uploads/{id:film_id}/cuts", previews.cuts, methods=["GET"]),
            Route("/v1/uploads/{id:film_id}/frame", previews.frame, methods=["GET"]),
            Route("/v1/uploads/{id:film_id}/pair", previews.pair, methods=["GET"]),
            Route("/v1/uploads/{id:film_id}/pair/{picture}", previews.picture, methods=["GET"]),
            Route("/v1/uploads/{id:film_id}/content", previews.content, methods=["GET"]),
            Route("/v1/videos", videos.page, methods=["GET"]),
            Route("/v1/videos", videos.create, methods=["POST"]),
            Route("/v1/videos/{id:film_id}", videos.get, methods=["GET"]),
            Route("/v1/videos/{id:film_id}", videos.change, methods=["PATCH"]),
            Route("/v1/videos/{id:film_id}", videos.delete, methods=["DELETE"]),
            Route("/v1/videos/{id:film_id}/content", videos.content, methods=["GET"]),
            Route("/v1/videos/{id:film_id}/stream", streams.stream, methods=["GET"]),
            Route("/v1/videos/{id:film_id}/stream/init", streams.init, methods=["GET"]),
            Route("/v1/videos/{id:film_id}/stream/{number:int}", streams.segment, methods=["GET"]),
            Route("/v1/server", Status(self._eden, self._videos).get, methods=["GET"]),
            Route("/v1/session", self._sessions.begin, methods=["POST"]),
            Route("/v1/session", self._sessions.end, methods=["DELETE"]),
            Route("/v1/events", self.events.stream, methods=["GET"]),
            WebSocketRoute("/v1/live", Live(self._eden, limits).connect),
            Route("/openapi.json", openapi, methods=["GET"]),
            *page_routes(),
        ]

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._queue.run()), asyncio.create_task(self._sweep_often())]
        for task in tasks:
            task.add_done_callback(_log_failure)
        try:
            yield
        finally:
            self.events.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, self._previews.close(), return_exceptions=True)
            self.close()

    async def _sweep_often(self) -> None:
        while True:
            self.sweep(time.time())
            await asyncio.sleep(_SWEEP_S)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.critical(
            "a background task failed: films are no longer made, or old ones not removed; restart the service",
            exc_info=error,
        )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.answer()


async def _not_served(request: Request, error: Exception) -> Response:
    """Answers Starlette's own refusals: unknown path or method."""
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, error.detail, error.headers).answer()


async def _gone(request: Request, error: Exception) -> Response:
    return ApiError(400, "the connection was closed before the body was complete").answer()


async def _failed(request: Request, error: Exception) -> Response:
    return ApiError(500, "internal error; the service's log says more").answer()
