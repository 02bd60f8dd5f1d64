"""Segments and what is carried over, joined into the file that a user asked for."""

from __future__ import annotations

import errno
import heapq
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from eden_client.film.join.stream_copier import Part, PartError, Plan, StreamCopier, Way, tags_of
from eden_client.film.read.film import VideoFormat
from eden_client.film.read.streams import film_stream
from eden_client.film.write.encoding import STEREO_MODES, Encoding
from eden_client.film.write.segments import Segment, packets, tag
from media.errors import MediaError
from media.names import file_url, open_input
from media.video_reader import reason

_APPLE = "com.apple."
_LANGUAGE = re.compile(r"-[a-z]{3}$")
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)
"""Faults that no part of the film is to blame for."""


@dataclass(frozen=True)
class MuxPlan:
    """How segments become a film."""

    encoding: Encoding
    video_format: VideoFormat
    """of the result: its rate, colours, aspect and rotation"""
    tick: Fraction
    """of its time stamps, in seconds"""
    last_duration: Fraction
    """of the last frame, in seconds"""
    source: Path | None = None
    """a file whose sound, subtitles, chapters and metadata are carried over"""
    start: Fraction = Fraction(0)
    """the source's first time stamp: it becomes 0"""


def rehearse(segments: Sequence[Segment], joint: MuxPlan, target: Path) -> tuple[Plan | None, list[str]]:
    """Try what `join` will have to do, with the first packets of each track and any segments of the same encoding.

    Returns how all that goes with the pictures is carried over, and what a user should know about that. `target` is
    written for the trial, and removed. Raises MediaError: the pictures themselves cannot be written.
    """
    plan, what = _plan(joint), f"{joint.encoding.container} of {joint.encoding.codec}"
    try:
        _join(segments, joint, target, plan, trial=True)
        with open_input(target) as trial:
            if next(trial.decode(video=0), None) is None:
                raise ValueError("no picture is found in it")
            written = {name.lower() for name in trial.metadata}
    except MediaError as error:
        wrong = reason(error.__cause__) if isinstance(error.__cause__, Exception) else error
        raise MediaError(f"{what} cannot be written: {wrong}") from error
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"{what} cannot be read again: {reason(error)}") from error
    finally:
        target.unlink(missing_ok=True)
    notes = plan.notes() if plan else []
    if joint.source is not None and plan is not None and "tags" in plan.ways:
        notes += _tags_lost(joint.source, written, joint.encoding.container)
    return plan, notes


def join(segments: Sequence[Segment], joint: MuxPlan, target: Path, plan: Plan | None = None) -> list[str]:
    """Write the film to `target`; what could not be carried over is named, one line each.

    plan   as `rehearse` made it: what it has told is not told again. A part that fails is carried over in another way
           or left out: the pictures are never lost for it.
    Raises MediaError.
    """
    told = plan.notes() if plan else []
    plan = plan or _plan(joint)
    notes = _join(segments, joint, target, plan, trial=False)
    return [*(note for note in (plan.notes() if plan else []) if note not in told), *notes]


def _plan(joint: MuxPlan) -> Plan | None:
    if joint.source is None:
        return None
    try:
        with open_input(joint.source) as source:
            return Plan(source, joint.encoding.container)
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"{joint.source.name} cannot be read: {reason(error)}") from error


def _tags_lost(source: Path, written: set[str], holder: str) -> list[str]:
    """A note on tags that are not among those written; MP4 has some twice, once with a language (title-eng)."""
    with open_input(source) as film:
        names = tags_of(film)
    twice = {name for name in names if _LANGUAGE.search(name) and _LANGUAGE.sub("", name) in names}
    lost = [name for name in names if name.lower() not in written and name not in twice]
    return [f"tags left out, {holder} has no place for them: {', '.join(sorted(lost))}"] if lost else []


def _join(segments: Sequence[Segment], joint: MuxPlan, target: Path, plan: Plan | None, trial: bool) -> list[str]:
    """Join, and do without what makes that fail."""
    while True:
        ways = plan.ways if plan else {}
        try:
            return _write(segments, joint, target, ways, trial)
        except PartError as error:
            assert plan is not None
            plan.give_up(error.part, error.reason)
        except (av.FFmpegError, ValueError) as error:
            if plan is None or _of_the_disk(error):
                raise _unwritten(target, error) from error
            for part, why in _to_blame(segments, joint, target, ways, trial, error):
                plan.give_up(part, why)


