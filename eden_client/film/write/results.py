"""What a result is: something that frames are written to, in order, and that is in its place only when complete."""

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
    """The result's frames in time."""

    rate: Fraction
    """frames per second, on average"""
    tick: Fraction
    """of which all times are multiples, in seconds"""
    last_duration: Fraction
    """of the last frame, in seconds"""


@dataclass(frozen=True)
class FilmFrame:
    """A frame of the result: a picture of the source's own, or one that was made.

    That is RGB [H, W, 3], with transparency [H, W] if there is any; or planes [H*3/2, W], if the film travels so.
    """

    number: int
    time: Fraction
    """when it is shown, in seconds"""
    source: Picture | None = None
    pixels: Frame | None = None
    alpha: np.ndarray | None = None
    drawn: bool = False
    """It is none of the source's own."""

    @property
    def rgb(self) -> tuple[Frame, np.ndarray | None]:
        """Its pixels and its transparency, whichever it is."""
        if self.source is not None:
            return self.source.pixels, self.source.alpha
        assert self.pixels is not None
        return self.pixels, self.alpha


def frame_of(made: Made) -> FilmFrame:
    """What is to be written of a frame, without the gap that it lies in."""
    if made.pixels is not None:
        return FilmFrame(made.number, made.time, None, made.pixels, made.alpha, drawn=True)
    return FilmFrame(made.number, made.time, made.gap.left if made.position == LEFT else made.gap.right)


def converted(frame: FilmFrame, converter: FrameConverter) -> VideoFrame:
    """A frame in an encoder's pixel format; where the source has it already, the source's own."""
    if frame.source is not None:
        return converter.of_picture(frame.source)
    assert frame.pixels is not None
    return converter.made(frame.pixels, frame.alpha)


@dataclass(frozen=True)
class Written:
    """Frames are written, one unless it is said; or none, but what an encoder held back."""

    seconds: float
    """that it took"""
    drawn: bool = False
    """one of them is none of the source's own"""
    frames: int = 1

    def __add__(self, other: Written) -> Written:
        """Both, told together."""
        return Written(self.seconds + other.seconds, self.drawn or other.drawn, self.frames + other.frames)


Wrote = Callable[[Written], None]
"""Told of each frame that is written; by several threads."""


class Result(Protocol):
    """Where frames go."""

    planes: FrameConverter | None
    """Makes planes of pictures, where source and result both consist of such; else frames are RGB."""
    done: frozenset[int]
    """Segments that an earlier run has finished."""

    @property
    def frames(self) -> int:
        """How many frames are done, by an earlier run and this one."""

    def record(self, entry: Entry) -> None:
        """A segment has been made elsewhere."""

    def write(self, segment: int, frame: FilmFrame) -> None:
        """Add a frame to a segment. Raises MediaError, for this frame or one before it."""

    def end_segment(self, segment: int) -> None:
        """It has all its frames, or none: keep it for good. Raises MediaError."""

    def finish(self) -> list[str]:
        """Put the result in its place; returns what a user should know. Raises MediaError."""

    def rescue(self) -> Path | None:
        """After an error: what there is to be seen of the part done, if anything."""

    def close(self) -> None:
        """Let go."""
