"""Timeouts that adapt to how long earlier answers took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

LEAST = 30.0
"""Least seconds that an answer gets."""


class AdaptiveTimeout:
    """A shorter timeout for first attempts: TorchServe can lose a call for good when a worker dies.

    A first attempt that takes far longer than earlier answers is given up; the next one gets the whole timeout, since
    the
    server may just have become slow. Both give the same frames.

    timeout  most seconds that an answer gets
    window   calls at once: one may wait for as many others
    """

    def __init__(self, timeout: float, window: int) -> None:
        self.timeout, self._patience = timeout, 2 * window
        self._slowest: float | None = None

    def answered(self, size: int, seconds: float) -> None:
        """Note that the answer to `size` bytes of pixels took `seconds`."""
        self._slowest = max(self._slowest or 0.0, seconds / size)

    def limit(self, size: int) -> float:
        """Seconds that the first attempt at `size` bytes of pixels gets."""
        if self._slowest is None:
            return self.timeout
        return min(self.timeout, max(LEAST, self._patience * self._slowest * size))


class Timed(Generic[T]):
    """An iterator that sums the seconds spent waiting for its items, without those spent on using them."""

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