def _to_blame(
    segments: Sequence[Segment], joint: MuxPlan, target: Path, ways: dict[Part, Way], trial: bool, error: Exception
) -> list[tuple[Part, str]]:
    """The parts that cannot be written even alone (muxers do not tell); the last one, if all of them can.

    Raises MediaError: the pictures alone cannot be written.
    """
    found: list[tuple[Part, str]] = []
    for part in (None, *ways):
        try:
            _write(segments, joint, target, {} if part is None else {part: ways[part]}, trial)
        except (av.FFmpegError, ValueError, PartError) as alone:
            if part is None or _of_the_disk(alone):
                raise _unwritten(target, alone) from alone
            found.append((part, alone.reason if isinstance(alone, PartError) else reason(alone)))
    return found or [(part, reason(error)) for part in list(ways)[-1:]]


def _of_the_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _OF_THE_DISK


def _unwritten(target: Path, error: Exception) -> MediaError:
    return MediaError(f"{target.name} cannot be written: {reason(error)}")


def _write(segments: Sequence[Segment], joint: MuxPlan, target: Path, ways: dict[Part, Way], trial: bool) -> list[str]:
    """Write the pictures and the parts named, once. Raises PartError, av.FFmpegError or ValueError."""
    carried: StreamCopier | None = None
    with ExitStack() as open_:
        source = open_.enter_context(open_input(joint.source)) if joint.source is not None and ways else None
        flags = _mov_flags(source, ways) if joint.encoding.container in ("mp4", "mov") else {}
        out = av.open(file_url(target), "w", format=joint.encoding.container, container_options=flags)
        try:
            first = open_.enter_context(open_input(segments[0].path))
            stream = _video(out, first.streams.video[0], joint)
            merged: list[Iterator[tuple[Fraction, Packet[Any]]]] = [_pictures(segments, joint, stream)]
            if source is not None:
                if "tags" in ways:
                    stream.metadata.update(_words(source))
                carried = StreamCopier(source, out, ways, joint.start, None if trial else _end(segments, joint), trial)
                merged.append(carried.packets())
            out.start_encoding()
            for _, packet in heapq.merge(*merged, key=lambda each: each[0]):
                out.mux(packet)
        except BaseException:
            with suppress(av.FFmpegError, ValueError):
                out.close()
            raise
        out.close()
    return carried.notes() if carried else []


def _mov_flags(source: InputContainer | None, ways: dict[Part, Way]) -> dict[str, str]:
    """Of FFmpeg's writer of MP4 and QuickTime. Apple's tags have keys of any name, and then all the others too."""
    apple = source is not None and "tags" in ways and any(n.lower().startswith(_APPLE) for n in source.metadata)
    return {"movflags": "+faststart+use_metadata_tags" if apple else "+faststart"}


def _end(segments: Sequence[Segment], joint: MuxPlan) -> Fraction:
    """When the film ends, in seconds, in its own time."""
    last = packets(segments[-1:], joint.last_duration)
    return max(timed.shown + timed.duration for timed in last) - joint.start


def _video(out: OutputContainer, template: VideoStream, joint: MuxPlan) -> VideoStream:
    stream = out.add_stream_from_template(template, opaque=True)
    stream.time_base = joint.tick
    stream.codec_context.framerate = joint.video_format.rate.limit_denominator(1001 * 1000)
    tag(stream, joint.video_format.colours, joint.video_format.aspect)
    if av.Codec(joint.encoding.codec, "w").canonical_name == "hevc" and joint.encoding.container in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"  # Apple's players take no other
    if joint.video_format.rotation:
        stream.set_display_rotation(joint.video_format.rotation)
    if joint.video_format.stereo in STEREO_MODES.get(joint.encoding.container, ()):
        stream.metadata["stereo_mode"] = joint.video_format.stereo
    return stream


def _pictures(
    segments: Sequence[Segment], joint: MuxPlan, stream: VideoStream
) -> Iterator[tuple[Fraction, Packet[Any]]]:
    tick = joint.tick
    for timed in packets(segments, joint.last_duration):
        packet = timed.packet
        packet.pts = round((timed.shown - joint.start) / tick)
        packet.dts = round((timed.decoded - joint.start) / tick)
        packet.duration = round(timed.duration / tick)
        packet.time_base, packet.stream = tick, stream
        yield timed.decoded - joint.start, packet


def _words(source: InputContainer) -> dict[str, str]:
    """What a person wrote about the stream that is the film."""
    film = film_stream(source)
    tags = {} if film is None else film.metadata
    return {name: text for name, text in tags.items() if name.lower() in ("title", "language", "handler_name")}
