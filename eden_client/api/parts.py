"""Parses a streamed answer (multipart/x-mixed-replace) as it arrives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from eden_client.api.errors import ServerLost


@dataclass(frozen=True)
class Part:
    """One part: a frame, or the error that ends the stream."""

    content_type: str
    body: bytes


def read_parts(chunks: Iterable[bytes]) -> Iterator[Part]:
    """The parts of a body that arrives in chunks of any size, each as soon as it is complete.

    Raises ServerLost if the body ends before its closing line.
    """
    buffer = _Buffer(iter(chunks))
    while not (line := buffer.line()).endswith(b"--"):
        if not line:  # the blank line after a part's body
            continue
        headers = {}
        while header := buffer.line():
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        try:
            length = int(headers["content-length"])
        except (KeyError, ValueError) as error:
            raise ServerLost("a streamed answer without a part's length") from error
        yield Part(headers.get("content-type", ""), buffer.exactly(length))


class _Buffer:
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._held = chunks, bytearray()

    def line(self) -> bytes:
        """The bytes up to the next line end, without it."""
        while (end := self._held.find(b"\r\n")) < 0:
            self._more()
        return self._take(end, skip=2)

    def exactly(self, count: int) -> bytes:
        while len(self._held) < count:
            self._more()
        return self._take(count)

    def _take(self, count: int, skip: int = 0) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[: count + skip]
        return taken

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise ServerLost("the streamed answer broke off")
        self._held += chunk
