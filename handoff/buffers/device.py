"""Device memory for payloads: a few slabs, allocated once, from which payloads get pieces of any size.

Slabs, since a CUDA IPC handle, by which another process opens device memory, is costly to open: one handle serves all
payloads of a slab. They are kept until the end, since consumers keep them mapped: freeing memory that another process
has mapped, or reusing its handle for other memory, is undefined behaviour in CUDA.

Each slab is as large as all before it together, so there are few. The rest of the budget is never left too small for
the largest payload, unless a slab can hold that already.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import torch

from handoff.errors import MachineExhausted, PoolExhausted

_FIRST_SLAB = 256 << 20
_ALIGNMENT = 512


@dataclass(frozen=True)
class Allocation:
    """The place of a payload: a slab, and an offset in bytes."""

    slab: int
    offset: int
    bytes: torch.Tensor
    """uint8, [nbytes]"""


@dataclass
class _Slab:
    bytes: torch.Tensor
    held: dict[str, tuple[int, int]] = field(default_factory=dict)
    """(start, stop) in bytes, by payload id."""

    def gap(self, length: int, without: Collection[str]) -> int | None:
        """Start of the first gap of `length` bytes, if the payloads `without` were released; None if there is none."""
        start = 0
        taken = sorted(place for payload, place in self.held.items() if payload not in without)
        for begin, stop in [*taken, (len(self.bytes), 0)]:
            if begin - start >= length:
                return start
            start = stop
        return None


class SlabAllocator:
    """Allocations by payload id. Thread-safe. `make(nbytes)` allocates the memory of a slab (uint8, [nbytes]).

    Any payload of up to `largest` bytes fits once all others have been released, unless other programs use the device's
    memory: slabs are never resized, and a larger payload may need a new one.
    """

    def __init__(self, budget: int, largest: int, make: Callable[[int], torch.Tensor]) -> None:
        self._budget = _aligned(budget)
        self._largest = _aligned(min(budget, largest))
        self._make = make
        self._slabs: list[_Slab] = []
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all slabs, including free parts."""
        return sum(len(slab.bytes) for slab in self._slabs)

    def acquire(self, payload: str, nbytes: int) -> Allocation:
        """Allocate memory for a payload. Raises `PoolExhausted` if the budget or the device has none left."""
        length = _aligned(nbytes)
        with self._lock:
            found = next(self._gaps(length), None)
            if found is None:
                self._slabs.append(_Slab(self._new_slab(length)))
                found = len(self._slabs) - 1, 0
            number, start = found
            slab = self._slabs[number]
            slab.held[payload] = (start, start + length)
            return Allocation(number, start, slab.bytes[start : start + nbytes])

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        """Whether `acquire`, which has just failed, would succeed if the payloads `without` were released."""
        length = _aligned(nbytes)
        with self._lock:
            return any(self._gaps(length, without))

    def release(self, payload: str) -> None:
        """Free the payload's allocation, if it has one."""
        with self._lock:
            for slab in self._slabs:
                slab.held.pop(payload, None)

    def close(self) -> None:
        """Drop all slabs; their memory is freed by the code that `make` belongs to."""
        with self._lock:
            self._slabs.clear()

    def _gaps(self, length: int, without: Collection[str] = ()) -> Iterator[tuple[int, int]]:
        for number, slab in enumerate(self._slabs):
            start = slab.gap(length, without)
            if start is not None:
                yield number, start

    def _new_slab(self, length: int) -> torch.Tensor:
        for size in dict.fromkeys((self._next_slab(length), length)):
            with contextlib.suppress(torch.OutOfMemoryError):
                return self._make(size)
        raise MachineExhausted(f"the device has no memory for {length} bytes more: make budget_bytes smaller")

    def _next_slab(self, length: int) -> int:
        held = self.nbytes
        left = self._budget - held
        if length > left:
            raise PoolExhausted(
                f"{held} of {self._budget} bytes are allocated (budget_bytes), and no {length} are free in one piece"
            )
        size = min(max(_FIRST_SLAB, held, length), left)
        largest = max([size, *(len(slab.bytes) for slab in self._slabs)])
        return left if largest < self._largest and left - size < self._largest else size


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT
