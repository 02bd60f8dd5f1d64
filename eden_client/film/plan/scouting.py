"""A film compared by several processes at once: each decodes a stretch of it by itself, and tells what it saw.

To plan a film, all of it has to be decoded and each picture compared with the one before: more than a process can do
for a machine that encodes and draws with all its cores. Nothing depends on who has compared: a film, or the rest of
one, in which there is anything out of the ordinary is compared by the planner.
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
from eden_client.film.read.sound import Doubtful, Stretch, frames_of, stretches


@dataclass(frozen=True)
class Scouted:
    """A picture, as somebody has seen it who decoded it elsewhere, and how it differs from the one before it."""

    stamp: int
    """its time stamp in the file"""
    checksum: int
    difference: float
    same: bool


@dataclass(frozen=True)
class ScoutJob:
    """A stretch of a film to be compared; plain data.

    path, stream              the film's, its index in the file
    size                      (H, W) of its pictures
    differences, duplicates   what is asked (differences.py)
    """

    path: Path
    stream: int
    stretch: Stretch
    size: tuple[int, int]
    differences: bool
    duplicates: bool

    def run(self, source: BinaryIO | None = None) -> list[Scouted]:
        """What is to be seen behind the stretch's first picture. Raises Doubtful.

        source   the film's file, where that has no path
        """
        frames = frames_of(source or self.path, self.stream, self.stretch)
        pictures = (_picture(frame, self.size) for frame in frames)
        return [_scouted(step) for step in islice(steps(pictures, self.differences, self.duplicates), 1, None)]


Scout = Callable[[ScoutJob], Future[list[Scouted]]]


class ScoutedPicture(Picture):
    """A picture that was decoded elsewhere: nobody here will ask for more of it."""

    def __init__(self, number: int, time: Fraction, scouted: Scouted) -> None:
        super().__init__(None, time)
        self.number, self.stamp, self._checksum = number, scouted.stamp, scouted.checksum

    def checksum(self) -> int:
        return self._checksum


def scouted_steps(
    film: FilmFile, here: Iterator[Step], scout: Scout, ahead: int, differences: bool, duplicates: bool
) -> Iterator[Step]:
    """The steps of `here`, which compares by itself, from where scouts are ready on as they tell them.

    here    gives the film's numbered pictures from the first on; goes on where scouts come upon anything doubtful
    ahead   stretches that are scouted at once
    """
    number = -1
    try:
        asked = _Asked(_jobs(film, differences, duplicates), scout, ahead)
        clock = film.clock()
        for step in here:
            yield step
            number, stamp = step.picture.number, step.picture.stamp
            if stamp is None or _sound_time(clock, stamp) != step.picture.time or not film.is_sound:
                raise Doubtful
            if asked.are_ready(stamp):
                break
        else:
            return
        for scouted in asked.told():
            time = _sound_time(clock, scouted.stamp)
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
    """Stretches that scouts look at, in order. The first of a film is begun before they can be there."""

    def __init__(self, jobs: Iterator[ScoutJob], scout: Scout, ahead: int) -> None:
        self._jobs, self._scout = jobs, scout
        self._pending = deque((job, scout(job)) for job in islice(jobs, 1, ahead + 1))

    def are_ready(self, stamp: int) -> bool:
        """Whether scouts tell what comes behind the picture with this time stamp. Those before are passed by."""
        while self._pending and self._pending[0][0].stretch.first < stamp:
            self._next()
        return bool(self._pending) and self._pending[0][0].stretch.first == stamp and self._pending[0][1].done()

    def told(self) -> Iterator[Scouted]:
        """All that they see, to the film's end. Raises Doubtful."""
        while self._pending:
            future = self._next()
            try:
                yield from future.result()
            except Exception as error:  # whatever it is, it is told by who meets it here
                raise Doubtful from error

    def _next(self) -> Future[list[Scouted]]:
        _, future = self._pending.popleft()
        self._pending += [(job, self._scout(job)) for job in islice(self._jobs, 1)]
        return future


def _sound_time(clock: PictureClock, stamp: int) -> Fraction:
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
