"""Device memory for payloads: a few large slabs, made once and never given back before the end, cut to measure.

Slabs because what shows a piece of device memory to another process (a CUDA IPC handle) is costly to open: one handle
serves all payloads of a slab.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from handoff.link import Full

_SLAB = 256 << 20
_ALIGNMENT = 512


@dataclass(frozen=True)
class Place:
    """Where a payload lies."""

    slab: int
    offset: int
    bytes: torch.Tensor
    """uint8, [nbytes]"""


@dataclass
class _Slab:
    bytes: torch.Tensor
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """What is free, as (start, stop), in order."""


class Arena:
    """Places by payload. Thread-safe. `make(nbytes)` gives the memory of a slab (uint8, [nbytes])."""

    def __init__(self, budget: int, make: Callable[[int], torch.Tensor]) -> None:
        self._budget = budget
        self._make = make
        self._slabs: list[_Slab] = []
        self._places: dict[str, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def acquire(self, payload: str, nbytes: int) -> Place:
        """A place for a payload. Raises `Full` where there is none within the budget."""
        length = -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        with self._lock:
            for number, slab in enumerate(self._slabs):
                for i, (start, stop) in enumerate(slab.gaps):
                    if stop - start >= length:
                        slab.gaps[i : i + 1] = [(start + length, stop)] if stop - start > length else []
                        return self._give(payload, number, start, start + length, nbytes)
            self._add_slab(length)
            number = len(self._slabs) - 1
            slab = self._slabs[number]
            slab.gaps = [(length, len(slab.bytes))]
            return self._give(payload, number, 0, length, nbytes)

    def release(self, payload: str) -> None:
        """The payload's place, if it has one, is free for the next."""
        with self._lock:
            if payload not in self._places:
                return
            number, start, stop = self._places.pop(payload)
            gaps = sorted([*self._slabs[number].gaps, (start, stop)])
            merged = gaps[:1]
            for gap in gaps[1:]:
                if gap[0] <= merged[-1][1]:
                    merged[-1] = (merged[-1][0], max(gap[1], merged[-1][1]))
                else:
                    merged.append(gap)
            self._slabs[number].gaps = merged

    def close(self) -> None:
        """Forget all of it; the memory goes when its maker lets go."""
        with self._lock:
            self._slabs.clear()
            self._places.clear()

    def _give(self, payload: str, number: int, start: int, stop: int, nbytes: int) -> Place:
        self._places[payload] = (number, start, stop)
        return Place(number, start, self._slabs[number].bytes[start : start + nbytes])

    def _add_slab(self, length: int) -> None:
        held = sum(len(slab.bytes) for slab in self._slabs)
        left = self._budget - held
        if length > left:
            raise Full(f"{held} of {self._budget} bytes are held (budget_bytes), and {length} more are wanted at once")
        size = max(_SLAB, length)
        self._slabs.append(_Slab(self._make(size if left >= size + _SLAB else left)))
