"""A film in a video file (or an animation, or raw y4m from a pipe), read picture by picture."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.video.format import VideoFormat as PixelFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from eden_client.film.read.film import Colours, Picture, VideoFormat
from eden_client.film.read.restarts import Restarts
from eden_client.film.read.side_data import light_of, lost_of, mastering_of, stereo_of
from media.errors import MediaError
from media.names import open_input
from media.truncation import missing_bytes
from media.video_reader import SCALING, reason

_HEAD = 256
_BESIDE = {"audio": "sound", "subtitle": "subtitles"}
_NO_RATE = "the video states no frame rate (--source-fps gives it one)"


class FilmFile:
    """The first video stream of a container. Made by `open_film_file`."""

    def __init__(
        self, container: InputContainer, name: str, path: Path | None, head: bytes, rate: Fraction | None
    ) -> None:
        self.name, self.container, self.warnings = name, path, list[str]()
        self._stream = _video_stream(container, name)
        stated = _stated_rate(container, self._stream, head)
        if not (rate or stated):
            raise MediaError(f"{name}: {_NO_RATE}")
        self._even, self._guessed = rate is not None, rate is None and not self._stream.average_rate
        self._source = container
        self._decoded = self._decode(container)
        self._first = next(self._decoded, None)
        if self._first is None:
            raise MediaError(f"{name}: the video holds not a single picture")
        self.look = _look(self._stream, self._first, Fraction(rate or stated or 0))
        self.beside = [word for kind, word in _BESIDE.items() if any(s.type == kind for s in container.streams)]
        starts = [s.start_time * s.time_base for s in container.streams if s.start_time is not None and s.time_base]
        self.start = min(starts, default=Fraction(0))
        self.ticks = [Fraction(1, self.start.denominator), *filter(None, [self._stream.time_base])]
        self.expected = self._stream.frames or _estimate(container, self._stream, self.look.rate)
        if self._first.interlaced_frame:
            self.warnings.append("the video is interlaced: deinterlace it first, or its combs will be interpolated too")

    def pictures(self) -> Iterator[Picture]:
        """Each picture in the order shown, with growing times.

        Times of a constant rate that a container had to round (Matroska keeps milliseconds) are made exact again.
        Raises MediaError: damaged data, or a change of size.
        """
        frame, self._first = self._first, None
        clock = _Clock(self._stream.time_base or Fraction(1, 1000), self.look.rate, self._even)
        while frame is not None:
            if (frame.height, frame.width) != self.look.size:
                old, new = f"{self.look.size[1]}x{self.look.size[0]}", f"{frame.width}x{frame.height}"
                raise MediaError(f"{self.name}: the video changes its size from {old} to {new}")
            time = clock.time(frame.pts)
            if clock.repaired and self._guessed:
                raise MediaError(f"{self.name}: {_NO_RATE}, and no times from which it could be told")
            yield to_picture(frame, time, self.look.alpha)
            frame = next(self._decoded, None)
        if clock.restarts.count:
            self.warnings.append(f"clock restarts bridged: {clock.restarts.count}")
        if clock.repaired:
            self.warnings.append(f"{clock.repaired} pictures without a usable time stamp were placed by the frame rate")

    def seek(self, stamp: int) -> bool:
        """Have `pictures` begin at a key frame no later than a time stamp of the file, if there is a way there."""
        try:
            self._source.seek(stamp, stream=self._stream, backward=True)
        except av.FFmpegError:
            return False
        self._decoded = self._decode(self._source)
        self._first = next(self._decoded, None)
        return self._first is not None

    def _decode(self, container: InputContainer) -> Iterator[VideoFrame]:
        try:
            yield from container.decode(self._stream)
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{self.name}: damaged video data ({reason(error)})") from error


@contextmanager
def open_film_file(
    source: Path | BinaryIO, *, format: str | None = None, rate: Fraction | None = None
) -> Iterator[FilmFile]:
    """Open a user's own file, or a pipe of the given FFmpeg format.

    rate   pictures a second, in place of the rate and the time stamps that the file states
    Raises MediaError: no video in it, no rate, damaged, cut short; OSError where it cannot be read.
    """
    path = source if isinstance(source, Path) else None
    name = path.name if path else "standard input"
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
        if container.format.name == "tty":  # FFmpeg draws any text
            raise MediaError(f"{name}: a text, not a video")
        if path and (missing := missing_bytes(container, head, path.stat().st_size)):
            raise MediaError(f"{name}: the video is truncated, at least {missing} of its bytes are missing")
        yield FilmFile(container, name, path, head, rate)


def to_picture(frame: VideoFrame, time: Fraction, alpha: bool) -> Picture:
    """A decoded frame as a picture at `time`."""
    if not alpha:
        return Picture(None, time, None, frame)
    rgba = frame.to_ndarray(format="rgba", interpolation=SCALING).astype(np.uint16)
    if rgba[..., 3].min() == 255:
        return Picture(rgba[..., :3].astype(np.uint8), time, None, frame)
    on_black = (rgba[..., :3] * rgba[..., 3:] + 127) // 255
    return Picture(on_black.astype(np.uint8), time, rgba[..., 3].astype(np.uint8), frame)


class _Clock:
    """Exact times of pictures, in seconds; `even`: by the rate alone, from the first time stamp on."""

    def __init__(self, tick: Fraction, rate: Fraction, even: bool = False) -> None:
        self._tick, self._rate, self._even = tick, rate, even
        self._origin: Fraction | None = None
        self._last: Fraction | None = None
        self._told: Fraction | None = None
        self.repaired = 0
        self.restarts = Restarts()

    def time(self, pts: int | None) -> Fraction:
        due = None if self._last is None else self._last + 1 / self._rate
        told = None
        if pts is not None and not (self._even and due is not None):
            told = self.restarts.time(pts * self._tick, self._last, due or Fraction(0))
        if self._origin is None:
            self._origin = told or Fraction(0)
        time = (due or Fraction(0)) if told is None else told
        on_grid = self._origin + round((time - self._origin) * self._rate) / self._rate
        in_order = self._last is None or on_grid > self._last
        if in_order and abs(on_grid - time) <= self._tick < 1 / self._rate / 4:
            time = on_grid
        if self._last is not None and due is not None and time <= self._last:
            grows = told is not None and self._told is not None and self._told < told
            if grows and told is not None and self._last - told <= self._tick:  # the one before was moved onto the grid
                time = self._last + self._tick
            else:
                time = due
                self.repaired += 1
        self._last, self._told = time, told
        return time


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    if not container.streams.video:
        raise MediaError(f"{name}: there is no video stream in this file")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _stated_rate(container: InputContainer, stream: VideoStream, head: bytes) -> Fraction | None:
    """Pictures a second. FFmpeg makes up 25 where a raw stream has no place for a rate, and where y4m says 0."""
    y4m = container.format.name == "yuv4mpegpipe"
    if Flags.no_timestamps in Flags(container.format.flags) or (y4m and not re.match(rb"[^\n]* F[1-9]\d*:[1-9]", head)):
        return None
    return stream.average_rate or stream.guessed_rate


def _look(stream: VideoStream, first: VideoFrame, rate: Fraction) -> VideoFormat:
    context = stream.codec_context
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


def is_transparent(frame: VideoFrame) -> bool:
    """Whether anything shows through (every GIF has an alpha channel, and few use it)."""
    has_alpha = frame.format.name == "pal8" or any(c.is_alpha for c in frame.format.components)
    return has_alpha and int(frame.to_ndarray(format="rgba")[..., 3].min()) < 255


def _range(stated: int, format: PixelFormat) -> int:
    return 2 if format.name.startswith("yuvj") else stated


def _estimate(container: InputContainer, stream: VideoStream, rate: Fraction) -> int | None:
    if stream.duration and stream.time_base:
        return round(stream.duration * stream.time_base * rate)
    return round(Fraction(container.duration, av.time_base) * rate) if container.duration else None
