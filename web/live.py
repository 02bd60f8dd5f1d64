"""Live: a browser sends pictures as they come, and gets the one between each two as soon as it is drawn.

A message of the browser is a time stamp (float64, big-endian, of any clock) and a JPEG; one of the service both stamps,
the milliseconds since the second picture came, and the JPEG between them. Once a second, as JSON text: how many came,
were drawn and were dropped. One pair is in flight and one waits, whose place a later one takes.
"""

from __future__ import annotations

import asyncio
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.websockets import WebSocket, WebSocketDisconnect

from media import Frame, MediaError, decode_image, encode_image
from web.answers import ApiError, as_json
from web.eden import Eden
from web.settings import Limits
from web.threads import threaded

STAMP = struct.Struct(">d")
DRAWN = struct.Struct(">ddd")
LARGEST = 1 << 20
"""Bytes of a message."""
MOST_PIXELS = 1920 * 1080
MOST_PER_SECOND = 120
"""Pictures that are looked at; what comes beyond them is dropped."""
QUALITY = 85
_REPORT_S = 1.0
_POLICY, _GOING_AWAY = 1008, 1001
"""Codes of a WebSocket's end."""


@dataclass(eq=False)
class _Picture:
    stamp: float
    data: bytes
    came: float
    frame: Frame | None = None
    """once it is decoded"""

    async def decoded(self) -> Frame:
        """Raises MediaError."""
        if self.frame is None:
            self.frame = await threaded(decode_image, self.data, max_pixels=MOST_PIXELS, formats=("JPEG",))
        return self.frame


_Pair = tuple[_Picture, _Picture]


@dataclass
class _Counts:
    """Since the last report."""

    came: int = 0
    drawn: int = 0
    dropped: int = 0
    delays: list[float] = field(default_factory=list)


class Live:
    """All live exchanges; so many at once."""

    def __init__(self, eden: Eden, limits: Limits) -> None:
        self._eden, self._limits, self._open = eden, limits, 0

    async def connect(self, socket: WebSocket) -> None:
        """WebSocket /v1/live."""
        if self._open >= self._limits.live:
            refused = ApiError(503, "too many live pictures already: close another page", {"Retry-After": "5"})
            await socket.send_denial_response(refused.answer())
            return
        self._open += 1
        try:
            await socket.accept()
            await _Exchange(socket, self._eden, self._limits).run()
        finally:
            self._open -= 1


class _Exchange:
    def __init__(self, socket: WebSocket, eden: Eden, limits: Limits) -> None:
        self._socket, self._eden, self._limits = socket, eden, limits
        self._last: _Picture | None = None
        self._waiting: _Pair | None = None
        self._drawing: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._counts = _Counts()
        self._since = time.monotonic()

    async def run(self) -> None:
        """Until the browser goes, or sends nothing for too long."""
        reporting = asyncio.create_task(self._report())
        try:
            while True:
                async with asyncio.timeout(self._limits.receive_s):
                    message = await self._socket.receive_bytes()
                self._take(message)
        except TimeoutError:
            await self._close(_GOING_AWAY, "nothing came for too long")
        except (KeyError, ValueError) as error:
            await self._close(_POLICY, str(error) if isinstance(error, ValueError) else "a message has to be binary")
        except WebSocketDisconnect:
            pass
        finally:
            tasks = [each for each in (reporting, self._drawing, self._sending) if each]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, message: bytes) -> None:
        """Raises ValueError: it is no picture with its time."""
        if len(message) <= STAMP.size:
            raise ValueError("a message has to be a time (float64) and a JPEG")
        (stamp,) = STAMP.unpack_from(message)
        self._counts.came += 1
        if self._counts.came > MOST_PER_SECOND:
            self._counts.dropped += 1
            return
        last, self._last = self._last, _Picture(stamp, message[STAMP.size :], time.monotonic())
        if last is None:
            return
        if self._drawing is None or self._drawing.done():
            self._drawing = asyncio.create_task(self._draw((last, self._last)))
        else:
            self._counts.dropped += self._waiting is not None
            self._waiting = last, self._last

    async def _draw(self, pair: _Pair | None) -> None:
        """This one, and what waits then, until nothing does; one picture is sent while the next is drawn."""
        while pair is not None:
            frame = await self._between(*pair)
            if self._sending is not None:
                await self._sending
            if frame is not None:
                self._sending = asyncio.create_task(self._send(*pair, frame))
            pair, self._waiting = self._waiting, None

    async def _between(self, first: _Picture, second: _Picture) -> Frame | None:
        """None: it could not be drawn, and that is told."""
        try:
            one, other = await first.decoded(), await second.decoded()
            if one.shape != other.shape:  # a browser that turned its camera
                return None
            frame, _ = await self._eden.between(one, other, "live")
            return frame
        except (ApiError, MediaError) as error:
            await self._fail(error)
            return None

    async def _send(self, first: _Picture, second: _Picture, frame: Frame) -> None:
        try:
            picture = await threaded(encode_image, frame, "jpeg", QUALITY)
        except MediaError as error:
            return await self._fail(error)
        delay = 1000 * (time.monotonic() - second.came)
        self._counts.drawn += 1
        self._counts.delays.append(delay)
        await self._socket.send_bytes(DRAWN.pack(first.stamp, second.stamp, delay) + picture)

    async def _fail(self, error: ApiError | MediaError) -> None:
        self._counts.dropped += 1
        message = error.message if isinstance(error, ApiError) else str(error)
        await self._tell({"type": "error", "message": message})

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            counts, self._counts = self._counts, _Counts()
            now = time.monotonic()
            passed, self._since = now - self._since, now
            delays = sorted(counts.delays)
            await self._tell(
                {
                    "type": "rates",
                    "seconds": passed,
                    "came": counts.came,
                    "drawn": counts.drawn,
                    "dropped": counts.dropped,
                    "delay_ms": delays[len(delays) // 2] if delays else None,
                }
            )

    async def _tell(self, what: dict[str, object]) -> None:
        await self._socket.send_text(as_json(what).decode())

    async def _close(self, code: int, reason: str) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(code, reason)
