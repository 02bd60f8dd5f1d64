"""Encoded video as fragmented MP4 for a browser's Media Source: packets are copied, nothing is encoded again."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import TypeVar

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from media.names import open_input

N = TypeVar("N", int, Fraction)

TIMESCALE = 90_000
"""Ticks per second of the time stamps in every fragment."""
_LEAST_S = Fraction(2)
"""Least seconds of a span, where only key frames say where one can begin."""
_ROUNDED_S = Fraction(1, 1000)
"""Seconds by which a container may have rounded a picture's time (Matroska)."""
_OPTIONS = {
    "movflags": "empty_moov+default_base_moof+frag_custom+skip_trailer",
    "use_editlist": "0",
    "video_track_timescale": str(TIMESCALE),
}
_OF_RUN, _PER_SAMPLE, _OFFSETS = 0x005, 0xF00, 0x800
"""Flags of the box `trun`: fields that occur once, and fields per sample, the last being the composition offset."""
_PLAYED = {"h264": "avcC", "vp9": "vpcC", "av1": "av1C"}
"""Codecs that browsers play, with the box that describes the exact variant."""
_PLAYED_PIXELS = ("yuv420p", "yuvj420p")


@dataclass(frozen=True)
class Span:
    """Part of a film that begins with a key frame. Times are seconds from the film's first picture."""

    start: Fraction
    duration: Fraction


class NotPlayed(Exception):
    """No browser plays this codec; the message names it."""


def header(path: Path) -> tuple[bytes, str]:
    """The initialisation segment for a file, and its media type for a Media Source, codecs included.

    Raises NotPlayed; av.FFmpegError or OSError if the file cannot be read.
    """
    with open_input(path) as film:
        stream = film.streams.video[0]
        codec, pixels = stream.codec_context.codec.canonical_name, stream.codec_context.pix_fmt
        if codec not in _PLAYED or pixels not in _PLAYED_PIXELS:
            raise NotPlayed(f"{codec} in {pixels}")
        first = next(packet for packet in film.demux(stream) if packet.pts is not None)
        whole = _muxed(stream, [first])
    begin = b"".join(data for kind, data in _boxes(whole) if kind in (b"ftyp", b"moov"))
    return begin, f'video/mp4; codecs="{_codecs(begin, _PLAYED[codec])}"'


def duration(path: Path) -> Fraction:
    """Duration of a file's pictures, in seconds. Raises av.FFmpegError or OSError."""
    with open_input(path) as film:
        stream = film.streams.video[0]
        shown = sorted(packet.pts for packet in film.demux(stream) if packet.pts is not None)
        return (shown[-1] - shown[0] + _step(shown)) * (stream.time_base or Fraction(1))


def fragment(path: Path, number: int, at: Fraction, within: Span | None = None) -> bytes:
    """Fragment `number`: the pictures of a file, or of its span `within`, shown from `at` seconds on.

    Raises av.FFmpegError or OSError.
    """
    with open_input(path) as film:
        stream = film.streams.video[0]
        packets = film.demux(stream) if within is None else _within(film, within)
        whole = _muxed(stream, [packet for packet in packets if packet.pts is not None])
    data = b"".join(data for kind, data in _boxes(whole) if kind in (b"moof", b"mdat"))
    return _placed(data, number, round(at * TIMESCALE))


def spans(path: Path, known: list[Span]) -> list[Span]:
    """All spans of a film, beginning with those already `known`. Raises av.FFmpegError or OSError."""
    reached = known[-1].start + known[-1].duration if known else Fraction(0)
    starts: list[Fraction] = []
    shown: list[Fraction] = []
    with open_input(path) as film:
        for time, packet in _timed(film, reached):
            shown.append(time)
            if packet.is_keyframe and time >= (starts[-1] + _LEAST_S if starts else reached) - _ROUNDED_S:
                starts.append(time)
    if not starts:
        return known
    shown.sort()
    end = shown[-1] + _step(shown)
    return known + [Span(start, after - start) for start, after in zip(starts, [*starts[1:], end], strict=True)]


