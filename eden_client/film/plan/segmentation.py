"""Where a film is cut into segments: by the film and what is asked of it alone, never by the machine."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

FIRST = (12, 24, 48)
"""Frames of the result in the first segments, about: work spreads over the cores from the start."""
LONGEST, SHORTEST = 96, 48
"""Frames in all others: what an interruption may cost, and how far apart key frames are at most."""
PIXELS = 100_000_000
"""Of one segment, about; between the two bounds."""


class Segmentation:
    """Segments are runs of gaps, as many as make whole clips.

    ratio  frames of the result per frame of the source
    clip   frames that are sent together
    size   (H, W) of a picture
    """

    def __init__(self, ratio: Fraction, clip: int, size: tuple[int, int]) -> None:
        longest = min(LONGEST, max(SHORTEST, PIXELS // (size[0] * size[1])))

        def gaps(frames: int) -> int:
            return max(1, ceil(min(frames, longest) / ratio / (clip - 1))) * (clip - 1)

        self._first = [gaps(frames) for frames in FIRST]
        self._others = gaps(longest)

    def number(self, gap: int) -> int:
        """Of the segment that this gap belongs to."""
        for number, length in enumerate(self._first):
            if gap < length:
                return number
            gap -= length
        return len(self._first) + gap // self._others

    def ends_with(self, gap: int) -> bool:
        """Whether this gap is the last one of its segment, whatever follows."""
        return self.number(gap + 1) != self.number(gap)
