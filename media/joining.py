"""Segments and what is carried over, joined into the file that a user asked for."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from media.carrying import Carried
from media.encoding import Encoding
from media.errors import MediaError
from media.film import Look
from media.segments import Segment, packets, tag
from media.video_reader import reason


@dataclass(frozen=True)
class Joint:
    """How segments become a film."""

    encoding: Encoding
    look: Look
    """of the result: its rate, colours, aspect and rotation"""
    tick: Fraction
    """of its time stamps, in seconds"""
    last_duration: Fraction
    """of the last frame, in seconds"""
    source: Path | None = None
    """a file whose sound, subtitles, chapters and metadata are carried over"""
    start: Fraction = Fraction(0)
    """the source's first time stamp: it becomes 0"""


def join(segments: Sequence[Segment], joint: Joint, target: Path) -> list[str]:
    """Write the film to `target`; what could not be carried over is named, one line each.

    Raises MediaError.
    """
    warnings: list[str] = []
    fast = {"movflags": "+faststart"} if joint.encoding.container in ("mp4", "mov") else {}
    try:
        with ExitStack() as open_:
            out = open_.enter_context(av.open(target, "w", format=joint.encoding.container, container_options=fast))
            first = open_.enter_context(av.open(segments[0].path))
            stream = _video(out, first.streams.video[0], joint)
            ways: list[Iterator[tuple[Fraction, Packet[Any]]]] = [_pictures(segments, joint, stream)]
            if joint.source is not None:
                source = open_.enter_context(av.open(joint.source))
                stream.metadata.update(_words(source.streams.video[0]))
                carried = Carried(source, out, joint.start)
                warnings += carried.warnings
                ways.append(carried.packets())
            for _, packet in heapq.merge(*ways, key=lambda each: each[0]):
                out.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"{target.name} cannot be written: {reason(error)}") from error
    return warnings


def _video(out: OutputContainer, template: VideoStream, joint: Joint) -> VideoStream:
    stream = out.add_stream_from_template(template, opaque=True)
    stream.time_base = joint.tick
    stream.codec_context.framerate = joint.look.rate.limit_denominator(1001 * 1000)
    tag(stream, joint.look.colours, joint.look.aspect)
    if joint.encoding.codec == "libx265" and joint.encoding.container in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"  # Apple's players take no other
    if joint.look.rotation:
        stream.set_display_rotation(joint.look.rotation)
    return stream


def _pictures(segments: Sequence[Segment], joint: Joint, stream: VideoStream) -> Iterator[tuple[Fraction, Packet[Any]]]:
    tick = joint.tick
    for timed in packets(segments, joint.last_duration):
        packet = timed.packet
        packet.pts = round((timed.shown - joint.start) / tick)
        packet.dts = round((timed.decoded - joint.start) / tick)
        packet.duration = round(timed.duration / tick)
        packet.time_base, packet.stream = tick, stream
        yield timed.decoded - joint.start, packet


def _words(stream: VideoStream) -> dict[str, str]:
    """What a person wrote about the video stream."""
    return {
        name: text for name, text in stream.metadata.items() if name.lower() in ("title", "language", "handler_name")
    }
