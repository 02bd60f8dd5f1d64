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
from handoff.buffers.host import Memory, MemoryPool, gpu_of, private_memory
from handoff.payload.layout import Layout
from handoff.payload.store import Payload
from handoff.payload.wire import check_header, write
from handoff.pulled import PulledLink
from handoff.ticket import Ticket
from handoff.transports.base import Post
from handoff.transports.shared_memory import wait_for_copies

C = TypeVar("C")


class NetworkLink(PulledLink[C]):
    """One kind of network hand-off; its own are its server, its connections, and `_receive`."""

    shares = True

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self._pool: MemoryPool[Memory] | None = None

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        return self._pool is None or self._pool.fits(nbytes, without)

    def drop(self, payload: Payload) -> None:
        super().drop(payload)
        if self._pool:
            self._pool.release(payload.id)

    def close(self) -> None:
        super().close()
        if self._pool:
            self._pool.close()

    def _keep(self, payload: Payload, output: EncoderOutput, layout: Layout) -> torch.Tensor:
        device = output.cond_dit.device
        with self._lock:
            if self._pool is None:
                gpu = gpu_of(device)
                self._pool = MemoryPool(self.post.settings.budget_bytes, lambda size: private_memory(size, gpu))
        body = self._pool.acquire(payload.id, layout.nbytes).bytes
        write(output, layout, body)
        wait_for_copies(device)
        return body

    def _arrive(self, ticket: Ticket, route: Mapping[str, Any], target: torch.Tensor) -> Generator[int, None, None]:
        on_cpu = target.device.type == "cpu"
        landing = target if on_cpu else self._landing.buffer(ticket.layout.nbytes)
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
                        target[part].copy_(landing[part], non_blocking=True)
                    yield piece.frames
        finally:
            wait_for_copies(target.device)  # the landing place is used again as soon as it is let go

    @abstractmethod
    def _receive(self, line: C, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        """Ask for a payload and fill the views in order, saying so after each."""
