"""`websocket`: connections are kept, and each piece of a payload is a binary message; on one or several hosts."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Sequence

from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.sync.client import ClientConnection, connect

from handoff.errors import HandoffError, PeerLost, TicketRejected, require_descriptors
from handoff.ticket import Ticket
from handoff.transports.base import TransportContext
from handoff.transports.network.payload_server import (
    LARGEST_REQUEST,
    PayloadServer,
    read_answer,
    read_request,
    write_error,
    write_request,
)
from handoff.transports.network.pool import Address
from handoff.transports.network.server import ConnectionServer, bracketed, client_tls
from handoff.transports.network.transport import NetworkTransport, WireProtocol, fill

_SILENT = logging.getLogger("handoff.websocket.server")
_FRAMES = (Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE)
_SILENT.setLevel(logging.CRITICAL)  # every consumer that goes away would be a traceback in the log
_DESCRIPTORS = 8
"""File descriptors that must be free before a producer is dialled. A connection takes four, the last one in a thread of
the library; without it the thread ends silently, as if the producer were gone. The others are a reserve."""


def transport(context: TransportContext) -> NetworkTransport[ClientConnection]:
    """The transport of this kind."""
    return NetworkTransport(context, WebSocket(context))


class WebSocket(WireProtocol[ClientConnection]):
    """The consumer sends {"payload", "proof"}; the answer is {} and the pieces, or {"error", "message"}, as JSON."""

    kind = "websocket"
    chunk = 1 << 20

    def serve(self, payloads: PayloadServer) -> ConnectionServer:
        def answer(connection: socket.socket, proven: Callable[[], None]) -> None:
            consumer = _Consumer(connection)
            with contextlib.suppress(WebSocketException):  # it is leaving
                for request in consumer.requests():
                    try:
                        with payloads.payload(*read_request(request), proven) as payload:
                            consumer.send_text("{}")
                            for piece in payload.pieces(self.chunk):
                                consumer.send_binary(piece)
                    except HandoffError as error:
                        payloads.refused(error)
                        consumer.send_text(write_error(error))
                        if isinstance(error, TicketRejected):
                            return

        return self.connection_server(answer)

    def dial(self, address: Address) -> ClientConnection:
        tls = client_tls(self.settings)
        host, port = address
        require_descriptors(_DESCRIPTORS)
        try:
            return connect(
                f"{'wss' if tls else 'ws'}://{bracketed(host)}:{port}/",
                ssl=tls,
                compression=None,
                proxy=None,
                legacy=True,  # a connection to keep, not one for the length of a block
                open_timeout=self.settings.timeout_s,
                close_timeout=1,
                ping_interval=None,
                max_size=self.settings.max_payload_bytes,
            )
        except (InvalidHandshake, ConnectionClosed, EOFError) as error:
            raise PeerLost(f"the producer at {host}:{port} did not answer as one: {error!r}") from error

    def hang_up(self, connection: ClientConnection) -> None:
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)  # a polite farewell would wait for all that is still to come
        connection.close()

    def receive(self, connection: ClientConnection, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        timeout = self.settings.timeout_s
        try:
            connection.send(write_request(self.key, ticket.id))
            read_answer(connection.recv(timeout))
            for view in views:
                fill(view, connection.recv(timeout, decode=False))
                yield
        except ConnectionClosed as error:
            raise PeerLost(f"the producer broke off: {error}") from error


class _Consumer:
    """The producer's end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._protocol = ServerProtocol(max_size=LARGEST_REQUEST, logger=_SILENT)

    def requests(self) -> Iterator[bytes]:
        """Answer the opening handshake, then yield the messages of the other side until it leaves."""
        while data := self._connection.recv(1 << 16):
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Request):
                    self._protocol.send_response(self._protocol.accept(event))
                elif not isinstance(event, Frame) or event.opcode not in _FRAMES or not event.fin:
                    raise TicketRejected("not a message of a hand-off")  # pings and fragments cost time without end
                elif event.opcode is not Opcode.CLOSE:
                    self._flush()
                    yield bytes(event.data)
            self._flush()
            if self._protocol.close_expected():
                return

    def send_text(self, text: str) -> None:
        self._protocol.send_text(text.encode())
        self._flush()

    def send_binary(self, piece: memoryview) -> None:
        self._protocol.send_binary(piece)
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._connection.sendall(data)
