"""Host memory for payloads, mapped once and reused: the first access to a page costs more than copying it.

On a machine with a GPU it is registered with CUDA, so that copies are asynchronous and run at full speed.
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
        """Release the memory. It is unmapped when the last tensor that views it is gone."""
        if self._gpu:
            with torch.cuda.device(self._gpu):
                _cudart().cudaHostUnregister(self.bytes.data_ptr())
        del self.bytes

    def remove(self) -> None:
        """Release the memory, for other processes too; a process that is reading it now may finish."""
        self.close()

    def discard(self) -> None:
        """Like `remove`, if it is certain that nobody is reading it."""
        self.remove()


def gpu_of(device: torch.device) -> torch.device | None:
    """The device if it is a GPU, for which host memory is registered; else None."""
    return device if device.type == "cuda" else None


def wait_for_copies(device: torch.device) -> None:
    """Wait until all work on the current stream of `device` is done; on a CPU return at once."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def private_buffer(capacity: int, gpu: torch.device | None) -> HostBuffer:
    """Memory of this process alone, in huge pages if the kernel has them. `gpu`: register the memory with it."""
    pages = mmap.mmap(-1, capacity)
    pages.madvise(mmap.MADV_HUGEPAGE)
    return HostBuffer(torch.frombuffer(pages, dtype=torch.uint8), gpu)


B = TypeVar("B", bound=HostBuffer)


class BufferPool(Generic[B]):
    """Buffers by payload id, and free ones. Thread-safe.

    make: returns a new buffer of a capacity in bytes, or raises `PoolExhausted` · room: returns how many more bytes
    `make` could allocate. Any payload within the budget fits once all others have been released.
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
        """Bytes of all buffers, including free ones."""
        return sum(memory.capacity for memory in (*self._free, *self._held.values()))

    def acquire(self, payload: str, nbytes: int) -> B:
        """A buffer of at least `nbytes` for a payload. Raises `PoolExhausted` if budget or machine has no room."""
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
        """Whether there would be room for `nbytes` if the payloads `without` were released."""
        with self._lock:
            free = [*self._free, *(memory for payload, memory in self._held.items() if payload in without)]
            if any(_fits(memory, nbytes) for memory in free):
                return True
            left = self._budget - self.nbytes
            if self._room is not None:
                left = min(left, self._room())
            return nbytes <= left + sum(memory.capacity for memory in free)

    def release(self, payload: str) -> None:
        """Return the payload's buffer, if it has one, to the free ones."""
        with self._lock:
            memory = self._held.pop(payload, None)
            if memory:
                self._free.append(memory)

    def close(self) -> None:
        """Remove all buffers."""
        with self._lock:
            for memory in (*self._free, *self._held.values()):
                memory.remove()
            self._free.clear()
            self._held.clear()

    def _create(self, nbytes: int) -> B:
        held = sum(memory.capacity for memory in self._held.values())
        if self._room is not None and nbytes > self._room() + self.nbytes:
            raise MachineExhausted(
                f"other programs leave no room for {nbytes} bytes, even if all payloads here are dropped: {REMEDY}"
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
    """Host memory that a consumer receives payloads into; it is reused when the last tensor that views it is gone.

    keep: most bytes of free memory that are kept · gpu: register the memory with it.
    """

    def __init__(self, keep: int, gpu: torch.device | None) -> None:
        self._keep = keep
        self._gpu = gpu
        self._free: deque[HostBuffer] = deque()  # its append is atomic: finalisers run at any moment, in any thread
        self._closed = False

    def acquire(self, nbytes: int) -> torch.Tensor:
        """Uninitialised memory (uint8, [nbytes]) that nothing else uses."""
        memory = self._reuse(nbytes) or private_buffer(_rounded(nbytes), self._gpu)
        lease: memoryview = memory.bytes.numpy().data[:nbytes]
        weakref.finalize(lease, self._come_back, memory).atexit = False
        return torch.frombuffer(lease, dtype=torch.uint8)

    def close(self) -> None:
        """Free the kept memory; tensors that are in use keep theirs."""
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
