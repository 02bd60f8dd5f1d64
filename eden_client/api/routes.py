"""Routes of a clip through a server: K frames in, the K-1 frames between out, in order, as they arrive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from eden_client.api.carriers import Awaited, Carried, Carrier
from eden_client.api.errors import PayloadLost, ServerFailed, envelope_in
from eden_client.api.http_connection import HttpConnection
from eden_client.api.parts import read_parts
from eden_client.api.traffic import Traffic
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import UNTRACED, Step
from media import Frame
from media.terms import LATEST_MS, Priority

ENCODER, DECODER = "eden__encoder", "eden__dit_decoder"
WORKFLOW_PATH, FUSED_PATH = "/wfpredict/eden", "/predictions/eden_fused"
LIVE_PATH = "/predictions/eden_live"
"""The fused model with workers and a queue of its own for live calls."""
TICKET = b"EDEN-TICKET"


@dataclass(frozen=True)
class Terms:
    """Options that every call of a client has."""

    seed: int = 0
    priority: Priority | None = None

    def options(self, seconds: float) -> dict[str, str]:
        """Names and values of the server's options for a call whose client waits at most `seconds`.

        The server counts from when the call arrives, which is later than the client does.
        """
        options = {"Seed": str(self.seed), "Deadline-Ms": str(deadline_ms(seconds))}
        return options | ({"Priority": self.priority} if self.priority else {})

    def headers(self, seconds: float) -> dict[str, str]:
        """The same as HTTP headers."""
        return {f"X-Eden-{name}": value for name, value in self.options(seconds).items()}

    def fields(self, seconds: float) -> dict[str, bytes]:
        """The same as fields of a form."""
        return {name.lower().replace("-", "_"): value.encode() for name, value in self.options(seconds).items()}


def deadline_ms(seconds: float) -> int:
    """Seconds as whole milliseconds, within the bounds of a server's deadline option."""
    return max(1, math.ceil(1000 * min(seconds, LATEST_MS / 1000)))


class Route(Protocol):
    """Makes one attempt at a clip. Raises EdenError."""

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        """The K-1 frames between K of one size: RGB [H, W, 3], or planes [H*3/2, W] of the format `yuv`.

        within  seconds that the server may be silent
        step    the trace's step that this call is
        """

    def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class WorkflowRoute:
    """Encoder and decoder in one call; all frames come back at once."""

    server: HttpConnection
    carrier: Carrier
    terms: Terms
    traffic: Traffic

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        with self.carrier.carry(frames, self.traffic, yuv) as carried:
            headers = asked_for(carried, self.terms, within)
            answer = self.server.call(WORKFLOW_PATH, carried.request.body, headers, within, step)
            made = carried.all(answer)
        yield from made

    def close(self) -> None:
        self.server.close()


@dataclass(frozen=True)
class FusedRoute:
    """The model that holds both halves, in one call; a clip's frames are streamed back as they are drawn.

    The frame between a pair comes as a plain answer: there is nothing to stream, and the server batches plain answers
    with others, but not streamed ones.
    """

    server: HttpConnection
    carrier: Carrier
    terms: Terms
    traffic: Traffic
    path: str = FUSED_PATH

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        streamed = len(frames) > 2
        with self.carrier.carry(frames, self.traffic, yuv) as carried:
            headers = asked_for(carried, self.terms, within, streamed)
            if streamed:
                with self.server.streamed(self.path, carried.request.body, headers, within, step) as chunks:
                    yield from frames_in(chunks, carried)
                return
            made = carried.all(self.server.call(self.path, carried.request.body, headers, within, step))
        yield from made

    def close(self) -> None:
        self.server.close()


@dataclass(frozen=True)
class ChainRoute:
    """The encoder gives a ticket, the decoder (on the same server or another) turns it into a stream of frames."""

    encoder: HttpConnection
    decoder: HttpConnection
    carrier: Carrier
    terms: Terms
    traffic: Traffic

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        with self.carrier.carry(frames, self.traffic, yuv) as carried:
            # each answer, and each frame, may take so long
            headers = carried.request.headers | self.terms.headers(within * (1 + carried.expected))
            answer = self.encoder.call(f"/predictions/{ENCODER}", carried.request.body, headers, within, step)
            ticket = check_ticket(answer)
            headers = {
                "Content-Type": "application/octet-stream",
                "X-Eden-Format": carried.format(streamed=True),
                "X-Eden-Stream": "1",
            }
            with self.decoder.streamed(f"/predictions/{DECODER}", ticket, headers, within, step) as chunks:
                yield from frames_in(chunks, carried)

    def close(self) -> None:
        self.encoder.close()
        self.decoder.close()


def asked_for(carried: Carried, terms: Terms, within: float, streamed: bool = False) -> dict[str, str]:
    """Headers of the call that sends a clip and gets its frames; `within`: seconds that the server may be silent."""
    asked = carried.request.headers | {"X-Eden-Format": carried.format(streamed)}
    if streamed:
        return asked | {"X-Eden-Stream": "1"} | terms.headers(within * carried.expected)
    return asked | terms.headers(within)


def check_ticket(answer: bytes) -> bytes:
    """The encoder's answer, if it is a ticket. Raises EdenError."""
    if error := envelope_in(answer):
        raise error
    if not answer.startswith(TICKET):
        raise ServerFailed("the encoder's answer is not a ticket: is this an EDEN server?")
    return answer


def frames_in(chunks: Iterator[bytes], awaited: Awaited) -> Iterator[Frame]:
    """The frames of a streamed answer, each as soon as it has arrived. Raises EdenError."""
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
