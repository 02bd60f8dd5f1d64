"""Sound, subtitles, chapters and metadata of a file, taken over into another one: copied where it can hold them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

_SOUND = {"mp4": "aac", "mov": "aac", "matroska": "libopus", "webm": "libopus"}
_TEXT = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
_USUAL = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_TEXT_CODECS = ("mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text")
_OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")
_OF_THE_CODING = ("encoder", "duration", "bps", "number_of_", "_statistics", "vendor_id")


class Carried:
    """What goes from `source` to `target` beside the pictures. Made before the target's first packet."""

    def __init__(self, source: InputContainer, target: OutputContainer, start: Fraction) -> None:
        self.warnings: list[str] = []
        self._source, self._target, self._start = source, target, start
        self._ways: dict[int, Stream] = {}
        self._recoded: dict[int, AudioStream] = {}
        self._retold: dict[int, SubtitleStream] = {}
        for stream in source.streams:
            if stream.type == "audio":
                self._take_sound(stream)
            elif stream.type == "subtitle":
                self._take_text(stream)
            elif stream is not source.streams.video[0]:
                self._take_rest(stream)
        target.metadata.update(_kept(source.metadata, _OF_THE_FILE))
        self._take_chapters()

    def packets(self) -> Iterator[tuple[Fraction, Packet[Any]]]:
        """The packets for the target, each with its time in seconds, in about the order of the file."""
        streams = [self._source.streams[index] for index in self._ways]
        if not streams:
            return
        for packet in self._source.demux(streams):
            way = self._ways[packet.stream.index]
            if packet.stream.index in self._recoded:
                yield from self._recode(packet, self._recoded[packet.stream.index])
            elif packet.dts is not None:
                time = self._shift(packet)
                taken = self._retell(packet, way) if packet.stream.index in self._retold else packet
                if taken is not None:
                    taken.stream = way
                    yield time, taken

    def _take_sound(self, stream: Stream) -> None:
        assert isinstance(stream, AudioStream)
        if self._holds(stream):
            copied = self._target.add_stream_from_template(stream)
            assert isinstance(copied, AudioStream)
            copied.codec_context.layout = _layout(stream)
            self._add(stream, copied)
            return
        name = _SOUND[self._target.format.name]
        new = self._target.add_stream(name, rate=48000 if name == "libopus" else stream.codec_context.sample_rate)
        assert isinstance(new, AudioStream)
        new.codec_context.layout = _layout(stream)
        self._recoded[stream.index] = new
        self._add(stream, new)
        was, holder = stream.codec_context.name, self._target.format.name
        self.warnings.append(f"sound track {stream.index}: {holder} cannot hold {was}, it is encoded anew as {name}")

    def _take_text(self, stream: Stream) -> None:
        assert isinstance(stream, SubtitleStream)
        codec, holder = stream.codec_context.codec.name, self._target.format.name
        if self._holds(stream):
            self._add(stream, self._target.add_stream_from_template(stream))
        elif codec in _TEXT_CODECS:
            new = self._target.add_stream(_TEXT[holder])
            assert isinstance(new, SubtitleStream)
            stream.codec_context.open()  # which reads the header
            new.codec_context.subtitle_header = stream.codec_context.subtitle_header
            self._retold[stream.index] = stream
            self._add(stream, new)
            self.warnings.append(f"subtitles {stream.index}: {codec} becomes {_TEXT[holder]}, styles may be lost")
        else:
            self.warnings.append(f"subtitles {stream.index} are left out: {holder} cannot hold {codec}")

    def _take_rest(self, stream: Stream) -> None:
        if stream.type == "attachment" and self._target.format.name == "matroska":
            self._target.add_stream_from_template(stream)
            return
        if stream.type == "data" and self._source.chapters():
            return  # MP4 keeps chapters in a stream of their own
        what = stream.metadata.get("filename") or stream.metadata.get("handler_name") or stream.type
        self.warnings.append(f"stream {stream.index} ({stream.type}: {what}) is left out")

    def _holds(self, stream: Stream) -> bool:
        """Whether the target's format takes the stream as it is: only writing a header tells."""
        try:
            with av.open(io.BytesIO(), "w", format=self._target.format.name) as probe:
                probe.add_stream_from_template(stream)
                probe.start_encoding()
        except (av.FFmpegError, ValueError):
            return False
        return True

    def _take_chapters(self) -> None:
        chapters = self._source.chapters()
        for chapter in chapters:
            base = chapter["time_base"]
            if base:
                chapter["start"] -= round(self._start / base)
                chapter["end"] -= round(self._start / base)
        if chapters:
            self._target.set_chapters(chapters)

    def _add(self, old: Stream, new: Stream) -> None:
        new.metadata.update(_kept(old.metadata, _OF_THE_CODING))
        new.disposition = old.disposition
        self._ways[old.index] = new

    def _shift(self, packet: Packet[Any]) -> Fraction:
        assert packet.time_base and packet.dts is not None
        ticks = round(self._start / packet.time_base)
        packet.dts -= ticks
        if packet.pts is not None:
            packet.pts -= ticks
        return packet.dts * packet.time_base

    def _recode(self, packet: Packet[Any], new: AudioStream) -> Iterator[tuple[Fraction, Packet[Any]]]:
        old = packet.stream
        assert isinstance(old, AudioStream)
        last = packet.dts is None and packet.size == 0
        for frame in [*old.decode(packet), *([None] if last else [])]:
            if frame is not None and frame.pts is not None and frame.time_base:
                frame.pts -= round(self._start / frame.time_base)
            for coded in new.encode(frame):
                yield coded.dts * coded.time_base, coded  # type: ignore[operator]

    def _retell(self, packet: Packet[Any], new: Stream) -> Packet[Any] | None:
        assert isinstance(packet.stream, SubtitleStream) and isinstance(new, SubtitleStream)
        text = packet.stream.codec_context.decode2(packet)
        if text is None or not len(text):
            return None
        told = new.codec_context.encode_subtitle(text)
        told.pts, told.dts, told.duration, told.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
        return told


def _layout(stream: AudioStream) -> str:
    """Which loudspeakers the channels are for: the usual ones, where the file does not say (PCM in Matroska)."""
    layout = stream.codec_context.layout
    return _USUAL.get(layout.nb_channels, layout.name) if layout.name.endswith(" channels") else layout.name


def _kept(metadata: dict[str, str], dropped: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if not name.lower().startswith(dropped)}
