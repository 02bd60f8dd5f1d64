"""The options for a film, and the summary of a run."""

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
    """The options for a film; `eden-interpolate --help` describes them."""

    source: str
    """a file, a folder or pattern of pictures, or "-" for y4m from standard input"""
    target: str
    """a file, a folder (or folder/name%06d.png), or "-" for y4m to standard output"""
    times: int = 2
    """output frames per source frame: 2, 4 or 8"""
    fps: Fraction | None = None
    """in place of `times`: a constant rate, in frames per second"""
    depth: int = 3
    """with `fps`: frames are drawn at multiples of 1 / 2**depth between two source frames"""
    cuts: float | None = SENSITIVITY
    """sensitivity of scene cut detection: 0 finds hardly any cut, 1 nearly everywhere; None: no detection"""
    duplicates: Literal["keep", "skip", "off"] = "keep"
    """keep: repeat them; skip: drop them and spread the motion over their time; off: interpolate them like others"""
    source_fps: Fraction | None = None
    """the source's frames per second, in place of the stated rate (a folder of pictures states none: 24)"""
    start: Fraction = Fraction(0)
    """seconds of the source to skip at its beginning; then without sound"""
    duration: Fraction | None = None
    """seconds of the source to use, without sound; None: to its end"""
    slow: int = 1
    """show each source frame so many times as long, without sound"""
    strict: bool = False
    """refuse a source that is damaged or changes its size; else notes say what was repaired"""
    clip: int = 2
    """frames per call: 2 is the streaming strategy, more is the batch strategy"""
    codec: str | None = None
    crf: int | None = None
    """the encoder's quality; for JPEG and WebP from 1 to 100"""
    preset: str | None = None
    pixel_format: str | None = None
    compare: bool = False
    """show repeated, blended and drawn frames side by side"""
    resume: bool = False
    overwrite: bool = False
    processes: int | None = None
    """processes of this machine that make the film; None: by its cores and `memory`"""
    memory: int = DEFAULT_MEMORY
    """bytes that frames and encoders may use, roughly"""


@dataclass
class Summary:
    """What was done."""

    source: str
    target: str
    frames_in: int = 0
    frames_out: int = 0
    resumed_at: int = 0
    """frames that an earlier run had made"""
    repeated: dict[str, int] = field(default_factory=dict)
    """gaps in which a frame was repeated, by reason"""
    seconds: dict[str, float] = field(default_factory=dict)
    """in total, to the first frame, to the first drawn frame, and per stage (summed over what runs at the same time)"""
    busy: dict[Stage, float] = field(default_factory=dict)
    """per stage, the fraction of its available time that it was at work: 0 to 1"""
    limit: Stage | None = None
    """the stage that bounded the speed"""
    traffic: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Report(Protocol):
    """Receives the progress of a run."""

    def begin(self, source: str, expected: int | None, done: int) -> None:
        """The run begins. `expected`: about how many frames there will be; `done`: frames that an earlier run made."""

    def note(self, text: str) -> None:
        """A note for the user, one line."""

    def progress(self, frames: int, limit: Stage | None, drawn: bool) -> None:
        """`frames` of the result are written.

        limit   the stage that bounds the speed so far; None: no stage is clearly busy
        drawn   whether one of these was drawn in this run: frames of the source come faster, and show no speed
        """


class Interrupted(Exception):
    """The run ended early. `part`: a file with the finished part, if any; `frames`: how many are finished."""

    def __init__(self, part: Path | None, frames: int) -> None:
        super().__init__()
        self.part, self.frames = part, frames
