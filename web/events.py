"""Changes of videos as server-sent events. The last ones are kept for listeners that reconnect."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from web.answers import ApiError, as_json

KEPT = 1000
"""Past events that are kept for listeners that reconnect."""
_RETRY_MS = 2000


class Events:
    """Events numbered from 1 on.

    An id also names the run of the service, so that ids of an earlier run are recognised.
    """

    def __init__(self, heartbeat_s: float, most_streams: int) -> None:
        self._run = secrets.token_hex(4)
        self._kept: deque[bytes] = deque(maxlen=KEPT)
        self._count = 0
        self._heartbeat_s, self._most = heartbeat_s, most_streams
        self._listening: set[asyncio.Event] = set()
        self._closed = False

    def publish(self, kind: str, told: object) -> None:
        """Send an event of type `kind` with `told` as JSON to all listeners."""
        self._count += 1
        self._kept.append(_event(kind, as_json(told), self._id(self._count)))
        self._wake()

    def close(self) -> None:
        """End all streams, and refuse new ones."""
        self._closed = True
        self._wake()

    async def stream(self, request: Request) -> Response:
        """GET /v1/events."""
        if len(self._listening) >= self._most or self._closed:
            raise ApiError(503, "too many pages are listening for events: close one", {"Retry-After": "5"})
        come = asyncio.Event()
        self._listening.add(come)
        events = self._follow(come, request.headers.get("last-event-id"))
        return _Stream(events, self._listening, come)

    async def _follow(self, come: asyncio.Event, last_id: str | None) -> AsyncIterator[bytes]:
        told = self._count if last_id is None else self._number(last_id)
        yield b"retry: %d\n\n" % _RETRY_MS
        while not self._closed:
            come.clear()
            if not self._count - len(self._kept) <= told <= self._count:
                told = self._count
                yield _event("reset", b"{}", self._id(told))
            while told < self._count and told >= self._count - len(self._kept):
                event = self._kept[told - self._count]
                told += 1
                yield event
            if told == self._count and not self._closed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._heartbeat_s):
                        await come.wait()
                if not come.is_set():
                    yield b":\n\n"

    def _id(self, number: int) -> str:
        return f"{self._run}-{number}"

    def _number(self, id_: str) -> int:
        """The number in an id; -1 if it is not one of this run."""
        run, _, number = id_.partition("-")
        return int(number) if run == self._run and number.isascii() and number.isdigit() and len(number) < 20 else -1

    def _wake(self) -> None:
        for each in self._listening:
            each.set()


class _Stream(StreamingResponse):
    """An event stream that counts as a listener until it has ended."""

    def __init__(self, events: AsyncIterator[bytes], listening: set[asyncio.Event], come: asyncio.Event) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._listening, self._come = listening, come

    async def __call__(self, *of_asgi: object) -> None:
        try:
            await super().__call__(*of_asgi)  # type: ignore[arg-type]
        finally:
            self._listening.discard(self._come)


def _event(kind: str, data: bytes, id_: str) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), id_.encode(), data)
