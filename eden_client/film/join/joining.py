"""Joins segments, and what is carried over from the source, into the result."""

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

from eden_client.film.join.stream_copier import CarryMode, CarryPlan, Part, PartError, StreamCopier, tags_of
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
"""Error numbers of the disk: no part of the film causes them."""


@dataclass(frozen=True)
class MuxPlan:
    """How segments are joined into a film."""

    encoding: Encoding
    video_format: VideoFormat
    """the result's rate, colours, aspect and rotation"""
    tick: Fraction
    """seconds per unit of the result's time stamps"""
    last_duration: Fraction
    """for which the last frame is shown, in seconds"""
    source: Path | None = None
    """the file whose sound, subtitles, chapters and metadata are carried over; None: nothing is"""
    start: Fraction = Fraction(0)
    """the source's time that becomes 0, in seconds"""


def rehearse(segments: Sequence[Segment], mux: MuxPlan, target: Path) -> tuple[CarryPlan | None, list[str]]:
    """Try `join` on the first packets of each track, with any segments of the same encoding.

    Returns how each part is carried over, and notes for the user. `target` is written for the trial, and removed.
    Raises MediaError: the pictures themselves cannot be written.
    """
    plan, what = _plan(mux), f"{mux.encoding.container} of {mux.encoding.codec}"
    try:
        _join(segments, mux, target, plan, trial=True)
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
    if mux.source is not None and plan is not None and "tags" in plan.modes:
        notes += _tags_lost(mux.source, written, mux.encoding.container)
    return plan, notes


def join(segments: Sequence[Segment], mux: MuxPlan, target: Path, plan: CarryPlan | None = None) -> list[str]:
    """Write the film to `target`. Returns notes for the user, one line each, that name what is not carried over.

    plan   from `rehearse`; its notes are not repeated

    A part that fails is encoded anew or left out: it never costs the pictures. Raises MediaError: the pictures cannot
    be written, or the source cannot be read.
    """
    told = plan.notes() if plan else []
    plan = plan or _plan(mux)
    notes = _join(segments, mux, target, plan, trial=False)
    return [*(note for note in (plan.notes() if plan else []) if note not in told), *notes]


def _plan(mux: MuxPlan) -> CarryPlan | None:
    if mux.source is None:
        return None
    try:
        with open_input(mux.source) as source:
            return CarryPlan(source, mux.encoding.container)
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"{mux.source.name} cannot be read: {reason(error)}") from error


def _tags_lost(source: Path, written: set[str], holder: str) -> list[str]:
    """A note on tags that were not written. MP4 has some twice, once with a language (title-eng): one is enough."""
    with open_input(source) as film:
        names = tags_of(film)
    twice = {name for name in names if _LANGUAGE.search(name) and _LANGUAGE.sub("", name) in names}
    lost = [name for name in names if name.lower() not in written and name not in twice]
    return [f"tags left out, {holder} has no place for them: {', '.join(sorted(lost))}"] if lost else []


def _join(segments: Sequence[Segment], mux: MuxPlan, target: Path, plan: CarryPlan | None, trial: bool) -> list[str]:
    """Join; where a part makes that fail, give up its mode, and try again."""
    while True:
        modes = plan.modes if plan else {}
        try:
            return _write(segments, mux, target, modes, trial)
        except PartError as error:
            assert plan is not None
            plan.give_up(error.part, error.reason)
        except (av.FFmpegError, ValueError) as error:
            if plan is None or _of_the_disk(error):
                raise _unwritten(target, error) from error
            for part, why in _to_blame(segments, mux, target, modes, trial, error):
                plan.give_up(part, why)


