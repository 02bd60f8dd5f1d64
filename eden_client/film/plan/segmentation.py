"""Divides a film into segments. That depends on the film and the options alone, never on the machine."""

from __future__ import annotations

from bisect import bisect
from fractions import Fraction
from itertools import accumulate
from math import ceil

FIRST = (12, 24, 48)
"""Approximate frames of the result in the first segments, and in reverse order in the last: short ones keep all cores
at work at the start and at the end."""
LONGEST, SHORTEST = 96, 48
"""Bounds for all other segments, in frames: an interruption costs at most one, and each begins with a key frame."""
PIXELS = 100_000_000
"""Approximate pixels of a segment, within these bounds."""


class Segmentation:
    """Segments are runs of gaps that make whole clips.

    ratio  frames of the result per frame of the source
    clip   frames that are sent per request
    size   (H, W) of a picture
    gaps   approximate number of gaps in the film; None: unknown, and the last segments have the full length
    """

    def __init__(self, ratio: Fraction, clip: int, size: tuple[int, int], gaps: int | None = None) -> None:
        longest = min(LONGEST, max(SHORTEST, PIXELS // (size[0] * size[1])))

        def length(frames: int) -> int:
            return max(1, ceil(min(frames, longest) / ratio / (clip - 1))) * (clip - 1)

        self._longest = length(longest)
        first = [length(frames) for frames in FIRST]
        self._starts = [0, *accumulate(first)]
        """The first gap of each segment. Those after the last of these have the full length."""
        begun = self._starts[-1]
        if gaps is not None and gaps >= 2 * begun:
            ending = (gaps - begun) // (clip - 1) * (clip - 1)
            self._starts += range(begun + self._longest, ending, self._longest)
            self._starts += accumulate(first[:0:-1], initial=ending)

    def number(self, gap: int) -> int:
        """The index of the segment that a gap belongs to."""
        number = bisect(self._starts, gap) - 1
        beyond = gap - self._starts[-1]
        return number if beyond < 0 else number + beyond // self._longest

    def ends_with(self, gap: int) -> bool:
        """Whether a gap is the last one of its segment, if the film goes on."""
        return self.number(gap + 1) != self.number(gap)
