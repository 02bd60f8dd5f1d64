"""Files whose clock starts anew on the way: recordings put one behind the other."""

from __future__ import annotations

from fractions import Fraction

LEAP = Fraction(1, 2)
"""Seconds by which something has to lie before what came before it to be of another recording."""


class Restarts:
    """The clock of one track, on which each recording goes on where the one before it ended."""

    def __init__(self) -> None:
        self._offsets = [Fraction(0)]  # of the recordings, the one at hand last

    @property
    def count(self) -> int:
        """How often the clock started anew."""
        return len(self._offsets) - 1

    @property
    def offset(self) -> Fraction:
        """What the recording at hand is late, in seconds."""
        return self._offsets[-1]

    def time(self, stated: Fraction, last: Fraction | None, end: Fraction) -> Fraction:
        """When something is, in seconds, for which the file states a time.

        last, end   when what came before it begins and ends; None if nothing did
        """
        if last is None or self._fits(self.offset, stated, last, end):
            return stated + self.offset
        known = next((each for each in self._offsets if self._fits(each, stated, last, end)), None)
        if known is not None:  # one packet strayed: this is the clock from before
            self._offsets.remove(known)
            self._offsets.append(known)
        elif stated + self.offset < last:
            self._offsets.append(end - stated)
        return stated + self.offset

    @staticmethod
    def _fits(offset: Fraction, stated: Fraction, last: Fraction, end: Fraction) -> bool:
        return last - LEAP <= stated + offset <= end + LEAP
