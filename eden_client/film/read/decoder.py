"""A film's samples to pictures, past those that are empty or damaged: there the picture before is shown again.

What comes for a sample depends on the samples since the key frame before it, and on no others: a reading that begins
at a key frame gives the same pictures from there on. (Only where a sample is damaged and the decoder does not say so,
parts of a picture may be whatever was in memory.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENOMEM
from math import inf

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from eden_client.film.read.findings import Findings
from eden_client.film.read.packets import packets_of
from eden_client.film.read.restarts import Leaps, streams_with_clock
from media.errors import MediaError
from media.video_reader import reason

_HOPELESS = 500
"""Samples in a row that cannot be read, after which nothing more is expected of a file."""


@dataclass(frozen=True)
class Decoded:
    """A frame, and when it is shown in ticks of its stream (None: right after the one before)."""

    frame: VideoFrame
    pts: int | None


class Decoder:
    """Decodes one stream of a container. `strict`: what cannot be decoded ends it. `findings` are added to.

    Pictures are decoded one by one, with threads for the parts of each, as many as the machine has cores: in all that
    read a film the same number, since H.264's decoder mends damage of which it does not tell only where it has a
    single one. Threads for whole pictures tell late of a damaged one, lose those behind it at the end, and mend again
    in another way: from what they give, it cannot be told that there was damage.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        context: VideoCodecContext,
        name: str,
        findings: Findings,
        strict: bool = False,
    ) -> None:
        self._container, self._stream, self._context = container, stream, context
        self._name, self._findings, self._strict = name, findings, strict
        self._last: VideoFrame | None = None
        self._waiting: dict[int, bool] = {}
        """Times for which a picture must come, or the one before is shown again; and whether that is for damage."""
        self._mending = False
        """There was a damaged sample, and what came since may lack what it was predicted from."""
        self._key: int | None = None
        """When the key frame is shown after which nothing lacks anything; pictures before it may come behind it."""
        self._failures, self._why = 0, ""
        if not context.is_open:
            context.thread_type = "SLICE"
            if context.name == "libdav1d":
                context.options = {"max_frame_delay": "1"}

    def pictures(self) -> Iterator[Decoded]:
        """Each picture in the order shown. Raises MediaError."""
        for packet in self._packets():
            end = packet.size == 0 and packet.pos is None and packet.pts is None
            if packet.size == 0 and not end:  # an encoder's way to say: nothing has changed
                yield from self._missing(packet, damaged=False)
                continue
            try:
                frames = self._context.decode(None if end else packet)
            except av.FFmpegError as error:
                self._note_damage(error, hopeless=self._last is None)
                self._mending, self._key = True, None
                yield from self._missing(packet, damaged=True)
                continue
            if self._mending:
                self._mend(packet)
            for frame in frames:
                yield from self._take(frame)
        yield from self._again(inf)
        if self._last is None and self._findings.damaged:
            raise MediaError(f"{self._name}: damaged video data, not one picture can be decoded ({self._why})")

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """The stream's packets, past what the container's reader stumbles over."""
        clocked, leaps = streams_with_clock(self._container), Leaps()
        while True:
            try:
                if not clocked:
                    yield from packets_of(self._container, [self._stream])
                    return
                for packet in leaps.without(packets_of(self._container, clocked)):
                    if packet.stream.index == self._stream.index:
                        yield packet
                    self._findings.leaps, self._findings.closed = leaps.count, leaps.closed
                return
            except av.InvalidDataError as error:
                self._note_damage(error, hopeless=True)
            except (av.FFmpegError, OSError) as error:
                raise MediaError(f"{self._name}: cannot be read to its end ({reason(error)})") from error

    def _note_damage(self, error: av.FFmpegError, hopeless: bool) -> None:
        """Count it. `hopeless`: more of it, and no picture in between, would be the end."""
        self._why = reason(error)
        self._findings.damaged += 1
        self._failures += 1
        if self._strict or error.errno == ENOMEM or (hopeless and self._failures >= _HOPELESS):
            raise MediaError(f"{self._name}: damaged video data ({self._why})") from error

    def _take(self, frame: VideoFrame) -> Iterator[Decoded]:
        self._failures = 0
        self._findings.doubtful += frame.is_corrupt
        if frame.pts is not None:
            yield from self._again(frame.pts)
            self._waiting.pop(frame.pts, None)
        self._last = frame
        yield Decoded(frame, frame.pts)

    def _mend(self, packet: Packet[VideoStream]) -> None:
        """A whole sample behind a damaged one: there may be no picture of it, up to the next key frame."""
        if packet.pts is None or (self._key is not None and packet.pts > self._key):
            self._mending = packet.pts is None and not packet.is_keyframe
            return
        self._waiting[packet.pts] = True
        if packet.is_keyframe:
            self._key = packet.pts

    def _missing(self, packet: Packet[VideoStream], damaged: bool) -> Iterator[Decoded]:
        """No picture comes of this packet."""
        if packet.pts is not None:
            self._waiting[packet.pts] = damaged
        elif packet.size or not damaged:
            yield from self._repeated(None, damaged)

    def _again(self, until: float) -> Iterator[Decoded]:
        """The last picture once more for each time before `until` that is still without one."""
        for pts in sorted(pts for pts in self._waiting if pts < until):
            yield from self._repeated(pts, self._waiting.pop(pts))

    def _repeated(self, pts: int | None, damaged: bool) -> Iterator[Decoded]:
        if self._last is not None:
            self._findings.held += damaged
            yield Decoded(self._last, pts)
        else:
            self._findings.lost += damaged
