"""When a pass began, finished the DiT, and ended: for traces, and recorded only for these."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PassTime:
    """Times of one pass: nanoseconds, as of time.monotonic_ns()."""

    began: int
    denoised: int
    """The DiT was done, and the decoder began."""
    ended: int


class PassClock:
    """Times passes on one device. On a GPU it uses CUDA events; the one after the DiT is part of every recorded graph.

    The next pass records the same events, so before it begins the GPU is waited for.
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
        """A context in which passes are timed; its list is complete when it ends."""
        times = self._kept = list[PassTime]()
        try:
            yield times
            self._settle()
        finally:
            self._kept, self._pending = None, False

    @contextmanager
    def one(self) -> Iterator[None]:
        """A context for one pass: the work that is queued or done inside it."""
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
        """Mark that the DiT is done. Called in every pass, timed or not: a recorded graph serves both."""
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
