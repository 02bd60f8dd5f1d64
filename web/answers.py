"""Answers as JSON in which no browser finds markup, and requests as typed values."""

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
    """A request that is refused; the message says what to do."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})

    def answer(self) -> Response:
        """As HTTP has it."""
        type_ = "".join(word.capitalize() for word in HTTPStatus(self.status).phrase.split())
        problem = Problem(self.status, type_, self.message[:LONGEST_MESSAGE])
        return json_answer(problem, self.status, self.headers)


def as_json(value: object) -> bytes:
    """JSON whose strings spell out what could be markup."""
    data = msgspec.json.encode(value)
    for sign, spelt in _MARKUP.items():
        data = data.replace(sign, spelt)
    return data


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that holds `value`."""
    return Response(as_json(value), status, headers, media_type="application/json")


async def bounded_body(request: Request, most: int) -> bytes:
    """The body. Raises ApiError 413 once it is longer than that."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise ApiError(413, f"the body is longer than {most} bytes")
    return bytes(body)


async def json_body(request: Request, type_: type[T], most: int) -> T:
    """The body as such a value. Raises ApiError."""
    if content_type(request) != "application/json":
        raise ApiError(415, "the body has to be JSON: Content-Type: application/json")
    return from_json(await bounded_body(request, most), type_)


def from_json(data: bytes, type_: type[T]) -> T:
    """Raises ApiError 400 where it is no such value."""
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"not as it should be: {error}") from error


def content_type(request: Request) -> str:
    """The media type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def number(request: Request, name: str, least: int, most: int, default: int | None) -> int | None:
    """A whole number of the query. Raises ApiError 400."""
    given = request.query_params.getlist(name)
    if not given:
        return default
    text = given[0]
    if len(given) > 1 or not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ApiError(400, f"{name} has to be one whole number from {least} to {most}")
    return int(text)


def seconds(request: Request, name: str) -> str:
    """A time of the query, as decimals. Raises ApiError 400."""
    given = request.query_params.getlist(name)
    if len(given) != 1 or not _SECONDS.fullmatch(given[0]):
        raise ApiError(400, f"{name} has to be one number of seconds from 0 to 999999, such as 12.5")
    return given[0]


def one_of(request: Request, name: str, values: Sequence[T]) -> T:
    """A word of the query, the first one by default. Raises ApiError 400."""
    given = request.query_params.getlist(name)
    found = [value for value in values if not given or [value] == given]
    if not found:
        raise ApiError(400, f"{name} has to be one of {', '.join(map(str, values))}")
    return found[0]


def shown(name: Any) -> str:
    """A visitor's name of a file, as text of one line."""
    text = "".join(each for each in str(name) if each.isprintable())[:200].strip()
    return text or "film"
