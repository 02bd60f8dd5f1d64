"""`in_process`: producer and consumer in one process; the encoder's tensors are kept, and copied when taken."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.buffers.host import wait_for_copies
from handoff.errors import PeerLost, PoolExhausted
from handoff.payload.layout import Layout
from handoff.payload.store import Payload, PayloadStore
from handoff.payload.wire import write
from handoff.ticket import Ticket
from handoff.transports.base import PutResult, Transport, TransportContext

_HELD: dict[str, EncoderOutput] = {}
"""Outputs by payload id, of all hand-offs of this process: one may put, and another take."""


class InProcess(Transport):
    """Tensors that are put must not be changed until they are taken, since they are copied only then."""

    kind = "in_process"

    def __init__(self, context: TransportContext) -> None:
        super().__init__(context)
        self._budget = context.settings.budget_bytes
        self._own: dict[str, int] = {}

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, store: PayloadStore) -> PutResult:
        with self._lock:
            held = sum(self._own.values())
            if held + layout.nbytes > self._budget:
                raise PoolExhausted(
                    f"{held} of {self._budget} bytes are held (budget_bytes), and {layout.nbytes} more are wanted"
                )
            self._own[payload.id] = layout.nbytes
        _HELD[payload.id] = output
        return PutResult({})

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        with self._lock:
            held = sum(size for payload, size in self._own.items() if payload not in without)
        return held + nbytes <= self._budget

    def drop(self, payload: Payload) -> None:
        with self._lock:
            self._own.pop(payload.id, None)
        _HELD.pop(payload.id, None)

    def fetch(self, ticket: Ticket, route: Mapping[str, Any], into: torch.Tensor) -> Iterator[int]:
        with self.context.lease(ticket) as lease:
            if ticket.id not in _HELD:
                raise PeerLost("the payload is held by another process")
            output = _HELD[ticket.id]
            write(output, ticket.layout, into)
            for device in (output.cond_dit.device, into.device):
                wait_for_copies(device)
            lease.mark_taken()
        return iter((ticket.length,))

    def close(self) -> None:
        for payload in self._own:
            _HELD.pop(payload, None)
        self._own.clear()
