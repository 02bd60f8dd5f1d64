"""Exact times of a film's pictures, even where the container rounds time stamps or has none."""

from __future__ import annotations

from fractions import Fraction

from eden_client.film.read.restarts import Restarts

LONGEST = Fraction(24 * 3600)
"""Seconds for which a picture may be shown. A time stamp further ahead is taken for damaged: few containers hold it."""


class PictureClock:
    """Turns time stamps into exact times, in seconds.

    tick   seconds per unit of the time stamps
    rate   pictures per second
    even   after the first picture, ignore the time stamps and space the pictures by `rate` alone
    """

    def __init__(self, tick: Fraction, rate: Fraction, even: bool = False) -> None:
        self._tick, self._rate, self._even = tick, rate, even
        self._origin: Fraction | None = None
        self._last: Fraction | None = None
        self._told: Fraction | None = None
        self.repaired = 0
        self.restarts = Restarts()

    def time(self, pts: int | None) -> Fraction:
        """When the next picture is shown, in seconds. `pts`: its time stamp in ticks, None where the file has none."""
        due = None if self._last is None else self._last + 1 / self._rate
        told = None
        if pts is not None and not (self._even and due is not None):
            told = self.restarts.time(pts * self._tick, self._last, due or Fraction(0))
            if self._last is not None and told > self._last + LONGEST:
                told = None
                self.repaired += 1
        if self._origin is None:
            self._origin = told or Fraction(0)
        time = (due or Fraction(0)) if told is None else told
        on_grid = self._origin + round((time - self._origin) * self._rate) / self._rate
        in_order = self._last is None or on_grid > self._last
        if in_order and abs(on_grid - time) <= self._tick < 1 / self._rate / 4:
            time = on_grid
        if self._last is not None and due is not None and time <= self._last:
            grows = told is not None and self._told is not None and self._told < told
            if grows and told is not None and self._last - told <= self._tick:  # the one before was moved onto the grid
                time = self._last + self._tick
            else:
                time = due
                self.repaired += 1
        self._last, self._told = time, told
        return time
