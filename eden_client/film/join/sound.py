"""Encodes a sound track anew, with a sample rate and channel layout of the encoder, even where the source's change."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

SLACK = Fraction(1, 20)
"""Seconds by which time stamps may differ from the count of samples: containers round them. Beyond, they count."""

_LAYOUTS = {
    "aac": ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"),
    "libopus": ("mono", "stereo", "3.0", "quad", "5.1", "7.1"),
}
"""Channel layouts that every player knows, small ones first; without Opus' 5.0 and 6.1, which FFmpeg mixes up."""

_USUAL = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}

_ORDER = [channel.name for channel in AudioLayout("22.2").channels]
"""FFmpeg's order of channels, which holds unless a file has an order of its own."""


class SoundEncoder:
    """Decodes a track's packets and encodes them for `target`, which `add_sound` made.

    Times follow from the count of samples. A gap in the time stamps is kept; frames that lie before the end of those
    already encoded are dropped. The file's time `start`, in seconds, becomes 0.
    """

    def __init__(self, source: AudioStream, target: AudioStream, start: Fraction) -> None:
        self._source, self._target, self._start = source, target, start
        self._rate = target.codec_context.sample_rate
        self._resampler: AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None
        self._end: Fraction | None = None  # of the sound so far, in seconds
        self._position = 0  # of the next frame, in samples of the target
        self._hole = False  # a packet since the last frame was damaged
        self.frames = 0
        """Frames decoded."""
        self.damaged = 0
        """Packets that could not be decoded."""
        self.dropped = 0
        """Frames dropped because they lie before the end of those before them."""

    def encoded(self, packet: Packet[Any] | None) -> Iterator[Packet[Any]]:
        """The encoded packets for a packet; None flushes. Raises av.FFmpegError or ValueError: it cannot be encoded."""
        try:
            frames = self._source.decode(packet)
        except av.FFmpegError:
            self.damaged += packet is not None
            frames, self._hole = [], True
        for frame in frames:
            self.frames += 1
            yield from self._encode(frame)
        if packet is None and self.frames:
            yield from self._drain()
            yield from self._target.encode(None)

    def _encode(self, frame: AudioFrame) -> Iterator[Packet[Any]]:
        told = None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base - self._start
        if self._end is None:
            self._go_to(told or Fraction(0))
        assert self._end is not None
        if told is not None and told < self._end - SLACK:
            self.dropped += 1
            return
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        leaps = told is not None and told > self._end + (0 if self._hole else SLACK)
        self._hole = False
        if leaps or kind != self._kind:
            yield from self._drain()
            self._kind = kind
            context = self._target.codec_context
            self._resampler = AudioResampler(context.format, context.layout, context.sample_rate)
        if leaps:
            assert told is not None
            self._go_to(told)
        self._end += Fraction(frame.samples, frame.sample_rate)
        frame.pts = None
        yield from self._resampled(frame)

    def _go_to(self, time: Fraction) -> None:
        self._end = time
        self._position = max(self._position, round(time * self._rate))

    def _drain(self) -> Iterator[Packet[Any]]:
        if self._resampler is not None:
            yield from self._resampled(None)
            self._resampler = None

    def _resampled(self, frame: AudioFrame | None) -> Iterator[Packet[Any]]:
        assert self._resampler is not None
        for each in self._resampler.resample(frame):
            if each is not None and each.samples:
                each.pts, each.time_base = self._position, Fraction(1, self._rate)
                self._position += each.samples
                yield from self._target.encode(each)


def add_sound(target: OutputContainer, encoder: str, source: AudioStream) -> AudioStream:
    """Add a track to `target` for the sound of `source`. Raises av.FFmpegError, ValueError: the encoder refuses it."""
    new = target.add_stream(encoder, rate=_rate(encoder, source.codec_context.sample_rate))
    assert isinstance(new, AudioStream)
    layout = usual_layout(source)
    new.codec_context.layout = _layout(encoder, layout)
    if layout_of(source).name != layout:
        source.codec_context.layout = layout
    new.codec_context.open()
    return new


def usual_layout(stream: AudioStream) -> str:
    """The name of the channel layout: the usual one for their number where the file states none (PCM in Matroska)."""
    layout = layout_of(stream)
    return _USUAL.get(layout.nb_channels, layout.name) if layout.name.endswith(" channels") else layout.name


def layout_of(stream: AudioStream) -> AudioLayout:
    """The layout of a track's channels.

    Where a file has an order of channels of its own, PyAV frees the layout twice, which ends the process: such a layout
    is never freed.
    """
    layout = stream.codec_context.layout
    if not _is_usual(layout):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return layout


def can_be_decoded(stream: AudioStream) -> bool:
    """False where the channels have an order of their own: each frame would hold such a layout (see `layout_of`)."""
    return _is_usual(layout_of(stream))


def _is_usual(layout: AudioLayout) -> bool:
    if layout.name.endswith(" channels"):  # the file does not state a layout
        return True
    places = [_ORDER.index(channel.name) if channel.name in _ORDER else -1 for channel in layout.channels]
    return places[:1] >= [0] and all(a < b for a, b in pairwise(places))


def _rate(encoder: str, rate: int) -> int:
    """The encoder's lowest sample rate that loses nothing; else its highest, preferably a divisor of the source's."""
    if encoder == "libopus":
        return 48000
    offered = av.Codec(encoder, "w").audio_rates or [rate]
    if rate <= max(offered):
        return min(each for each in offered if each >= rate)
    return max((each for each in offered if rate % each == 0), default=max(offered))


def _layout(encoder: str, wanted: str) -> str:
    """The encoder's smallest channel layout that holds every channel of the one wanted."""
    source, names = AudioLayout(wanted), _LAYOUTS[encoder]
    for name in names:
        if _has_all(AudioLayout(name), source):
            return name
    large_enough = (name for name in names if AudioLayout(name).nb_channels >= source.nb_channels)
    return next(large_enough, names[-1])


def _has_all(layout: AudioLayout, source: AudioLayout) -> bool:
    """Whether `layout` has a place for every channel of `source`: back ones for the sides, both for the back centre."""
    there, wanted = ({channel.name for channel in each.channels} for each in (layout, source))
    if "BC" in wanted - there:
        wanted = wanted - {"BC"} | {"BL", "BR"}
    if not wanted & {"BL", "BR"}:
        wanted = {{"SL": "BL", "SR": "BR"}.get(name, name) for name in wanted}
    return wanted <= there
