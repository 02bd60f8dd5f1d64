"""Live: a browser sends pictures as they are taken, and gets the frame between each two as soon as it is drawn.

A message from the browser is a time stamp (float64, big-endian, of any clock) and a JPEG. A message to it is both time
stamps, the milliseconds since the second picture arrived (all float64), and the JPEG between them; and once per second
JSON text with how many pictures arrived, were drawn and were dropped. One pair is being drawn and one waits; a newer
pair replaces the waiting one.
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
"""Most bytes of a message."""
MOST_PIXELS = 1920 * 1080
MOST_PER_SECOND = 120
"""Pictures per second that are accepted; more are dropped."""
QUALITY = 85
_REPORT_S = 1.0
_POLICY, _GOING_AWAY = 1008, 1001
"""WebSocket close codes."""


@dataclass(eq=False)
class _Picture:
    stamp: float
    data: bytes
    came: float
    frame: Frame | None = None
    """RGB, once it is decoded"""

    async def decoded(self) -> Frame:
        """The pixels, [H, W, 3] uint8. Raises MediaError."""
        if self.frame is None:
            self.frame = await threaded(decode_image, self.data, max_pixels=MOST_PIXELS, formats=("JPEG",))
        return self.frame


_Pair = tuple[_Picture, _Picture]


@dataclass
class _Counts:
    """Counts since the last report."""

    came: int = 0
    drawn: int = 0
    dropped: int = 0
    delays: list[float] = field(default_factory=list)


class Live:
    """All live connections, whose number is bounded."""

    def __init__(self, eden: Eden, limits: Limits) -> None:
        self._eden, self._limits, self._open = eden, limits, 0

    async def connect(self, socket: WebSocket) -> None:
        """WebSocket /v1/live."""
        if self._open >= self._limits.live:
            refused = ApiError(503, "too many live connections: close another page", {"Retry-After": "5"})
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
        """Serve until the browser disconnects, or sends nothing for too long."""
        reporting = asyncio.create_task(self._report())
        try:
            while True:
                async with asyncio.timeout(self._limits.receive_s):
                    message = await self._socket.receive_bytes()
                self._take(message)
        except TimeoutError:
            await self._close(_GOING_AWAY, "no message was received for too long")
        except (KeyError, ValueError) as error:
            await self._close(_POLICY, str(error) if isinstance(error, ValueError) else "a message must be binary")
        except WebSocketDisconnect:
            pass
        finally:
            tasks = [each for each in (reporting, self._drawing, self._sending) if each]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, message: bytes) -> None:
        """Take a message. Raises ValueError: it is not a time stamp with a JPEG."""
        if len(message) <= STAMP.size:
            raise ValueError("a message must be a time stamp (float64) and a JPEG")
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
        """Draw a pair, then the waiting ones until none is left; one frame is sent while the next is drawn."""
        while pair is not None:
            frame = await self._between(*pair)
            if self._sending is not None:
                await self._sending
            if frame is not None:
                self._sending = asyncio.create_task(self._send(*pair, frame))
            pair, self._waiting = self._waiting, None

    async def _between(self, first: _Picture, second: _Picture) -> Frame | None:
        """The frame between; None: it could not be drawn, and the browser was told why."""
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
