"""The endpoints below /v1/uploads/{id} that show a complete upload: film, thumbnails, cuts, and the pair at a time."""

from __future__ import annotations

import time
from pathlib import PurePath
from typing import Literal

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from media import MediaError
from media.images import ImageFormat
from web.answers import ApiError, head_answer, json_answer, number, one_of, seconds
from web.cuts import CutSearch
from web.eden import Eden
from web.film_kinds import UNKNOWN
from web.film_reader import Answer, Ask, encoded
from web.previews import Previews
from web.reader_process import ReaderProcess
from web.schemas import Cuts, Film, Pair
from web.settings import Limits
from web.threads import threaded
from web.uploads import Upload, Uploads

PICTURES = ("first", "second", "blended", "eden")
FORMATS: tuple[Literal["png", "jpeg"], ...] = ("png", "jpeg")
LOWEST, HIGHEST = 16, 360
"""Bounds of a thumbnail's height, in pixels."""
_LASTING = {"Cache-Control": "private, max-age=86400, immutable"}
"""A complete upload never changes."""
_FILM = "film.json"


class PreviewApi:
    """The endpoints about complete uploads. HEAD reads no film, and draws nothing."""

    def __init__(self, uploads: Uploads, limits: Limits, wait_s: float, eden: Eden) -> None:
        self._uploads, self._eden = uploads, eden
        self._previews = Previews(limits)
        self._cuts = CutSearch(self._previews, wait_s)
        # What is at the cursor does not wait for a strip of thumbnails.
        self._strip, self._cursor = ReaderProcess(limits.read_s), ReaderProcess(limits.read_s)

    async def film(self, request: Request) -> Response:
        """GET /v1/uploads/{id}/film."""
        upload = self._upload(request)
        if request.method == "HEAD":
            return head_answer("application/json")
        return json_answer(await self._film(upload))

    async def cuts(self, request: Request) -> Response:
        """GET /v1/uploads/{id}/cuts."""
        upload = self._upload(request)
        if request.method == "HEAD":
            return head_answer("application/json")
        return json_answer(await self._cuts.find(upload))

    async def frame(self, request: Request) -> Response:
        """GET /v1/uploads/{id}/frame: a thumbnail."""
        upload, at = self._upload(request), seconds(request, "at")
        height = number(request, "height", LOWEST, HIGHEST, 90) or 90
        if request.method == "HEAD":
            return head_answer("image/jpeg", _LASTING)
        name = f"frame-{at}-{height}.jpeg"
        picture = self._previews.read(upload, name)
        if picture is None:
            _, (picture,) = await self._ask(self._strip, upload, Ask(str(upload.path), "frame", at, height))
            self._previews.keep(upload, name, picture)
        return Response(picture, headers=_LASTING, media_type="image/jpeg")

    async def pair(self, request: Request) -> Response:
        """GET /v1/uploads/{id}/pair: when its pictures are shown."""
        upload, at = self._upload(request), seconds(request, "at")
        if request.method == "HEAD":
            return head_answer("application/json")
        answer, _ = await self._ask(self._cursor, upload, Ask(str(upload.path), "pair", at))
        assert answer.times is not None
        first, second = answer.times
        return json_answer(Pair(first, second, _cut_between(self._cuts.known(upload), first, second)))

    async def picture(self, request: Request) -> Response:
        """GET /v1/uploads/{id}/pair/{picture}: one of the two pictures, or the frame between."""
        which, format = request.path_params["picture"], one_of(request, "format", FORMATS)
        if which not in PICTURES:
            raise ApiError(404, f"a pair has the pictures {', '.join(PICTURES)}")
        upload, at = self._upload(request), seconds(request, "at")
        if request.method == "HEAD":
            return head_answer(f"image/{format}", None if which == "eden" else _LASTING)
        if which == "eden":
            return await self._drawn(upload, at, format)
        begun = time.perf_counter()
        asked = Ask(str(upload.path), which, at, format=format)
        _, (picture,) = await self._ask(self._cursor, upload, asked)
        timing = _server_timing(decode=time.perf_counter() - begun)
        return Response(picture, headers=_LASTING | timing, media_type=f"image/{format}")

    async def content(self, request: Request) -> Response:
        """GET /v1/uploads/{id}/content: the film as it was uploaded; supports ranges."""
        upload = self._upload(request)
        try:
            media_type = (await self._film(upload)).media_type
        except ApiError:  # no film, whatever it is
            media_type = UNKNOWN
        name = PurePath(upload.name).name
        disposition = "attachment" if media_type == UNKNOWN else "inline"
        return FileResponse(
            upload.path, media_type=media_type, filename=name, content_disposition_type=disposition, headers=_LASTING
        )

    async def close(self) -> None:
        """End all processes that read films."""
        for each in (self._cuts, self._strip, self._cursor):
            await each.close()

    def _upload(self, request: Request) -> Upload:
        return self._uploads.use(request.path_params["id"])

    async def _film(self, upload: Upload) -> Film:
        kept = self._previews.read(upload, _FILM)
        if kept is None:
            answer, _ = await self._ask(self._strip, upload, Ask(str(upload.path), "film"))
            kept = msgspec.json.encode(answer.film)
            self._previews.keep(upload, _FILM, kept)
        film = msgspec.json.decode(kept, type=Film)
        film.name = upload.name
        return film

    async def _drawn(self, upload: Upload, at: str, format: ImageFormat) -> Response:
        """The frame between, by one call of the EDEN server."""
        begun = time.perf_counter()
        answer, parts = await self._ask(self._cursor, upload, Ask(str(upload.path), "pixels", at))
        assert answer.shape is not None
        first, second = (np.frombuffer(part, np.uint8).reshape(*answer.shape, 3) for part in parts)
        decode = time.perf_counter() - begun
        frame, server = await self._eden.between(first, second, "interactive")
        begun = time.perf_counter()
        try:
            picture = await threaded(encoded, frame, format)
        except MediaError as error:
            raise ApiError(422, str(error)) from error
        timing = _server_timing(decode=decode, server=server, encode=time.perf_counter() - begun)
        return Response(picture, headers=timing, media_type=f"image/{format}")

    async def _ask(self, reader: ReaderProcess, upload: Upload, asked: Ask) -> tuple[Answer, list[bytes]]:
        try:
            return await reader.ask(asked)
        except ApiError as error:
            raise ApiError(error.status, upload.worded(error.message), error.headers) from error


def _cut_between(cuts: Cuts | None, first: float, second: float) -> bool | None:
    if cuts is None:
        return None
    if any(abs(cut - second) < (second - first) / 2 for cut in cuts.cuts):
        return True
    return False if cuts.complete or cuts.scanned_s > second else None


def _server_timing(**stages: float) -> dict[str, str]:
    return {"Server-Timing": ", ".join(f"{name};dur={1000 * stage:.1f}" for name, stage in stages.items())}
