"""When a pass began, was done with the DiT, and ended: for traces, and kept for these alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PassTime:
    """Readings of time.monotonic_ns."""

    began: int
    denoised: int
    ended: int


class PassClock:
    """Times passes on one device. On a GPU by its own events, of which the one between is part of every recorded graph.

    A GPU is waited for before the next pass, whose DiT marks the same event, and not earlier.
    """

    def __init__(self, device: torch.device) -> None:
        self._events: list[torch.cuda.Event] | None = None
        if device.type == "cuda":
            with torch.cuda.device(device):
                self._events = [torch.cuda.Event(enable_timing=True, external=True) for _ in range(3)]
        self._kept: list[PassTime] | None = None
        self._began = self._denoised = 0
        self._pending = False

    @contextmanager
    def keeping(self) -> Iterator[list[PassTime]]:
        """Within it passes are timed; the list has all of them once it is left."""
        times = self._kept = list[PassTime]()
        try:
            yield times
            self._settle()
        finally:
            self._kept, self._pending = None, False

    @contextmanager
    def one(self) -> Iterator[None]:
        """What is queued inside, or done, is one pass."""
        if self._kept is None:
            yield
            return
        self._settle()
        if self._events:
            self._events[0].record()
        self._began = time.monotonic_ns()
        yield
        if self._events:
            self._events[2].record()
            self._pending = True
        else:
            self._kept.append(PassTime(self._began, self._denoised, time.monotonic_ns()))

    def denoised(self) -> None:
        """The DiT is done; of every pass, timed or not, since graphs are recorded once for all."""
        if self._events:
            self._events[1].record()
        else:
            self._denoised = time.monotonic_ns()

    def _settle(self) -> None:
        if not self._pending or not self._events or self._kept is None:
            return
        began, denoised, ended = self._events
        ended.synchronize()
        after = [self._began + round(1e6 * began.elapsed_time(event)) for event in (denoised, ended)]  # from ms
        self._kept.append(PassTime(self._began, *after))
        self._pending = False
