"""Asks for the frames that a run of gaps needs, as midpoints of midpoints, in the order shown, in clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from eden_client.film.plan.timeline import Gap
from media import Frame

Between = Callable[[Sequence[Frame]], Iterable[Frame]]
"""Returns the K-1 frames between K frames, in order."""

LEFT, RIGHT = Fraction(0), Fraction(1)


@dataclass(frozen=True)
class Midpoint:
    """A frame to draw, at `position` in gap number `gap` of the run: halfway between two others."""

    gap: int
    position: Fraction

    @property
    def left(self) -> Midpoint:
        """The earlier of the two frames that it lies halfway between."""
        return Midpoint(self.gap, self.position - Fraction(1, self.position.denominator))

    @property
    def right(self) -> Midpoint:
        """The later of the two."""
        return Midpoint(self.gap, self.position + Fraction(1, self.position.denominator))


def needed(positions: Iterable[Fraction]) -> list[Fraction]:
    """These positions and all positions that they are drawn from, coarse ones first, from left to right."""
    found: set[Fraction] = set()
    open_ = set(positions) - {LEFT, RIGHT}
    while open_:
        found |= open_
        mids = [Midpoint(0, position) for position in open_]
        open_ = {side.position for mid in mids for side in (mid.left, mid.right)} - found - {LEFT, RIGHT}
    return sorted(found, key=lambda position: (position.denominator, position))


def synthesise(
    run: Sequence[Gap], sources: Sequence[tuple[Frame, Frame]], between: Between, clip: int
) -> Iterator[Frame]:
    """The frames to draw in the run's gaps, in the order shown, each as soon as it is there.

    sources   each gap's left and right frame
    between   is called with at most `clip` frames

    The frames that the next one is drawn from are asked for first, with as many of their neighbours as a clip holds.
    """
    synthesis = _Synthesis(run, sources, between, clip)
    coming: Iterator[None] = iter(())
    for number, gap in enumerate(run):
        for shown in gap.shown:
            wanted = Midpoint(number, shown.position)
            while wanted not in synthesis.frames:
                if next(coming, True):  # all frames of the call before are there
                    coming = synthesis.ask(wanted)
            if shown.position not in (LEFT, RIGHT):
                yield synthesis.frames[wanted]
    for _ in coming:  # a call ends when its last frame has been taken
        pass


class _Synthesis:
    """The frames of a run so far, and those still to be asked for."""

    def __init__(self, run: Sequence[Gap], sources: Sequence[tuple[Frame, Frame]], between: Between, clip: int) -> None:
        self._run, self._between, self._clip = run, between, clip
        self.frames = {
            Midpoint(number, position): frame
            for number, sides in enumerate(sources)
            for position, frame in zip((LEFT, RIGHT), sides, strict=True)
        }
        every = [Midpoint(number, position) for number, gap in enumerate(run) for position in needed(gap.missing)]
        self._missing = dict.fromkeys(sorted(every, key=lambda mid: (mid.gap, mid.position)))

    def ask(self, wanted: Midpoint) -> Iterator[None]:
        """Make one call towards a frame. Each step of the iterator adds a frame."""
        part = self._part(self._first(wanted))
        asked = [self.frames[part[0].left], *(self.frames[mid.right] for mid in part)]
        for mid, frame in zip(part, self._between(asked), strict=True):
            self.frames[mid] = frame
            del self._missing[mid]
            yield

    def _first(self, wanted: Midpoint) -> Midpoint:
        """The frame to ask for now: `wanted`, or one that it is drawn from."""
        side = next((side for side in (wanted.left, wanted.right) if side not in self.frames), None)
        return wanted if side is None else self._first(side)

    def _part(self, first: Midpoint) -> list[Midpoint]:
        """`first`, and the frames after it that fit into the same clip: neighbours with equal distances."""
        part = [first]
        step = first.position.denominator
        for mid in self._missing:
            behind = (mid.gap, mid.position) > (first.gap, first.position)
            if not behind or mid.position.denominator != step:
                continue
            known = mid.left in self.frames and mid.right in self.frames
            if len(part) == self._clip - 1 or not known or not _meet(part[-1], mid, self._run):
                break
            part.append(mid)
        return part


def _meet(first: Midpoint, second: Midpoint, run: Sequence[Gap]) -> bool:
    """Whether the right frame of the first is the left frame of the second."""
    if first.gap == second.gap:
        return first.right == second.left
    next_to = second.gap == first.gap + 1 and run[first.gap].right is run[second.gap].left
    return next_to and first.right.position == RIGHT and second.left.position == LEFT
