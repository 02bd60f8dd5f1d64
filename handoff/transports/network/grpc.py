"""`grpc`: a server-streaming pull. Several hosts; a clip arrives frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc  # type: ignore[import-untyped]

from handoff.errors import HandoffError, HandoffTimeout, OverCapacity, PayloadGone, PeerLost, TicketRejected
from handoff.settings import LARGEST_CHUNK, HandoffSettings
from handoff.ticket import Ticket
from handoff.transports.base import TransportContext
from handoff.transports.network.payload_server import LARGEST_REQUEST, PayloadServer, proof
from handoff.transports.network.pool import Address
from handoff.transports.network.pull_pb2 import Piece, PullRequest
from handoff.transports.network.server import bracketed, ports_to_try
from handoff.transports.network.transport import NetworkTransport, WireProtocol

_METHOD = ("eden.handoff.Handoff", "Pull")
_THREADS = 16
"""Payloads that one producer sends at the same time."""
_SLOWEST = 16 << 20
"""Bytes a second: gRPC's deadlines are for a whole call, so a large payload gets `timeout_s` and a second for each."""
_LARGEST_MESSAGE = LARGEST_CHUNK + (1 << 10)
_QUIET = ("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000)
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
    """One channel kept for each take that runs at the same time."""

    kind = "grpc"
    chunk = 256 << 10

    def serve(self, payloads: PayloadServer) -> GrpcServer:
        return GrpcServer(self.settings, payloads, self.chunk)

    def dial(self, address: Address) -> grpc.Channel:
        settings = self.settings
        target = f"{bracketed(address[0])}:{address[1]}"
        options = [*_QUIET, ("grpc.max_receive_message_length", _LARGEST_MESSAGE), ("grpc.enable_retries", 0)]
        options.append(("grpc.enable_http_proxy", 0))  # a peer is dialled directly, as by the other network kinds
        if settings.tls_authority is None:
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(settings.tls_authority.read_bytes()), options)

    def hang_up(self, connection: grpc.Channel) -> None:
        connection.close()

    def receive(self, connection: grpc.Channel, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        pull = connection.unary_stream("/" + "/".join(_METHOD), PullRequest.SerializeToString, Piece.FromString)
        request = PullRequest(payload=ticket.id, proof=proof(self.key, ticket.id))
        patience = self.settings.timeout_s + ticket.layout.nbytes / _SLOWEST
        call = pull(request, timeout=patience)
        try:
            for view, piece in zip(views, call, strict=True):
                if len(piece.data) != len(view):
                    raise HandoffError(f"a piece of {len(piece.data)} bytes came where {len(view)} belong")
                view[:] = piece.data
                yield
        except grpc.RpcError as error:
            raise _ERRORS.get(error.code(), HandoffError)(f"{error.code().name}: {error.details()}") from error
        finally:
            call.cancel()


class GrpcServer:
    """grpcio's server, on threads of its own."""

    def __init__(self, settings: HandoffSettings, payloads: PayloadServer, chunk: int) -> None:
        self._payloads = payloads
        self._chunk = chunk
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="handoff-grpc")
        options = [*_QUIET, ("grpc.max_send_message_length", _LARGEST_MESSAGE), ("grpc.so_reuseport", 0)]
        options += [("grpc.max_receive_message_length", LARGEST_REQUEST)]
        self._server = grpc.server(self._threads, options=options)
        handler = grpc.unary_stream_rpc_method_handler(self._pull, PullRequest.FromString, Piece.SerializeToString)
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_METHOD[0], {_METHOD[1]: handler})])
        self.port = self._bind(settings)
        self._server.start()

    def close(self) -> None:
        self._server.stop(grace=0).wait()
        self._threads.shutdown()

    def _bind(self, settings: HandoffSettings) -> int:
        host = bracketed(settings.bind)
        credentials = None
        if settings.tls_certificate and settings.tls_key:
            pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
            credentials = grpc.ssl_server_credentials([pair])
        for port in ports_to_try(settings):
            try:
                if credentials:
                    return int(self._server.add_secure_port(f"{host}:{port}", credentials))
                return int(self._server.add_insecure_port(f"{host}:{port}"))
            except RuntimeError:
                continue
        raise HandoffError(f"no free port on {settings.bind} from {settings.port} on")

    def _pull(self, request: PullRequest, context: grpc.ServicerContext) -> Iterator[Piece]:
        try:
            with self._payloads.payload(request.payload, request.proof) as payload:
                for piece in payload.pieces(self._chunk):
                    yield Piece(data=bytes(piece))
        except HandoffError as error:
            self._payloads.refused(error)
            codes = (code for code, kind in _ERRORS.items() if isinstance(error, kind))
            context.abort(next(codes, grpc.StatusCode.INTERNAL), str(error))
