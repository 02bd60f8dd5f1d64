"""Deadlines of connections: those of peers that prove nothing, or that take nothing, are closed."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Deadlines:
    """Connections or calls, each with a deadline `seconds` after its last activity. Thread-safe.

    most: how many there may be; with one more, the one that has been silent longest is closed. So a peer that opens
    many connections loses them, and does not keep others out.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._waiting: OrderedDict[Hashable, tuple[float, Callable[[], None]]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="handoff-deadlines", daemon=True)
        self._thread.start()

    def begin(self, key: Hashable, hang_up: Callable[[], None]) -> None:
        """Add `key`: `hang_up` is called unless `renew` or `end` is called in time."""
        over = []
        with self._changed:
            self._waiting.pop(key, None)
            while len(self._waiting) >= self._most:
                over.append(self._waiting.popitem(last=False)[1][1])
            self._waiting[key] = (time.monotonic() + self._seconds, hang_up)
            if len(self._waiting) == 1:
                self._changed.notify()
        for each in over:
            each()

    def renew(self, key: Hashable) -> None:
        """There was activity: the deadline is `seconds` from now."""
        with self._changed:
            if key in self._waiting:
                self._waiting[key] = (time.monotonic() + self._seconds, self._waiting[key][1])
                self._waiting.move_to_end(key)

    def end(self, key: Hashable) -> None:
        """Remove the deadline of `key`: it has proven that it holds the key, or has ended."""
        with self._changed:
            self._waiting.pop(key, None)

    def close(self) -> None:
        """Close all."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                due = [key for key, (deadline, _) in self._waiting.items() if deadline <= now or self._closed]
                late = [self._waiting.pop(key)[1] for key in due]
                if not late:
                    if self._closed:
                        return
                    first = next(iter(self._waiting.values()), None)
                    self._changed.wait(first[0] - now if first else None)
            for each in late:
                each()
