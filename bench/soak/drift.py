"""Whether a quantity grows with time: a slope per hour, and how sure it is.

Samples some seconds apart are no independent witnesses: a heap that was large ten seconds ago is large still. So a run
is cut into a few blocks, and the slope is that of the blocks' means (of their minima, for what is collected now and
then). Where neighbouring blocks still go together, the interval is widened by what that is worth for a first-order
autoregression (Zwiers and von Storch, Journal of Climate 8, 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

BLOCKS, FEWEST = 12, 4
"""Into which a run is cut, and without which nothing is said."""
CONFIDENCE = 0.95
HOUR = 3600.0
MOST_CORRELATED = 0.9

Verdict = Literal["flat", "settles", "grows", "falls"]


@dataclass(frozen=True)
class Slope:
    """Of a straight line, per hour, with the ends of its confidence interval."""

    per_hour: float
    low: float
    high: float
    mean: float
    """of what the line was laid through"""
    points: int


@dataclass(frozen=True)
class Drift:
    """What a series did: over all of it, and over its second half."""

    whole: Slope
    late: Slope | None
    """None: too few blocks"""
    verdict: Verdict


def line(times: Sequence[float], values: Sequence[float], correlated: bool = True) -> Slope:
    """The least-squares line through at least three points; `times` in seconds.

    correlated  neighbours may go together: widens the interval by what their residuals show
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
    """The drift of samples taken at `times` (seconds); None where there are too few.

    least  change per hour that is none
    fold   what stands for a block
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
    """(time, value) of each block that holds anything."""
    if len(times) < 2:
        return []
    edges = np.linspace(times.min(), times.max(), blocks + 1)
    block = np.clip(np.searchsorted(edges, times, "right") - 1, 0, blocks - 1)
    held = [block == number for number in range(blocks)]
    return [(float(times[of].mean()), float(fold(values[of]))) for of in held if of.any()]


def verdict(whole: Slope, late: Slope | None = None, least: float = 0.0) -> Verdict:
    """What such a slope, and that of the second half, amount to. `least`: of what per hour on it counts."""
    if whole.high < 0 and whole.per_hour < -least:
        return "falls"
    if not _rises(whole, least):
        return "flat"
    return "settles" if late and not _rises(late, least) else "grows"


def _rises(slope: Slope, least: float) -> bool:
    return slope.low > 0 and slope.per_hour > least
