"""What the network kinds share: payloads wait in host memory and travel in pieces.

Both sides know the order of the pieces from the layout: header and statistics, then frame by frame. Each piece is
received into its place, and goes up to the GPU while the next one comes; a clip can be decoded from its first pair on.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch

from eden.output import EncoderOutput
from handoff.buffers.host import BufferPool, HostBuffer, gpu_of, private_buffer, wait_for_copies
from handoff.payload.layout import Layout
from handoff.payload.store import Payload
from handoff.payload.wire import check_header, write
from handoff.pulled import PulledLink
from handoff.ticket import Ticket
from handoff.transports.base import TransportContext

C = TypeVar("C")


class NetworkLink(PulledLink[C]):
    """One kind of network hand-off; its own are its server, its connections, and `_receive`."""

    sends_any_body = True

    def __init__(self, context: TransportContext) -> None:
        super().__init__(context)
        self._host_pool: BufferPool[HostBuffer] | None = None

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        return self._host_pool is None or self._host_pool.fits(nbytes, without)

    def drop(self, payload: Payload) -> None:
        super().drop(payload)
        if self._host_pool:
            self._host_pool.release(payload.id)

    def close(self) -> None:
        super().close()
        if self._host_pool:
            self._host_pool.close()

    def _keep(self, payload: Payload, output: EncoderOutput, layout: Layout) -> torch.Tensor:
        device = output.cond_dit.device
        with self._lock:
            if self._host_pool is None:
                gpu = gpu_of(device)
                self._host_pool = BufferPool(self.context.settings.budget_bytes, lambda size: private_buffer(size, gpu))
        body = self._host_pool.acquire(payload.id, layout.nbytes).bytes
        write(output, layout, body)
        wait_for_copies(device)
        return body

    def fetch(self, ticket: Ticket, route: Mapping[str, Any], into: torch.Tensor) -> Generator[int, None, None]:
        on_cpu = into.device.type == "cpu"
        landing = into if on_cpu else self.context.receive_buffers.acquire(ticket.layout.nbytes)
        pieces = ticket.layout.pieces(int(route["chunk"]))
        views = [landing.numpy().data[piece.start : piece.stop] for piece in pieces]
        pulling = self._lines.use((route["host"], route["port"]), lambda line: self._receive(line, ticket, views))
        try:
            with contextlib.closing(pulling):
                for _, piece in zip(pulling, pieces, strict=True):
                    if piece.start == 0:
                        check_header(landing, ticket.layout)
                    if not on_cpu:
                        part = slice(piece.start, piece.stop)
                        into[part].copy_(landing[part], non_blocking=True)
                    yield piece.frames
        finally:
            wait_for_copies(into.device)  # the landing place is used again as soon as it is let go

    @abstractmethod
    def _receive(self, line: C, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        """Ask for a payload and fill the views in order, saying so after each."""
