"""`cuda_ipc`: the decoder copies from the encoder's GPU memory, over NVLink or PCIe. For GPUs of one host."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from handoff.buffers.cuda_runtime import CudaError, ExportedSlab, OpenedSlab
from handoff.buffers.device import Allocation, SlabAllocator
from handoff.buffers.host import wait_for_copies
from handoff.errors import PeerLost, TransportUnavailable
from handoff.machine import host_id
from handoff.payload.leases import ledger_path
from handoff.payload.store import PayloadStore
from handoff.ticket import Ticket
from handoff.transports.base import Transport, TransportContext


class CudaIpc(Transport):
    """Until a consumer has reported that it can open the handles, payloads go by the next transport as well."""

    kind = "cuda_ipc"

    def __init__(self, context: TransportContext) -> None:
        super().__init__(context)
        self._slabs: list[ExportedSlab] = []
        self._opened: dict[tuple[str, int], OpenedSlab] = {}

    def is_proven(self, store: PayloadStore) -> bool:
        return store.leases.proved and not store.leases.refused

    def make_pool(self, store: PayloadStore, device: torch.device) -> SlabAllocator:
        settings = self.context.settings
        make = functools.partial(self._add_slab, device)
        return SlabAllocator(settings.budget_bytes, settings.max_payload_bytes, make)

    def serve(self, store: PayloadStore, device: torch.device, nbytes: int) -> None:
        if device.type != "cuda":
            raise TransportUnavailable(f"the tokens are on {device}")
        if store.leases.refused and not store.leases.proved:
            raise TransportUnavailable("no consumer could read this GPU's memory")

    def route(self, buffer: Allocation) -> Mapping[str, Any]:
        handle = self._slabs[buffer.slab].handle.hex()
        return {"host": host_id(), "slab": buffer.slab, "offset": buffer.offset, "handle": handle}

    def fetch(self, ticket: Ticket, route: Mapping[str, Any], into: torch.Tensor) -> Iterator[int]:
        if route["host"] != host_id():
            raise TransportUnavailable("the payload is in the GPU memory of another machine")
        with self.context.lease(ticket) as lease:
            try:
                slab, first = self._open(ticket.producer, route)
                slab.copy_to(into, int(route["offset"]))
            except CudaError as error:
                lease.report(usable=False)
                raise TransportUnavailable(f"the producer's GPU memory cannot be read: {error}") from error
            wait_for_copies(into.device)
            if not lease.producer_lives():
                raise PeerLost("the process that held the payload died while it was copied")
            if first:
                lease.report(usable=True)
            lease.mark_taken()
        return iter((ticket.length,))

    def close(self) -> None:
        with self._lock:
            for opened in self._opened.values():
                opened.close()
            self._opened.clear()
            super().close()
            for slab in self._slabs:
                slab.free()
            self._slabs.clear()

    def _add_slab(self, device: torch.device, nbytes: int) -> torch.Tensor:
        try:
            slab = ExportedSlab(nbytes, device)
        except CudaError as error:
            raise TransportUnavailable(f"this GPU's memory cannot be shown to another process: {error}") from error
        self._slabs.append(slab)
        return slab.bytes

    def _open(self, producer: str, route: Mapping[str, Any]) -> tuple[OpenedSlab, bool]:
        """(the slab, mapped; whether it has been mapped just now)."""
        device = self.context.device
        if device.type != "cuda":
            raise CudaError(f"this process takes payloads to {device}")
        key = (producer, int(route["slab"]))
        with self._lock:
            known = key in self._opened
            if not known:
                self._close_those_of_the_dead()
                self._opened[key] = OpenedSlab(bytes.fromhex(route["handle"]), device)
            return self._opened[key], not known

    def _close_those_of_the_dead(self) -> None:
        folders = self.context.settings.ledger_folders
        for key in list(self._opened):
            if not any(ledger_path(folder, key[0]).exists() for folder in folders):
                self._opened.pop(key).close()
