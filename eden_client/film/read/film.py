"""The types of a film from any source: pictures with exact times, their format, and what goes with them."""

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
"""Pixel formats with planes of 8 bits, luma first."""


SMALL = (64, 40)
"""Width and height of the small pictures that are compared with each other."""
SCALER_THREADS = 1
"""Threads that FFmpeg starts for each frame that it converts. By itself it starts one per core, which for a frame of
64x48 is six times the work; other processes make other parts of a film meanwhile."""


class _Shrinker(threading.local):
    """Makes pictures small. One scaler per thread: to set it up takes longer than to use it."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def shrunk(self, frame: VideoFrame) -> Frame:
        small = self._scaler.reformat(frame, *SMALL, "rgb24", interpolation=Interpolation.AREA, threads=SCALER_THREADS)
        return small.to_ndarray().astype(np.uint8, copy=False)


_shrinker = _Shrinker()


class Picture:
    """One picture of a film, shown at `time` in seconds. Threads may share it.

    alpha     [H, W] uint8; None where the film has no transparency
    original  the decoder's frame, with all its bits, in its own colour space; None where `pixels` hold everything
    lock      hold it to change the time stamp of `original`
    """

    def __init__(
        self,
        pixels: Frame | None,
        time: Fraction,
        alpha: np.ndarray | None = None,
        original: VideoFrame | None = None,
    ) -> None:
        """`pixels` may be None where `original` is given: they are converted when they are first asked for."""
        self.time, self.alpha, self.original = time, alpha, original
        self.stamp = None if original is None else original.pts
        """Its time stamp in the file, if it has one."""
        self.number = -1
        """Its index in the film, from 0; -1 before it is counted."""
        self.lock = threading.Lock()
        self._pixels = pixels

    @property
    def pixels(self) -> Frame:
        """[H, W, 3] uint8 RGB; transparent parts are laid on black."""
        with self.lock:
            if self._pixels is None:
                assert self.original is not None
                self._pixels = self.original.to_ndarray(
                    format="rgb24", interpolation=SCALING, threads=SCALER_THREADS
                ).astype(np.uint8, copy=False)
            return self._pixels

    def release(self) -> None:
        """Free the converted pixels, which are probably not needed any more; they are converted again if they are."""
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
        """[40, 64, 3] uint8 RGB, each pixel the mean of an area of the picture."""
        if self._pixels is None and self.original is not None:
            with self.lock:
                return _shrinker.shrunk(self.original)
        return np.asarray(Image.fromarray(self.pixels).resize(SMALL, Image.Resampling.BOX))

    def checksum(self) -> int:
        """A checksum of every 16th row of luma, or of the RGB pixels where there are no planes."""
        planes = self.planes()
        rows = planes[0] if planes else self.pixels
        return zlib.crc32(rows[::16].tobytes())

    def planes(self) -> list[Frame]:
        """The planes of `original`, read-only: luma [H, W] uint8, then the two of chroma, which may be smaller.

        Grey has luma alone. Empty where the picture is not kept as planes of 8 bits.
        """
        if self.original is None or self.original.format.name not in _PLANES:
            return []
        return [samples_of(plane) for plane in self.original.planes]


def samples_of(plane: VideoPlane) -> Frame:
    """[H, W] uint8, read-only: a plane with 8 bits of one component."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


@dataclass(frozen=True)
class Colours:
    """Colours in H.273's numbers, 2 is unspecified; `range` in FFmpeg's: 0 unspecified, 1 limited, 2 full."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0


@dataclass(frozen=True)
class Mastering:
    """The mastering display of a film: its primaries (x, y) in CIE 1931, and its luminance in cd/m2."""

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
    """per colour component"""
    alpha: bool = False
    colours: Colours = Colours()
    aspect: Fraction = Fraction(1)
    """width of a pixel divided by its height"""
    rotation: int = 0
    """degrees counterclockwise by which a player turns the pictures: 0, 90, 180 or 270"""
    codec: str = ""
    """FFmpeg's name of the codec; empty: none"""
    mastering: Mastering | None = None
    light: tuple[int, int] | None = None
    """MaxCLL and MaxFALL, in cd/m2"""
    stereo: str = ""
    """Matroska's name for how two views share a picture (stereo); empty: one view"""
    last_duration: Fraction | None = None
    """for which the last picture is shown, in seconds; None: unknown"""
    loops: int = 0
    """how often an animation is played: 0 for ever, -1 once, n: again n times"""
    lost: tuple[str, ...] = ()
    """names of side data that cannot be carried over"""


class Film(Protocol):
    """A source of pictures, open to be read once."""

    name: str
    look: VideoFormat
    container: Path | None
    """The file whose sound, subtitles, chapters and metadata go with the pictures; None: there is none."""
    start: Fraction
    """The file's first time stamp, in seconds. It becomes 0 in the result."""
    ticks: list[Fraction]
    """Seconds; the times of the pictures are multiples of these."""
    expected: int | None
    """Roughly how many pictures there are; None: unknown."""
    beside: list[str]
    """What the file holds besides pictures: "sound", "subtitles"."""
    warnings: list[str]
    """Notes for the user, one line each. The list may grow while the pictures are read."""

    def pictures(self) -> Iterator[Picture]:
        """Each picture in the order shown; times increase. Raises MediaError: damaged beyond reading."""
