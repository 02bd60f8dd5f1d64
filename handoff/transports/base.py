"""The base of all transports: how the bytes of a payload travel from a producer to a consumer."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch

from eden.output import EncoderOutput
from handoff.buffers.host import BufferPool, ReceiveBufferPool, gpu_of, private_buffer, wait_for_copies
from handoff.counters import HandoffCounters
from handoff.errors import HandoffError
from handoff.payload.layout import Layout
from handoff.payload.leases import Lease, read_lease
from handoff.payload.store import Payload, PayloadStore
from handoff.payload.wire import write
from handoff.settings import HandoffSettings
from handoff.ticket import Ticket


@dataclass(frozen=True)
class TransportContext:
    """What a transport needs to know about its process."""

    settings: HandoffSettings
    device: torch.device
    """Where `take` puts outputs in this process."""
    key: bytes = field(repr=False)
    counters: HandoffCounters
    receive_buffers: ReceiveBufferPool
    """Host memory to receive into."""

    def lease(self, ticket: Ticket) -> AbstractContextManager[Lease]:
        """Keep a payload of a process of this machine while it is read. Raises `PeerLost`, `PayloadGone`."""
        return read_lease(self.settings.ledger_folders, ticket.producer, ticket.slot, ticket.id)

    def mark_taken_if_known(self, ticket: Ticket) -> None:
        """Mark a payload taken that has arrived already; without effect if its producer is gone or elsewhere."""
        with contextlib.suppress(HandoffError), self.lease(ticket) as lease:
            lease.mark_taken()

    def receive_buffer(self, layout: Layout) -> torch.Tensor:
        """Uninitialised memory on this process's device (uint8, [nbytes]) that nothing else uses."""
        if self.device.type == "cpu":
            return self.receive_buffers.acquire(layout.nbytes)
        return torch.empty(layout.nbytes, dtype=torch.uint8, device=self.device)


@dataclass(frozen=True)
class PutResult:
    """Where a consumer finds a payload."""

    route: Mapping[str, Any]
    """What the consumer needs to know besides the kind; it travels in the signed ticket."""
    inline: bytes = b""
    """The payload itself, if it travels behind the ticket."""


class Pool(Protocol):
    """Buffers by payload id. Thread-safe."""

    def acquire(self, payload: str, nbytes: int) -> Any:
        """A buffer for a payload, with memory `bytes` (uint8, [>= nbytes]). Raises `PoolExhausted`."""

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        """Whether `acquire` would find room if the payloads `without` were released."""

    def release(self, payload: str) -> None:
        """Free the payload's buffer, if it has one."""

    def close(self) -> None:
        """Free all memory."""


class Transport(ABC):
    """One kind of hand-off, for producer and consumer; resources of either are made at first use. Thread-safe.

    A transport implements `serve`, `route` and `fetch`, and `make_pool` if payloads wait in its own kind of memory. If
    they wait in no buffer at all, it implements `put` instead.
    """

    kind: str
    holds: ClassVar[bool] = True
    """Whether the producer holds the payload; if not, the ticket contains it, and the producer only counts it."""
    sends_any_body: ClassVar[bool] = False
    """Whether it can send a payload from the memory of another transport."""

    def __init__(self, context: TransportContext) -> None:
        self.context = context
        self._pool: Pool | None = None
        self._lock = threading.Lock()

    def make_pool(self, store: PayloadStore, device: torch.device) -> Pool:
        """The memory in which payloads from `device` wait: by default host memory of this process."""
        gpu = gpu_of(device)
        return BufferPool(self.context.settings.budget_bytes, lambda nbytes: private_buffer(nbytes, gpu))

    def serve(self, store: PayloadStore, device: torch.device, nbytes: int) -> None:  # noqa: B027
        """Get ready to serve a payload of `nbytes` from `device`. Raises `TransportUnavailable`."""

    def route(self, buffer: Any) -> Mapping[str, Any]:
        """What a consumer needs to know to fetch the payload, besides the ticket itself: JSON values.

        buffer: where the payload lies, from this transport's pool; None if another transport holds it.
        """
        return {}

    @abstractmethod
    def fetch(self, ticket: Ticket, route: Mapping[str, Any], into: torch.Tensor) -> Iterator[int]:
        """Fill `into` (uint8, [nbytes], on this process's device) and mark the payload taken.

        Yields the number of complete frames as it grows; a transport that gets all of them at once yields once.
        Raises `TransportUnavailable` if this process cannot reach the payload this way, and other `HandoffError`s.
        """

    def is_proven(self, store: PayloadStore) -> bool:
        """Whether this transport is known to work, so that a payload needs no other one besides."""
        return True

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, store: PayloadStore) -> PutResult:
        """Write `output` for `payload`; complete on return. Raises `PoolExhausted`, `TransportUnavailable`."""
        device = output.cond_dit.device
        self.serve(store, device, layout.nbytes)
        buffer = None
        if payload.body is None or not self.sends_any_body:
            with self._lock:
                if self._pool is None:
                    self._pool = self.make_pool(store, device)
            buffer = self._pool.acquire(payload.id, layout.nbytes)
            write(output, layout, buffer.bytes)
            wait_for_copies(device)
            payload.body, payload.layout = buffer.bytes, layout
        return PutResult(self.route(buffer))

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        """Whether there would be room for `nbytes` if the payloads with the ids `without` were dropped."""
        return self._pool is None or self._pool.fits(nbytes, without)

    def drop(self, payload: Payload) -> None:
        """Free the payload's memory, if it has any here. No consumer is reading it, and none can begin to."""
        if self._pool is not None:
            self._pool.release(payload.id)

    def close(self) -> None:
        """Release everything; called once."""
        if self._pool is not None:
            self._pool.close()
