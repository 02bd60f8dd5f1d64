"""Finds the stage that bounds a film's speed, by the fraction of the time that each stage's threads were busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

Stage = Literal["planning", "reading", "server", "encoding"]
"""planning: reading the whole film once, where other processes read its parts again and make them."""

CLEAR = 0.25
"""The fraction of its time for which a stage has to be busy to be named as the limit."""


class StageTimes:
    """Adds up the seconds for which stages are at work, over threads and processes. Thread-safe.

    clock   returns the time in seconds
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._worked: dict[Stage, float] = {}
        self._begun: dict[Stage, list[float]] = {}

    def begin(self, stage: Stage, threads: int = 1) -> None:
        """From now on, `threads` more can work on a stage."""
        with self._lock:
            self._begun.setdefault(stage, []).extend([self._clock()] * threads)

    def add(self, stage: Stage, seconds: float) -> None:
        """A thread worked on a stage for `seconds`."""
        with self._lock:
            self._worked[stage] = self._worked.get(stage, 0.0) + seconds

    @contextmanager
    def at_work(self, stage: Stage) -> Iterator[None]:
        """A context whose time counts as work on a stage."""
        begun = self._clock()
        try:
            yield
        finally:
            self.add(stage, self._clock() - begun)

    def seconds(self, *stages: Stage) -> float:
        """Seconds of work on these stages together."""
        with self._lock:
            return sum(self._worked.get(stage, 0.0) for stage in stages)

    def taken(self) -> dict[Stage, float]:
        """The seconds per stage since the last call of this method."""
        with self._lock:
            worked, self._worked = self._worked, {}
        return worked

    def busy(self) -> dict[Stage, float]:
        """Per stage, the fraction (0 to 1) of the time until now for which its threads were at work.

        Planning counts as reading, since both wait for the source: the busier of the two is given.
        """
        with self._lock:
            now, parts = self._clock(), dict[Stage, float]()
            for stage, begun in self._begun.items():
                could = sum(now - each for each in begun)
                parts[stage] = min(1.0, self._worked.get(stage, 0.0) / could) if could > 0 else 0.0
        if "planning" in parts:
            parts["reading"] = max(parts.pop("planning"), parts.get("reading", 0.0))
        return parts


def limit_of(busy: Mapping[Stage, float]) -> Stage | None:
    """The stage that bounds the speed: the busiest, since the others wait for it; None where none is clearly busy."""
    stage = max(busy, key=lambda each: busy[each], default=None)
    return stage if stage is not None and busy[stage] >= CLEAR else None
