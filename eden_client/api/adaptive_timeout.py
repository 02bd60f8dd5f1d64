"""How long an answer may take, told from those that came before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

LEAST = 30.0
"""Seconds that an answer always gets."""


class AdaptiveTimeout:
    """TorchServe can lose a call for good in the moment in which a worker dies, and a film would wait for the timeout.

    So a call that takes far longer than any answer before it is given up early, once: the next attempt gets all of the
    timeout, since the server may just have become slow. Both give the same frames.

    timeout  seconds that an answer gets at most
    window   calls side by side: one may wait for as many others
    """

    def __init__(self, timeout: float, window: int) -> None:
        self.timeout, self._patience = timeout, 2 * window
        self._slowest: float | None = None

    def answered(self, size: int, seconds: float) -> None:
        """An answer to `size` bytes of pixels took so long."""
        self._slowest = max(self._slowest or 0.0, seconds / size)

    def limit(self, size: int) -> float:
        """Seconds that the first attempt at `size` bytes of pixels gets."""
        if self._slowest is None:
            return self.timeout
        return min(self.timeout, max(LEAST, self._patience * self._slowest * size))


class Timed(Generic[T]):
    """An iterator that adds up how long it was waited for: what is done with each item does not count."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self.seconds = 0.0

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        begun = time.monotonic()
        try:
            return next(self._items)
        finally:
            self.seconds += time.monotonic() - begun
