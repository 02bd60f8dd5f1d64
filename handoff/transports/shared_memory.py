"""`shared_memory`: one copy into a segment in /dev/shm, one copy out of it. For processes of one machine."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from handoff.buffers.host import BufferPool, gpu_of, wait_for_copies
from handoff.buffers.shared import Segment, SegmentMaps, check_folder, free_room, segment_maker, size_of
from handoff.errors import REMEDY, TransportUnavailable
from handoff.machine import shared_folder_id
from handoff.payload.store import PayloadStore
from handoff.payload.wire import check_header
from handoff.ticket import Ticket
from handoff.transports.base import Transport, TransportContext


class SharedMemory(Transport):
    """Payloads wait in pooled segments. Copies from and to GPUs are asynchronous."""

    kind = "shared_memory"

    def __init__(self, context: TransportContext) -> None:
        super().__init__(context)
        self._folder = context.settings.shared_folder
        check_folder(self._folder, context.settings.max_payload_bytes)
        self._folder_id = shared_folder_id(self._folder)
        self._maps = SegmentMaps(self._folder, gpu_of(context.device))

    def make_pool(self, store: PayloadStore, device: torch.device) -> BufferPool[Segment]:
        make = segment_maker(self._folder, store.leases.producer, gpu_of(device))
        return BufferPool(self.context.settings.budget_bytes, make, functools.partial(free_room, self._folder))

    def serve(self, store: PayloadStore, device: torch.device, nbytes: int) -> None:
        if store.leases.path.parent != self._folder:  # a sweep would take its segments for left behind
            raise TransportUnavailable(f"{self._folder} had no room for this process's ledger: {REMEDY}")
        if nbytes > (size := size_of(self._folder)):
            raise TransportUnavailable(f"{nbytes} bytes are more than {self._folder} ever holds, {size}: {REMEDY}")

    def route(self, buffer: Segment) -> Mapping[str, Any]:
        return {"segment": buffer.number, "folder": self._folder_id}

    def fetch(self, ticket: Ticket, route: Mapping[str, Any], into: torch.Tensor) -> Iterator[int]:
        if route["folder"] != self._folder_id:
            raise TransportUnavailable(
                "the payload is in the shared memory of another machine, or of another container"
            )
        with (
            self.context.lease(ticket) as lease,
            self._maps.mapped(ticket.producer, int(route["segment"])) as segment,
        ):
            check_header(segment, ticket.layout)
            into.copy_(segment[: ticket.layout.nbytes], non_blocking=True)
            wait_for_copies(into.device)
            lease.mark_taken()
        return iter((ticket.length,))

    def close(self) -> None:
        super().close()
        self._maps.close()
