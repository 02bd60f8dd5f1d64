"""Frame rates that an mp4 can have."""

from __future__ import annotations

from fractions import Fraction

SLOWEST, FASTEST = Fraction(1, 1000), Fraction(2000)
"""Frames a second of what is read by `open_video` and written by `encode_video`."""
LARGEST_TERM = 20_000_000
"""Of a rate's numerator and denominator. With B-frames FFmpeg's mp4 writer fails on terms near 2^31, or on 1/100000."""
LARGEST_DENOMINATOR = LARGEST_TERM // int(FASTEST)
"""Of a rate that was measured: so small that whatever rate it is can be written again."""


def measured(rate: Fraction) -> Fraction:
    """The closest rate of a small denominator: off by less than a frame in a year of a film."""
    return rate.limit_denominator(LARGEST_DENOMINATOR)
