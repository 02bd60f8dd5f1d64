"""A film in a video file (or an animation, or raw y4m from a pipe), read picture by picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from math import floor
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat as PixelFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from eden_client.film.read.clock import PictureClock
from eden_client.film.read.crop import Crop, crop_of
from eden_client.film.read.decoder import Decoder
from eden_client.film.read.film import SCALER_THREADS, Colours, Picture, VideoFormat
from eden_client.film.read.findings import Findings, shown_at
from eden_client.film.read.frame_threads import by_frame_threads
from eden_client.film.read.packets import packets_of
from eden_client.film.read.restarts import streams_with_clock
from eden_client.film.read.side_data import light_of, lost_of, mastering_of, stereo_of
from eden_client.film.read.streams import LOOKED_AT, believable, decoder_of, film_stream, in_doubt, stated_rate
from eden_client.film.read.transparency import LATE_ALPHA, becomes_transparent, has_alpha, is_transparent, laid_on_black
from media.errors import MediaError
from media.names import open_input
from media.truncation import missing_bytes
from media.video_reader import SCALING, reason

_HEAD = 256
_BESIDE = {"audio": "sound", "subtitle": "subtitles"}
_NO_RATE = "the video states no frame rate (--source-fps gives it one)"
_INTERLACED = "the video is interlaced{}: deinterlace it first, or its comb artefacts are interpolated too"
_UNSPECIFIED = 2
_UNCONVERTED = {
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "SMPTE 2085",
    12: "chroma-derived",
    13: "chroma-derived",
    14: "ICtCp",
}
"""H.273's colour matrices that FFmpeg's scaler cannot convert. A number that H.273 does not define is ignored."""
MATRICES = (0, 1, 2, 4, 5, 6, 7, 9)
_LATE = 32
"""The most samples that a decoder needs after a picture's own sample before it returns that picture."""


@dataclass(frozen=True)
class Known:
    """Facts about a file, found by a process that opened all of it, for one that has only a part of its bytes."""

    name: str
    size: int
    """in bytes"""
    stream: int
    """index of the video stream that is the film"""
    look: VideoFormat
    crop: Crop | None


