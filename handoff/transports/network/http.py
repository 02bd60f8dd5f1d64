"""`http`: the consumer pulls a payload with GET from a small server in the producer's process; on any hosts."""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import socket
from collections.abc import Callable, Iterator, Sequence

from handoff.errors import HandoffError, PeerLost, TicketRejected
from handoff.ticket import Ticket
from handoff.transports.base import TransportContext
from handoff.transports.network.payload_server import LARGEST_REQUEST, PayloadServer, proof, raise_error
from handoff.transports.network.pool import Address
from handoff.transports.network.server import ConnectionServer, client_tls
from handoff.transports.network.transport import NetworkTransport, WireProtocol

_STATUS = {"TicketRejected": "403 Forbidden", "PayloadGone": "410 Gone", "OverCapacity": "503 Service Unavailable"}


def transport(context: TransportContext) -> NetworkTransport[http.client.HTTPConnection]:
    """The transport of this kind."""
    return NetworkTransport(context, Http(context))


class Http(WireProtocol[http.client.HTTPConnection]):
    """The wire protocol over HTTP: GET /payloads/ID with the proof as a bearer token; connections are kept alive."""

    kind = "http"
    chunk = 1 << 20

    def serve(self, payloads: PayloadServer) -> ConnectionServer:
        return self.connection_server(functools.partial(_answer, payloads, self.chunk))

    def dial(self, address: Address) -> http.client.HTTPConnection:
        tls, timeout = client_tls(self.settings), self.settings.timeout_s
        if tls:
            return http.client.HTTPSConnection(*address, timeout=timeout, context=tls)
        return http.client.HTTPConnection(*address, timeout=timeout)

    def hang_up(self, connection: http.client.HTTPConnection) -> None:
        connection.close()

    def receive(
        self, connection: http.client.HTTPConnection, ticket: Ticket, views: Sequence[memoryview]
    ) -> Iterator[None]:
        try:
            token = proof(self.key, ticket.id)
            connection.request("GET", f"/payloads/{ticket.id}", headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            if response.status != 200:
                raise_error(response.headers.get("X-Error", ""), response.read(1000).decode(errors="replace"))
            for view in views:
                _fill(response, view)
                yield
            response.read()  # the end of the answer: the connection is free for the next
        except http.client.HTTPException as error:
            raise PeerLost(f"the producer broke off: {error!r}") from error


def _fill(response: http.client.HTTPResponse, view: memoryview) -> None:
    while view:
        count = response.readinto(view)
        if not count:
            raise PeerLost("the producer broke off in the middle of a payload")
        view = view[count:]


def _answer(payloads: PayloadServer, chunk: int, connection: socket.socket, proven: Callable[[], None]) -> None:
    with connection.makefile("rb") as requests:
        while True:
            with contextlib.ExitStack() as while_sent:
                try:
                    payload = while_sent.enter_context(payloads.payload(*_read_request(requests), proven))
                except HandoffError as error:
                    payloads.refused(error)
                    kind, text = type(error).__name__, str(error).encode()
                    status = _STATUS.get(kind, "500 Internal Server Error")
                    _send_head(connection, status, len(text), f"X-Error: {kind}", "Connection: close")
                    connection.sendall(text)
                    return
                _send_head(connection, "200 OK", len(payload.body), "Content-Type: application/octet-stream")
                for piece in payload.pieces(chunk):
                    connection.sendall(piece)


def _read_request(requests: io.BufferedReader) -> tuple[str, str]:
    """(id of the requested payload, proof) of a request. Raises `TicketRejected` for anything else."""
    head: list[bytes] = []
    left = LARGEST_REQUEST
    while (line := requests.readline(left)).strip():
        head.append(line)
        left -= len(line)
    if not line:
        raise ConnectionError("the consumer is gone")
    if not line.endswith(b"\n"):
        raise TicketRejected(f"the request is not complete within {LARGEST_REQUEST} bytes")
    first = head[0].split() if head else []
    if len(first) != 3 or first[0] != b"GET" or not first[1].startswith(b"/payloads/"):
        raise TicketRejected("not a request of a hand-off: only GET /payloads/ID is answered")
    fields = dict(line.strip().lower().partition(b":")[::2] for line in head[1:])
    token = fields.get(b"authorization", b"").strip().removeprefix(b"bearer ")
    return first[1].removeprefix(b"/payloads/").decode("latin-1"), token.decode("latin-1")


def _send_head(connection: socket.socket, status: str, length: int, *fields: str) -> None:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {length}", *fields, "", ""]
    connection.sendall("\r\n".join(head).encode("latin-1"))
