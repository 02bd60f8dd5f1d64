"""The transport of all network kinds: payloads wait in host memory and travel in pieces.

Both sides know the order of the pieces from the layout: header and statistics, then frame by frame. Each piece is
received in place, and copied to the GPU while the next one arrives; decoding can start with the first pair.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch

from handoff.buffers.host import wait_for_copies
from handoff.errors import HandoffError
from handoff.payload.store import PayloadStore
from handoff.payload.wire import check_header
from handoff.ticket import Ticket
from handoff.transports.base import Transport, TransportContext
from handoff.transports.network.on_demand import Server, ServerOnDemand, address_of
from handoff.transports.network.payload_server import PayloadServer
from handoff.transports.network.pool import Address, ConnectionPool
from handoff.transports.network.server import Answer, ConnectionServer, listen, server_tls

C = TypeVar("C")


class WireProtocol(Generic[C]):
    """How one network kind requests and sends a payload; C is the type of a consumer's connection."""

    kind: str
    chunk: int
    """Most bytes per piece; the class has the size that measured best."""

    def __init__(self, context: TransportContext) -> None:
        self.settings = context.settings
        self.key = context.key
        self.chunk = context.settings.chunk_bytes or self.chunk

    @property
    def encrypted(self) -> bool:
        """Whether its server encrypts, by the settings."""
        return self.settings.tls_certificate is not None

    def serve(self, payloads: PayloadServer) -> Server:
        """Start a producer's server."""
        raise NotImplementedError

    def connection_server(self, answer: Answer) -> ConnectionServer:
        """A TCP server on the address and port in the settings, with one thread per connection."""
        tls = server_tls(self.settings)
        return ConnectionServer(listen(self.settings), self.kind, answer, self.settings.timeout_s, tls)

    def dial(self, address: Address) -> C:
        """A connection to a producer's server."""
        raise NotImplementedError

    def hang_up(self, connection: C) -> None:
        """Close a connection."""
        raise NotImplementedError

    def receive(self, connection: C, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        """Request a payload and fill the views in order; yields after each."""
        raise NotImplementedError

    def close(self) -> None:
        """Release resources that connections share."""


class NetworkTransport(Transport, Generic[C]):
    """Pulls payloads by a `WireProtocol`."""

    sends_any_body = True

    def __init__(self, context: TransportContext, protocol: WireProtocol[C]) -> None:
        super().__init__(context)
        self.kind = protocol.kind
        self._protocol = protocol
        self._connections = ConnectionPool(protocol.dial, protocol.hang_up)
        self.server = ServerOnDemand(
            context, protocol.kind, lambda payloads, device: protocol.serve(payloads), encrypted=protocol.encrypted
        )

    def serve(self, store: PayloadStore, device: torch.device, nbytes: int) -> None:
        self.server.start(store, device)

    def route(self, buffer: object) -> Mapping[str, Any]:
        return self.server.route(chunk=self._protocol.chunk)

    def fetch(self, ticket: Ticket, route: Mapping[str, Any], into: torch.Tensor) -> Generator[int, None, None]:
        on_cpu = into.device.type == "cpu"
        received = into if on_cpu else self.context.receive_buffers.acquire(ticket.layout.nbytes)
        pieces = ticket.layout.pieces(int(route["chunk"]))
        views = [received.numpy().data[piece.start : piece.stop] for piece in pieces]
        receiving = self._connections.use(
            address_of(route), lambda connection: self._protocol.receive(connection, ticket, views)
        )
        try:
            with contextlib.closing(receiving):
                for _, piece in zip(receiving, pieces, strict=True):
                    if piece.start == 0:
                        check_header(received, ticket.layout)
                    if not on_cpu:
                        part = slice(piece.start, piece.stop)
                        into[part].copy_(received[part], non_blocking=True)
                    yield piece.frames
        finally:
            wait_for_copies(into.device)  # the host memory is reused as soon as it is released

    def close(self) -> None:
        self.server.close()
        self._connections.close()
        self._protocol.close()
        super().close()


def fill(view: memoryview, piece: bytes | memoryview) -> None:
    """Copy a piece to its place. Raises `HandoffError` if their sizes differ."""
    if len(piece) != len(view):
        raise HandoffError(f"a piece of {len(piece)} bytes came, expected {len(view)}")
    view[:] = piece
