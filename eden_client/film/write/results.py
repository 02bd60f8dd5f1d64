"""The types of a result: frames are written to it in order, and it is in its place only when complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from av.video.frame import VideoFrame

from eden_client.film.pipeline import Made
from eden_client.film.read.film import Picture
from eden_client.film.resume_journal import Entry
from eden_client.film.synthesis import LEFT
from eden_client.film.write.frame_converter import FrameConverter
from media import Frame


@dataclass(frozen=True)
class Timing:
    """The timing of the result's frames."""

    rate: Fraction
    """frames per second, on average"""
    tick: Fraction
    """in seconds; all times are multiples of it"""
    last_duration: Fraction
    """for which the last frame is shown, in seconds"""


@dataclass(frozen=True)
class FilmFrame:
    """A frame of the result: a picture of the source, or a frame that was drawn.

    The latter is RGB [H, W, 3] uint8 with transparency [H, W], if there is any; or planes [H*3/2, W].
    """

    number: int
    time: Fraction
    """when it is shown, in seconds"""
    source: Picture | None = None
    pixels: Frame | None = None
    alpha: np.ndarray | None = None
    drawn: bool = False
    """whether it was drawn: it is no picture of the source"""

    @property
    def rgb(self) -> tuple[Frame, np.ndarray | None]:
        """Its pixels [H, W, 3], and its transparency [H, W] or None."""
        if self.source is not None:
            return self.source.pixels, self.source.alpha
        assert self.pixels is not None
        return self.pixels, self.alpha


def frame_of(made: Made) -> FilmFrame:
    """The frame to write, without the gap that it lies in."""
    if made.pixels is not None:
        return FilmFrame(made.number, made.time, None, made.pixels, made.alpha, drawn=True)
    return FilmFrame(made.number, made.time, made.gap.left if made.position == LEFT else made.gap.right)


def converted(frame: FilmFrame, converter: FrameConverter) -> VideoFrame:
    """A frame in an encoder's pixel format; the source's original, if that has it already."""
    if frame.source is not None:
        return converter.of_picture(frame.source)
    assert frame.pixels is not None
    return converter.made(frame.pixels, frame.alpha)


@dataclass(frozen=True)
class Written:
    """Frames that were written: one by default, or none where an encoder was flushed."""

    seconds: float
    """of work on it"""
    drawn: bool = False
    """whether one of them was drawn: it is no picture of the source"""
    frames: int = 1

    def __add__(self, other: Written) -> Written:
        """The sum of both."""
        return Written(self.seconds + other.seconds, self.drawn or other.drawn, self.frames + other.frames)


Wrote = Callable[[Written], None]
"""Is called for each frame that is written, by several threads."""


class Result(Protocol):
    """Takes the frames of a film."""

    planes: FrameConverter | None
    """Converts pictures to planes, where source and result both have them; None: frames are RGB."""
    done: frozenset[int]
    """Indices of the segments that an earlier run has finished."""

    @property
    def frames(self) -> int:
        """Frames that are done, by an earlier run and this one."""

    def record(self, entry: Entry) -> None:
        """Record a segment that another process has made."""

    def write(self, segment: int, frame: FilmFrame) -> None:
        """Add a frame to a segment. Raises MediaError: this frame, or an earlier one, cannot be written."""

    def end_segment(self, segment: int) -> None:
        """Finish a segment that has all its frames, or has none. Raises MediaError."""

    def finish(self) -> list[str]:
        """Put the result in its place. Returns notes for the user. Raises MediaError."""

    def rescue(self) -> Path | None:
        """After an error: the file or folder with the finished part; None: there is none."""

    def close(self) -> None:
        """Release files and threads."""
