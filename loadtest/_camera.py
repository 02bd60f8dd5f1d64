"""A camera's clock: when the next pair is due, how many were skipped, and how evenly the answers come."""

from __future__ import annotations

import time
from collections.abc import Callable


class Camera:
    """Pairs are due at `rate` per second. One is in flight at a time; those that are due meanwhile are skipped.

    rate   pairs per second; 0: the next pair is due as soon as the last is answered
    phase  when the first pair is due, as a fraction (0 to 1) of the period, so that cameras do not tick together
    clock  returns the time in seconds
    """

    def __init__(self, rate: float, phase: float = 0.0, clock: Callable[[], float] = time.perf_counter) -> None:
        self.period = 1 / rate if rate else 0.0
        self._clock = clock
        self._begun = self._due = clock() + phase * self.period
        self._answered: float | None = None

    def next_pair(self) -> tuple[float, int]:
        """When the next pair is or was due, in seconds of `clock`, and how many pairs were skipped before it."""
        now = self._clock()
        if not self.period:
            return now, 0
        skipped = max(0, int((now - self._due) / self.period))
        due = self._due + skipped * self.period
        self._due = due + self.period
        return due, skipped

    def answered(self) -> tuple[float | None, float | None]:
        """Note an answer. Returns, in seconds, the time to the first answer (None for all later ones), and the jitter.

        Jitter is the difference between the time since the last answer and the period; None where `rate` is 0.
        """
        now = self._clock()
        last, self._answered = self._answered, now
        if last is None:
            return now - self._begun, None
        return None, abs(now - last - self.period) if self.period else None
