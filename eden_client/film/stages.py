"""Which stage of a film bounds its speed: how long each was at work, of what its threads could be at most."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

Stage = Literal["planning", "reading", "server", "encoding"]
"""planning: reading the whole film once, for other processes to read and make its parts."""

CLEAR = 0.25
"""The part of its time that a stage has to be at work for it to be named as the limit."""


class StageTimes:
    """Adds up the seconds that stages are at work, over threads and processes; several threads add to it.

    clock   gives seconds
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._worked: dict[Stage, float] = {}
        self._begun: dict[Stage, list[float]] = {}

    def begin(self, stage: Stage, threads: int = 1) -> None:
        """From now on so many more threads can be at work on a stage."""
        with self._lock:
            self._begun.setdefault(stage, []).extend([self._clock()] * threads)

    def add(self, stage: Stage, seconds: float) -> None:
        """A thread was at work for so long."""
        with self._lock:
            self._worked[stage] = self._worked.get(stage, 0.0) + seconds

    @contextmanager
    def at_work(self, stage: Stage) -> Iterator[None]:
        """What is done inside is a stage's work."""
        begun = self._clock()
        try:
            yield
        finally:
            self.add(stage, self._clock() - begun)

    def seconds(self, *stages: Stage) -> float:
        """Spent on these stages."""
        with self._lock:
            return sum(self._worked.get(stage, 0.0) for stage in stages)

    def taken(self) -> dict[Stage, float]:
        """The seconds of all stages, which are counted from zero again."""
        with self._lock:
            worked, self._worked = self._worked, {}
        return worked

    def busy(self) -> dict[Stage, float]:
        """By stage, 0 to 1: of the time that its threads could be at work until now, the part that they were.

        Planning and reading are told as one, the busier of them: both wait for the source.
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
