"""`websocket`: one connection kept, payloads as binary messages, a piece each. Several hosts."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from handoff.deadlines import Deadlines
from handoff.desk import LARGEST_REQUEST, Desk, error_name, proof, raise_error, read_request
from handoff.errors import HandoffError, PeerLost, TicketRejected
from handoff.lines import IDLE_S, Address, PatientListener, PatientTlsListener, listen
from handoff.network import NetworkLink
from handoff.pulled import Server
from handoff.settings import HandoffSettings
from handoff.ticket import Ticket
from handoff.tls import client_tls, server_tls

_FRAMES = (Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE)


class WebSocket(NetworkLink[ClientConnection]):
    """The consumer sends {"payload", "proof"}; the answer is {} and the pieces, or {"error", "message"}."""

    kind = "websocket"
    chunk = 1 << 20

    def _serve(self, desk: Desk, device: torch.device) -> Server:
        return WebSocketServer(self.post.settings, desk)

    def _protected(self) -> bool:
        return self.post.settings.tls_certificate is not None

    def _dial(self, address: Address) -> ClientConnection:
        settings = self.post.settings
        tls = client_tls(settings)
        host, port = address
        host = f"[{host}]" if ":" in host else host
        try:
            return connect(
                f"{'wss' if tls else 'ws'}://{host}:{port}/",
                ssl=tls,
                compression=None,
                proxy=None,
                legacy=True,  # a connection to keep, not one for the length of a block
                open_timeout=settings.timeout_s,
                close_timeout=1,
                ping_interval=None,
                max_size=settings.max_payload_bytes,
            )
        except (InvalidHandshake, ConnectionClosed, EOFError) as error:
            raise PeerLost(f"the producer at {host}:{port} did not answer as one: {error!r}") from error

    def _hang_up(self, line: ClientConnection) -> None:
        with contextlib.suppress(OSError):
            line.socket.shutdown(socket.SHUT_RDWR)  # a polite farewell would wait for all that is still to come
        line.close()

    def _receive(self, line: ClientConnection, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        timeout = self.post.settings.timeout_s
        try:
            line.send(json.dumps({"payload": ticket.id, "proof": proof(self.post.key, ticket.id)}))
            answer = json.loads(line.recv(timeout))
            if "error" in answer:
                raise_error(answer["error"], answer["message"])
            for view in views:
                piece = line.recv(timeout, decode=False)
                if len(piece) != len(view):
                    raise HandoffError(f"a piece of {len(piece)} bytes came where {len(view)} belong")
                view[:] = piece
                yield
        except ConnectionClosed as error:
            raise PeerLost(f"the producer broke off: {error}") from error


class Connection(ServerConnection):
    """One that is ended by the first frames that no consumer sends: pings and fragments would cost time without end."""

    def process_event(self, event: Any) -> None:
        """Take in a frame, or the request with which the connection opens."""
        if isinstance(event, Frame) and (event.opcode not in _FRAMES or not event.fin):
            raise TicketRejected("not a message of a hand-off")
        super().process_event(event)


class WebSocketServer:
    """Two threads for each connection: of consumers, and of as many others as `PatientListener` lets in."""

    def __init__(self, settings: HandoffSettings, desk: Desk) -> None:
        self._desk = desk
        self._chunk = settings.chunk_bytes or WebSocket.chunk
        tls = server_tls(settings)
        listener = PatientListener(fileno=listen(settings).detach())
        if tls:
            tls.sslsocket_class = PatientTlsListener
            listener.settimeout(0.1)  # else it would wait for one more peer when it is closed
        self.port: int = listener.getsockname()[1]
        silent = logging.getLogger("handoff.websocket.server")
        silent.setLevel(logging.CRITICAL)  # every consumer that goes away would be a traceback in the log
        self._server = serve(
            self._answer,
            sock=listener,
            ssl=tls,
            create_connection=Connection,
            compression=None,
            open_timeout=settings.timeout_s,
            close_timeout=1,
            ping_interval=None,
            max_size=LARGEST_REQUEST,
            logger=silent,
        )
        self._unproven = Deadlines(settings.timeout_s, PatientListener.most)
        self._server.socket.deadlines = self._unproven  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, name="handoff-websocket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._unproven.close()
        self._server.shutdown()
        self._thread.join()

    def _answer(self, connection: ServerConnection) -> None:
        # the consumer is gone, has asked for nothing for long, or is none of ours
        with contextlib.suppress(ConnectionClosed, ValueError, OSError, TicketRejected):
            while True:
                self._send(connection, connection.recv(IDLE_S))

    def _send(self, connection: ServerConnection, request: str | bytes) -> None:
        try:
            payload, shown = read_request(request)
            self._desk.check(payload, shown)
            self._unproven.end(connection.remote_address)
            with self._desk.parcel(payload, shown) as parcel:
                connection.send("{}")
                for piece in parcel.pieces(self._chunk):
                    connection.send(piece)
        except HandoffError as error:
            self._desk.refused(error)
            connection.send(json.dumps({"error": error_name(error), "message": str(error)}))
            if isinstance(error, TicketRejected):
                raise
