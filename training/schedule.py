"""How the learning rate, the share of full-size frames and the average's memory go over a run."""

from __future__ import annotations

import math

LAST_RATE = 0.01
"""Of the highest."""
LARGE = (0.1, 0.5)
"""Share of steps on full-size frames, at the start and at the end: those are what the network is for."""


def rate_at(position: float, step: int, highest: float, warm_up: int) -> float:
    """Learning rate at `position` of the run, 0 .. 1: half a cosine, after a straight rise over the first steps."""
    cosine = (1 + math.cos(math.pi * min(position, 1))) / 2
    return highest * min((step + 1) / warm_up, 1) * (LAST_RATE + (1 - LAST_RATE) * cosine)


def large_share(position: float) -> float:
    """Share of steps on full-size frames at `position`."""
    start, end = LARGE
    return start + (end - start) * position


def memory_at(step: int, most: float) -> float:
    """What the moving average of the weights keeps of itself at a step: less at first, to leave the start behind."""
    return min(most, (1 + step) / (10 + step))
