"""Tiny films with any sound, subtitles and chapters beside their pictures, and the joining of them without a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from eden_client.film.join.joining import MuxPlan, join
from eden_client.film.join.sound import usual_layout
from eden_client.film.read.film import VideoFormat
from eden_client.film.read.film_file import open_film_file
from eden_client.film.write.encoding import choose_encoding
from eden_client.film.write.frame_converter import FrameConverter
from eden_client.film.write.segments import Segment, SegmentWriter
from media.names import file_url

RATE = Fraction(10)
LENGTH = 10
"""Frames of a film: a second."""
LOOK = VideoFormat(size=(16, 16), rate=RATE, pixel_format="yuv420p")


@dataclass(frozen=True)
class Sound:
    """A sound track: a tone, `spread` hertz higher in each next channel."""

    codec: str = "aac"
    rate: int = 48_000
    layout: str = "stereo"
    pitch: float = 440.0
    spread: float = 0.0
    seconds: float = 1.0


def tone(sound: Sound) -> np.ndarray:
    """float32 [channels, samples]"""
    time = np.arange(round(sound.seconds * sound.rate)) / sound.rate
    pitches = sound.pitch + sound.spread * np.arange(av.AudioLayout(sound.layout).nb_channels)
    return (0.3 * np.sin(2 * np.pi * pitches[:, None] * time)).astype(np.float32)


def coded(track: av.AudioStream, sound: Sound) -> list[av.Packet]:
    packed = np.ascontiguousarray(tone(sound).T).reshape(1, -1)  # PyAV takes planes of eight channels for more
    block = av.AudioFrame.from_ndarray(packed, format="flt", layout=sound.layout)
    block.sample_rate, block.pts, block.time_base = sound.rate, 0, Fraction(1, sound.rate)
    size = track.codec_context.frame_size or 1024
    packets = []
    resampler = av.AudioResampler(track.codec_context.format, sound.layout, sound.rate, frame_size=size)
    for frame in [*resampler.resample(block), *resampler.resample(None)]:
        if frame is not None:
            packets += track.encode(frame)
    return packets + track.encode()


def write_source(
    path: Path,
    sounds: Sequence[Sound] = (),
    *,
    subtitles: str | None = None,
    lines: Sequence[tuple[int, int]] = ((100, 300),),
    chapters: Sequence[tuple[int, int]] = (),
    tags: dict[str, str] | None = None,
    offset: Fraction = Fraction(0),
    empty_track: bool = False,
) -> Path:
    """A film of a second, all of it `offset` late; `lines` and `chapters` are milliseconds from and to."""
    with av.open(file_url(path), "w") as container:
        video = container.add_stream("mpeg4", rate=RATE)
        video.height, video.width, video.pix_fmt = *LOOK.size, "yuv420p"
        tracks = []
        for sound in sounds:
            track = container.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
            if sound.codec.startswith("wma"):
                track.bit_rate = 128_000
            track.codec_context.open()
            tracks.append(track)
        if empty_track:
            container.add_mux_stream("ac3", rate=48_000)
        if subtitles:
            text = container.add_stream(subtitles)
            text.codec_context.subtitle_header = b"[Script Info]\nScriptType: v4.00+\n[Events]\n"
            text.time_base = Fraction(1, 1000)
        container.metadata.update(tags or {})
        container.set_chapters(
            [
                {"id": n, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": f"Part {n}"}}
                for n, (a, b) in enumerate(chapters)
            ]
        )
        packets = []
        for number in range(LENGTH):
            frame = av.VideoFrame(16, 16, "yuv420p")
            frame.pts, frame.time_base = number, 1 / RATE
            packets += video.encode(frame)
        packets += video.encode()
        for track, sound in zip(tracks, sounds, strict=True):
            packets += coded(track, sound)
        for start, end in lines if subtitles else ():
            line = av.Packet(b"0,0,Default,,0,0,0,,Hello" if subtitles == "ass" else b"Hello")
            line.pts = line.dts = start
            line.duration, line.time_base, line.stream = end - start, Fraction(1, 1000), text
            packets.append(line)
        for packet in packets:
            packet.pts += round(offset / packet.time_base)
            packet.dts += round(offset / packet.time_base)
        container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    return path


def patch(path: Path, old: bytes, new: bytes) -> Path:
    """Replace the last occurrence of `old` in a file by something as long."""
    data = path.read_bytes()
    at = data.rindex(old)
    assert len(old) == len(new)
    path.write_bytes(data[:at] + new + data[at + len(old) :])
    return path


def own_order(path: Path, labels: Sequence[int]) -> Path:
    """Have the sound of a QuickTime file state loudspeakers in any order: 1 is left, 2 right, 3 in the middle."""
    data = bytearray(path.read_bytes())
    at, path_there = data.index(b"chan") - 4, list[int]()
    size = int.from_bytes(data[at : at + 4], "big")
    described = b"".join(label.to_bytes(4, "big") + bytes(16) for label in labels)
    atom = b"chan" + bytes(12) + len(labels).to_bytes(4, "big") + described
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"sowt"):
        path_there.append(data.rindex(kind, 0, at) - 4)
    grown = 4 + len(atom) - size
    for outer in path_there:
        data[outer : outer + 4] = (int.from_bytes(data[outer : outer + 4], "big") + grown).to_bytes(4, "big")
    data[at : at + size] = (4 + len(atom)).to_bytes(4, "big") + atom
    path.write_bytes(data)
    return path


def damage(path: Path, number: int) -> Path:
    """Overwrite one packet of sound."""
    with av.open(path) as film:
        packet = [each for each in film.demux(audio=0) if each.size][number]
        place, payload = packet.pos, bytes(packet)
    data = bytearray(path.read_bytes())
    at = data.index(payload, place)
    data[at : at + len(payload)] = b"\xaa" * len(payload)
    path.write_bytes(data)
    return path


def move(path: Path, number: int, milliseconds: int) -> Path:
    """Have one packet of sound in a Matroska file state another time, which no muxer would write."""
    with av.open(path) as film:
        packet = [each for each in film.demux(audio=0) if each.size][number]
        place, payload = packet.pos, bytes(packet)
    data = bytearray(path.read_bytes())
    at = data.index(payload, place) - 3  # before it: the track, two bytes of time, the flags
    stated = int.from_bytes(data[at : at + 2], "big", signed=True) + milliseconds
    data[at : at + 2] = stated.to_bytes(2, "big", signed=True)
    path.write_bytes(data)
    return path


class Joiner:
    """Joins the pictures of a second, encoded once for each container, with what is beside them in a source."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, tuple[MuxPlan, Segment]] = {}

    def __call__(self, source: Path, target: Path) -> list[str]:
        """Returns the notes."""
        joint, segments = self.parts(source, target.suffix)
        return join(segments, joint, target)

    def parts(self, source: Path, ending: str) -> tuple[MuxPlan, list[Segment]]:
        """What `join` takes."""
        if ending not in self._made:
            self._made[ending] = self._encode(ending)
        joint, segment = self._made[ending]
        with open_film_file(source) as film:
            return replace(joint, source=source, start=film.start), [replace(segment, start=film.start)]

    def _encode(self, ending: str) -> tuple[MuxPlan, Segment]:
        encoding, _ = choose_encoding(LOOK, ending, None, None, None, None)
        joint = MuxPlan(encoding, LOOK, Fraction(1, 1000), 1 / RATE)
        writer = SegmentWriter(self._folder / f"pictures{ending}.nut", encoding, LOOK, RATE, joint.tick)
        painter = FrameConverter(LOOK, encoding.pixel_format)
        for number in range(LENGTH):
            writer.write(painter.made(np.full((*LOOK.size, 3), 20 * number, np.uint8)), number / RATE)
        return joint, writer.close()


