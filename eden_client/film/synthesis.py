"""Midpoints of midpoints: every frame that a run of gaps needs, asked for level by level in clips of neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from eden_client.film.plan.timeline import Gap
from media import Frame

Between = Callable[[Sequence[Frame]], Iterable[Frame]]
"""K frames in, the K-1 between them out, in order."""

LEFT, RIGHT = Fraction(0), Fraction(1)


@dataclass(frozen=True)
class Midpoint:
    """A frame to make: at `position` in gap number `gap` of the run, halfway between two that are there."""

    gap: int
    position: Fraction

    @property
    def sides(self) -> tuple[Fraction, Fraction]:
        """The positions that it lies halfway between."""
        step = Fraction(1, self.position.denominator)
        return self.position - step, self.position + step


def needed(positions: Iterable[Fraction]) -> list[Fraction]:
    """These positions and all that they are made of, coarse ones first, from left to right."""
    found: set[Fraction] = set()
    open_ = set(positions) - {LEFT, RIGHT}
    while open_:
        found |= open_
        open_ = {side for position in open_ for side in Midpoint(0, position).sides} - found - {LEFT, RIGHT}
    return sorted(found, key=lambda position: (position.denominator, position))


def synthesise(
    run: Sequence[Gap], sources: Sequence[tuple[Frame, Frame]], between: Between, clip: int
) -> Iterator[dict[Fraction, Frame]]:
    """For each gap of the run, in order and as soon as it is complete: its frames by position, the two sides included.

    sources   each gap's left and right frame
    between   asked with at most `clip` frames at a time, which are neighbours in the result of the level before
    """
    frames = [{LEFT: left, RIGHT: right} for left, right in sources]
    levels = _levels(run)
    open_ = [sum(mid.gap == gap for level in levels for mid in level) for gap in range(len(run))]
    complete = 0
    for level in levels:
        for part in _neighbours(level, run, clip):
            asked = [frames[part[0].gap][part[0].sides[0]], *(frames[mid.gap][mid.sides[1]] for mid in part)]
            for mid, frame in zip(part, between(asked), strict=True):
                frames[mid.gap][mid.position] = frame
                open_[mid.gap] -= 1
                while complete < len(run) and not open_[complete]:
                    yield frames[complete]
                    complete += 1
    yield from frames[complete:]


def _levels(run: Sequence[Gap]) -> list[list[Midpoint]]:
    every = [Midpoint(number, position) for number, gap in enumerate(run) for position in needed(gap.missing)]
    depths = sorted({mid.position.denominator for mid in every})
    return [[mid for mid in every if mid.position.denominator == depth] for depth in depths]


def _neighbours(level: Sequence[Midpoint], run: Sequence[Gap], clip: int) -> Iterator[list[Midpoint]]:
    """A level cut into parts whose pairs share their frames, of at most clip - 1 pairs."""
    part: list[Midpoint] = []
    for mid in level:
        if part and (len(part) == clip - 1 or not _meet(part[-1], mid, run)):
            yield part
            part = []
        part.append(mid)
    if part:
        yield part


def _meet(first: Midpoint, second: Midpoint, run: Sequence[Gap]) -> bool:
    """Whether the first one's right side is the second one's left side."""
    if first.gap == second.gap:
        return first.sides[1] == second.sides[0]
    next_to = second.gap == first.gap + 1 and run[first.gap].right is run[second.gap].left
    return next_to and first.sides[1] == RIGHT and second.sides[0] == LEFT
