"""Plans which frames a film needs, and when, on exact rational times, before anything is sent.

A *gap* lies between two neighbouring pictures. A *position* in it is a fraction of its length: 0 is the left picture,
1 the right one, and what lies between is made of midpoints of midpoints, so positions are halves, quarters, eighths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from itertools import chain
from math import ceil, floor
from typing import Protocol

from eden_client.film.read.film import Picture


class Relation(Enum):
    """What a picture is to the one before it."""

    MOTION = "motion"
    CUT = "cut"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Shown:
    """A frame of the result: its position in its gap, and the time at which it is shown, in seconds."""

    position: Fraction
    time: Fraction


@dataclass(frozen=True)
class Gap:
    """Two neighbouring pictures, and the frames of the result from the left one to just before the right one."""

    index: int
    left: Picture
    right: Picture | None
    """None after the last picture."""
    shown: tuple[Shown, ...]
    relation: Relation = Relation.MOTION
    before: int = 0
    """Frames of the result before those of this gap."""

    @property
    def missing(self) -> frozenset[Fraction]:
        """Positions of the frames that have to be drawn."""
        return frozenset(shown.position for shown in self.shown if 0 < shown.position < 1)


class Clock(Protocol):
    """Gives the times at which frames of the result are shown, in seconds. Call it with the intervals in order."""

    def within(self, start: Fraction, end: Fraction) -> Iterator[Fraction]:
        """The times in [start, end), the interval between two pictures of the film."""

    def after(self, last: Fraction, duration: Fraction) -> Iterator[Fraction]:
        """The times from the last picture on, which is shown for `duration` seconds."""


class Multiply:
    """`times` frames per picture: itself, and times - 1 evenly spaced up to the next. A variable rate is kept."""

    def __init__(self, times: int) -> None:
        self._times = times

    def within(self, start: Fraction, end: Fraction) -> Iterator[Fraction]:
        return (start + (end - start) * part / self._times for part in range(self._times))

    def after(self, last: Fraction, duration: Fraction) -> Iterator[Fraction]:
        yield last


class Constant:
    """`rate` frames per second from the film's first picture to the end of its last.

    That makes duration x rate frames, rounded, or one more where a frame before the last picture would be left out.
    """

    def __init__(self, rate: Fraction) -> None:
        self._rate = rate
        self._start: Fraction | None = None
        self._count = 0

    def within(self, start: Fraction, end: Fraction) -> Iterator[Fraction]:
        if self._start is None:
            self._start = start
        return self._up_to(ceil((end - self._start) * self._rate))

    def after(self, last: Fraction, duration: Fraction) -> Iterator[Fraction]:
        start = last if self._start is None else self._start
        return self._up_to(floor((last + duration - start) * self._rate + Fraction(1, 2)))

    def _up_to(self, stop: int) -> Iterator[Fraction]:
        for count in range(self._count, stop):
            yield (self._start or Fraction(0)) + count / self._rate
        self._count = max(self._count, stop)


LONGEST_HOLD = 4
"""The most equal pictures in a row that `retime` takes for one drawing of an animation; a longer still is kept."""


def plan(
    film: Iterable[tuple[Picture, Relation]], clock: Clock, depth: int, last_duration: Fraction, retime: bool = False
) -> Iterator[Gap]:
    """The gaps of a film, in order; the last one has no right picture.

    film           its pictures, each with its relation to the one before it
    depth          positions are rounded to multiples of 1 / 2**depth: midpoints of midpoints, `depth` levels deep
    last_duration  how long the last picture is shown, in seconds
    retime         leave out duplicates, and spread the motion evenly over their time

    At a cut, and between duplicates that are kept, the left picture is repeated.
    """
    gaps = _retimed(film, clock) if retime else _plain(film, clock)
    index, before = -1, 0
    last: Picture | None = None
    for index, (left, right, times, relation) in enumerate(gaps):
        last = right
        shown = _placed(left, right, times, relation, depth)
        yield Gap(index, left, right, shown, relation, before)
        before += len(shown)
    if last is not None:
        shown = tuple(Shown(Fraction(0), time) for time in clock.after(last.time, last_duration))
        yield Gap(index + 1, last, None, shown, before=before)


_Interval = tuple[Picture, Picture, list[Fraction], Relation]


def _plain(film: Iterable[tuple[Picture, Relation]], clock: Clock) -> Iterator[_Interval]:
    left: Picture | None = None
    for right, relation in film:
        if left is not None:
            yield left, right, list(clock.within(left.time, right.time)), relation
        left = right


def _retimed(film: Iterable[tuple[Picture, Relation]], clock: Clock) -> Iterator[_Interval]:
    held: list[Picture] = []
    times: list[list[Fraction]] = []
    for picture, relation in film:
        if held:
            times.append(list(clock.within(held[-1].time, picture.time)))
        if relation is not Relation.DUPLICATE and held:
            if relation is Relation.CUT or len(held) > LONGEST_HOLD:
                yield from _held(held, times[:-1])
                yield held[-1], picture, times[-1], relation
            else:
                yield held[0], picture, [*chain(*times)], relation
            held, times = [], []
        held.append(picture)
        if len(held) > 2 * LONGEST_HOLD:  # a long still must not be kept in memory
            yield from _held(held[:2], times[:1])
            held, times = held[1:], times[1:]
    yield from _held(held, times)


def _held(pictures: list[Picture], times: list[list[Fraction]]) -> Iterator[_Interval]:
    for left, right, shown in zip(pictures, pictures[1:], times, strict=False):
        yield left, right, shown, Relation.DUPLICATE


def _placed(left: Picture, right: Picture, times: list[Fraction], relation: Relation, depth: int) -> tuple[Shown, ...]:
    if relation is not Relation.MOTION:
        return tuple(Shown(Fraction(0), time) for time in times)
    length, parts = right.time - left.time, 2**depth
    return tuple(Shown(Fraction(round((time - left.time) / length * parts), parts), time) for time in times)
