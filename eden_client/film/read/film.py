"""What a film is, wherever it comes from: pictures with exact times, and what must not be lost on the way."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from media.images import Frame
from media.video_reader import SCALING

_PLANES = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray")
"""Pixel formats with planes of 8 bits, brightness first."""


SMALL = (64, 40)
"""Columns and rows of a picture made small, to be compared with others."""


class _Shrinker(threading.local):
    """Makes pictures small, in each thread its own: to set it up takes longer than to use it."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def shrunk(self, frame: VideoFrame) -> Frame:
        small = self._scaler.reformat(frame, *SMALL, "rgb24", interpolation=Interpolation.AREA, threads=1)
        return small.to_ndarray().astype(np.uint8, copy=False)


_shrinker = _Shrinker()


class Picture:
    """One picture of a film, shown at `time` in seconds. Threads may share it.

    alpha     [H, W] uint8, where the film has transparency
    original  as the decoder gave it: all its bits, in its own colour space; None where the pixels hold everything
    lock      to be held by whoever changes `original`: its time stamp
    """

    def __init__(
        self,
        pixels: Frame | None,
        time: Fraction,
        alpha: np.ndarray | None = None,
        original: VideoFrame | None = None,
    ) -> None:
        """`pixels` may be None where `original` has them: they are converted by whoever asks for them first."""
        self.time, self.alpha, self.original = time, alpha, original
        self.stamp = None if original is None else original.pts
        """Its time stamp in the file, if it has one."""
        self.number = -1
        """In the film, from 0 on, once it has been counted."""
        self.lock = threading.Lock()
        self._pixels = pixels

    @property
    def pixels(self) -> Frame:
        """[H, W, 3] uint8 RGB; transparent parts are on black."""
        with self.lock:
            if self._pixels is None:
                assert self.original is not None
                self._pixels = self.original.to_ndarray(format="rgb24", interpolation=SCALING).astype(
                    np.uint8, copy=False
                )
            return self._pixels

    def release(self) -> None:
        """Nobody is going to ask for the pixels, as far as one knows; they would be converted anew."""
        with self.lock:
            if self.original is not None and self.alpha is None:
                self._pixels = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        if self._pixels is None:
            assert self.original is not None
            return self.original.height, self.original.width
        return self._pixels.shape[0], self._pixels.shape[1]

    def small(self) -> Frame:
        """[40, 64, 3] uint8 RGB, each pixel the mean of those that it stands for."""
        if self._pixels is None and self.original is not None:
            with self.lock:
                return _shrinker.shrunk(self.original)
        return np.asarray(Image.fromarray(self.pixels).resize(SMALL, Image.Resampling.BOX))

    def checksum(self) -> int:
        """Of every 16th row of brightness, where the source has it, else of the pixels."""
        planes = self.planes()
        rows = planes[0] if planes else self.pixels
        return zlib.crc32(rows[::16].tobytes())

    def planes(self) -> list[Frame]:
        """The planes of `original`, not to be changed: [H, W] uint8 of brightness, then of two colour differences.

        Those may have fewer samples, or be missing in grey; no planes at all where it is not kept like that.
        """
        if self.original is None or self.original.format.name not in _PLANES:
            return []
        return [samples_of(plane) for plane in self.original.planes]


def samples_of(plane: VideoPlane) -> Frame:
    """[H, W] uint8 of a plane with 8 bits of one component, not to be changed."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


@dataclass(frozen=True)
class Colours:
    """H.273's numbers, as FFmpeg has them; 2 is "unspecified" (range: 0 unspecified, 1 limited, 2 full)."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0


@dataclass(frozen=True)
class Mastering:
    """The display that a film was made on: its colours (x, y) by CIE 1931, and its light in cd/m2."""

    red: tuple[Fraction, Fraction]
    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    darkest: Fraction
    brightest: Fraction


@dataclass(frozen=True)
class VideoFormat:
    """How the pictures of a film are stored."""

    size: tuple[int, int]
    """(H, W) in pixels, as stored"""
    rate: Fraction
    """pictures per second, on average"""
    pixel_format: str
    """FFmpeg's name"""
    bits: int = 8
    """of a colour component"""
    alpha: bool = False
    colours: Colours = Colours()
    aspect: Fraction = Fraction(1)
    """width of a pixel by its height"""
    rotation: int = 0
    """degrees counterclockwise by which the pictures are turned for showing: 0, 90, 180 or 270"""
    codec: str = ""
    """FFmpeg's name of what it was coded with"""
    mastering: Mastering | None = None
    light: tuple[int, int] | None = None
    """MaxCLL and MaxFALL, in cd/m2"""
    stereo: str = ""
    """how two views are in one picture, by Matroska's name; empty: one view"""
    last_duration: Fraction | None = None
    """of the last picture, in seconds, where it is known"""
    loops: int = 0
    """how often an animation is played: 0 for ever, -1 once, n again n times"""
    lost: tuple[str, ...] = ()
    """what it says about itself that cannot be carried over"""


class Film(Protocol):
    """A source of pictures, open for one reading."""

    name: str
    look: VideoFormat
    container: Path | None
    """A file whose sound, subtitles, chapters and metadata go with the pictures."""
    start: Fraction
    """The file's first time stamp, in seconds: it becomes 0."""
    ticks: list[Fraction]
    """Of which the times of its pictures are multiples, in seconds."""
    expected: int | None
    """About how many pictures there are, where that is known."""
    beside: list[str]
    """What the file holds beside pictures: sound, subtitles."""
    warnings: list[str]
    """What a user should know, one line each; it may grow while the pictures are read."""

    def pictures(self) -> Iterator[Picture]:
        """Each picture in the order shown, with growing times. Raises MediaError."""
