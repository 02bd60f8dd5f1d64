"""A film and its options in one form (multipart/form-data). The film is written to disk as it arrives."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import FileIO
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from web.answers import ApiError, from_json
from web.schemas import Options
from web.settings import Limits
from web.uploads import Upload, Uploads

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_OVERHEAD = 128 << 10
"""Most bytes of a form beside the film."""
_MOST_PARTS = 4
_LONGEST_BOUNDARY = 200


@dataclass
class _Part:
    """A field of the form."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""


@dataclass
class _Form:
    """What the parser has found so far; `pending` holds bytes of the film that are not written yet."""

    most: int
    parts: int = 0
    part: _Part = field(default_factory=_Part)
    options: bytearray = field(default_factory=bytearray)
    pending: list[bytes] = field(default_factory=list)
    film: str | None = None
    """the file's name as the visitor sent it, known once the file begins"""
    complete: bool = False
    _name: bytes = b""
    _value: bytes = b""

    def callbacks(self) -> MultipartCallbacks:
        """The callbacks for the parser."""
        return {
            "on_part_begin": self.on_part_begin,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_headers_finished": self.on_headers_finished,
            "on_part_data": self.on_part_data,
            "on_end": self.on_end,
        }

    def on_part_begin(self) -> None:
        self.parts += 1
        if self.parts > _MOST_PARTS:
            raise ApiError(400, "the form may have only the fields film and options")
        self.part = _Part()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._value) > self.most:
            raise ApiError(413, "a header of the form is too long")

    def on_header_end(self) -> None:
        self.part.headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def on_headers_finished(self) -> None:
        _, told = parse_options_header(self.part.headers.get(b"content-disposition", b""))
        self.part.name = told.get(b"name", b"").decode(errors="replace")
        if self.part.name == "film":
            if self.film is not None:
                raise ApiError(400, "the form holds more than one film: send one form per film")
            self.film = told.get(b"filename", b"").decode(errors="replace")
        elif self.part.name != "options":
            raise ApiError(400, "the form may have only the fields film and options")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.part.name == "film":
            self.pending.append(data[start:end])
            return
        self.options += data[start:end]
        if len(self.options) > self.most:
            raise ApiError(413, f"the options are longer than {self.most} bytes")

    def on_end(self) -> None:
        self.complete = True


async def read_form(request: Request, uploads: Uploads, limits: Limits) -> tuple[Upload, Options]:
    """The film, as a complete upload, and its options. Raises ApiError; then the upload is removed."""
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise ApiError(411, "a form needs the header Content-Length")
    _, told = parse_options_header(request.headers.get("content-type", ""))
    form = _Form(limits.body_bytes)
    boundary = told.get(b"boundary", b"")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise ApiError(400, "the form's Content-Type must name its boundary")
    parser = MultipartParser(boundary, form.callbacks())
    upload = uploads.create("", max(int(length) - _OVERHEAD, 0), spare=_OVERHEAD)
    try:
        with uploads.receiving(upload, 0) as file:
            await _read(request, parser, form, uploads, upload, file)
            size = file.tell()
        if not form.complete or form.film is None:
            raise ApiError(400, "the form is incomplete: it needs a file in the field film")
        options = from_json(bytes(form.options), Options) if form.options else Options()
        return uploads.finish(upload, form.film, size), options
    except BaseException:
        uploads.discard(upload)
        raise


async def _read(
    request: Request, parser: MultipartParser, form: _Form, uploads: Uploads, upload: Upload, file: FileIO
) -> None:
    async for chunk in request.stream():
        try:
            parser.write(chunk)
        except MultipartParseError as error:
            raise ApiError(400, f"the form cannot be read: {error}") from error
        for part in form.pending:
            await uploads.write(upload, file, part)
        form.pending.clear()
