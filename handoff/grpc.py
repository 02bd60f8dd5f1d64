"""`grpc`: a server-streaming pull. Several hosts; a clip arrives frame by frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc  # type: ignore[import-untyped]
import torch

from handoff.deadlines import Deadlines
from handoff.desk import LARGEST_REQUEST, Desk, admission, proof
from handoff.errors import HandoffError, HandoffTimeout, OverCapacity, PayloadGone, PeerLost, TicketRejected
from handoff.lines import STALLED_S, Address, ports_to_try
from handoff.network import NetworkLink
from handoff.pull_pb2 import Piece, PullRequest
from handoff.pulled import Server
from handoff.settings import LARGEST_CHUNK, HandoffSettings
from handoff.ticket import Ticket

_METHOD = "/eden.handoff.Handoff/Pull"
_THREADS = 16
"""Payloads that one producer sends at the same time."""
_CALLS = 256
"""Calls that wait for one of those, or are sent; the next is refused."""
_IDLE_MS = 60_000
"""How long a connection without a call is kept: to dial anew costs a consumer little."""
_SLOWEST = 16 << 20
"""Bytes a second: gRPC's deadlines are for a whole call, so a large payload gets `timeout_s` and a second for each."""
_LARGEST_MESSAGE = LARGEST_CHUNK + (1 << 10)
_SHOWN = "authorization"
_QUIET = ("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000)
_ERRORS = {
    grpc.StatusCode.DEADLINE_EXCEEDED: HandoffTimeout,
    grpc.StatusCode.NOT_FOUND: PayloadGone,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverCapacity,
    grpc.StatusCode.PERMISSION_DENIED: TicketRejected,
    grpc.StatusCode.UNAVAILABLE: PeerLost,
    grpc.StatusCode.CANCELLED: PeerLost,
}


class Grpc(NetworkLink[grpc.Channel]):
    """One channel kept for each take that runs at the same time."""

    kind = "grpc"
    chunk = 256 << 10

    def _serve(self, desk: Desk, device: torch.device) -> Server:
        return GrpcServer(self.post.settings, desk)

    def _protected(self) -> bool:
        return self.post.settings.tls_certificate is not None

    def _dial(self, address: Address) -> grpc.Channel:
        settings = self.post.settings
        host, port = address
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        options = [*_QUIET, ("grpc.max_receive_message_length", _LARGEST_MESSAGE), ("grpc.enable_retries", 0)]
        options.append(("grpc.enable_http_proxy", 0))  # a peer is dialled directly, as by the other network kinds
        if settings.tls_authority is None:
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(settings.tls_authority.read_bytes()), options)

    def _hang_up(self, line: grpc.Channel) -> None:
        line.close()

    def _receive(self, line: grpc.Channel, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        pull = line.unary_stream(_METHOD, PullRequest.SerializeToString, Piece.FromString)
        request = PullRequest(payload=ticket.id, proof=proof(self.post.key, ticket.id))
        shown = [(_SHOWN, admission(self.post.key, self.kind))]
        patience = self.post.settings.timeout_s + ticket.layout.nbytes / _SLOWEST
        call = pull(request, timeout=patience, metadata=shown)
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


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[misc]
    """grpcio's server, on threads of its own: none waits for what a stranger has begun to say."""

    def __init__(self, settings: HandoffSettings, desk: Desk) -> None:
        self._desk = desk
        self._chunk = settings.chunk_bytes or Grpc.chunk
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="handoff-grpc")
        options = [*_QUIET, ("grpc.max_send_message_length", _LARGEST_MESSAGE), ("grpc.so_reuseport", 0)]
        options += [("grpc.max_receive_message_length", LARGEST_REQUEST)]
        options += [("grpc.max_metadata_size", LARGEST_REQUEST), ("grpc.absolute_max_metadata_size", LARGEST_REQUEST)]
        options += [("grpc.server_handshake_timeout_ms", int(settings.timeout_s * 1000))]
        options += [("grpc.max_connection_idle_ms", _IDLE_MS), ("grpc.max_concurrent_streams", _CALLS)]
        self._server = grpc.server(self._threads, options=options, maximum_concurrent_rpcs=_CALLS)
        self._pulls = grpc.unary_stream_rpc_method_handler(self._pull, PullRequest.FromString, Piece.SerializeToString)
        self._refusals = grpc.stream_stream_rpc_method_handler(self._refuse)  # needs no request to answer
        self._server.add_generic_rpc_handlers([self])
        self._numbers = itertools.count()
        self.port = self._bind(settings)
        self._sending = Deadlines(STALLED_S, _CALLS)
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Who answers a call, decided by its headers, before a thread is spent on it."""
        if handler_call_details.method != _METHOD:
            return None
        shown = dict(handler_call_details.invocation_metadata).get(_SHOWN, "")
        try:
            self._desk.check_admission(Grpc.kind, str(shown))
        except TicketRejected as error:
            self._desk.refused(error)
            return self._refusals
        return self._pulls

    def close(self) -> None:
        self._server.stop(grace=0).wait()
        self._threads.shutdown()
        self._sending.close()

    def _bind(self, settings: HandoffSettings) -> int:
        host = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
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
        number = next(self._numbers)
        self._sending.begin(number, context.cancel)
        try:
            with self._desk.parcel(request.payload, request.proof) as parcel:
                for piece in parcel.pieces(self._chunk):
                    yield Piece(data=bytes(piece))
                    self._sending.renew(number)
        except HandoffError as error:
            self._desk.refused(error)
            codes = (code for code, kind in _ERRORS.items() if isinstance(error, kind))
            context.abort(next(codes, grpc.StatusCode.INTERNAL), str(error))
        finally:
            self._sending.end(number)

    def _refuse(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "the request does not prove that it holds this server's key")
        yield b""
