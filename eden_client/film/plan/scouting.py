"""Compares a film's pictures in several processes: each decodes a stretch of the film and returns the steps in it.

To plan a film, all of it is decoded, and each picture compared with the one before. One process cannot do that as fast
as a machine encodes and draws with all its cores. The result is the same whoever compares: from the first irregularity
on, the planner itself compares the rest of the film.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from av.video.frame import VideoFrame

from eden_client.film.plan.differences import Step, steps
from eden_client.film.read.clock import PictureClock
from eden_client.film.read.film import Picture
from eden_client.film.read.film_file import MATRICES, FilmFile
from eden_client.film.read.intact import Doubtful, Stretch, frames_of, stretches


@dataclass(frozen=True)
class Scouted:
    """What is known of a picture that was decoded in another process, and how it differs from the one before it."""

    stamp: int
    """its time stamp in the file"""
    checksum: int
    difference: float
    same: bool


@dataclass(frozen=True)
class ScoutJob:
    """A stretch of a film, to be compared in another process. It can be pickled.

    path, stream              the file, and the index of its stream
    size                      (H, W) of the film's pictures
    differences, duplicates   what to find (`differences.steps`)
    """

    path: Path
    stream: int
    stretch: Stretch
    size: tuple[int, int]
    differences: bool
    duplicates: bool

    def run(self, source: BinaryIO | None = None) -> list[Scouted]:
        """The pictures after the stretch's first one, compared. Raises Doubtful: the stretch is irregular.

        source   the film's bytes, where it is no file of this machine
        """
        frames = frames_of(source or self.path, self.stream, self.stretch)
        pictures = (_picture(frame, self.size) for frame in frames)
        return [_scouted(step) for step in islice(steps(pictures, self.differences, self.duplicates), 1, None)]


Scout = Callable[[ScoutJob], Future[list[Scouted]]]


class ScoutedPicture(Picture):
    """A picture that was decoded in another process: it has a time and a checksum, but no pixels."""

    def __init__(self, number: int, time: Fraction, scouted: Scouted) -> None:
        super().__init__(None, time)
        self.number, self.stamp, self._checksum = number, scouted.stamp, scouted.checksum

    def checksum(self) -> int:
        return self._checksum


def scouted_steps(
    film: FilmFile, here: Iterator[Step], scout: Scout, ahead: int, differences: bool, duplicates: bool
) -> Iterator[Step]:
    """The same steps as `here`, compared by scouts as soon as they are ready.

    here    the steps to the film's numbered pictures, compared in this process; used until scouts are ready, and after
            the first irregularity
    scout   starts a job in another process
    ahead   stretches that are scouted at once
    """
    number = -1
    try:
        asked = _Asked(_jobs(film, differences, duplicates), scout, ahead)
        clock = film.clock()
        for step in here:
            yield step
            number, stamp = step.picture.number, step.picture.stamp
            if stamp is None or _intact_time(clock, stamp) != step.picture.time or not film.is_intact:
                raise Doubtful
            if asked.are_ready(stamp):
                break
        else:
            return
        for scouted in asked.told():
            time = _intact_time(clock, scouted.stamp)
            number += 1
            yield Step(ScoutedPicture(number, time, scouted), scouted.difference, scouted.same)
    except Doubtful:
        yield from (step for step in here if step.picture.number > number)


def _jobs(film: FilmFile, differences: bool, duplicates: bool) -> Iterator[ScoutJob]:
    path, known = film.container, film.known()
    if path is None or known.crop or known.look.alpha:
        raise Doubtful
    for stretch in stretches(path, known.stream):
        yield ScoutJob(path, known.stream, stretch, known.look.size, differences, duplicates)


class _Asked:
    """The stretches that scouts compare, in order. The film's first stretch begins before they can be ready."""

    def __init__(self, jobs: Iterator[ScoutJob], scout: Scout, ahead: int) -> None:
        self._jobs, self._scout = jobs, scout
        self._pending = deque((job, scout(job)) for job in islice(jobs, 1, ahead + 1))

    def are_ready(self, stamp: int) -> bool:
        """Whether scouts compare what follows the picture with this time stamp. Earlier stretches are dropped."""
        while self._pending and self._pending[0][0].stretch.first < stamp:
            self._next()
        return bool(self._pending) and self._pending[0][0].stretch.first == stamp and self._pending[0][1].done()

    def told(self) -> Iterator[Scouted]:
        """The compared pictures from there to the film's end. Raises Doubtful."""
        while self._pending:
            future = self._next()
            try:
                yield from future.result()
            except Exception as error:  # whatever it is, the planner meets it again and reports it
                raise Doubtful from error

    def _next(self) -> Future[list[Scouted]]:
        _, future = self._pending.popleft()
        self._pending += [(job, self._scout(job)) for job in islice(self._jobs, 1)]
        return future


def _intact_time(clock: PictureClock, stamp: int) -> Fraction:
    time = clock.time(stamp)
    if clock.repaired or clock.restarts.count:
        raise Doubtful
    return time


def _picture(frame: VideoFrame, size: tuple[int, int]) -> Picture:
    picture = Picture(None, Fraction(0), None, frame)
    if picture.size != size or frame.interlaced_frame or not picture.planes() or frame.colorspace not in MATRICES:
        raise Doubtful
    return picture


def _scouted(step: Step) -> Scouted:
    assert step.picture.stamp is not None
    return Scouted(step.picture.stamp, step.picture.checksum(), step.difference, step.same)
