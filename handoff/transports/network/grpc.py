"""`grpc`: a server-streaming call, on one or several hosts; a clip arrives frame by frame.

/eden.handoff.Handoff/Pull with the metadata payload (the ticket's id) and authorization (the proof), and an empty
request. The answer is one message of raw bytes per piece, in the order that both sides know from the layout.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from handoff.errors import HandoffError, HandoffTimeout, OverCapacity, PayloadGone, PeerLost, TicketRejected
from handoff.settings import LARGEST_CHUNK, HandoffSettings
from handoff.ticket import Ticket
from handoff.transports.base import TransportContext
from handoff.transports.network.deadlines import Deadlines
from handoff.transports.network.payload_server import LARGEST_REQUEST, PayloadServer, proof
from handoff.transports.network.pool import Address
from handoff.transports.network.server import STALLED_S, at_free_port, bracketed
from handoff.transports.network.transport import NetworkTransport, WireProtocol, fill

_METHOD = "/eden.handoff.Handoff/Pull"
_THREADS = 16
"""Payloads that one producer sends at the same time."""
_CALLS = 256
"""Calls that wait for one of those, or are sent; the next is refused."""
_IDLE_MS = 60_000
"""Milliseconds for which a connection without a call is kept: dialling anew costs a consumer little."""
_LARGEST_MESSAGE = LARGEST_CHUNK + (1 << 10)
_PAYLOAD, _PROOF = "payload", "authorization"
_ERRORS = {
    grpc.StatusCode.DEADLINE_EXCEEDED: HandoffTimeout,
    grpc.StatusCode.NOT_FOUND: PayloadGone,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverCapacity,
    grpc.StatusCode.PERMISSION_DENIED: TicketRejected,
    grpc.StatusCode.UNAVAILABLE: PeerLost,
    grpc.StatusCode.CANCELLED: PeerLost,
}


def transport(context: TransportContext) -> NetworkTransport[grpc.Channel]:
    """The transport of this kind."""
    return NetworkTransport(context, Grpc(context))


class Grpc(WireProtocol[grpc.Channel]):
    """The wire protocol over gRPC: as many channels are kept as takes run at the same time."""

    kind = "grpc"
    chunk = 256 << 10

    def serve(self, payloads: PayloadServer) -> GrpcServer:
        return GrpcServer(self.settings, payloads, self.chunk)

    def dial(self, address: Address) -> grpc.Channel:
        settings = self.settings
        target = f"{bracketed(address[0])}:{address[1]}"
        options = [
            *_keepalive(settings),
            ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),  # a peer is dialled directly, as by the other network kinds
        ]
        if settings.tls_authority is None:
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(settings.tls_authority.read_bytes()), options)

    def hang_up(self, connection: grpc.Channel) -> None:
        connection.close()

    def receive(self, connection: grpc.Channel, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        shown = ((_PAYLOAD, ticket.id), (_PROOF, proof(self.key, ticket.id)))
        call = connection.unary_stream(_METHOD)(b"", metadata=shown)
        patience = Patience(call, self.settings.timeout_s)
        try:
            for view, piece in zip(views, patience.pieces(), strict=True):
                fill(view, piece)
                yield
        except grpc.RpcError as error:
            if patience.lost:
                raise HandoffTimeout(f"no piece came within {self.settings.timeout_s:g} s") from error
            raise _ERRORS.get(error.code(), HandoffError)(f"{error.code().name}: {error.details()}") from error
        finally:
            patience.end()
            call.cancel()


class Patience(threading.Thread):
    """Cancels a call if its next piece does not come within `seconds`; gRPC's own deadlines are for whole calls."""

    def __init__(self, call: Any, seconds: float) -> None:
        super().__init__(name="handoff-grpc-patience", daemon=True)
        self.lost = False
        self._call = call
        self._seconds = seconds
        self._waiting_since: float | None = None
        self._ended = threading.Event()
        self.start()

    def pieces(self) -> Iterator[bytes]:
        """The pieces of the call. The time that its reader takes between two pieces does not count."""
        with contextlib.suppress(StopIteration):
            while True:
                self._waiting_since = time.monotonic()
                piece = next(self._call)
                self._waiting_since = None
                yield piece

    def run(self) -> None:
        left = self._seconds
        while not self._ended.wait(left):
            since = self._waiting_since
            left = self._seconds if since is None else since + self._seconds - time.monotonic()
            if left <= 0:
                self.lost = True
                self._call.cancel()
                return

    def end(self) -> None:
        """Stop watching: the call has ended."""
        self._ended.set()
        self.join()


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[misc]
    """grpcio's server, on threads of its own; a request that is not complete occupies none of them."""

    def __init__(self, settings: HandoffSettings, payloads: PayloadServer, chunk: int) -> None:
        self._payloads = payloads
        self._chunk = chunk
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="handoff-grpc")
        options = [*_keepalive(settings), ("grpc.max_send_message_length", _LARGEST_MESSAGE), ("grpc.so_reuseport", 0)]
        options += [("grpc.max_receive_message_length", LARGEST_REQUEST)]
        options += [("grpc.max_metadata_size", LARGEST_REQUEST), ("grpc.absolute_max_metadata_size", LARGEST_REQUEST)]
        options += [("grpc.server_handshake_timeout_ms", int(settings.timeout_s * 1000))]
        options += [("grpc.max_connection_idle_ms", _IDLE_MS), ("grpc.max_concurrent_streams", _CALLS)]
        self._server = grpc.server(self._threads, options=options, maximum_concurrent_rpcs=_CALLS)
        self._server.add_generic_rpc_handlers([self])
        self._numbers = itertools.count()
        self.port = self._bind(settings)
        self._sending = Deadlines(STALLED_S, _CALLS)
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of a call, chosen by its metadata, before a thread is used for it."""
        if handler_call_details.method != _METHOD:
            return None
        try:
            self._payloads.check(*_asked(handler_call_details.invocation_metadata))
        except TicketRejected as error:
            self._payloads.refused(error)
            return grpc.stream_stream_rpc_method_handler(_refuse)  # needs no request to answer
        return grpc.unary_stream_rpc_method_handler(self._pull)

    def close(self) -> None:
        self._server.stop(grace=0).wait()
        self._threads.shutdown()
        self._sending.close()

    def _bind(self, settings: HandoffSettings) -> int:
        host = bracketed(settings.bind)
        credentials = None
        if settings.tls_certificate and settings.tls_key:
            pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
            credentials = grpc.ssl_server_credentials([pair])

        def at(port: int) -> int:
            with socket.socket(socket.AF_INET6 if ":" in settings.bind else socket.AF_INET) as probe:
                probe.bind((settings.bind, 0))  # gRPC does not say that there is no such address
            address = f"{host}:{port}"
            try:
                if credentials:
                    return int(self._server.add_secure_port(address, credentials))
                return int(self._server.add_insecure_port(address))
            except RuntimeError as error:
                raise OSError(errno.EADDRINUSE, str(error)) from error

        return at_free_port(settings, at)

    def _pull(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        number = next(self._numbers)
        self._sending.begin(number, context.cancel)
        try:
            with self._payloads.payload(*_asked(context.invocation_metadata())) as payload:
                for piece in payload.pieces(self._chunk):
                    yield bytes(piece)
                    self._sending.renew(number)
        except HandoffError as error:
            codes = (code for code, kind in _ERRORS.items() if isinstance(error, kind))
            context.abort(next(codes, grpc.StatusCode.INTERNAL), str(error))
        finally:
            self._sending.end(number)


def _asked(metadata: Sequence[tuple[str, str | bytes]]) -> tuple[str, str]:
    """(id of the requested payload, proof) in a call's metadata."""
    fields = dict(metadata)
    return str(fields.get(_PAYLOAD)), str(fields.get(_PROOF))


def _refuse(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "the request does not prove that it holds this server's key")
    yield b""


def _keepalive(settings: HandoffSettings) -> list[tuple[str, int]]:
    """Keep-alive options: a silent side is pinged, and disconnected if it does not acknowledge in `timeout_s`."""
    return [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", int(settings.timeout_s * 1000))]
