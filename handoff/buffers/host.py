"""Host memory for payloads, mapped once and used again and again: the first touch of a page costs more than copying it.

On a GPU machine it is registered with CUDA: copies from and to it are asynchronous and run at full speed.
"""

from __future__ import annotations

import logging
import mmap
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

import torch

from handoff.errors import REMEDY, MachineExhausted, PoolExhausted

_LOG = logging.getLogger(__name__)
_GRAIN = 1 << 20


class HostBuffer:
    """Mapped pages, as `bytes` (uint8, on the CPU)."""

    def __init__(self, pages: torch.Tensor, gpu: torch.device | None) -> None:
        self.capacity = len(pages)
        self.bytes = pages
        self._gpu = gpu if gpu and _register(self.bytes, gpu) else None

    def close(self) -> None:
        """Give it back. It is unmapped with the last view of it: to close the map would pull it away under them."""
        if self._gpu:
            with torch.cuda.device(self._gpu):
                _cudart().cudaHostUnregister(self.bytes.data_ptr())
        del self.bytes

    def remove(self) -> None:
        """Close it, for other processes too; one that is reading it just now may finish."""
        self.close()

    def discard(self) -> None:
        """Remove it, knowing that nobody is reading it."""
        self.remove()


def gpu_of(device: torch.device) -> torch.device | None:
    """The device, if memory that it copies from and to is worth registering."""
    return device if device.type == "cuda" else None


def wait_for_copies(device: torch.device) -> None:
    """Wait until what this thread queued on `device` is done; nothing to wait for on a CPU."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def private_buffer(capacity: int, gpu: torch.device | None) -> HostBuffer:
    """Memory of this process alone, in huge pages where the kernel has them."""
    pages = mmap.mmap(-1, capacity)
    pages.madvise(mmap.MADV_HUGEPAGE)
    return HostBuffer(torch.frombuffer(pages, dtype=torch.uint8), gpu)


B = TypeVar("B", bound=HostBuffer)


class BufferPool(Generic[B]):
    """Buffers by payload, and free ones. Thread-safe.

    `make(capacity)` gives a new buffer, or raises `PoolExhausted`; `room()`, if given: how many bytes more it could.
    Any payload within the budget fits once all others have been released.
    """

    def __init__(self, budget: int, make: Callable[[int], B], room: Callable[[], int] | None = None) -> None:
        self._budget = budget
        self._room = room
        self._make = make
        self._free: list[B] = []
        self._held: dict[str, B] = {}
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all its buffers, the free included."""
        return sum(memory.capacity for memory in (*self._free, *self._held.values()))

    def acquire(self, payload: str, nbytes: int) -> B:
        """At least `nbytes` for a payload. Raises `PoolExhausted` where neither budget nor machine has room."""
        with self._lock:
            fitting = [memory for memory in self._free if _fits(memory, nbytes)]
            if fitting:
                memory = min(fitting, key=lambda memory: memory.capacity)
                self._free.remove(memory)
            else:
                memory = self._create(nbytes)
            self._held[payload] = memory
            return memory

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        """Whether budget and machine would have room, were the payloads `without` released."""
        with self._lock:
            free = [*self._free, *(memory for payload, memory in self._held.items() if payload in without)]
            if any(_fits(memory, nbytes) for memory in free):
                return True
            left = self._budget - self.nbytes
            if self._room is not None:
                left = min(left, self._room())
            return nbytes <= left + sum(memory.capacity for memory in free)

    def release(self, payload: str) -> None:
        """The payload's buffer, if it has one, is free for the next."""
        with self._lock:
            memory = self._held.pop(payload, None)
            if memory:
                self._free.append(memory)

    def close(self) -> None:
        """Remove all of it."""
        with self._lock:
            for memory in (*self._free, *self._held.values()):
                memory.remove()
            self._free.clear()
            self._held.clear()

    def _create(self, nbytes: int) -> B:
        held = sum(memory.capacity for memory in self._held.values())
        if self._room is not None and nbytes > self._room() + self.nbytes:
            raise MachineExhausted(
                f"others leave this machine no room for {nbytes} bytes, whatever is dropped: {REMEDY}"
            )
        if held + nbytes > self._budget:
            message = f"{held} of {self._budget} bytes are held (budget_bytes), and {nbytes} more are wanted"
            raise PoolExhausted(message)
        capacity = min(_rounded(nbytes), self._budget - held)
        while self.nbytes + capacity > self._budget:
            self._free.pop(0).discard()
        while True:
            try:
                return self._make(capacity)
            except PoolExhausted:
                if self._free:
                    self._free.pop(0).discard()
                elif capacity > nbytes:
                    capacity = nbytes
                else:
                    raise


class ReceiveBufferPool:
    """What a consumer receives payloads into, on the CPU: memory comes back when the last tensor in it is gone."""

    def __init__(self, keep: int, gpu: torch.device | None) -> None:
        self._keep = keep
        self._gpu = gpu
        self._free: deque[HostBuffer] = deque()  # its append is atomic: finalisers run at any moment, in any thread
        self._closed = False

    def acquire(self, nbytes: int) -> torch.Tensor:
        """Uninitialised bytes (uint8, [nbytes]) that nothing else uses."""
        memory = self._reuse(nbytes) or private_buffer(_rounded(nbytes), self._gpu)
        lease: memoryview = memory.bytes.numpy().data[:nbytes]
        weakref.finalize(lease, self._come_back, memory).atexit = False
        return torch.frombuffer(lease, dtype=torch.uint8)

    def close(self) -> None:
        """Keep nothing any longer; tensors that are still in use keep their own."""
        self._closed = True
        while self._free:
            self._free.popleft().close()

    def _reuse(self, nbytes: int) -> HostBuffer | None:
        chosen = None
        kept: list[HostBuffer] = []
        while self._free:
            memory = self._free.popleft()
            if chosen is None and _fits(memory, nbytes):
                chosen = memory
            elif sum(other.capacity for other in kept) + memory.capacity <= self._keep:
                kept.append(memory)
            else:
                memory.close()
        self._free.extend(kept)
        return chosen

    def _come_back(self, memory: HostBuffer) -> None:
        if self._closed:
            memory.close()
        else:
            self._free.append(memory)


def _fits(memory: HostBuffer, nbytes: int) -> bool:
    return nbytes <= memory.capacity <= max(4 * nbytes, _GRAIN)


def _rounded(nbytes: int) -> int:
    return max(-(-nbytes // _GRAIN), 1) * _GRAIN


def _cudart() -> Any:
    return torch.cuda.cudart()


def _register(memory: torch.Tensor, gpu: torch.device) -> bool:
    with torch.cuda.device(gpu):
        error = int(_cudart().cudaHostRegister(memory.data_ptr(), memory.numel(), 0))
    if error:
        _LOG.warning("CUDA would not register %d bytes of host memory (error %d)", memory.numel(), error)
    return not error
