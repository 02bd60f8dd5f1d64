"""Counts of the bytes and seconds that calls took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Traffic:
    """Counts of all calls of one client. Thread-safe. Seconds are summed over calls at the same time."""

    calls: int = 0
    pairs: int = 0
    retries: int = 0
    bytes_sent: int = 0
    """in bodies and in shared memory"""
    bytes_received: int = 0
    send_seconds: float = 0.0
    """packing frames and sending them"""
    server_seconds: float = 0.0
    """from the last byte sent to the last one received"""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, **amounts: float) -> None:
        """Add to the counts by name."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds that the block takes to `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(**{name: time.perf_counter() - started})

    def counts(self) -> dict[str, float]:
        """All counts by name."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}
