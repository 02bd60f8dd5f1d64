"""Decodes a film's samples. Where a sample is empty or damaged, the picture before it is shown again.

The picture of a sample depends only on the samples since the key frame before it: reading that begins at a key frame
gives the same pictures from there on. (One exception: where a sample is damaged and the decoder does not report it,
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
"""Unreadable samples in a row after which reading a file is given up."""


@dataclass(frozen=True)
class Decoded:
    """A frame, and its time stamp in ticks of its stream (None: it follows the one before)."""

    frame: VideoFrame
    pts: int | None


class Decoder:
    """Decodes one stream of a container. What it finds on the way is counted in `findings`.

    strict   a sample that cannot be decoded ends the reading, with MediaError

    Pictures are decoded one by one, with threads for the slices of each, as many as the machine has cores. Every reader
    of a film uses the same number: with a single thread, H.264's decoder conceals damage that it does not report, with
    several it does not. Threads for whole frames are not used here: they report damage late, lose the last frames
    behind it, and conceal it differently, so damage cannot be recognised from what they return.
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
        """Time stamps that still lack a picture: the one before is shown there if none comes. True: due to damage."""
        self._mending = False
        """A sample was damaged, and samples since may be predicted from it."""
        self._key: int | None = None
        """Time stamp of the first key frame after the damage: later pictures are whole, earlier ones may follow it."""
        self._failures, self._why = 0, ""
        if not context.is_open:
            context.thread_type = "SLICE"
            if context.name == "libdav1d":
                context.options = {"max_frame_delay": "1"}

    def pictures(self) -> Iterator[Decoded]:
        """Each picture in the order shown. Raises MediaError: nothing can be decoded, or any damage where strict."""
        for packet in self._packets():
            end = packet.size == 0 and packet.pos is None and packet.pts is None
            if packet.size == 0 and not end:  # an encoder's sign for "nothing has changed"
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
            raise MediaError(f"{self._name}: damaged video data: not one picture can be decoded ({self._why})")

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """The stream's packets. Reading goes on behind data that the container's reader cannot parse."""
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
        """Count a damaged sample. `hopeless`: give up after too many of them without a picture in between."""
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
        """Note an intact sample after a damaged one: until the next key frame, it may give no picture."""
        if packet.pts is None or (self._key is not None and packet.pts > self._key):
            self._mending = packet.pts is None and not packet.is_keyframe
            return
        self._waiting[packet.pts] = True
        if packet.is_keyframe:
            self._key = packet.pts

    def _missing(self, packet: Packet[VideoStream], damaged: bool) -> Iterator[Decoded]:
        """Note a packet that gives no picture."""
        if packet.pts is not None:
            self._waiting[packet.pts] = damaged
        elif packet.size or not damaged:
            yield from self._repeated(None, damaged)

    def _again(self, until: float) -> Iterator[Decoded]:
        """The last picture again, for each time stamp before `until` that still lacks one."""
        for pts in sorted(pts for pts in self._waiting if pts < until):
            yield from self._repeated(pts, self._waiting.pop(pts))

    def _repeated(self, pts: int | None, damaged: bool) -> Iterator[Decoded]:
        if self._last is not None:
            self._findings.held += damaged
            yield Decoded(self._last, pts)
        else:
            self._findings.lost += damaged
