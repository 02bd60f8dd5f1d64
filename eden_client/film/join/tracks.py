"""Carries single tracks from one file into another, copied or encoded anew, with increasing times as muxers demand."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import Any, Protocol, TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from eden_client.film.join.sound import SoundEncoder, add_sound, can_be_decoded, usual_layout

NUDGE = Fraction(1, 10)
"""Seconds by which a packet of sound may be moved to follow the one before it. One further back is dropped."""

_MAY_BE_EQUAL = ("matroska", "webm")
"""Containers in which two packets of a track may have the same decoding time."""
_OF_THE_CODING = ("encoder", "duration", "bps", "number_of_", "_statistics", "vendor_id")

Timed: TypeAlias = "tuple[Fraction, Packet[Any]]"
"""A packet for the target, and its decoding time in seconds."""


class TrackCarrier(Protocol):
    """Carries over a track's packets. Anything that it raises is a fault of the track."""

    def take(self, packet: Packet[Any]) -> Iterator[Timed]:
        """The target's packets for a packet of the source."""

    def rest(self) -> Iterator[Timed]:
        """The packets that are left after the last one."""

    def notes(self) -> list[str]:
        """Notes for the user on packets moved, dropped or damaged, one line each."""


class CopiedTrack:
    """Copies packets unchanged but for their times: the file's `start` becomes 0. Attachments have no packets."""

    def __init__(self, stream: Stream, target: OutputContainer, start: Fraction) -> None:
        new = target.add_stream_from_template(stream)
        self._durations: _Durations | None = None
        if isinstance(new, AudioStream) and isinstance(stream, AudioStream) and can_be_decoded(stream):
            new.codec_context.layout = usual_layout(stream)
            self._durations = _Durations(stream)
        self._start, self._end = start, Fraction(0)
        self._order = _Order(_described(new, stream), target.format.name)

    def take(self, packet: Packet[Any]) -> Iterator[Timed]:
        """The packet, or the one before it, if its duration had to be found out first."""
        self._end = _shift(packet, self._start, self._end)
        for timed in self._durations.put(packet) if self._durations else [packet]:
            yield from self._order.put(timed)

    def rest(self) -> Iterator[Timed]:
        """The packet that was held back, if any."""
        for timed in self._durations.rest() if self._durations else []:
            yield from self._order.put(timed)

    def notes(self) -> list[str]:
        """Packets moved and dropped."""
        return self._order.notes()


class ConvertedText:
    """Converts subtitles to another text codec."""

    def __init__(self, stream: SubtitleStream, target: OutputContainer, codec: str, start: Fraction) -> None:
        new = target.add_stream(codec)
        assert isinstance(new, SubtitleStream)
        self._old, self._new = stream.codec_context, new.codec_context
        self._old.open(strict=False)  # which reads the header
        self._new.subtitle_header = self._old.subtitle_header
        self._start, self._end, self._damaged = start, Fraction(0), 0
        self._order = _Order(_described(new, stream), target.format.name)

    def take(self, packet: Packet[Any]) -> Iterator[Timed]:
        """The packet's text, if it has any."""
        try:
            text = self._old.decode2(packet)
            told = self._new.encode_subtitle(text) if text is not None and len(text) else None
        except av.FFmpegError:
            self._damaged += 1
            return
        if told is not None:
            told.pts, told.dts, told.time_base = packet.pts, packet.dts, packet.time_base
            told.duration = packet.duration
            self._end = _shift(told, self._start, self._end)
            yield from self._order.put(told)

    def rest(self) -> Iterator[Timed]:
        """Nothing."""
        return iter(())

    def notes(self) -> list[str]:
        """Packets damaged, moved and dropped."""
        damaged = [f"{_packets(self._damaged)} damaged and left out"] if self._damaged else []
        return damaged + self._order.notes()