@dataclass(frozen=True)
class Heard:
    """A sound track as decoded: float [channels, samples]."""

    codec: str
    rate: int
    speakers: list[str]
    samples: np.ndarray
    start: float
    """of the first frame, in seconds"""
    end: float

    def pitches(self) -> dict[str, float]:
        """In hertz, of each loudspeaker that something comes out of."""
        spectra = np.abs(np.fft.rfft(self.samples * np.hanning(self.samples.shape[1])))
        hertz = spectra.argmax(1) * self.rate / self.samples.shape[1]
        loud = np.sqrt((self.samples**2).mean(1)) > 0.05
        return {name: float(each) for name, each, is_loud in zip(self.speakers, hertz, loud, strict=True) if is_loud}

    @property
    def seconds(self) -> float:
        return self.samples.shape[1] / self.rate


def hear(path: Path, track: int = 0) -> Heard:
    with av.open(file_url(path)) as container:
        stream = container.streams.audio[track]
        frames = list(container.decode(stream))
        resampler = av.AudioResampler("flt", frames[0].layout, frames[0].sample_rate)
        timed = [frame for frame in frames if frame.pts is not None]
        start, last = (float(frame.pts * frame.time_base) for frame in (timed[0], timed[-1]))
        end = last + timed[-1].samples / timed[-1].sample_rate
        blocks = [
            each.to_ndarray().reshape(each.samples, -1).T
            for frame in [*frames, None]
            for each in resampler.resample(frame)
            if each is not None and each.samples
        ]
        layout = av.AudioLayout(usual_layout(stream))
        speakers = [channel.name for channel in layout.channels]
        return Heard(
            stream.codec_context.name.removesuffix("float"),
            frames[0].sample_rate,
            speakers,
            np.concatenate(blocks, 1),
            start,
            end,
        )


def kinds(path: Path) -> list[str]:
    """The streams of a film; MP4's chapters are one of data."""
    with av.open(file_url(path)) as container:
        return [stream.type for stream in container.streams if stream.type != "data"]


def chapters_of(path: Path) -> list[tuple[float, float, str]]:
    """From when to when in seconds, and the title."""
    with av.open(file_url(path)) as film:
        return [
            (
                round(float(c["start"] * c["time_base"]), 3),
                round(float(c["end"] * c["time_base"]), 3),
                c["metadata"]["title"],
            )
            for c in film.chapters()
        ]
