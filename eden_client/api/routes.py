"""The ways a clip can take through a server: K frames in, the K-1 frames between out, in order, as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from eden_client.api.carriers import Awaited, Carried, Carrier
from eden_client.api.errors import PayloadLost, ServerFailed, envelope_in
from eden_client.api.http_connection import HttpConnection
from eden_client.api.parts import read_parts
from eden_client.api.traffic import Traffic
from eden_client.api.yuv import YuvFormat
from media import Frame

ENCODER, DECODER = "eden__encoder", "eden__dit_decoder"
WORKFLOW_PATH, FUSED_PATH = "/wfpredict/eden", "/predictions/eden_fused"
TICKET = b"EDEN-TICKET"


class Route(Protocol):
    """One attempt at a clip; what it raises is an EdenError."""

    def between(self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None) -> Iterator[Frame]:
        """The K-1 frames between K of one size: RGB [H, W, 3], or planes [H*3/2, W] of the format `yuv`.

        within  seconds that the server may be silent
        """

    def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True)
class WorkflowRoute:
    """Encoder and decoder in one call; all frames come back at once."""

    server: HttpConnection
    carrier: Carrier
    seed: int
    traffic: Traffic

    def between(self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None) -> Iterator[Frame]:
        with self.carrier.carry(frames, self.traffic, yuv) as carried:
            headers = asked_for(carried, self.seed)
            made = carried.all(self.server.call(WORKFLOW_PATH, carried.request.body, headers, within))
        yield from made

    def close(self) -> None:
        self.server.close()


@dataclass(frozen=True)
class FusedRoute:
    """The model that holds both halves, in one call; a clip's frames are streamed back as they are drawn.

    The frame between a pair comes as a plain answer: there is nothing to stream, and the server encodes whole clips
    together with others, streamed ones each by itself.
    """

    server: HttpConnection
    carrier: Carrier
    seed: int
    traffic: Traffic

    def between(self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None) -> Iterator[Frame]:
        streamed = len(frames) > 2
        with self.carrier.carry(frames, self.traffic, yuv) as carried:
            headers = asked_for(carried, self.seed, streamed)
            if streamed:
                with self.server.streamed(FUSED_PATH, carried.request.body, headers, within) as chunks:
                    yield from frames_in(chunks, carried)
                return
            made = carried.all(self.server.call(FUSED_PATH, carried.request.body, headers, within))
        yield from made

    def close(self) -> None:
        self.server.close()


@dataclass(frozen=True)
class ChainRoute:
    """The encoder gives a ticket, the decoder (on the same server or another) turns it into a stream of frames."""

    encoder: HttpConnection
    decoder: HttpConnection
    carrier: Carrier
    seed: int
    traffic: Traffic

    def between(self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None) -> Iterator[Frame]:
        with self.carrier.carry(frames, self.traffic, yuv) as carried:
            headers = carried.request.headers | {"X-Eden-Seed": str(self.seed)}
            ticket = check_ticket(self.encoder.call(f"/predictions/{ENCODER}", carried.request.body, headers, within))
            headers = {
                "Content-Type": "application/octet-stream",
                "X-Eden-Format": carried.format(streamed=True),
                "X-Eden-Stream": "1",
            }
            with self.decoder.streamed(f"/predictions/{DECODER}", ticket, headers, within) as chunks:
                yield from frames_in(chunks, carried)

    def close(self) -> None:
        self.encoder.close()
        self.decoder.close()


def asked_for(carried: Carried, seed: int, streamed: bool = False) -> dict[str, str]:
    """Headers of the call that sends a clip and gets its frames."""
    headers = carried.request.headers | {"X-Eden-Seed": str(seed), "X-Eden-Format": carried.format(streamed)}
    return headers | {"X-Eden-Stream": "1"} if streamed else headers


def check_ticket(answer: bytes) -> bytes:
    """The encoder's answer, if it is a ticket. Raises EdenError."""
    if error := envelope_in(answer):
        raise error
    if not answer.startswith(TICKET):
        raise ServerFailed("what the encoder answered is no ticket: is this an EDEN server?")
    return answer


def frames_in(chunks: Iterator[bytes], awaited: Awaited) -> Iterator[Frame]:
    """The frames of a streamed answer, each as soon as it is there. Raises EdenError."""
    expected = awaited.expected
    count = 0
    for part in read_parts(chunks):
        if error := envelope_in(part.body):
            raise error
        if count == expected:
            raise ServerFailed(f"more than the {expected} frames asked for")
        frame = awaited.one(count, part.body)
        count += 1
        yield frame
    if count < expected:
        raise PayloadLost(f"the stream ended after {count} of {expected} frames")
