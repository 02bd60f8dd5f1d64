"""What every transport implements: a means for a payload's bytes to travel from a producer to a consumer."""

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
    """What a transport needs to know of the process that it works in."""

    settings: HandoffSettings
    device: torch.device
    """Where this process takes outputs to."""
    key: bytes = field(repr=False)
    counters: HandoffCounters
    receive_buffers: ReceiveBufferPool
    """Host memory to receive into."""

    def lease(self, ticket: Ticket) -> AbstractContextManager[Lease]:
        """Hold a ticket's payload, of a process of this machine, while it is read. Raises `PeerLost`, `PayloadGone`."""
        return read_lease(self.settings.ledger_folders, ticket.producer, ticket.slot, ticket.id)

    def mark_taken_if_known(self, ticket: Ticket) -> None:
        """Mark a payload taken that is here already, whatever became of its producer."""
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
    """What it has to know beside the kind; it travels in the ticket, signed."""
    inline: bytes = b""
    """The payload itself, where it travels behind the ticket."""


class Pool(Protocol):
    """Buffers by payload. Thread-safe."""

    def acquire(self, payload: str, nbytes: int) -> Any:
        """What holds `bytes` (uint8, [>= nbytes]) for a payload. Raises `PoolExhausted`."""

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        """Whether `acquire` would find room, were the payloads `without` released."""

    def release(self, payload: str) -> None:
        """The payload's buffer, if it has one, is free for the next."""

    def close(self) -> None:
        """Give all of it back."""


class Transport(ABC):
    """One kind of hand-off, both halves; the resources of each are made when it is first used. Thread-safe.

    A transport is `serve`, `route` and `fetch`, and `make_pool` where payloads wait in memory of its own kind. One
    whose payloads wait in no buffer has its own `put` instead.
    """

    kind: str
    holds: ClassVar[bool] = True
    """Whether the producer holds the payload; else the ticket does, and the producer only counts it."""
    sends_any_body: ClassVar[bool] = False
    """Whether it can serve a payload from where another transport keeps it."""

    def __init__(self, context: TransportContext) -> None:
        self.context = context
        self._pool: Pool | None = None
        self._lock = threading.Lock()

    def make_pool(self, store: PayloadStore, device: torch.device) -> Pool:
        """Where payloads from `device` wait: by default host memory of this process."""
        gpu = gpu_of(device)
        return BufferPool(self.context.settings.budget_bytes, lambda nbytes: private_buffer(nbytes, gpu))

    def serve(self, store: PayloadStore, device: torch.device, nbytes: int) -> None:  # noqa: B027
        """Be ready for consumers of a payload of `nbytes` from `device`. Raises `TransportUnavailable`."""

    def route(self, buffer: Any) -> Mapping[str, Any]:
        """What a consumer has to know to fetch what lies in `buffer`, beside the ticket itself.

        `buffer` is one of the pool's; None where another transport keeps the payload (`sends_any_body`).
        """
        return {}

    @abstractmethod
    def fetch(self, ticket: Ticket, route: Mapping[str, Any], into: torch.Tensor) -> Iterator[int]:
        """Fill `into` (uint8, [nbytes], on this process's device) and mark the payload taken.

        Says how many frames are complete, now and again; a transport that has all of them at once says so once.
        Raises `TransportUnavailable` where this process cannot reach the payload this way, and other `HandoffError`s.
        """

    def is_proven(self, store: PayloadStore) -> bool:
        """Whether a payload that it serves needs no other copy."""
        return True

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, store: PayloadStore) -> PutResult:
        """Keep `output` under `payload`, complete when this returns. Raises `PoolExhausted`, `TransportUnavailable`."""
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
        """Whether a payload would find room here, were the payloads with the ids `without` dropped."""
        return self._pool is None or self._pool.fits(nbytes, without)

    def drop(self, payload: Payload) -> None:
        """Let go of what `put` kept, if it kept anything. No consumer reads it, and none can begin to."""
        if self._pool is not None:
            self._pool.release(payload.id)

    def close(self) -> None:
        """Release everything; called once."""
        if self._pool is not None:
            self._pool.close()
