"""`zeromq`: a ROUTER socket in the producer, a DEALER socket in the consumer; pieces are sent without a copy.

A consumer proves that it holds the key when it connects (PLAIN), before any message of it is read. The setting `curve`
switches on CURVE, ZeroMQ's encryption; the producer's key pair is derived from the key that both nodes share, so no
other key has to be distributed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from handoff.errors import HandoffError, HandoffTimeout, PeerLost, TicketRejected
from handoff.settings import HandoffSettings
from handoff.ticket import Ticket
from handoff.transports.base import TransportContext
from handoff.transports.network.payload_server import (
    LARGEST_REQUEST,
    PayloadServer,
    proof,
    read_answer,
    read_request,
    write_error,
    write_request,
)
from handoff.transports.network.pool import Address
from handoff.transports.network.server import STALLED_S, at_free_port, bracketed
from handoff.transports.network.transport import NetworkTransport, WireProtocol, fill

_LOST = zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_LOST |= zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
_LOG = logging.getLogger(__name__)
ADMISSION = "connection by zeromq"
"""What a consumer's proof is for when it connects: it takes the place of a payload's id."""
_UNSENT_MS = 2
"""Milliseconds between two checks whether pieces have been sent."""


def transport(context: TransportContext) -> NetworkTransport[Connection]:
    """The transport of this kind."""
    return NetworkTransport(context, ZeroMQ(context))


@dataclass(frozen=True)
class Connection:
    """A consumer's socket, and a monitor that shows if its connection broke: ZeroMQ itself would reconnect for ever."""

    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]


