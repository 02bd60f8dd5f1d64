"""A camera's clock: when the next pair is due, which were missed, and how evenly the answers come."""

from __future__ import annotations

import time
from collections.abc import Callable


class Camera:
    """Pairs fall due `rate` times per second; one is in flight at a time, and those that fall due meanwhile are
    skipped.

    With a rate of 0 the next pair is always due: as fast as the server answers. Times are `clock`'s seconds.
    phase  when the first pair falls due, as a share of the period: cameras that begin together do not tick together
    """

    def __init__(self, rate: float, phase: float = 0.0, clock: Callable[[], float] = time.perf_counter) -> None:
        self.period = 1 / rate if rate else 0.0
        self._clock = clock
        self._begun = self._due = clock() + phase * self.period
        self._answered: float | None = None

    def next_pair(self) -> tuple[float, int]:
        """(when the next pair is or was due, how many were skipped before it)."""
        now = self._clock()
        if not self.period:
            return now, 0
        skipped = max(0, int((now - self._due) / self.period))
        due = self._due + skipped * self.period
        self._due = due + self.period
        return due, skipped

    def answered(self) -> tuple[float | None, float | None]:
        """Note an answer. Returns (seconds since the stream began, for the first answer, else None; jitter in seconds).

        Jitter is by how much the time since the last answer differs from the period; None without a period.
        """
        now = self._clock()
        last, self._answered = self._answered, now
        if last is None:
            return now - self._begun, None
        return None, abs(now - last - self.period) if self.period else None
