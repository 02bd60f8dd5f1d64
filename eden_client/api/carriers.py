"""How frames travel to a server and back: in HTTP bodies, or beside HTTP in shared memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from eden_client.api.errors import ServerFailed
from eden_client.api.regions import Region, RegionPool
from eden_client.api.traffic import Traffic
from eden_client.api.transport import BodyFormat, Request, accepted, layout_of, pack, unpack
from eden_client.api.yuv import YuvFormat
from media import Frame
from media.region_format import CONTENT_TYPE, HEADER

PAGE = 4096


class Awaited(Protocol):
    """Reads the frames between from the answer to a clip."""

    @property
    def expected(self) -> int:
        """How many frames come back."""

    def all(self, answer: bytes) -> list[Frame]:
        """The frames in a whole answer. Raises ServerFailed: it is damaged or not what was asked for."""

    def one(self, number: int, part: bytes) -> Frame:
        """The frame in part `number` (from 0) of a streamed answer. Raises ServerFailed."""


class Carried(Awaited, Protocol):
    """A clip that is being sent."""

    @property
    def request(self) -> Request:
        """The HTTP request's body and headers."""

    def format(self, streamed: bool) -> str:
        """The value of X-Eden-Format, for a streamed or a whole answer."""


class Carrier(Protocol):
    """Sends clips."""

    def carry(
        self, frames: Sequence[Frame], traffic: Traffic, yuv: YuvFormat | None = None
    ) -> AbstractContextManager[Carried]:
        """Prepare frames of one size: RGB [H, W, 3], or planes [H*3/2, W] of the format `yuv`. Raises EdenError.

        The answer must be read before the block ends.
        """


@dataclass(frozen=True)
class FromBody:
    """The frames between in an answer's body."""

    expected: int
    shape: tuple[int, ...]
    """of a frame"""

    def all(self, answer: bytes) -> list[Frame]:
        return unpack(answer, self.expected, self.shape)

    def one(self, number: int, part: bytes) -> Frame:
        (frame,) = unpack(part, 1, self.shape)
        return frame


@dataclass(frozen=True)
class InBody(FromBody):
    """Frames in the request's body, those between in its answer's."""

    request: Request
    transport: BodyFormat

    def format(self, streamed: bool) -> str:
        return self.transport if streamed else accepted(self.transport, self.expected)


@dataclass(frozen=True)
class BodyCarrier:
    """Sends frames in bodies."""

    transport: BodyFormat

    @contextmanager
    def carry(self, frames: Sequence[Frame], traffic: Traffic, yuv: YuvFormat | None = None) -> Iterator[Carried]:
        with traffic.timed("send_seconds"):
            request = pack(frames, self.transport, yuv)
        yield InBody(len(frames) - 1, frames[0].shape, request, self.transport)


@dataclass(frozen=True)
class InRegion:
    """Frames in a region, those between behind them."""

    request: Request
    expected: int
    shape: tuple[int, ...]
    """of a frame"""
    region: Region
    answer: int
    """where in the region the frames between begin"""
    traffic: Traffic

    def format(self, streamed: bool) -> str:
        return "region"

    def all(self, answer: bytes) -> list[Frame]:
        return self._read(0, self.expected, answer)

    def one(self, number: int, part: bytes) -> Frame:
        (frame,) = self._read(number, 1, part)
        return frame

    def _read(self, first: int, count: int, told: bytes) -> list[Frame]:
        size = math.prod(self.shape)
        start = self.answer + first * size
        layout = layout_of(self.shape)
        wanted = {"shape": [count, *self.shape], "offset": start, "dtype": "uint8", "layout": layout}
        if not 0 <= first < self.expected or not _says(told, wanted):
            raise ServerFailed(f"the answer does not say that {wanted} was written: is this an EDEN server?")
        self.traffic.add(bytes_received=count * size)
        frames = self.region.bytes[start : start + count * size].reshape(count, *self.shape)
        return [frame.copy() for frame in frames]  # the region's next call overwrites them


@dataclass(frozen=True)
class RegionCarrier:
    """Writes frames into regions, and sends descriptions of them."""

    pool: RegionPool

    @contextmanager
    def carry(self, frames: Sequence[Frame], traffic: Traffic, yuv: YuvFormat | None = None) -> Iterator[Carried]:
        count, size = len(frames), frames[0].nbytes
        answer = HEADER + -(-count * size // PAGE) * PAGE
        with self.pool.lease(answer + (count - 1) * size) as region:
            with traffic.timed("send_seconds"):
                room = region.bytes[HEADER : HEADER + count * size].reshape(count, *frames[0].shape)
                for place, frame in zip(room, frames, strict=True):
                    place[...] = frame
            traffic.add(bytes_sent=count * size)
            place_of = {"file": region.name, "key": region.key.hex()}
            told = {
                "layout": layout_of(frames[0].shape),
                "dtype": "uint8",
                "shape": [count, *frames[0].shape],
                "frames": place_of | {"offset": HEADER},
                "answer": place_of | {"offset": answer},
            }
            if yuv is not None:
                told |= {"matrix": yuv.matrix, "range": yuv.range}
            request = Request(json.dumps(told).encode(), {"Content-Type": CONTENT_TYPE})
            yield InRegion(request, count - 1, frames[0].shape, region, answer, traffic)


def _says(told: bytes, wanted: dict[str, object]) -> bool:
    try:
        said = json.loads(told)
    except ValueError:
        return False
    return isinstance(said, dict) and all(said.get(key) == value for key, value in wanted.items())
