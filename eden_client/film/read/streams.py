"""Which stream of a file is the film, what decodes it, and how many pictures per second it has."""

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
"""Packets that show which of several streams moves."""
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that give the transparency of these codecs, which FFmpeg's own leave out."""
_USUAL = 120
"""Pictures a second, above which a file is not believed before its time stamps say the same."""
LOOKED_AT = 6
"""Pictures whose time stamps are set beside a rate that is in doubt."""


def film_stream(container: InputContainer) -> VideoStream | None:
    """The video stream that is the film: no cover, no still; of several that move the default one, else the first."""
    videos = [stream for stream in container.streams.video if _context(stream) is not None]
    films = [stream for stream in videos if not stream.disposition & _NO_FILM] or videos
    if len(films) > 1:
        count = _packets(container, [stream.index for stream in films])
        films = [stream for stream in films if count[stream.index] > 1] or films
    films = [stream for stream in films if stream.disposition & Disposition.default] or films
    return films[0] if films else None


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """What decodes a stream, transparency included."""
    other = _WITH_ALPHA.get(stream.codec_context.name)
    if other is None or stream.metadata.get("alpha_mode") != "1":
        return stream.codec_context
    context = av.CodecContext.create(other, "r")
    assert isinstance(context, VideoCodecContext)
    return context


def stated_rate(container: InputContainer, stream: VideoStream, head: bytes) -> Fraction | None:
    """Pictures a second. FFmpeg makes up 25 where a raw stream has no place for a rate, and where y4m says 0."""
    y4m = container.format.name == "yuv4mpegpipe"
    if Flags.no_timestamps in Flags(container.format.flags) or (y4m and not re.match(rb"[^\n]* F[1-9]\d*:[1-9]", head)):
        return None
    return stream.average_rate or stream.guessed_rate


def in_doubt(rate: Fraction | None) -> bool:
    """Whether a rate has to be set beside time stamps: some files state the tick of their clock."""
    return rate is not None and rate > _USUAL


def believable(rate: Fraction, stream: VideoStream, frames: Sequence[VideoFrame]) -> Fraction:
    """`rate`, or where the time stamps of the first frames are far slower, a rate like theirs."""
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
    """How many packets each of these streams has among the first of the file, read anew; or as the file states it."""
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
    """The stream's decoder, or None where FFmpeg has none for it, as PyAV's types do not say."""
    return stream.codec_context