class FilmFile:
    """The film in a container. Made by `open_film_file`."""

    def __init__(
        self,
        container: InputContainer,
        name: str,
        path: Path | None,
        head: bytes,
        rate: Fraction | None,
        strict: bool = False,
        known: Known | None = None,
    ) -> None:
        self.name, self.container, self.warnings = name, path, list[str]()
        stream = film_stream(container) if known is None else _nth(container, known.stream)
        if stream is None:
            where = "of a codec that FFmpeg knows" if container.streams.video else "in this file"
            raise MediaError(f"{name}: there is no video stream {where}")
        self._stream, self._strict, self._findings = stream, strict, Findings()
        stated = stated_rate(container, stream, head)
        if not (rate or stated or known):
            raise MediaError(f"{name}: {_NO_RATE}")
        self._even, self._guessed = rate is not None, rate is None and not stream.average_rate
        self._source, self._context = container, decoder_of(stream)
        self._decoded = self._decoder().pictures()
        self._first = list(islice(self._decoded, LOOKED_AT if rate is None and in_doubt(stated) else 1))
        if not self._first:
            raise MediaError(f"{name}: the video has no pictures")
        if known is None:
            self._crop = crop_of(path, stream) if path else None
            self.look = self._looked_at(stated, rate, path)
        else:
            self._crop, self.look = known.crop, known.look
        self.beside = [word for kind, word in _BESIDE.items() if any(s.type == kind for s in container.streams)]
        starts = [s.start_time * s.time_base for s in container.streams if s.start_time is not None and s.time_base]
        self.start = min(starts, default=Fraction(0))
        self.ticks = [Fraction(1, self.start.denominator), *filter(None, [stream.time_base])]
        self.expected = stream.frames or _estimate(container, stream, self.look.rate)

    def pictures(self) -> Iterator[Picture]:
        """Each picture in the order shown; times increase.

        Times of a constant rate that the container rounds (Matroska keeps milliseconds) are made exact again. Where a
        sample is empty or damaged, the picture before it is shown again. Raises MediaError: there is no picture at
        all, or the colours cannot be converted; where `strict`, also: data are damaged, or the size changes.
        """
        first, self._first = self._first, []
        clock = self.clock()
        interlaced = late_alpha = False
        before: Picture | None = None
        for index, decoded in enumerate(chain(first, self._decoded)):
            frame = self._fitted(self._prepared(decoded.frame))
            time = clock.time(decoded.pts)
            if self._guessed and 0 < index == clock.repaired:  # no picture so far has a usable time stamp
                raise MediaError(f"{self.name}: {_NO_RATE}, and no time stamps that would show it")
            if decoded.frame.interlaced_frame and not interlaced:
                interlaced = True
                self.warnings.append(
                    _INTERLACED.format("" if index == 0 else f" from {shown_at(time - self.start)} on")
                )
            picture = self._picture(frame, time)
            if picture.alpha is not None and not self.look.alpha:
                picture = Picture(picture.pixels, time)
                if not late_alpha:
                    late_alpha = True
                    self.warnings.append(LATE_ALPHA.format(shown_at(time - self.start)))
            picture.stamp = decoded.pts
            if before is not None and picture.original is before.original:
                picture.lock = before.lock  # the same frame is shown again, and two segments may share it
            before = picture
            yield picture
        if clock.restarts.count:
            self.warnings.append(f"clock restarts bridged: {clock.restarts.count}")
        if clock.repaired:
            self.warnings.append(f"{clock.repaired} pictures without a usable time stamp were placed by the frame rate")
        self.warnings += self._findings.notes(self.look.size)

    def clock(self) -> PictureClock:
        """A new clock that gives the times of the pictures, from the first on."""
        return PictureClock(self._stream.time_base or Fraction(1, 1000), self.look.rate, self._even)

    @property
    def is_intact(self) -> bool:
        """Whether nothing has been found so far that the user is told of at the end: damage, for one."""
        return self._findings == Findings()

    def known(self) -> Known:
        """The facts about the file, which must have a path."""
        assert self.container is not None
        return Known(self.name, self.container.stat().st_size, self._stream.index, self.look, self._crop)

    def decode_ahead(self, threads: int) -> None:
        """Let `pictures` decode several pictures at once while the film is intact. Call it before the first is read."""
        if self.container is not None and threads > 1:
            self._decoded = by_frame_threads(self.container, self._stream.index, self._first, self._decoded, threads)

    def seek(self, stamp: int) -> bool:
        """Let `pictures` begin at a key frame no later than a time stamp of the file. False: it cannot seek there."""
        try:
            self._source.seek(stamp, stream=self._stream, backward=True)
            if self._context.is_open:
                self._context.flush_buffers()
            self._decoded = self._decoder().pictures()
            self._first = list(islice(self._decoded, 1))
        except (av.FFmpegError, MediaError):
            return False
        return bool(self._first)

    def seek_to(self, time: Fraction) -> bool:
        """`seek`, with the time in seconds."""
        return self.seek(floor(time / (self._stream.time_base or Fraction(1, 1000))))

    def skim(self, stamp: int) -> None:
        """Read, without decoding, all data that the pictures up to a time stamp of the file need."""
        late = 0
        for packet in packets_of(self._source, streams_with_clock(self._source) or [self._stream]):
            if packet.stream.index == self._stream.index and packet.dts is not None and packet.dts > stamp:
                late += 1
            if late > _LATE:
                return

    def _looked_at(self, stated: Fraction | None, rate: Fraction | None, path: Path | None) -> VideoFormat:
        frames = [each.frame for each in self._first]
        first = self._prepared(frames[0])
        rate = rate or believable(stated or Fraction(0), self._stream, frames)
        look = _look(self._stream, self._context, first, rate)
        if has_alpha(first) and not look.alpha and path and becomes_transparent(path, self._stream.index):
            return replace(look, alpha=True)
        return look

    def _decoder(self) -> Decoder:
        return Decoder(self._source, self._stream, self._context, self.name, self._findings, self._strict)

    def _picture(self, frame: VideoFrame, time: Fraction) -> Picture:
        if frame.colorspace in _UNCONVERTED and not frame.format.is_rgb:
            what = f"{frame.format.name} with the colour matrix {_UNCONVERTED[frame.colorspace]}"
            raise MediaError(f"{self.name}: pictures in {what} cannot be converted")
        return to_picture(frame, time, self.look.alpha or is_transparent(frame))

    def _prepared(self, frame: VideoFrame) -> VideoFrame:
        """The part of a frame that is shown; a colour matrix that H.273 does not define is ignored."""
        if frame.colorspace not in (*MATRICES, *_UNCONVERTED):
            frame.colorspace = _UNSPECIFIED
        return frame if self._crop is None else self._crop.cut(frame)

    def _fitted(self, frame: VideoFrame) -> VideoFrame:
        """The frame, scaled to the size of the first one if it differs."""
        height, width = self.look.size
        if (frame.height, frame.width) == self.look.size:
            return frame
        if self._strict:
            old, new = f"{width}x{height}", f"{frame.width}x{frame.height}"
            raise MediaError(f"{self.name}: the video changes its size from {old} to {new}")
        self._findings.resized += 1
        format = "bgra" if frame.format.name == "pal8" else frame.format.name
        return frame.reformat(width, height, format=format, interpolation=SCALING, threads=SCALER_THREADS)


