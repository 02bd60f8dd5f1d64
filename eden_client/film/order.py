"""What is wanted of a film, and what was done."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

from eden_client.film.plan.cuts import SENSITIVITY
from eden_client.film.stages import Stage
from eden_client.film.write.budget import DEFAULT as DEFAULT_MEMORY


@dataclass(frozen=True)
class Order:
    """What is wanted of a film."""

    source: str
    """a file, a folder or pattern of pictures, or "-" for y4m from standard input"""
    target: str
    """a file, a folder (or folder/name%06d.png), or "-" for y4m to standard output"""
    times: int = 2
    """frames for each one of the source: 2, 4 or 8"""
    fps: Fraction | None = None
    """in place of `times`: frames a second, evenly"""
    depth: int = 3
    """with `fps`: frames come from positions that are multiples of 1 / 2**depth between two of the source"""
    cuts: float | None = SENSITIVITY
    """how readily a cut is seen, 0 to 1; None: never"""
    duplicates: Literal["keep", "skip", "off"] = "keep"
    """keep: repeated as they are; skip: left out, and the motion spread over their time; off: interpolated like all"""
    source_fps: Fraction | None = None
    """pictures a second of the source, in place of what it states; a folder of pictures states none, and has 24"""
    start: Fraction = Fraction(0)
    """seconds of the source that are left out at its beginning; the sound is, too"""
    duration: Fraction | None = None
    """seconds of the source that are made, without sound; None: to its end"""
    slow: int = 1
    """each picture of the source is shown so many times as long, without sound"""
    strict: bool = False
    """a damaged source is refused, and one that changes its size; else there are notes on what is read past that"""
    clip: int = 2
    """frames that travel together: 2 is the streaming strategy, more are the batch strategy"""
    codec: str | None = None
    crf: int | None = None
    """for pictures as JPEG or WebP: their quality, 1 to 100"""
    preset: str | None = None
    pixel_format: str | None = None
    compare: bool = False
    """make a comparison with repeating and blending"""
    resume: bool = False
    overwrite: bool = False
    processes: int | None = None
    """of this machine that make the film; None: as many as its cores and `memory` make useful"""
    memory: int = DEFAULT_MEMORY
    """bytes that the film's pictures and their encoders may take, about"""


@dataclass
class Summary:
    """What was done."""

    source: str
    target: str
    frames_in: int = 0
    frames_out: int = 0
    resumed_at: int = 0
    """frames that an earlier run had made already"""
    repeated: dict[str, int] = field(default_factory=dict)
    """gaps in which a frame was repeated, by reason"""
    seconds: dict[str, float] = field(default_factory=dict)
    """total, to the first frame and to the first that is drawn, and by stage, summed over what runs side by side"""
    busy: dict[Stage, float] = field(default_factory=dict)
    """of the time that each stage could be at work at most, the part that it was: 0 to 1"""
    limit: Stage | None = None
    """the stage that bounded the speed"""
    traffic: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Report(Protocol):
    """Who is told how it goes."""

    def begin(self, source: str, expected: int | None, done: int) -> None:
        """`expected`: about how many frames there will be; `done`: how many are there from an earlier run."""

    def note(self, text: str) -> None:
        """Something to know."""

    def progress(self, frames: int, limit: Stage | None) -> None:
        """So many frames of the result are written; the stage that bounds the speed so far, if one does."""


class Interrupted(Exception):
    """The run ended early. `part` is what there is to be seen of what was done, if anything was."""

    def __init__(self, part: Path | None, frames: int) -> None:
        super().__init__()
        self.part, self.frames = part, frames
