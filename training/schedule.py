"""The schedule of a run: learning rate, fraction of full-size frames, decay of the moving average."""

from __future__ import annotations

import math

LAST_RATE = 0.01
"""The last learning rate, relative to the highest."""
LARGE = (0.1, 0.5)
"""Fraction of steps on full-size frames, at the start and at the end of a run."""


def rate_at(position: float, step: int, highest: float, warm_up: int) -> float:
    """Learning rate at `position` (0 to 1) of the run: a half cosine, after a linear rise over `warm_up` steps."""
    cosine = (1 + math.cos(math.pi * min(position, 1))) / 2
    return highest * min((step + 1) / warm_up, 1) * (LAST_RATE + (1 - LAST_RATE) * cosine)


def large_share(position: float) -> float:
    """Fraction of steps on full-size frames at `position` (0 to 1)."""
    start, end = LARGE
    return start + (end - start) * position


def memory_at(step: int, most: float) -> float:
    """Decay of the weights' moving average at a step: lower at first, so that it forgets the initial weights."""
    return min(most, (1 + step) / (10 + step))