class ZeroMQ(WireProtocol[Connection]):
    """The consumer sends {"payload", "proof"}; the answer is {} and one message per piece, or {"error", "message"}."""

    kind = "zeromq"
    chunk = 4 << 20

    def __init__(self, context: TransportContext) -> None:
        super().__init__(context)
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._zmq.socket(zmq.PAIR).close()  # its threads start now: without a descriptor they would end the process

    def close(self) -> None:
        self._zmq.destroy(linger=0)

    @property
    def encrypted(self) -> bool:
        return self.settings.curve

    def serve(self, payloads: PayloadServer) -> ZeroMQServer:
        return ZeroMQServer(self, payloads)

    def dial(self, address: Address) -> Connection:
        with contextlib.ExitStack() as unless_dialled, _as_os_error():
            socket = self._zmq.socket(zmq.DEALER)
            unless_dialled.callback(socket.close, linger=0)
            connection = self._connect(socket, *address)
            unless_dialled.pop_all()
        return connection

    def _connect(self, socket: zmq.Socket[bytes], host: str, port: int) -> Connection:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, ":" in host)
        socket.setsockopt(zmq.MAXMSGSIZE, self.settings.max_payload_bytes)
        if self.settings.curve:
            socket.curve_serverkey = _curve_keys(self.key)[0]
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        else:
            socket.plain_username = self.kind.encode()
            socket.plain_password = proof(self.key, ADMISSION).encode()
        monitor = socket.get_monitor_socket(_LOST)
        socket.connect(f"tcp://{bracketed(host)}:{port}")
        return Connection(socket, monitor)

    def hang_up(self, connection: Connection) -> None:
        connection.socket.disable_monitor()
        connection.monitor.close(linger=0)
        connection.socket.close(linger=0)

    def receive(self, connection: Connection, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        with contextlib.suppress(zmq.Again):  # nobody to send to any more: the monitor tells why
            connection.socket.send(write_request(self.key, ticket.id).encode(), zmq.DONTWAIT)
        read_answer(self._next(connection).bytes)
        for view in views:
            fill(view, self._next(connection).buffer)
            yield

    def _next(self, connection: Connection) -> zmq.Frame:
        poller = zmq.Poller()
        poller.register(connection.socket, zmq.POLLIN)
        poller.register(connection.monitor, zmq.POLLIN)
        ready = dict(poller.poll(int(self.settings.timeout_s * 1000)))
        if connection.socket in ready:
            return connection.socket.recv(copy=False)
        if connection.monitor in ready:
            event = recv_monitor_message(connection.monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                raise TicketRejected("the producer refused the connection: this process does not hold its key")
            raise PeerLost(f"the producer is gone: {zmq.Event(event).name}")
        raise HandoffTimeout("the producer did not answer in time")


class ZeroMQServer:
    """A server with one thread: it queues pieces without a copy, and keeps each payload until all of it is sent."""

    def __init__(self, protocol: ZeroMQ, payloads: PayloadServer) -> None:
        settings = protocol.settings
        self._payloads = payloads
        self._chunk = protocol.chunk
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._zmq.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.SNDHWM, 0)  # a payload is queued as a whole: what is queued is held anyhow
        self._router.setsockopt(zmq.MAXMSGSIZE, LARGEST_REQUEST)  # a stranger who sends more is hung up on
        self._router.setsockopt(zmq.HANDSHAKE_IVL, int(settings.timeout_s * 1000))
        self._router.setsockopt(zmq.TCP_MAXRT, int(STALLED_S * 1000))
        self._router.setsockopt(zmq.TCP_KEEPALIVE, 1)
        self._router.setsockopt(zmq.IPV6, ":" in settings.bind)
        self._gate = self._zmq.socket(zmq.REP)  # ZeroMQ asks here whom to let in (ZAP, its RFC 27)
        self._gate.bind("inproc://zeromq.zap.01")
        if settings.curve:
            self._router.curve_publickey, self._router.curve_secretkey = _curve_keys(protocol.key)
            self._router.curve_server = True
        else:
            self._router.plain_server = True
        try:
            self.port = self._bind(settings)
        except HandoffError:
            self._zmq.destroy(linger=0)
            raise
        self._stop = self._zmq.socket(zmq.PAIR)
        self._stop.bind("inproc://stop")
        self._thread = threading.Thread(target=self._run, name="handoff-zeromq", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.send(b"")
        self._thread.join()
        self._stop.close()
        self._zmq.destroy(linger=0)

    def _bind(self, settings: HandoffSettings) -> int:
        def at(port: int) -> None:
            with _as_os_error():
                self._router.bind(f"tcp://{bracketed(settings.bind)}:{port or '*'}")

        at_free_port(settings, at)
        address = self._router.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(address, bytes)
        return int(address.rsplit(b":", 1)[1].rstrip(b"\0"))

    def _run(self) -> None:
        stop = self._zmq.socket(zmq.PAIR)
        stop.connect("inproc://stop")
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._gate, zmq.POLLIN)
        poller.register(stop, zmq.POLLIN)
        sending: list[tuple[contextlib.ExitStack, list[zmq.MessageTracker]]] = []
        while True:
            ready = dict(poller.poll(_UNSENT_MS if sending else None))
            for item in [item for item in sending if all(tracker.done for tracker in item[1])]:
                sending.remove(item)
                item[0].close()
            if stop in ready:
                break
            if self._gate in ready:
                self._let_in(*self._gate.recv_multipart())
            if self._router in ready:
                consumer, *request = self._router.recv_multipart()
                try:
                    sending.append(self._answer(consumer, request[0]))
                except Exception:  # whatever one request does, the others are served
                    _LOG.exception("a request could not be answered")
        self._router.close(linger=0)
        self._gate.close(linger=0)
        stop.close()
        _wait_for(sending)

    def _let_in(self, version: bytes, number: bytes, *request: bytes) -> None:
        """Decide whether a peer may connect. `request`: domain, address, identity, mechanism, and its credentials."""
        mechanism, *shown = request[3:]
        code, text = b"200", b""
        try:
            if mechanism != b"CURVE":  # with CURVE the handshake itself proves the key
                self._payloads.check(ADMISSION, shown[-1].decode(errors="replace") if shown else "")
        except TicketRejected as error:
            self._payloads.refused(error)
            code, text = b"400", str(error).encode()
        self._gate.send_multipart([version, number, code, text, b"", b""])

    def _answer(self, consumer: bytes, request: bytes) -> tuple[contextlib.ExitStack, list[zmq.MessageTracker]]:
        held = contextlib.ExitStack()
        trackers = []
        try:
            payload = held.enter_context(self._payloads.payload(*read_request(request)))
            self._router.send_multipart([consumer, b"{}"])
            for piece in payload.pieces(self._chunk):
                self._router.send(consumer, zmq.SNDMORE)
                tracker = self._router.send(piece, copy=False, track=True)
                assert tracker is not None
                trackers.append(tracker)
        except HandoffError as error:
            self._payloads.refused(error)
            self._router.send_multipart([consumer, write_error(error).encode()])
        return held, trackers


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except zmq.ZMQError as error:
        raise OSError(error.errno, str(error)) from error


def _wait_for(sending: list[tuple[contextlib.ExitStack, list[zmq.MessageTracker]]]) -> None:
    end = time.monotonic() + 1
    for held, trackers in sending:
        for tracker in trackers:
            with contextlib.suppress(zmq.NotDone):
                tracker.wait(max(end - time.monotonic(), 0))
        held.close()


def _curve_keys(key: bytes) -> tuple[bytes, bytes]:
    """The producer's (public key, secret key)."""
    secret = z85.encode(hashlib.sha256(b"zeromq curve " + key).digest())
    return zmq.curve_public(secret), secret
