"""The OpenAPI document of the service. Its schemas are the types that validate requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from web.answers import SECONDS
from web.preview_api import FORMATS, HIGHEST, LOWEST, PICTURES
from web.schemas import (
    Change,
    Cuts,
    Film,
    Login,
    NewVideo,
    Options,
    Pair,
    Problem,
    ServerStatus,
    Stream,
    Video,
    VideoPage,
)
from web.sessions import COOKIE

_REF = "#/components/schemas/{name}"
_ID_TEXT = {"type": "string", "minLength": 32, "maxLength": 32, "pattern": "^[0-9a-f]{32}$"}
_ID = {"name": "id", "in": "path", "required": True, "schema": _ID_TEXT}
_TUS = {"name": "Tus-Resumable", "in": "header", "required": True, "schema": {"const": "1.0.0"}}


def document(with_token: bool) -> dict[str, Any]:
    """The document, OpenAPI 3.1. `with_token`: every request must carry a token."""
    types = (Video, VideoPage, NewVideo, Change, Options, Film, Cuts, Pair, Stream, ServerStatus, Login, Problem)
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "EDEN films", "version": "1", "description": "Upload films, queue them, watch progress."},
        "paths": _videos() | _uploads() | _previews() | _others(),
        "components": {"schemas": schemas},
    }
    if with_token:
        described["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
        }
        described["security"] = [{"token": []}, {"session": []}]
    return described


def _videos() -> dict[str, Any]:
    form = {
        "type": "object",
        "properties": {"film": {"type": "string", "format": "binary"}, "options": _schema("Options")},
        "required": ["film"],
        "additionalProperties": False,
    }
    wanted = {
        "multipart/form-data": {"schema": form, "encoding": {"options": {"contentType": "application/json"}}},
        "application/json": {"schema": _schema("NewVideo")},
    }
    created = _json("Video", "the new video, which waits in the queue")
    created["headers"] = {"Location": {"schema": {"type": "string"}}}
    fragment = {"description": "a part of a fragmented MP4", "content": {"video/mp4": {}}}
    number = {"name": "number", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
    query = [
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
        _query("cursor", {"type": "integer", "minimum": 0, "maximum": (1 << 63) - 1}),
        _query("status", {"enum": ["queued", "in_progress", "completed", "failed", "cancelled"]}),
    ]
    return {
        "/v1/videos": {
            "get": _operation("listVideos", {"200": _json("VideoPage", "a page of videos")}, 400, parameters=query),
            "post": _operation(
                "createVideo",
                {"201": created},
                *(400, 404, 408, 409, 411, 413, 415, 422, 423, 429, 507),
                requestBody={"required": True, "content": wanted},
            ),
        },
        "/v1/videos/{id}": {
            "parameters": [_ID],
            "get": _operation("getVideo", {"200": _json("Video", "the video as it is now")}, 404),
            "patch": _operation(
                "changeVideo",
                {"200": _json("Video", "the video after the change")},
                *(400, 404, 408, 409, 413, 415, 429),
                requestBody={"required": True, "content": {"application/json": {"schema": _schema("Change")}}},
            ),
            "delete": _operation("deleteVideo", {"204": {"description": "the video and its files are deleted"}}, 404),
        },
        "/v1/videos/{id}/content": {
            "parameters": [_ID],
            "get": _operation(
                "getContent",
                _content("the finished film, or the finished part of one that failed or was cancelled", *_KINDS),
                404,
                409,
                **_RANGE,
            ),
        },
        "/v1/videos/{id}/stream": {
            "parameters": [_ID],
            "get": _operation("getStream", {"200": _json("Stream", "the segments that are finished so far")}, 404),
        },
        "/v1/videos/{id}/stream/init": {
            "parameters": [_ID],
            "get": _operation("getStreamInit", {"200": fragment}, 404, 409),
        },
        "/v1/videos/{id}/stream/{number}": {
            "parameters": [_ID, number],
            "get": _operation("getStreamSegment", {"200": fragment}, 404),
        },
    }


def _uploads() -> dict[str, Any]:
    count = _text("^[0-9]{1,15}$")
    offset = {"Upload-Offset": {"required": True, "schema": count}}
    lengths = [
        _TUS,
        {"name": "Upload-Length", "in": "header", "required": True, "schema": count},
        {
            "name": "Upload-Metadata",
            "in": "header",
            "schema": _text("^filename [A-Za-z0-9]{4}$"),
        },
    ]
    chunk = {"application/offset+octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    at = [_TUS, {"name": "Upload-Offset", "in": "header", "required": True, "schema": count}]
    new = {
        "description": "created: send the file to Location",
        "headers": {"Location": {"schema": {"type": "string"}}} | offset,
    }
    return {
        "/v1/uploads": {
            "options": _operation(
                "getUploadOptions", {"204": {"description": "the supported versions and extensions of tus"}}
            ),
            "post": _operation("createUpload", {"201": new}, 400, 412, 413, 507, parameters=lengths),
        },
        "/v1/uploads/{id}": {
            "parameters": [_ID],
            "head": {
                "operationId": "getUpload",
                "parameters": [_TUS],
                "responses": {
                    "200": {"description": "how many bytes have arrived", "headers": offset},
                    "404": {"description": "no such upload"},
                    "412": {"description": "unsupported version of tus"},
                },
            },
            "patch": _operation(
                "continueUpload",
                {"204": {"description": "how many bytes have arrived now", "headers": offset}},
                *(400, 404, 408, 409, 412, 413, 415, 423, 507),
                parameters=at,
                requestBody={"required": True, "content": chunk},
            ),
            "delete": _operation(
                "deleteUpload", {"204": {"description": "the upload is deleted"}}, 404, 409, 412, 423, parameters=[_TUS]
            ),
        },
    }


def _previews() -> dict[str, Any]:
    at = _query("at", _text(SECONDS) | {"description": "seconds from the film's beginning"}) | {"required": True}
    height = _query("height", {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST, "default": 90})
    which = {"name": "picture", "in": "path", "required": True, "schema": {"enum": list(PICTURES)}}
    format = _query("format", {"enum": list(FORMATS), "default": FORMATS[0]})
    refused = (404, 409, 422, 503)

    def get(name: str, answer: dict[str, Any], *refusals: int, parameters: Sequence[Any] = ()) -> dict[str, Any]:
        return {"parameters": [_ID], "get": _operation(name, {"200": answer}, *refusals, parameters=list(parameters))}

    def pictures(*formats: str) -> dict[str, Any]:
        return {"description": "a picture", "content": {f"image/{each}": {} for each in formats}}

    timing = {
        "Server-Timing": {"schema": {"type": "string"}, "description": "milliseconds of decode, server and encode"}
    }
    found = _json("Cuts", "all cuts, or those found so far if the search takes long")
    drawn = get("getPairPicture", pictures(*FORMATS) | {"headers": timing}, 400, 502, *refused, parameters=[at, format])
    drawn["parameters"].append(which)
    sent = _content("the film as it was uploaded", "*/*")
    return {
        "/v1/uploads/{id}/film": get("getFilm", _json("Film", "what the upload holds"), *refused),
        "/v1/uploads/{id}/cuts": get("getCuts", found, *refused),
        "/v1/uploads/{id}/frame": get("getFrame", pictures("jpeg"), 400, *refused, parameters=[at, height]),
        "/v1/uploads/{id}/pair": get(
            "getPair", _json("Pair", "when the two pictures are shown"), 400, *refused, parameters=[at]
        ),
        "/v1/uploads/{id}/pair/{picture}": drawn,
        "/v1/uploads/{id}/content": {
            "parameters": [_ID],
            "get": _operation("getUploadContent", sent, 404, 409, **_RANGE),
        },
    }


def _others() -> dict[str, Any]:
    stream = {
        "description": "events `video` (a Video), `deleted` (an id) and `reset` (events were missed: list the videos "
        "again)",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    last = [{"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}}]
    session = {
        "post": _operation(
            "beginSession",
            {
                "204": {
                    "description": "the answer sets a cookie that replaces the token; no cookie if the service needs "
                    "no token"
                }
            },
            *(400, 408, 413, 415),
            requestBody={"required": True, "content": {"application/json": {"schema": _schema("Login")}}},
            security=[],
        ),
        "delete": _operation(
            "endSession", {"204": {"description": "the session's cookie is no longer valid"}}, security=[]
        ),
    }
    itself = {"description": "this document", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "/v1/server": {"get": _operation("getServer", {"200": _json("ServerStatus", "the EDEN server's state now")})},
        "/v1/session": session,
        "/v1/events": {"get": _operation("followEvents", {"200": stream}, 503, parameters=last)},
        "/openapi.json": {"get": _operation("getDocument", {"200": itself})},
    }


def _operation(name: str, answers: dict[str, Any], *refusals: int, **more: Any) -> dict[str, Any]:
    refused = {str(status): _json("Problem", "refused") for status in (401, 403, 421, *refusals)}
    return {"operationId": name, "responses": answers | refused, **more}


def _json(name: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _schema(name)}}}


def _content(description: str, *kinds: str) -> dict[str, Any]:
    """The answers that send a file, or a range of it."""
    file: dict[str, Any] = {kind: {} for kind in kinds}
    part = {"Content-Range": {"schema": {"type": "string"}}}
    return {
        "200": {"description": description, "content": file},
        "206": {"description": "a part of the file", "content": file, "headers": part},
        "416": {"description": "the range is outside the file"},
    }


def _schema(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}


def _text(pattern: str) -> dict[str, str]:
    return {"type": "string", "pattern": pattern}


_KINDS = ("video/mp4", "video/x-matroska", "video/quicktime", "video/webm", "image/gif")
_RANGE: dict[str, Any] = {
    "parameters": [{"name": "Range", "in": "header", "schema": _text("^bytes=[0-9]+-$")}],
}


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}
