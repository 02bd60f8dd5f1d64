"""`shared_memory`: one copy into a pooled segment of /dev/shm, one copy out of it. Processes of one machine."""

from __future__ import annotations

import functools
import threading
from collections.abc import Collection, Mapping
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.buffers.host import Landing, MemoryPool, gpu_of
from handoff.buffers.shared import Segment, SegmentMaps, check_folder, free_room, segment_maker, size_of
from handoff.errors import REMEDY
from handoff.machine import shared_folder_id
from handoff.payload.layout import Layout
from handoff.payload.leases import Ledger, reading
from handoff.payload.store import Payload
from handoff.payload.wire import check_header, read, write
from handoff.ticket import Ticket
from handoff.transports.base import Link, Post, Unusable, Written


class SharedMemory(Link):
    """Tokens on a GPU go down by asynchronous copies, and up by one."""

    kind = "shared_memory"

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        check_folder(post.settings.shared_folder, post.settings.max_payload_bytes)
        self._folder = shared_folder_id(post.settings.shared_folder)
        self._maps = SegmentMaps(post.settings.shared_folder, gpu_of(post.device))
        self._landing = Landing(post.settings.budget_bytes, gpu=None)
        self._pool: MemoryPool[Segment] | None = None
        self._lock = threading.Lock()

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, ledger: Ledger) -> Written:
        device = output.cond_dit.device
        if ledger.path.parent != self.post.settings.shared_folder:  # a sweep would take its segments for left behind
            raise Unusable(f"{self.post.settings.shared_folder} had no room for this process's ledger: {REMEDY}")
        if layout.nbytes > (size := size_of(self.post.settings.shared_folder)):
            raise Unusable(
                f"{layout.nbytes} bytes are more than {self.post.settings.shared_folder} ever holds, {size}: {REMEDY}"
            )
        segment = self._producer_pool(ledger.producer, device).acquire(payload.id, layout.nbytes)
        write(output, layout, segment.bytes)
        wait_for_copies(device)
        payload.body = segment.bytes
        return Written({"segment": segment.number, "folder": self._folder})

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        return self._pool is None or self._pool.fits(nbytes, without)

    def drop(self, payload: Payload) -> None:
        if self._pool:
            self._pool.release(payload.id)

    def take(self, ticket: Ticket, route: Mapping[str, Any]) -> EncoderOutput:
        if route["folder"] != self._folder:
            raise Unusable("the payload is in the shared memory of another machine, or of another container")
        layout, device = ticket.layout, self.post.device
        with (
            reading(self.post.settings.ledger_folders, ticket.producer, ticket.slot, ticket.id) as held,
            self._maps.mapped(ticket.producer, int(route["segment"])) as segment,
        ):
            check_header(segment, layout)
            if device.type == "cpu":
                payload = self._landing.buffer(layout.nbytes)
            else:
                payload = torch.empty(layout.nbytes, dtype=torch.uint8, device=device)
            payload.copy_(segment[: layout.nbytes], non_blocking=True)
            wait_for_copies(device)
            held.mark_taken()
        return read(payload, layout)

    def close(self) -> None:
        if self._pool:
            self._pool.close()
        self._maps.close()
        self._landing.close()

    def _producer_pool(self, producer: str, device: torch.device) -> MemoryPool[Segment]:
        settings = self.post.settings
        with self._lock:
            if self._pool is None:
                make = segment_maker(settings.shared_folder, producer, gpu_of(device))
                room = functools.partial(free_room, settings.shared_folder)
                self._pool = MemoryPool(settings.budget_bytes, make, room)
            return self._pool


def wait_for_copies(device: torch.device) -> None:
    """Wait until what this thread queued on `device` is done; nothing to wait for on a CPU."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
