"""Fast decoding of intact film: it gives up at the first irregularity, which is left to decoder.py.

A decoder with threads for whole frames, or one that begins within the film, reports damage late and conceals it
differently from one that decodes picture by picture. So it is set to conceal nothing, and each sample must give one
picture, in the order shown: then the pictures are the same however they are decoded.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from eden_client.film.read.packets import packets_of
from eden_client.film.read.restarts import streams_with_clock
from media.names import open_input

CODECS = ("h264", "hevc")
"""FFmpeg's decoders for which this pays, and which report all damage that they see."""
SHORTEST = 96
"""The fewest samples of a stretch, except the last."""


class Doubtful(Exception):
    """The film is irregular here, damaged perhaps: decode it picture by picture."""


@contextmanager
def opened(source: Path | BinaryIO, index: int, threads: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Stream `index` of a file, to be decoded by `threads`. What PyAV raises inside the context becomes Doubtful."""
    try:
        with open_input(source) as container:
            stream = container.streams[index]
            if not isinstance(stream, VideoStream) or stream.codec_context.name not in CODECS:
                raise Doubtful
            if streams_with_clock(container):
                raise Doubtful
            context = stream.codec_context
            context.thread_type, context.thread_count = "FRAME", threads
            context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        raise Doubtful from error


class ExactDecoder:
    """Decodes samples that must give one picture each, in the order of their time stamps."""

    def __init__(self, context: VideoCodecContext) -> None:
        self._context = context
        self._stamps: list[int] = []
        """of samples whose pictures are still to come: a heap"""

    def decoded(self, packet: Packet[VideoStream] | None) -> Iterator[VideoFrame]:
        """The pictures that a sample gives. None, or an empty sample: those left in the decoder. Raises Doubtful."""
        if packet is not None and packet.size:
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                raise Doubtful
            heapq.heappush(self._stamps, packet.pts)
        elif packet is not None and packet.pts is not None:
            raise Doubtful
        for frame in self._context.decode(packet):
            if frame.is_corrupt or not self._stamps or frame.pts != heapq.heappop(self._stamps):
                raise Doubtful
            yield frame

    def none_left(self) -> None:
        """Check at the end that all pictures have come. Raises Doubtful."""
        if self._stamps:
            raise Doubtful


@dataclass(frozen=True)
class Stretch:
    """A part of a film from one key frame to another, both included."""

    first: int
    """time stamp of the key frame that it begins with"""
    last: int | None
    """time stamp of the key frame that it ends with and the next one begins with; None: it goes to the film's end"""


def stretches(path: Path, index: int) -> Iterator[Stretch]:
    """The stretches of stream `index`, found without decoding. Raises Doubtful: it has no key frame."""
    with opened(path, index, 1) as (container, stream):
        first: int | None = None
        samples = 0
        for packet in packets_of(container, [stream]):
            if not packet.size:
                break
            if packet.is_keyframe and packet.pts is not None and (first is None or samples >= SHORTEST):
                if first is not None:
                    yield Stretch(first, packet.pts)
                first, samples = packet.pts, 0
            samples += 1
        if first is None:
            raise Doubtful
        yield Stretch(first, None)


def frames_of(source: Path | BinaryIO, index: int, stretch: Stretch) -> Iterator[VideoFrame]:
    """The pictures of a stretch, decoded from its samples alone. Raises Doubtful: that is not enough, or is damaged."""
    with opened(source, index, 1) as (container, stream):
        exact = ExactDecoder(stream.codec_context)
        for packet in _samples(container, stream, stretch):
            yield from exact.decoded(packet)
        exact.none_left()


def skim(source: Path | BinaryIO, index: int, stretch: Stretch, once_opened: Callable[[], None]) -> None:
    """Read what `frames_of` reads, without decoding; call `once_opened` after the header. Raises Doubtful."""
    with opened(source, index, 1) as (container, stream):
        once_opened()
        for _ in _samples(container, stream, stretch):
            pass


def _samples(container: InputContainer, stream: VideoStream, stretch: Stretch) -> Iterator[Packet[VideoStream] | None]:
    """The samples of a stretch, then None or the empty packet of the film's end. Raises Doubtful."""
    for packet in _from(stretch.first, container, stream):
        if packet.pts is not None and not _within(packet.pts, stretch):
            raise Doubtful
        yield packet
        if packet.pts is not None and packet.pts == stretch.last:
            yield None
            return


def _within(stamp: int, stretch: Stretch) -> bool:
    return stretch.first <= stamp and (stretch.last is None or stamp <= stretch.last)


def _from(stamp: int, container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The stream's packets from the key frame with this time stamp on. Raises Doubtful: there is none."""
    container.seek(stamp, stream=stream, backward=True)
    begun = False
    for packet in packets_of(container, [stream]):
        if not begun and packet.pts == stamp:
            if not packet.is_keyframe:
                raise Doubtful
            begun = True
        if begun:
            yield packet
    if not begun:
        raise Doubtful
