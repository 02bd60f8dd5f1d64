"""Answers as JSON that no browser can take for markup, and request bodies and queries as typed values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from web.schemas import Problem

T = TypeVar("T")
_MARKUP = {b"<": b"\\u003c", b">": b"\\u003e", b"&": b"\\u0026"}
LONGEST_MESSAGE = 500
SECONDS = r"^[0-9]{1,6}(\.[0-9]{1,9})?$"
_SECONDS = re.compile(SECONDS, re.ASCII)


class ApiError(Exception):
    """A refused request: its HTTP status, and a message for the caller that says what to do."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})

    def answer(self) -> Response:
        """The HTTP answer, whose body is a `Problem`."""
        type_ = "".join(word.capitalize() for word in HTTPStatus(self.status).phrase.split())
        problem = Problem(self.status, type_, self.message[:LONGEST_MESSAGE])
        return json_answer(problem, self.status, self.headers)


def as_json(value: object) -> bytes:
    """JSON in which characters that could begin markup are escaped."""
    data = msgspec.json.encode(value)
    for sign, spelt in _MARKUP.items():
        data = data.replace(sign, spelt)
    return data


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with `value` as JSON."""
    return Response(as_json(value), status, headers, media_type="application/json")


def head_answer(media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to HEAD where GET's body takes work: its headers, without a length."""
    answer = Response(None, 200, headers, media_type=media_type)
    del answer.headers["content-length"]
    return answer


async def bounded_body(request: Request, most: int) -> bytes:
    """The request's body. Raises ApiError 413 once it is longer than `most` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise ApiError(413, f"the body is longer than {most} bytes")
    return bytes(body)


async def json_body(request: Request, type_: type[T], most: int) -> T:
    """The request's JSON body as a value of `type_`. Raises ApiError: 400, 413 (longer than `most` bytes), 415."""
    if content_type(request) != "application/json":
        raise ApiError(415, "the body must be JSON (Content-Type: application/json)")
    return from_json(await bounded_body(request, most), type_)


def from_json(data: bytes, type_: type[T]) -> T:
    """JSON as a value of `type_`. Raises ApiError 400 if it is not one."""
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"the JSON is not as described in openapi.json: {error}") from error


def content_type(request: Request) -> str:
    """The media type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def number(request: Request, name: str, least: int, most: int, default: int | None) -> int | None:
    """The query's parameter `name`, a whole number from `least` to `most`. Raises ApiError 400."""
    given = request.query_params.getlist(name)
    if not given:
        return default
    text = given[0]
    if len(given) > 1 or not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ApiError(400, f"{name} must be one whole number from {least} to {most}")
    return int(text)


def seconds(request: Request, name: str) -> str:
    """The query's parameter `name`, a time in seconds, in decimals. Raises ApiError 400."""
    given = request.query_params.getlist(name)
    if len(given) != 1 or not _SECONDS.fullmatch(given[0]):
        raise ApiError(400, f"{name} must be one number of seconds from 0 to 999999, such as 12.5")
    return given[0]


def one_of(request: Request, name: str, values: Sequence[T]) -> T:
    """The query's parameter `name`, one of `values` (default: the first). Raises ApiError 400."""
    given = request.query_params.getlist(name)
    found = [value for value in values if not given or [value] == given]
    if not found:
        raise ApiError(400, f"{name} must be one of {', '.join(map(str, values))}")
    return found[0]


def shown(name: Any) -> str:
    """The name that a visitor gave a file, as one line of text."""
    text = "".join(each for each in str(name) if each.isprintable())[:200].strip()
    return text or "film"
