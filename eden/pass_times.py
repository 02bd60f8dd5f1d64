"""When a pass began, was done with the DiT, and ended: for traces, and asked for by these alone."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PassTime:
    """Readings of time.monotonic_ns."""

    began: int
    denoised: int
    ended: int


class PassClock:
    """Times passes on one device. On a GPU by its own events, of which the one between is part of a recorded graph."""

    def __init__(self, device: torch.device) -> None:
        self._events: list[torch.cuda.Event] | None = None
        if device.type == "cuda":
            with torch.cuda.device(device):
                self._events = [
                    torch.cuda.Event(enable_timing=True, external=True)  # type: ignore[no-untyped-call]
                    for _ in range(3)
                ]
        self._began = self._denoised = 0

    def begin(self) -> None:
        """A pass begins."""
        if self._events:
            self._events[0].record()
        self._began = time.monotonic_ns()

    def denoised(self) -> None:
        """The DiT is done; of every pass, timed or not, since graphs are recorded once for all."""
        if self._events:
            self._events[1].record()
        else:
            self._denoised = time.monotonic_ns()

    def end(self) -> PassTime:
        """The pass has been queued, or is over; a GPU is waited for."""
        if not self._events:
            return PassTime(self._began, self._denoised, time.monotonic_ns())
        began, denoised, ended = self._events
        ended.record()
        ended.synchronize()
        now = time.monotonic_ns()
        whole, decoding = began.elapsed_time(ended), denoised.elapsed_time(ended)  # milliseconds
        return PassTime(now - round(whole * 1e6), now - round(decoding * 1e6), now)
