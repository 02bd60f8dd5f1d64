"""A transport in sixty lines: a line to ask for a payload, a line to answer, and its bytes, over TCP."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Iterator, Sequence

from handoff.errors import HandoffError, PeerLost
from handoff.ticket import Ticket
from handoff.transports.base import TransportContext
from handoff.transports.network import payload_server
from handoff.transports.network.payload_server import PayloadServer
from handoff.transports.network.pool import Address
from handoff.transports.network.server import ConnectionServer
from handoff.transports.network.transport import NetworkTransport, WireProtocol


def transport(context: TransportContext) -> NetworkTransport[socket.socket]:
    """What the table names."""
    return NetworkTransport(context, Tcp(context))


class Tcp(WireProtocol[socket.socket]):
    """The producer's half is `serve`, the consumer's `dial`, `receive` and `hang_up`."""

    kind = "tcp"
    chunk = 1 << 20

    def serve(self, payloads: PayloadServer) -> ConnectionServer:
        return self.connection_server(functools.partial(self._answer, payloads))

    def dial(self, address: Address) -> socket.socket:
        return socket.create_connection(address, self.settings.timeout_s)

    def hang_up(self, connection: socket.socket) -> None:
        connection.close()

    def receive(self, connection: socket.socket, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        connection.sendall(payload_server.write_request(self.key, ticket.id).encode() + b"\n")
        with connection.makefile("rb") as answer:
            payload_server.read_answer(payload_server.read_line(answer))
            for view in views:
                if answer.readinto(view) < len(view):
                    raise PeerLost("the producer broke off in the middle of a payload")
                yield

    def _answer(self, payloads: PayloadServer, connection: socket.socket, proven: Callable[[], None]) -> None:
        with connection.makefile("rb") as requests:
            while request := requests.readline(payload_server.LARGEST_REQUEST):
                try:
                    with payloads.payload(*payload_server.read_request(request), proven) as payload:
                        connection.sendall(b"{}\n")
                        for piece in payload.pieces(self.chunk):
                            connection.sendall(piece)
                except HandoffError as error:  # said to whoever asked
                    payloads.refused(error)
                    connection.sendall(payload_server.write_error(error).encode() + b"\n")
