"""Writes a film in segments: short video files of one encoding, which can be joined.

Each segment has an encoder of its own and begins with a key frame. So finished segments outlast an interrupted run, and
together with those of a later run they make the same film as an uninterrupted run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from pathlib import Path

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from eden_client.film.read.film import Colours, VideoFormat
from eden_client.film.write.encoding import Encoding, refusal, supported
from eden_client.film.write.scheduling import scheduling_kept
from media.errors import MediaError
from media.names import file_url, open_input
from media.video_reader import reason

_GLOBAL_HEADER = 1 << 22
FINEST = 2**31 - 1


@dataclass(frozen=True)
class Segment:
    """A finished segment of the film. `start`: the time of its first frame, in seconds."""

    path: Path
    start: Fraction
    count: int
    reorder: int
    """The most frames by which coding order runs ahead of the order shown."""


FEW = 2
"""The decoding times of a segment with at most so many frames are set here, since they are coded in the order shown:
libx265 takes them from uninitialised memory, and a file cannot hold every number."""


class SegmentWriter:
    """Writes one segment. Times are those of the film, multiples of `tick` seconds."""

    def __init__(
        self, path: Path, encoding: Encoding, video_format: VideoFormat, rate: Fraction, tick: Fraction
    ) -> None:
        self.path, self.count = path, 0
        self._told = (encoding.codec, video_format.size, encoding.pixel_format, rate)
        self._start: Fraction | None = None
        self._tick = tick
        self._coded: list[int] = []
        self._container = av.open(file_url(path), "w", format=_holder(encoding))
        stream = self._container.add_stream(encoding.codec, rate=_sane(rate), options=dict(encoding.options))
        assert isinstance(stream, VideoStream)
        self._stream = stream
        height, width = video_format.size
        self._stream.height, self._stream.width = height + height % 2 * encoding.pad, width + width % 2 * encoding.pad
        self._stream.pix_fmt = encoding.pixel_format
        tag(self._stream, video_format.colours, video_format.aspect)
        self._stream.codec_context.time_base = tick
        # Several segments are encoded at once; and the output of some encoders depends on their number of threads.
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.flags |= _GLOBAL_HEADER

    def write(self, frame: VideoFrame, time: Fraction) -> None:
        """Encode the frame shown at `time`. Raises MediaError."""
        if self._start is None:
            self._start = time
        frame.pts, frame.time_base = round((time - self._start) / self._tick), self._tick
        frame.pict_type = 0  # the encoder would otherwise repeat the source's frame types
        self._mux(frame)
        self.count += 1

    def close(self) -> Segment:
        """Flush the encoder and finish the file. Raises MediaError."""
        self._mux(None)
        with self._writing():
            self._container.close()
        rank = {stamp: number for number, stamp in enumerate(sorted(self._coded))}
        reorder = max((number - rank[stamp] for number, stamp in enumerate(self._coded)), default=0)
        return Segment(self.path, self._start or Fraction(0), self.count, reorder)

    def abandon(self) -> None:
        """Close and remove the file."""
        with suppress(av.FFmpegError):
            self._container.close()
        self.path.unlink(missing_ok=True)

    def _mux(self, frame: VideoFrame | None) -> None:
        try:
            with scheduling_kept() if not self.count else nullcontext():  # the first frame opens the encoder
                packets = self._stream.encode(frame)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(refusal(*self._told, reason(error))) from error
        if frame is None and self.count <= FEW:
            for packet in packets:
                packet.dts = packet.pts
        self._coded += [packet.pts for packet in packets if packet.pts is not None]
        with self._writing():
            self._container.mux(packets)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{self.path.parent} cannot be written to: {reason(error)}") from error


def tag(stream: VideoStream, colours: Colours, aspect: Fraction) -> None:
    """Set the colours and the pixel aspect ratio of a stream whose header is not written yet."""
    context = stream.codec_context
    context.color_primaries, context.color_trc = colours.primaries, colours.transfer
    context.colorspace, context.color_range = colours.matrix, colours.range
    context.sample_aspect_ratio = aspect


@dataclass(frozen=True)
class TimedPacket:
    """A packet of the film, with its times in seconds."""

    packet: Packet[VideoStream]
    shown: Fraction
    decoded: Fraction
    duration: Fraction


def packets(segments: Sequence[Segment], last_duration: Fraction) -> Iterator[TimedPacket]:
    """The packets of all segments in coding order. `last_duration`: of the last frame, in seconds.

    Decoding times are the sorted presentation times, shifted by as many frames as it takes for none to be later than
    its frame's presentation. No two are equal, at a constant rate and at a variable one.
    """
    reorder = max(segment.reorder for segment in segments)
    late: deque[Fraction] = deque()
    for number, segment in enumerate(segments):
        with open_input(segment.path) as container:
            stream = container.streams.video[0]
            assert stream.time_base
            read = [packet for packet in container.demux(stream) if packet.pts is not None]
            stamps = [packet.pts for packet in read if packet.pts is not None]
            first = min(stamps)  # a container shifts time stamps so that no decoding time is negative
            times = [segment.start + (stamp - first) * stream.time_base for stamp in stamps]
            in_order = sorted(times)
            if number == 0:
                late += [in_order[0] - last_duration * ahead for ahead in range(reorder, 0, -1)]
            late += in_order
            end = segments[number + 1].start if number + 1 < len(segments) else in_order[-1] + last_duration
            after = dict(zip(in_order, [*in_order[1:], end], strict=True))
            for packet, time in zip(read, times, strict=True):
                yield TimedPacket(packet, time, late.popleft(), after[time] - time)


def common_tick(ticks: list[Fraction]) -> Fraction:
    """The coarsest tick 1/n of which all of these are multiples, in seconds; else the finest that a file can hold."""
    denominator = 1
    for tick in ticks:
        denominator = denominator * tick.denominator // gcd(denominator, tick.denominator)
    return Fraction(1, denominator) if denominator <= FINEST else Fraction(1, 90_000 * 16)


def _holder(encoding: Encoding) -> str:
    """The container for segments: NUT, which keeps any time base and nearly every codec; else the result's own.

    NUT cannot hold ProRes, nor the transparency of VP8 and VP9, which is stored beside the frames.
    """
    if encoding.codec == "libvpx-vp9" and encoding.pixel_format.startswith("yuva"):
        return "matroska"
    if encoding.codec == "prores_ks":
        return "mov"
    return next((each for each in ("nut", "mov") if encoding.codec in supported(each)), encoding.container)


def _sane(rate: Fraction) -> Fraction:
    return rate.limit_denominator(1001 * 1000)
