"""`cuda_ipc`: the decoder copies straight from the encoder's GPU, over NVLink or PCIe. GPUs of one host."""

from __future__ import annotations

import functools
import threading
from collections.abc import Collection, Mapping
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.buffers.cuda_runtime import CudaError, ExportedSlab, OpenedSlab
from handoff.buffers.device import Arena
from handoff.errors import PeerLost
from handoff.machine import host_id
from handoff.payload.layout import Layout
from handoff.payload.leases import Ledger, ledger_path, reading
from handoff.payload.store import Payload
from handoff.payload.wire import read, write
from handoff.ticket import Ticket
from handoff.transports.base import Link, Post, Unusable, Written
from handoff.transports.shared_memory import wait_for_copies


class CudaIpc(Link):
    """Until a consumer has shown that it can open the handles, payloads go by the next kind as well."""

    kind = "cuda_ipc"

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self._slabs: list[ExportedSlab] = []
        self._arena: Arena | None = None
        self._opened: dict[tuple[str, int], OpenedSlab] = {}
        self._lock = threading.Lock()

    def relies(self, ledger: Ledger) -> bool:
        return ledger.proved and not ledger.refused

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, ledger: Ledger) -> Written:
        device = output.cond_dit.device
        if not output.cond_dit.is_cuda:
            raise Unusable(f"the tokens are on {device}")
        if ledger.refused and not ledger.proved:
            raise Unusable("no consumer could read this GPU's memory")
        with self._lock:
            if self._arena is None:
                settings = self.post.settings
                make = functools.partial(self._add_slab, device)
                self._arena = Arena(settings.budget_bytes, settings.max_payload_bytes, make)
        try:
            place = self._arena.acquire(payload.id, layout.nbytes)
        except CudaError as error:
            raise Unusable(f"this GPU's memory cannot be shown to another process: {error}") from error
        write(output, layout, place.bytes)
        wait_for_copies(device)
        payload.body = place.bytes
        handle = self._slabs[place.slab].handle.hex()
        return Written({"host": host_id(), "slab": place.slab, "offset": place.offset, "handle": handle})

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        return self._arena is None or self._arena.fits(nbytes, without)

    def drop(self, payload: Payload) -> None:
        if self._arena:
            self._arena.release(payload.id)

    def take(self, ticket: Ticket, route: Mapping[str, Any]) -> EncoderOutput:
        if route["host"] != host_id():
            raise Unusable("the payload is in the GPU of another machine")
        with reading(self.post.settings.ledger_folders, ticket.producer, ticket.slot, ticket.id) as held:
            try:
                slab, first = self._open(ticket.producer, route)
                payload = torch.empty(ticket.layout.nbytes, dtype=torch.uint8, device=self.post.device)
                slab.copy_to(payload, int(route["offset"]))
            except CudaError as error:
                held.report(usable=False)
                raise Unusable(f"the producer's GPU memory cannot be read: {error}") from error
            wait_for_copies(self.post.device)
            if not held.producer_lives():
                raise PeerLost("the process that held the payload died while it was copied")
            if first:
                held.report(usable=True)
            held.mark_taken()
        return read(payload, ticket.layout)

    def close(self) -> None:
        with self._lock:
            for opened in self._opened.values():
                opened.close()
            self._opened.clear()
            if self._arena:
                self._arena.close()
            for slab in self._slabs:
                slab.free()
            self._slabs.clear()

    def _add_slab(self, device: torch.device, nbytes: int) -> torch.Tensor:
        slab = ExportedSlab(nbytes, device)
        self._slabs.append(slab)
        return slab.bytes

    def _open(self, producer: str, route: Mapping[str, Any]) -> tuple[OpenedSlab, bool]:
        """The slab, and whether this is its first use here."""
        if self.post.device.type != "cuda":
            raise CudaError(f"this process takes payloads to {self.post.device}")
        key = (producer, int(route["slab"]))
        with self._lock:
            known = key in self._opened
            if not known:
                self._close_those_of_the_dead()
                self._opened[key] = OpenedSlab(bytes.fromhex(route["handle"]), self.post.device)
            return self._opened[key], not known

    def _close_those_of_the_dead(self) -> None:
        folders = self.post.settings.ledger_folders
        for key in list(self._opened):
            if not any(ledger_path(folder, key[0]).exists() for folder in folders):
                self._opened.pop(key).close()
