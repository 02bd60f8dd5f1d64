"""What a film is, wherever it comes from: pictures with exact times, and what must not be lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from av.video.frame import VideoFrame

from media.images import Frame


@dataclass(frozen=True)
class Picture:
    """One picture of a film."""

    pixels: Frame
    """[H, W, 3] uint8 RGB; transparent parts are on black."""
    time: Fraction
    """When it is shown, in seconds."""
    alpha: np.ndarray | None = None
    """[H, W] uint8, where the film has transparency."""
    original: VideoFrame | None = None
    """As the decoder gave it: all its bits, in its own colour space. None where `pixels` holds everything."""


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
    """pictures a second, on average"""
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
