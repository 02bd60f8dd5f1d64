"""Which frames a film needs, and when: planned on exact rational times, before anything is sent.

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
    """A frame of the result: where in its gap it lies, and when it is shown, in seconds."""

    position: Fraction
    time: Fraction


@dataclass(frozen=True)
class Gap:
    """Two neighbouring pictures and the frames of the result from the left one up to, but without, the right one."""

    index: int
    left: Picture
    right: Picture | None
    """None after the last picture."""
    shown: tuple[Shown, ...]
    relation: Relation = Relation.MOTION
    before: int = 0
    """Frames of the result that come before those of this gap."""

    @property
    def missing(self) -> frozenset[Fraction]:
        """Positions that have to be made."""
        return frozenset(shown.position for shown in self.shown if 0 < shown.position < 1)


class Clock(Protocol):
    """When frames of the result are shown."""

    def within(self, start: Fraction, end: Fraction) -> Iterator[Fraction]:
        """The times in [start, end), the intervals between the film's pictures given one after the other."""

    def after(self, last: Fraction, duration: Fraction) -> Iterator[Fraction]:
        """The times from the last picture on, which is shown for `duration`."""


class Multiply:
    """`times` frames for each one: its own, and times - 1 evenly spread up to the next. Variable rates stay true."""

    def __init__(self, times: int) -> None:
        self._times = times

    def within(self, start: Fraction, end: Fraction) -> Iterator[Fraction]:
        return (start + (end - start) * part / self._times for part in range(self._times))

    def after(self, last: Fraction, duration: Fraction) -> Iterator[Fraction]:
        yield last


class Constant:
    """`rate` frames per second from the film's first picture to the end of its last: duration x rate, rounded.

    (One more, at most, where that would leave out a frame that is due before the last picture.)
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
"""Equal pictures in a row that `retime` takes for one drawing of an animation; a longer hold is a still and stays."""


def plan(
    film: Iterable[tuple[Picture, Relation]], clock: Clock, depth: int, last_duration: Fraction, retime: bool = False
) -> Iterator[Gap]:
    """The gaps of a film, in order, the last one with no right picture.

    film           its pictures and what each is to the one before it
    depth          midpoints of midpoints go that deep: positions are multiples of 1 / 2**depth, the nearest ones
    last_duration  how long the last picture is shown, in seconds
    retime         duplicates are left out and the motion spread evenly over the time that they took

    At a cut, and between duplicates that stay, the left picture is repeated.
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
        if len(held) > 2 * LONGEST_HOLD:  # a still of any length must not pile up
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
