"""A film's plan as data that can be pickled: jobs for segments, which any process can make from the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from eden_client.film.plan.segmentation import Segmentation
from eden_client.film.plan.timeline import Gap, Relation, Shown
from eden_client.film.read.film import Picture


@dataclass(frozen=True)
class PlannedPicture:
    """What a plan holds of a picture of the source."""

    number: int
    """its index in the source, from 0"""
    time: Fraction
    """when it is shown, in seconds"""
    stamp: int | None
    """its time stamp in the file; None: it has none"""
    checksum: int
    """`Picture.checksum`, by which another process checks that it has read the same picture"""

    @classmethod
    def of(cls, picture: Picture) -> PlannedPicture:
        """The entry for a picture that has been read."""
        return cls(picture.number, picture.time, picture.stamp, picture.checksum())

    def is_shown_by(self, picture: Picture) -> bool:
        """Whether a picture read elsewhere is this one."""
        return picture.stamp == self.stamp and picture.checksum() == self.checksum


@dataclass(frozen=True)
class PlannedGap:
    """A gap between two pictures, given by their indices."""

    index: int
    left: int
    right: int | None
    shown: tuple[Shown, ...]
    relation: Relation
    before: int

    def between(self, left: Picture, right: Picture | None) -> Gap:
        """The gap, with its pictures."""
        return Gap(self.index, left, right, self.shown, self.relation, self.before)


@dataclass(frozen=True)
class SegmentJob:
    """What is needed to make one segment, beyond what all segments share (`FilmTask`)."""

    number: int
    pictures: tuple[PlannedPicture, ...]
    """consecutive pictures, from the first to the last that are needed"""
    gaps: tuple[PlannedGap, ...]


class Planner:
    """Turns gaps into jobs as they are found, and keeps no picture that is planned.

    done  indices of segments that are finished already, and need no job
    """

    def __init__(self, segments: Segmentation, done: frozenset[int]) -> None:
        self._segments, self._done = segments, done
        self._seen: dict[int, Picture] = {}
        self._planned: dict[int, PlannedPicture] = {}

    def seen(self, film: Iterable[tuple[Picture, Relation]]) -> Iterator[tuple[Picture, Relation]]:
        """The pictures and their relations unchanged. The planner notes them; iterate them to find the gaps."""
        for picture, relation in film:
            self._seen[picture.number] = picture
            yield picture, relation

    def jobs(self, gaps: Iterable[Gap]) -> Iterator[SegmentJob]:
        """A job for each segment that is not done, in order, as soon as its last gap is known."""
        pending: list[PlannedGap] = []
        for gap in gaps:
            number = self._segments.number(gap.index)
            if number not in self._done:
                pending.append(self._plan(gap))
            _forget(self._seen, (gap.right or gap.left).number)
            if pending and self._segments.ends_with(gap.index):
                yield self._job(number, pending)
                pending = []
        if pending:
            yield self._job(number, pending)

    def _plan(self, gap: Gap) -> PlannedGap:
        left, right = gap.left.number, None if gap.right is None else gap.right.number
        for each in range(left, (left if right is None else right) + 1):
            if each not in self._planned:
                self._planned[each] = PlannedPicture.of(self._seen[each])
        return PlannedGap(gap.index, left, right, gap.shown, gap.relation, gap.before)

    def _job(self, number: int, gaps: list[PlannedGap]) -> SegmentJob:
        first, last = gaps[0].left, gaps[-1].left if gaps[-1].right is None else gaps[-1].right
        pictures = tuple(self._planned[each] for each in range(first, last + 1))
        _forget(self._planned, last)
        return SegmentJob(number, pictures, tuple(gaps))


def _forget(pictures: dict[int, Any], first: int) -> None:
    """Drop the pictures before index `first`."""
    for number in [each for each in pictures if each < first]:
        del pictures[number]
