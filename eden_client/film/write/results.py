"""What a result is: something that frames are written to, in order, and that is in its place only when complete."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from av.video.frame import VideoFrame

from eden_client.film.pipeline import Made
from eden_client.film.read.film import Picture
from eden_client.film.synthesis import LEFT
from eden_client.film.write.frame_converter import FrameConverter


@dataclass(frozen=True)
class Timing:
    """The result's frames in time."""

    rate: Fraction
    """frames a second, on average"""
    tick: Fraction
    """of which all times are multiples, in seconds"""
    last_duration: Fraction
    """of the last frame, in seconds"""


class Result(Protocol):
    """Where frames go."""

    gaps: int
    """How many gaps are done, by an earlier run and this one."""
    frames: int
    """How many frames are done."""

    def write(self, made: Made) -> None:
        """Add a frame. Raises MediaError."""

    def end_segment(self, gaps: int) -> None:
        """Everything up to so many gaps is written: keep it for good. Raises MediaError."""

    def finish(self) -> list[str]:
        """Put the result in its place; returns what a user should know. Raises MediaError."""

    def rescue(self) -> Path | None:
        """After an error: what there is to be seen of the part done, if anything."""

    def close(self) -> None:
        """Let go."""


def picture_of(made: Made) -> Picture | None:
    """The film's own picture that a frame shows, None if it was made."""
    if made.pixels is not None:
        return None
    return made.gap.left if made.position == LEFT else made.gap.right


def painted(made: Made, painter: FrameConverter) -> VideoFrame:
    """A frame in an encoder's pixel format."""
    picture = picture_of(made)
    if picture is None:
        assert made.pixels is not None
        return painter.made(made.pixels, made.alpha)
    if picture.original is not None:
        return painter.kept(picture.original)
    return painter.made(picture.pixels, picture.alpha)
