"""Carries over what goes with the pictures: sound, subtitles, attachments, chapters, tags."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from fractions import Fraction
from typing import Any, Literal

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.subtitles.stream import SubtitleStream

from eden_client.film.join.chapters import fitted
from eden_client.film.join.sound import can_be_decoded, layout_of
from eden_client.film.join.tracks import ConvertedText, CopiedTrack, EncodedSound, TrackCarrier
from eden_client.film.read.packets import packets_of
from eden_client.film.read.restarts import Leaps, Restarts, streams_with_clock
from eden_client.film.read.streams import film_stream
from media.video_reader import reason

Part = int | Literal["chapters", "tags"]
"""What is carried over or left out as one: a stream, by its index, the chapters, or the tags."""

_SOUND = {"mp4": "aac", "mov": "aac", "matroska": "libopus", "webm": "libopus"}
_TEXT = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
_TEXT_CODECS = ("mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text")
_UNPLAYED = {"mp4": "pcm_"}
"""The start of the names of codecs that a container can hold, but that few players play from it."""
_KINDS = {"audio": "sound track", "subtitle": "subtitles"}
_OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")
_TRIED = 64
"""Packets per track that are written to see whether it can be carried over."""
_TRIED_BYTES = 32 << 20
"""Bytes of a file that are read for that, at most."""


class PartError(Exception):
    """A part cannot be carried over in the mode chosen. `reason` says why."""

    def __init__(self, part: Part, reason: str) -> None:
        super().__init__(reason)
        self.part, self.reason = part, reason


class CarryMode(Enum):
    """How a part is carried over: copied as it is, or encoded with another codec."""

    COPY = "copy"
    ENCODE = "encode"


class CarryPlan:
    """How each part of a source is carried over into the container `holder`: in the best mode that has not failed."""

    def __init__(self, source: InputContainer, holder: str) -> None:
        self._holder = holder
        self._unplayed: set[Part] = set()
        self._modes: dict[Part, list[CarryMode]] = {}
        self._codecs: dict[Part, str] = {}
        self._names: dict[Part, str] = {"chapters": "chapters are", "tags": "title and other tags are"}
        self._why: dict[Part, str] = {}
        film = film_stream(source)
        for stream in source.streams:
            if stream is film or (stream.type == "data" and stream.discard == Discard.all):
                continue  # MP4 keeps chapters in a stream of their own
            self._add(stream)
        if source.chapters():
            self._modes["chapters"] = [CarryMode.COPY]
        self._modes["tags"] = [CarryMode.COPY]

    @property
    def modes(self) -> dict[Part, CarryMode]:
        """The mode of each part that is carried over."""
        return {part: modes[0] for part, modes in self._modes.items() if modes}

    def give_up(self, part: Part, why: str) -> None:
        """Drop the mode chosen for a part, which failed because of `why`; the next best is taken, if there is one."""
        mode = self._modes[part].pop(0)
        codec = self._codecs.get(part)
        self._why[part] = (
            f"{codec} cannot be {'copied' if mode is CarryMode.COPY else 'encoded anew'} ({why})" if codec else why
        )

    def notes(self) -> list[str]:
        """Notes for the user: one line for each part that is encoded anew, or left out, or that few players play."""
        notes = []
        for part, modes in self._modes.items():
            name, why = self._names[part], self._why.get(part, "")
            if not modes:
                notes.append(f"{name} left out{': ' if why else ''}{why}")
            elif modes[0] is CarryMode.COPY and part in self._unplayed:
                notes.append(f"{name} copied: {why}")
            elif modes[0] is CarryMode.ENCODE and name.startswith("sound"):
                notes.append(f"{name} encoded anew as {_SOUND[self._holder]}: {why}")
            elif modes[0] is CarryMode.ENCODE:
                notes.append(f"{name} turned into {_TEXT[self._holder]}, styles may be lost: {why}")
        return notes

    def _add(self, stream: Stream) -> None:
        part, context = stream.index, _context(stream)
        modes: list[CarryMode] = []
        self._modes[part] = modes
        if stream.type not in ("audio", "subtitle"):
            what = stream.metadata.get("filename") or stream.metadata.get("handler_name") or stream.type
            self._names[part] = f"stream {part} ({stream.type}: {what}) is"
            if stream.type == "attachment" and self._holder == "matroska" and _holds(stream, self._holder):
                modes.append(CarryMode.COPY)
            return
        self._names[part] = f"{_KINDS[stream.type]} {part} {'is' if stream.type == 'audio' else 'are'}"
        if context is None:
            self._why[part] = "FFmpeg does not know its codec"
            return
        if isinstance(stream, AudioStream) and not (context.sample_rate and layout_of(stream).nb_channels):
            self._why[part] = "no sound is found in it"
            return
        self._codecs[part] = context.name
        if _holds(stream, self._holder):
            modes.append(CarryMode.COPY)
        else:
            self._why[part] = f"{self._holder} cannot hold {context.name}"
        if can_be_decoded(stream) if isinstance(stream, AudioStream) else context.name in _TEXT_CODECS:
            modes.append(CarryMode.ENCODE)
        if modes and context.name.startswith(_UNPLAYED.get(self._holder, "\0")):
            self._unplayed.add(part)
            self._why[part] = f"few players play {context.name} in {self._holder} (.mov and .mkv keep it)"
            modes.reverse()


class StreamCopier:
    """Copies everything but the pictures from `source` to `target`. Make it before the target's header is written.

    modes   the parts to carry over, and how
    start   the source's time that becomes 0, in seconds
    end     when the result ends, in seconds from its start; None: unknown
    trial   stop after the first packets of each track
    Raises PartError, here and while packets are read.
    """

    def __init__(
        self,
        source: InputContainer,
        target: OutputContainer,
        modes: dict[Part, CarryMode],
        start: Fraction,
        end: Fraction | None,
        trial: bool,
    ) -> None:
        self._source, self._trial, self._broken = source, trial, ""
        self._tracks: dict[int, TrackCarrier] = {}
        self._names: dict[int, str] = {}
        self._lost_chapters = 0
        self._clocks: dict[int, Restarts] = {}
        self._spans: dict[int, tuple[Fraction | None, Fraction]] = {}
        self._offset = Fraction(0)
        for part, mode in modes.items():
            with _blaming(part):
                if part == "chapters":
                    chapters = source.chapters()
                    taken = fitted(chapters, start, end)
                    self._lost_chapters = len(chapters) - len(taken)
                    target.set_chapters(taken)
                elif part == "tags":
                    target.metadata.update(tags_of(source))
                else:
                    stream = source.streams[part]
                    self._names[part] = f"{_KINDS.get(stream.type, stream.type)} {part}"
                    self._tracks[part] = _carrier(stream, target, mode, start)

    def packets(self) -> Iterator[tuple[Fraction, Packet[Any]]]:
        """The packets for the target, each with its time in seconds, roughly in the order of the file."""
        for packet in self._read():
            index = packet.stream.index
            with _blaming(index):
                self._put_behind(packet)
                made = list(self._tracks[index].take(packet))
            yield from made
        for index, track in self._tracks.items():
            with _blaming(index):
                made = list(track.rest())
            yield from made

    def notes(self) -> list[str]:
        """Notes for the user on what was changed or lost, one line each."""
        notes = [f"{self._names[index]}: {note}" for index, track in self._tracks.items() for note in track.notes()]
        for index, clock in self._clocks.items():
            if clock.count:
                notes.append(f"sound track {index}: clock restarts bridged: {clock.count}")
        if self._lost_chapters:
            notes.append(f"chapters left out, empty or outside of the film: {self._lost_chapters}")
        if self._broken:
            notes.append(f"sound and subtitles end early, the file is damaged there ({self._broken})")
        return notes

    def _put_behind(self, packet: Packet[Any]) -> None:
        """Move a packet so that each recording follows where the one before it ends; texts move with the sound."""
        if packet.dts is None:
            return
        index, base = packet.stream.index, packet.time_base
        if packet.stream.type == "audio":
            clock = self._clocks.setdefault(index, Restarts())
            last, end = self._spans.get(index, (None, Fraction(0)))
            time = clock.time(packet.dts * base, last, end)
            self._spans[index] = (time, time + (packet.duration or 0) * base)
            self._offset = clock.offset
        ticks = round(self._offset / base)
        packet.dts += ticks
        if packet.pts is not None:
            packet.pts += ticks

    def _read(self) -> Iterator[Packet[Any]]:
        """The packets of the tracks that are carried over; a damaged file ends them early."""
        if not self._tracks:
            return
        clocked = streams_with_clock(self._source)
        wanted = self._source.streams if self._trial else [self._source.streams[index] for index in self._tracks]
        read = {stream.index: stream for stream in (*wanted, *clocked)}
        count, size = Counter[int](), 0
        try:
            packets = packets_of(self._source, list(read.values()))
            for packet in Leaps().without(packets) if clocked else packets:
                index = packet.stream.index
                count[index] += 1
                size += packet.size
                if index in self._tracks and packet.size and not (self._trial and count[index] > _TRIED):
                    yield packet
                if self._trial and (size > _TRIED_BYTES or all(count[each] >= _TRIED for each in self._tracks)):
                    return
        except av.FFmpegError as error:  # what was read so far is intact, and so are the pictures
            self._broken = reason(error)


def tags_of(source: InputContainer) -> dict[str, str]:
    """The tags of a file that a person or a camera wrote, without those that its container adds."""
    return {name: text for name, text in source.metadata.items() if not name.lower().startswith(_OF_THE_FILE)}


def _carrier(stream: Stream, target: OutputContainer, mode: CarryMode, start: Fraction) -> TrackCarrier:
    if mode is CarryMode.COPY:
        return CopiedTrack(stream, target, start)
    if isinstance(stream, AudioStream):
        return EncodedSound(stream, target, _SOUND[target.format.name], start)
    assert isinstance(stream, SubtitleStream)
    return ConvertedText(stream, target, _TEXT[target.format.name], start)


def _context(stream: Stream) -> Any:
    """The stream's decoder; None: FFmpeg has none (PyAV's types leave that out)."""
    return stream.codec_context


def _holds(stream: Stream, holder: str) -> bool:
    """Whether a container accepts the header of a stream like this. Its packets may still fail."""
    probe = av.open(io.BytesIO(), "w", format=holder)
    try:
        probe.add_stream_from_template(stream)
        probe.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    finally:
        with suppress(av.FFmpegError):  # some formats can only be closed after a packet
            probe.close()
    return True


@contextmanager
def _blaming(part: Part) -> Iterator[None]:
    """Turn any error inside the context into a PartError of this part."""
    try:
        yield
    except Exception as error:  # FFmpeg and PyAV raise nearly anything on unusual files
        raise PartError(part, reason(error)) from error
