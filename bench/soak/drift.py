"""Measures whether a quantity grows with time: its slope per hour, with a confidence interval.

Samples that are seconds apart are not independent: a heap that was large ten seconds ago is still large. So a run is
cut into a few blocks, and the line is laid through the blocks' means (for a heap, which garbage collections empty now
and then, through their minima). Where neighbouring blocks are still correlated, the interval is widened as for a
first-order autoregression (Zwiers and von Storch, Journal of Climate 8, 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

BLOCKS, FEWEST = 12, 4
"""Blocks into which a run is cut, and the fewest with samples from which a drift is computed."""
CONFIDENCE = 0.95
HOUR = 3600.0
MOST_CORRELATED = 0.9

Verdict = Literal["flat", "settles", "grows", "falls"]


@dataclass(frozen=True)
class Slope:
    """The slope of a straight line, per hour, and the ends of its confidence interval."""

    per_hour: float
    low: float
    high: float
    mean: float
    """of the values through which the line was laid"""
    points: int


@dataclass(frozen=True)
class Drift:
    """The slope of a series, over all of it and over its second half."""

    whole: Slope
    late: Slope | None
    """None: too few blocks have samples"""
    verdict: Verdict


def line(times: Sequence[float], values: Sequence[float], correlated: bool = True) -> Slope:
    """The least-squares line through at least three points; `times` in seconds.

    correlated  whether neighbouring points may be correlated: widens the interval by the correlation of their residuals
    """
    from scipy import stats  # here, since it takes a second to import, and each process of tests imports this

    hours, heights = np.asarray(times, float) / HOUR, np.asarray(values, float)
    count = len(hours)
    centred = hours - hours.mean()
    spread = float(centred @ centred)
    slope = float(centred @ heights) / spread
    residuals = heights - heights.mean() - slope * centred
    total = float(residuals @ residuals)
    error = (total / (count - 2) / spread) ** 0.5
    if correlated and total > 0:
        together = min(MOST_CORRELATED, max(0.0, float(residuals[1:] @ residuals[:-1]) / total))
        error *= ((1 + together) / (1 - together)) ** 0.5
    reach = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 2))
    return Slope(slope, slope - reach, slope + reach, float(heights.mean()), count)


def drift(
    times: Sequence[float],
    values: Sequence[float],
    least: float = 0.0,
    fold: Callable[[np.ndarray], float] = np.mean,
    blocks: int = BLOCKS,
) -> Drift | None:
    """The drift of samples taken at `times` (seconds); None: there are too few.

    least  change per hour up to which a series counts as flat
    fold   makes one value of the samples of a block
    """
    folded = _folded(np.asarray(times, float), np.asarray(values, float), fold, blocks)
    if len(folded) < FEWEST:
        return None
    whole = line(*np.transpose(folded))
    second = folded[len(folded) // 2 :]
    late = line(*np.transpose(second)) if len(second) >= FEWEST else None
    return Drift(whole, late, verdict(whole, late, least))


def _folded(
    times: np.ndarray, values: np.ndarray, fold: Callable[[np.ndarray], float], blocks: int
) -> list[tuple[float, float]]:
    """(time, value) of each block that has samples."""
    if len(times) < 2:
        return []
    edges = np.linspace(times.min(), times.max(), blocks + 1)
    block = np.clip(np.searchsorted(edges, times, "right") - 1, 0, blocks - 1)
    held = [block == number for number in range(blocks)]
    return [(float(times[of].mean()), float(fold(values[of]))) for of in held if of.any()]


def verdict(whole: Slope, late: Slope | None = None, least: float = 0.0) -> Verdict:
    """The verdict on a series with this slope, and with this one in its second half.

    least  change per hour up to which it counts as flat
    """
    if whole.high < 0 and whole.per_hour < -least:
        return "falls"
    if not _rises(whole, least):
        return "flat"
    return "settles" if late and not _rises(late, least) else "grows"


def _rises(slope: Slope, least: float) -> bool:
    return slope.low > 0 and slope.per_hour > least
