"""Resumable uploads by tus 1.0 (https://tus.io/protocols/resumable-upload): the core, creation and termination."""

from __future__ import annotations

import base64
import binascii

from starlette.requests import Request
from starlette.responses import Response

from web.answers import ApiError, content_type
from web.settings import Limits
from web.uploads import Upload, Uploads

VERSION = "1.0.0"
_CHUNKS = "application/offset+octet-stream"
_LONGEST_METADATA = 4096


class Tus:
    """The endpoints under /v1/uploads."""

    def __init__(self, uploads: Uploads, limits: Limits) -> None:
        self._uploads, self._limits = uploads, limits

    async def collection(self, request: Request) -> Response:
        """OPTIONS and POST /v1/uploads: the supported parts of tus; a new upload."""
        if request.method == "OPTIONS":
            offered = {"Tus-Version": VERSION, "Tus-Extension": "creation,termination"}
            return _answer(204, offered | {"Tus-Max-Size": str(self._limits.upload_bytes)})
        _check_version(request)
        length = _count(request, "upload-length")
        upload = self._uploads.create(_file_name(request.headers.get("upload-metadata", "")), length)
        return _answer(201, {"Location": f"/v1/uploads/{upload.id}", "Upload-Offset": "0"})

    async def one(self, request: Request) -> Response:
        """HEAD, PATCH and DELETE /v1/uploads/{id}: bytes received; send more; delete it."""
        _check_version(request)
        method = request.method
        if method == "POST":
            method = request.headers.get("x-http-method-override", "").upper()
        upload = self._uploads.get(request.path_params["id"])
        if method == "HEAD":
            return _answer(200, {"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.length)})
        if method == "PATCH":
            return await self._more(request, upload)
        if method == "DELETE":
            self._uploads.delete(upload.id)
            return _answer(204, {})
        raise ApiError(405, "an upload accepts HEAD, PATCH and DELETE", {"Allow": "HEAD, PATCH, DELETE"})

    async def _more(self, request: Request, upload: Upload) -> Response:
        if content_type(request) != _CHUNKS:
            raise ApiError(415, f"the body must be a part of the film (Content-Type: {_CHUNKS})")
        offset = await self._uploads.receive(upload, _count(request, "upload-offset"), request.stream())
        return _answer(204, {"Upload-Offset": str(offset)})


def _answer(status: int, headers: dict[str, str]) -> Response:
    return Response(status_code=status, headers={"Tus-Resumable": VERSION} | headers)


def _check_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise ApiError(
            412, f"uploads use the tus protocol: send the header Tus-Resumable: {VERSION}", {"Tus-Version": VERSION}
        )


def _count(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ApiError(400, f"the header {name.title()} must be a number of bytes")
    return int(text)


def _file_name(metadata: str) -> str:
    """`filename` in the header Upload-Metadata. Raises ApiError 400: malformed."""
    if len(metadata) > _LONGEST_METADATA:
        raise ApiError(400, f"Upload-Metadata is longer than {_LONGEST_METADATA} characters")
    for pair in filter(None, (each.strip() for each in metadata.split(","))):
        key, _, value = pair.partition(" ")
        try:
            told = base64.b64decode(value.strip(), validate=True).decode(errors="replace")
        except (binascii.Error, ValueError) as error:
            raise ApiError(400, "Upload-Metadata has a value that is not Base64") from error
        if key == "filename":
            return told
    return ""