@contextmanager
def open_film_file(
    source: Path | BinaryIO,
    *,
    format: str | None = None,
    rate: Fraction | None = None,
    strict: bool = False,
    known: Known | None = None,
) -> Iterator[FilmFile]:
    """Open a file, or a pipe of the given FFmpeg format.

    rate     pictures per second, instead of the rate and the time stamps in the file
    strict   damaged samples, and pictures that differ in size from the first, raise MediaError; else they are noted
    known    for a file without a path that another process has opened: the facts about it. Then it need not hold more
             than is read of it
    Raises MediaError: it has no video or no frame rate, is damaged or truncated; OSError: it cannot be read.
    """
    path = source if isinstance(source, Path) else None
    name = path.name if path else known.name if known else "standard input"
    head = b""
    if path:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if not head:
            raise MediaError(f"{name}: the file is empty")
    elif isinstance(source, io.BufferedReader):
        head = source.peek(_HEAD)[:_HEAD]
    with ExitStack() as open_:
        try:
            container = open_.enter_context(open_input(source, format=format))
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"{name}: not a readable video, or a damaged one ({reason(error)})") from error
        if container.format.name == "tty":  # FFmpeg's demuxer that draws texts, which takes any text file
            raise MediaError(f"{name}: it is a text, not a video")
        if path and (missing := missing_bytes(container, head, path.stat().st_size)):
            raise MediaError(f"{name}: the video is truncated, at least {missing} of its bytes are missing")
        yield FilmFile(container, name, path, head, rate, strict, known)


def to_picture(frame: VideoFrame, time: Fraction, alpha: bool) -> Picture:
    """A decoded frame as a picture at `time`."""
    if not alpha:
        return Picture(None, time, None, frame)
    rgba = frame.to_ndarray(format="rgba", interpolation=SCALING, threads=SCALER_THREADS).astype(np.uint8, copy=False)
    pixels, shows = laid_on_black(rgba)
    return Picture(pixels, time, shows, frame)


def _nth(container: InputContainer, index: int) -> VideoStream | None:
    stream = container.streams[index] if index < len(container.streams) else None
    return stream if isinstance(stream, VideoStream) else None


def _look(stream: VideoStream, context: VideoCodecContext, first: VideoFrame, rate: Fraction) -> VideoFormat:
    components = [c for c in first.format.components if not c.is_alpha]
    return VideoFormat(
        size=(first.height, first.width),
        rate=rate,
        pixel_format=first.format.name,
        bits=max(c.bits for c in components),
        alpha=is_transparent(first),
        colours=Colours(
            first.color_primaries, first.color_trc, first.colorspace, _range(first.color_range, first.format)
        ),
        aspect=Fraction(stream.sample_aspect_ratio or 1),
        rotation=round(first.rotation / 90) * 90 % 360,
        codec=context.name,
        mastering=mastering_of(first),
        light=light_of(first),
        stereo=stereo_of(first),
        lost=lost_of(first),
    )


def _range(stated: int, format: PixelFormat) -> int:
    return 2 if format.name.startswith("yuvj") else stated


def _estimate(container: InputContainer, stream: VideoStream, rate: Fraction) -> int | None:
    if stream.duration and stream.time_base:
        return round(stream.duration * stream.time_base * rate)
    return round(Fraction(container.duration, av.time_base) * rate) if container.duration else None
