"""Finds the stream of a file that is the film, its decoder, and its rate in pictures per second."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from statistics import median

import av
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from eden_client.film.read.packets import packets_of
from media.names import open_input

_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_PROBED = 1000
"""Packets that are read to see which of several video streams has more than one picture."""
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that keep the transparency of these codecs, which FFmpeg's own leave out."""
_USUAL = 120
"""Pictures per second. A higher stated rate is checked against the time stamps."""
LOOKED_AT = 6
"""Pictures whose time stamps are used for that check."""


def film_stream(container: InputContainer) -> VideoStream | None:
    """The video stream that is the film: neither cover nor still; of several, the default one, else the first."""
    videos = [stream for stream in container.streams.video if _context(stream) is not None]
    films = [stream for stream in videos if not stream.disposition & _NO_FILM] or videos
    if len(films) > 1:
        count = _packets(container, [stream.index for stream in films])
        films = [stream for stream in films if count[stream.index] > 1] or films
    films = [stream for stream in films if stream.disposition & Disposition.default] or films
    return films[0] if films else None


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """The decoder of a stream, one that keeps transparency where there is any."""
    other = _WITH_ALPHA.get(stream.codec_context.name)
    if other is None or stream.metadata.get("alpha_mode") != "1":
        return stream.codec_context
    context = av.CodecContext.create(other, "r")
    assert isinstance(context, VideoCodecContext)
    return context


def stated_rate(container: InputContainer, stream: VideoStream, head: bytes) -> Fraction | None:
    """The stated pictures per second; None where FFmpeg made up its 25: for raw streams, and y4m with a rate of 0.

    head   the file's first bytes
    """
    y4m = container.format.name == "yuv4mpegpipe"
    if Flags.no_timestamps in Flags(container.format.flags) or (y4m and not re.match(rb"[^\n]* F[1-9]\d*:[1-9]", head)):
        return None
    return stream.average_rate or stream.guessed_rate


def in_doubt(rate: Fraction | None) -> bool:
    """Whether a rate has to be checked against time stamps: some files state the tick of their clock instead."""
    return rate is not None and rate > _USUAL


def believable(rate: Fraction, stream: VideoStream, frames: Sequence[VideoFrame]) -> Fraction:
    """`rate`, or where the time stamps of the first frames show a far lower one, that."""
    stamps = [frame.pts for frame in frames if frame.pts is not None]
    steps = [after - before for before, after in pairwise(stamps) if after > before]
    if not steps or not stream.time_base:
        return rate
    measured = 1 / (Fraction(median(steps)) * stream.time_base)
    if rate <= 4 * measured:
        return rate
    others = [other for other in (stream.guessed_rate, stream.base_rate) if other]
    return next((other for other in others if abs(other / measured - 1) < 0.05), measured)


def _packets(container: InputContainer, indices: Sequence[int]) -> Counter[int]:
    """The number of packets of each of these streams among the file's first. A pipe's is what its header states."""
    count = Counter({index: container.streams[index].frames for index in indices})
    if not container.name.startswith("file:"):
        return count
    count = Counter()
    with open_input(container.name.removeprefix("file:")) as again, suppress(av.FFmpegError):
        for packet in packets_of(again, [again.streams[index] for index in indices]):
            count[packet.stream.index] += packet.size > 0
            if count.total() >= _PROBED or all(count[index] > 1 for index in indices):
                break
    return count


def _context(stream: VideoStream) -> VideoCodecContext | None:
    """The stream's decoder; None: FFmpeg has none (PyAV's types leave that out)."""
    return stream.codec_context
