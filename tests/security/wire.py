"""HTTP as its bytes: a hostile caller is not held back by a client library that knows better."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse

BOUNDARY = "a-boundary-of-the-tests"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
Headers = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Part:
    """A part of a form; `disposition` in place of the one that is made of the name."""

    name: str
    value: bytes
    content_type: str | None = None
    filename: str | None = None
    disposition: str | None = None

    def encoded(self) -> bytes:
        """Its header and its body. A name goes as it is, quotes and line ends too."""
        file = "" if self.filename is None else f'; filename="{self.filename}"'
        disposition = f'form-data; name="{self.name}"{file}' if self.disposition is None else self.disposition
        kind = "" if self.content_type is None else f"\r\nContent-Type: {self.content_type}"
        header = f"Content-Disposition: {disposition}{kind}\r\n\r\n"
        return header.encode("utf-8", "surrogateescape") + self.value


def form(parts: Iterable[Part]) -> bytes:
    """A multipart body."""
    pieces = b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), part.encoded()) for part in parts)
    return pieces + b"--%s--\r\n" % BOUNDARY.encode()


@dataclass(frozen=True)
class Reply:
    """What came back; a status of 0 where the connection was closed without an answer."""

    status: int
    content_type: str = ""
    body: bytes = b""


def request(method: str, path: str, headers: Headers, body: bytes) -> bytes:
    """The bytes of a request; its length is told unless the headers say how long it is."""
    told = {name.lower() for name, _ in headers}
    length: Headers = () if {"content-length", "transfer-encoding"} & told else [("Content-Length", str(len(body)))]
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: 127.0.0.1"]
    lines += [b"%s: %s" % (_raw(name), _raw(value)) for name, value in (*headers, *length)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def send(address: tuple[str, int], data: bytes, within: float = 30, method: str = "POST") -> Reply:
    """Send bytes and read one answer. Raises TimeoutError where none comes, and no end of the connection either."""
    with socket.create_connection(address, timeout=within) as connection:
        with contextlib.suppress(ConnectionError):  # a server that has heard enough answers, and reads no more
            connection.sendall(data)
        response = HTTPResponse(connection, method=method)
        try:
            response.begin()
            return Reply(response.status, response.headers.get("Content-Type", ""), response.read())
        except (HTTPException, ConnectionError):
            return Reply(0)


def _raw(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
