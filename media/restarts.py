"""Files whose clock starts anew on the way: recordings put one behind the other."""

from __future__ import annotations

from fractions import Fraction

LEAP = Fraction(1, 2)
"""Seconds by which something has to lie before the end of what came before it to be of another recording."""


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

    def time(self, stated: Fraction, end: Fraction | None) -> Fraction:
        """When something is, in seconds: stated by the file, and due at `end`, where what came before it ends."""
        if end is None or abs(stated + self.offset - end) <= LEAP:
            return stated + self.offset
        known = next((each for each in self._offsets if abs(stated + each - end) <= LEAP), None)
        if known is not None:  # one packet strayed: this is the clock from before
            self._offsets.remove(known)
            self._offsets.append(known)
        elif stated + self.offset < end:
            self._offsets.append(end - stated)
        return stated + self.offset