def _to_blame(
    segments: Sequence[Segment], mux: MuxPlan, target: Path, modes: dict[Part, CarryMode], trial: bool, error: Exception
) -> list[tuple[Part, str]]:
    """The parts that fail, and why: each is tried alone, since muxers do not name it. If all succeed, the last one.

    Raises MediaError: the pictures alone cannot be written.
    """
    found: list[tuple[Part, str]] = []
    for part in (None, *modes):
        try:
            _write(segments, mux, target, {} if part is None else {part: modes[part]}, trial)
        except (av.FFmpegError, ValueError, PartError) as alone:
            if part is None or _of_the_disk(alone):
                raise _unwritten(target, alone) from alone
            found.append((part, alone.reason if isinstance(alone, PartError) else reason(alone)))
    return found or [(part, reason(error)) for part in list(modes)[-1:]]


def _of_the_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _OF_THE_DISK


def _unwritten(target: Path, error: Exception) -> MediaError:
    return MediaError(f"{target.name} cannot be written: {reason(error)}")


def _write(
    segments: Sequence[Segment], mux: MuxPlan, target: Path, modes: dict[Part, CarryMode], trial: bool
) -> list[str]:
    """Write the pictures and these parts, once. Raises PartError, av.FFmpegError or ValueError."""
    carried: StreamCopier | None = None
    with ExitStack() as open_:
        source = open_.enter_context(open_input(mux.source)) if mux.source is not None and modes else None
        flags = _mov_flags(source, modes) if mux.encoding.container in ("mp4", "mov") else {}
        out = av.open(file_url(target), "w", format=mux.encoding.container, container_options=flags)
        try:
            first = open_.enter_context(open_input(segments[0].path))
            stream = _video(out, first.streams.video[0], mux)
            merged: list[Iterator[tuple[Fraction, Packet[Any]]]] = [_pictures(segments, mux, stream)]
            if source is not None:
                if "tags" in modes:
                    stream.metadata.update(_words(source))
                carried = StreamCopier(source, out, modes, mux.start, None if trial else _end(segments, mux), trial)
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


def _mov_flags(source: InputContainer | None, modes: dict[Part, CarryMode]) -> dict[str, str]:
    """Options for FFmpeg's writer of MP4 and QuickTime. Apple's tags need one that changes how all tags are stored."""
    apple = source is not None and "tags" in modes and any(n.lower().startswith(_APPLE) for n in source.metadata)
    return {"movflags": "+faststart+use_metadata_tags" if apple else "+faststart"}


def _end(segments: Sequence[Segment], mux: MuxPlan) -> Fraction:
    """When the result ends, in seconds from its start."""
    last = packets(segments[-1:], mux.last_duration)
    return max(timed.shown + timed.duration for timed in last) - mux.start


def _video(out: OutputContainer, template: VideoStream, mux: MuxPlan) -> VideoStream:
    stream = out.add_stream_from_template(template, opaque=True)
    stream.time_base = mux.tick
    stream.codec_context.framerate = mux.video_format.rate.limit_denominator(1001 * 1000)
    tag(stream, mux.video_format.colours, mux.video_format.aspect)
    if av.Codec(mux.encoding.codec, "w").canonical_name == "hevc" and mux.encoding.container in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"  # Apple's players accept no other tag
    if mux.video_format.rotation:
        stream.set_display_rotation(mux.video_format.rotation)
    if mux.video_format.stereo in STEREO_MODES.get(mux.encoding.container, ()):
        stream.metadata["stereo_mode"] = mux.video_format.stereo
    return stream


def _pictures(segments: Sequence[Segment], mux: MuxPlan, stream: VideoStream) -> Iterator[tuple[Fraction, Packet[Any]]]:
    tick = mux.tick
    for timed in packets(segments, mux.last_duration):
        packet = timed.packet
        packet.pts = round((timed.shown - mux.start) / tick)
        packet.dts = round((timed.decoded - mux.start) / tick)
        packet.duration = round(timed.duration / tick)
        packet.time_base, packet.stream = tick, stream
        yield timed.decoded - mux.start, packet


def _words(source: InputContainer) -> dict[str, str]:
    """Tags of the film's stream that a person wrote: its title, language and name."""
    film = film_stream(source)
    tags = {} if film is None else film.metadata
    return {name: text for name, text in tags.items() if name.lower() in ("title", "language", "handler_name")}