def _within(film: InputContainer, span: Span) -> Iterator[Packet[VideoStream]]:
    """The packets from the span's key frame up to the next span's."""
    begun = False
    for time, packet in _timed(film, span.start):
        if packet.is_keyframe and time >= span.start + span.duration - _ROUNDED_S:
            return
        begun = begun or (packet.is_keyframe and time >= span.start - _ROUNDED_S)
        if begun:
            yield packet


def _timed(film: InputContainer, start: Fraction) -> Iterator[tuple[Fraction, Packet[VideoStream]]]:
    """The packets from a key frame before `start` on, each with its time since the first picture."""
    stream = film.streams.video[0]
    tick = stream.time_base or Fraction(1)
    first = next(packet.pts for packet in film.demux(stream) if packet.pts is not None)
    film.seek(first + floor(start / tick), stream=stream, backward=True)
    for packet in film.demux(stream):
        if packet.pts is not None:
            yield (packet.pts - first) * tick, packet


def _muxed(stream: VideoStream, packets: list[Packet[VideoStream]]) -> bytes:
    """A fragmented MP4 file of these pictures, the first one shown at 0."""
    tick = stream.time_base or Fraction(1)
    stamps = [packet.pts for packet in packets if packet.pts is not None]
    shown = sorted(stamps)
    step = _step(shown)
    rank = {stamp: number for number, stamp in enumerate(shown)}
    ahead = max(number - rank[stamp] for number, stamp in enumerate(stamps))
    decoded = [shown[0] - step * number for number in range(ahead, 0, -1)] + shown
    after = dict(zip(shown, [*shown[1:], shown[-1] + step], strict=True))
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", container_options=_OPTIONS) as file:
        into = file.add_stream_from_template(stream, opaque=True)
        into.time_base = Fraction(1, TIMESCALE)
        for packet, stamp, before in zip(packets, stamps, decoded, strict=False):
            packet.pts, packet.dts = (round((each - shown[0]) * tick * TIMESCALE) for each in (stamp, before))
            packet.duration = round((after[stamp] - stamp) * tick * TIMESCALE)
            packet.time_base, packet.stream = into.time_base, into
            file.mux(packet)
    return out.getvalue()


def _step(shown: list[N]) -> N:
    """The last picture's duration, taken to be that of the one before it."""
    return shown[-1] - shown[-2] if len(shown) > 1 else type(shown[0])(1)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at : at + size]
        at += size


def _placed(data: bytes, number: int, at: int) -> bytes:
    """The fragment with its number (mfhd) and time (tfdt) set, so that its first picture is shown at `at` ticks.

    Pictures are decoded before they are shown, so decoding of the first fragment would begin before time 0. To avoid
    that, composition offsets are lowered and may become negative (trun).
    """
    placed = bytearray(data)
    struct.pack_into(">I", placed, data.index(b"mfhd") + 8, number + 1)
    time, run = data.index(b"tfdt") + 4, data.index(b"trun") + 4
    assert data[time] == 1  # 64 bits
    struct.pack_into(">Q", placed, time + 4, at)
    flags, count = struct.unpack_from(">II", data, run)
    if not flags & _OFFSETS:
        return bytes(placed)
    placed[run] = 1  # signed offsets
    fields = bin(flags & _PER_SAMPLE).count("1")
    first = run + 8 + 4 * bin(flags & _OF_RUN).count("1") + 4 * (fields - 1)
    (late,) = struct.unpack_from(">i", data, first)
    for each in range(first, first + 4 * fields * count, 4 * fields):
        (offset,) = struct.unpack_from(">i", data, each)
        struct.pack_into(">i", placed, each, offset - late)
    return bytes(placed)


def _codecs(begin: bytes, box: str) -> str:
    """The codec string of RFC 6381, from the box that describes the codec."""
    told = begin[begin.index(box.encode()) + 4 :]
    match box:
        case "avcC":
            return f"avc1.{told[1:4].hex()}"
        case "vpcC":
            profile, level, depth = told[4], told[5], told[6] >> 4
            return f"vp09.{profile:02d}.{level:02d}.{depth:02d}"
        case _:
            profile, level, tier, deep = told[1] >> 5, told[1] & 31, told[2] >> 7, told[2] >> 6 & 1
            return f"av01.{profile}.{level:02d}{'MH'[tier]}.{10 if deep else 8:02d}"
