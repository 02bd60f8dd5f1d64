"""`grpc`: a server-streaming pull. Several hosts; a clip arrives frame by frame."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc  # type: ignore[import-untyped]
import torch

from handoff.desk import LARGEST_REQUEST, Desk, proof
from handoff.errors import HandoffError, HandoffTimeout, OverCapacity, PayloadGone, PeerLost, TicketRejected
from handoff.lines import Address, ports_to_try
from handoff.network import NetworkLink
from handoff.pull_pb2 import Piece, PullRequest
from handoff.pulled import Server
from handoff.settings import LARGEST_CHUNK, HandoffSettings
from handoff.ticket import Ticket

_METHOD = ("eden.handoff.Handoff", "Pull")
_THREADS = 16
"""Payloads that one producer sends at the same time."""
_LARGEST_MESSAGE = LARGEST_CHUNK + (1 << 10)
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
        options = [
            *_keepalive(settings),
            ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),  # a peer is dialled directly, as by the other network kinds
        ]
        if settings.tls_authority is None:
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(settings.tls_authority.read_bytes()), options)

    def _hang_up(self, line: grpc.Channel) -> None:
        line.close()

    def _receive(self, line: grpc.Channel, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        pull = line.unary_stream("/" + "/".join(_METHOD), PullRequest.SerializeToString, Piece.FromString)
        request = PullRequest(payload=ticket.id, proof=proof(self.post.key, ticket.id))
        call = pull(request)
        patience = Patience(call, self.post.settings.timeout_s)
        try:
            for view, piece in zip(views, patience.pieces(), strict=True):
                if len(piece.data) != len(view):
                    raise HandoffError(f"a piece of {len(piece.data)} bytes came where {len(view)} belong")
                view[:] = piece.data
                yield
        except grpc.RpcError as error:
            if patience.lost:
                raise HandoffTimeout(f"no piece came within {self.post.settings.timeout_s:g} s") from error
            raise _ERRORS.get(error.code(), HandoffError)(f"{error.code().name}: {error.details()}") from error
        finally:
            patience.end()
            call.cancel()


class Patience(threading.Thread):
    """Cancels a call that lets its reader wait for `seconds`. gRPC's own deadlines are for a whole call."""

    def __init__(self, call: Any, seconds: float) -> None:
        super().__init__(name="handoff-grpc-patience", daemon=True)
        self.lost = False
        self._call = call
        self._seconds = seconds
        self._waiting_since: float | None = None
        self._ended = threading.Event()
        self.start()

    def pieces(self) -> Iterator[Piece]:
        """What the call brings. The time that its reader takes between two pieces does not count."""
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
        """The call has ended."""
        self._ended.set()
        self.join()


class GrpcServer:
    """grpcio's server, on threads of its own."""

    def __init__(self, settings: HandoffSettings, desk: Desk) -> None:
        self._desk = desk
        self._chunk = settings.chunk_bytes or Grpc.chunk
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="handoff-grpc")
        options = [*_keepalive(settings), ("grpc.max_send_message_length", _LARGEST_MESSAGE), ("grpc.so_reuseport", 0)]
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
        try:
            with self._desk.parcel(request.payload, request.proof) as parcel:
                for piece in parcel.pieces(self._chunk):
                    yield Piece(data=bytes(piece))
        except HandoffError as error:
            self._desk.refused(error)
            codes = (code for code, kind in _ERRORS.items() if isinstance(error, kind))
            context.abort(next(codes, grpc.StatusCode.INTERNAL), str(error))


def _keepalive(settings: HandoffSettings) -> list[tuple[str, int]]:
    """A side that is silent is asked for a sign; what it does not acknowledge in `timeout_s` ends the connection."""
    return [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", int(settings.timeout_s * 1000))]