class EncodedSound:
    """Encodes sound with another codec."""

    def __init__(self, stream: AudioStream, target: OutputContainer, codec: str, start: Fraction) -> None:
        new = add_sound(target, codec, stream)
        self._encoder = SoundEncoder(stream, new, start)
        self._order = _Order(_described(new, stream), target.format.name)
        self._taken = 0

    def take(self, packet: Packet[Any]) -> Iterator[Timed]:
        """The encoded packets for a packet."""
        self._taken += 1
        for coded in self._encoder.encoded(packet):
            yield from self._order.put(coded)

    def rest(self) -> Iterator[Timed]:
        """What decoder and encoder still hold. Raises ValueError: nothing could be decoded."""
        for coded in self._encoder.encoded(None):
            yield from self._order.put(coded)
        if self._taken and not self._encoder.frames:
            raise ValueError("nothing of it can be decoded")

    def notes(self) -> list[str]:
        """Packets moved, dropped and damaged."""
        damaged, early = self._encoder.damaged, self._encoder.dropped
        notes = [f"{_packets(damaged)} damaged and left out"] if damaged else []
        notes += [f"{early} frames lie before the end of those before them and are left out"] if early else []
        return notes + self._order.notes()


class _Durations:
    """Gives packets of sound a duration where the file states none: MP4 cuts off a last packet without one."""

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self._held: Packet[Any] | None = None
        self._usual = 0

    def put(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """The packet, or the one before it: the duration of a packet may be known only when the next one has come."""
        if self._held is not None:
            assert self._held.dts is not None and packet.dts is not None
            self._held.duration = self._usual = max(0, packet.dts - self._held.dts)
            yield self._held
            self._held = None
        if packet.duration:
            self._usual = packet.duration
            yield packet
        else:
            self._held = packet

    def rest(self) -> Iterator[Packet[Any]]:
        """The last packet, with the duration of its decoded sound, or of the packet before it."""
        if self._held is not None:
            self._held.duration = self._decoded(self._held) or self._usual
            yield self._held
            self._held = None

    def _decoded(self, packet: Packet[Any]) -> int:
        try:
            seconds = sum(Fraction(frame.samples, frame.sample_rate) for frame in self._stream.decode(packet))
        except av.FFmpegError:
            return 0
        return ceil(seconds / packet.time_base)


class _Order:
    """Puts a track's packets into increasing order of decoding time: moves them a little, or drops them."""

    def __init__(self, stream: Stream, holder: str) -> None:
        self._stream = stream
        self._step = 0 if holder in _MAY_BE_EQUAL else 1
        self._sound = stream.type == "audio"
        self._last: int | None = None
        self._moved = self._dropped = 0

    def put(self, packet: Packet[Any]) -> Iterator[Timed]:
        """The packet, unless it has to be dropped. Call it once the target's header is written."""
        base = self._stream.time_base
        assert base and packet.dts is not None
        scale = packet.time_base / base
        dts = round(packet.dts * scale)
        if self._last is not None and dts < self._last + self._step:
            if self._sound and (self._last - dts) * base > NUDGE:
                self._dropped += 1
                return
            self._moved += 1
            dts = self._last + self._step
        self._last = dts
        packet.pts = dts if packet.pts is None else max(dts, round(packet.pts * scale))
        packet.dts, packet.duration = dts, round((packet.duration or 0) * scale)
        packet.time_base, packet.stream = base, self._stream
        yield dts * base, packet

    def notes(self) -> list[str]:
        """Packets moved and dropped, one line each. Texts at the same time are usual, and not counted as moved."""
        notes = []
        if self._moved and self._sound:
            notes.append(f"{_packets(self._moved)} no later than those before, and moved behind them")
        if self._dropped:
            notes.append(f"{_packets(self._dropped)} earlier than those before, and left out")
        return notes


def _packets(count: int) -> str:
    return f"{count} packet is" if count == 1 else f"{count} packets are"


def _shift(packet: Packet[Any], start: Fraction, end: Fraction) -> Fraction:
    """Subtract `start` from a packet's times; one without a time begins at `end`. Returns when it ends. In seconds."""
    base = packet.time_base
    ticks = round(start / base)
    if packet.pts is not None:
        packet.pts -= ticks
    if packet.dts is not None:
        packet.dts -= ticks
    else:
        packet.dts = round(end / base) if packet.pts is None else packet.pts
    return (packet.dts + (packet.duration or 0)) * base


def _described(new: Stream, old: Stream) -> Stream:
    """The new stream, with the tags and the disposition of the old one."""
    kept = {name: text for name, text in old.metadata.items() if not name.lower().startswith(_OF_THE_CODING)}
    new.metadata.update(kept)
    new.disposition = old.disposition
    return new
