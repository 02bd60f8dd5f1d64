"""Where a film is cut into segments: by the film and what is asked of it alone, never by the machine."""

from __future__ import annotations

from bisect import bisect
from fractions import Fraction
from itertools import accumulate
from math import ceil

FIRST = (12, 24, 48)
"""Frames of the result in the first segments, about, and in reverse order in the last: all cores have work from the
start, and up to the end."""
LONGEST, SHORTEST = 96, 48
"""Frames in all others: what an interruption may cost, and how far apart key frames are at most."""
PIXELS = 100_000_000
"""Of one segment, about; between the two bounds."""


class Segmentation:
    """Segments are runs of gaps, as many as make whole clips.

    ratio  frames of the result per frame of the source
    clip   frames that are sent together
    size   (H, W) of a picture
    gaps   of the film, about, as the film itself states; None where it does not: its last segments are as long as all
    """

    def __init__(self, ratio: Fraction, clip: int, size: tuple[int, int], gaps: int | None = None) -> None:
        longest = min(LONGEST, max(SHORTEST, PIXELS // (size[0] * size[1])))

        def length(frames: int) -> int:
            return max(1, ceil(min(frames, longest) / ratio / (clip - 1))) * (clip - 1)

        self._longest = length(longest)
        first = [length(frames) for frames in FIRST]
        self._starts = [0, *accumulate(first)]
        """First gaps of segments; all that follow the last of these have the full length."""
        begun = self._starts[-1]
        if gaps is not None and gaps >= 2 * begun:
            ending = (gaps - begun) // (clip - 1) * (clip - 1)
            self._starts += range(begun + self._longest, ending, self._longest)
            self._starts += accumulate(first[:0:-1], initial=ending)

    def number(self, gap: int) -> int:
        """Of the segment that this gap belongs to."""
        number = bisect(self._starts, gap) - 1
        beyond = gap - self._starts[-1]
        return number if beyond < 0 else number + beyond // self._longest

    def ends_with(self, gap: int) -> bool:
        """Whether this gap is the last one of its segment, whatever follows."""
        return self.number(gap + 1) != self.number(gap)
