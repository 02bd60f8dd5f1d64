"""`zeromq`: ROUTER in the producer, DEALER in the consumer, pieces sent from where they lie. Several hosts.

CURVE, ZeroMQ's encryption, is switched on by `curve`; the producer's key pair follows from the key that both stages
share, so there is nothing to hand out.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from handoff.desk import LARGEST_REQUEST, Desk, error_name, proof, raise_error, read_request
from handoff.errors import HandoffError, HandoffTimeout, PeerLost
from handoff.lines import Address, ports_to_try
from handoff.link import Post
from handoff.network import NetworkLink
from handoff.pulled import Server
from handoff.settings import HandoffSettings
from handoff.ticket import Ticket

_LOST = zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_LOST |= zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
_LOG = logging.getLogger(__name__)
_UNSENT_MS = 2
"""How often pieces that are being sent are looked after."""


@dataclass(frozen=True)
class Line:
    """A consumer's socket, and what tells that its connection broke: ZeroMQ itself would quietly dial for ever."""

    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]


class ZeroMQ(NetworkLink[Line]):
    """The consumer sends {"payload", "proof"}; the answer is {} and a message a piece, or {"error", "message"}."""

    kind = "zeromq"
    chunk = 4 << 20

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.socket(zmq.PAIR).close()  # its threads start now: without a descriptor they would end the process

    def close(self) -> None:
        super().close()
        self._context.destroy(linger=0)

    def _serve(self, desk: Desk, device: torch.device) -> Server:
        return ZeroMQServer(self.post, desk)

    def _protected(self) -> bool:
        return self.post.settings.curve

    def _dial(self, address: Address) -> Line:
        with contextlib.ExitStack() as unless_dialled, _as_os_error():
            socket = self._context.socket(zmq.DEALER)
            unless_dialled.callback(socket.close, linger=0)
            line = self._connect(socket, *address)
            unless_dialled.pop_all()
        return line

    def _connect(self, socket: zmq.Socket[bytes], host: str, port: int) -> Line:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, ":" in host)
        socket.setsockopt(zmq.MAXMSGSIZE, self.post.settings.max_payload_bytes)
        if self.post.settings.curve:
            socket.curve_serverkey = _curve_keys(self.post.key)[0]
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        monitor = socket.get_monitor_socket(_LOST)
        socket.connect(f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}")
        return Line(socket, monitor)

    def _hang_up(self, line: Line) -> None:
        line.socket.disable_monitor()
        line.monitor.close(linger=0)
        line.socket.close(linger=0)

    def _receive(self, line: Line, ticket: Ticket, views: Sequence[memoryview]) -> Iterator[None]:
        line.socket.send(json.dumps({"payload": ticket.id, "proof": proof(self.post.key, ticket.id)}).encode())
        answer = json.loads(self._next(line).bytes)
        if "error" in answer:
            raise_error(answer["error"], answer["message"])
        for view in views:
            piece = self._next(line).buffer
            if len(piece) != len(view):
                raise HandoffError(f"a piece of {len(piece)} bytes came where {len(view)} belong")
            view[:] = piece
            yield

    def _next(self, line: Line) -> zmq.Frame:
        poller = zmq.Poller()
        poller.register(line.socket, zmq.POLLIN)
        poller.register(line.monitor, zmq.POLLIN)
        ready = dict(poller.poll(int(self.post.settings.timeout_s * 1000)))
        if line.socket in ready:
            return line.socket.recv(copy=False)
        if line.monitor in ready:
            event = recv_monitor_message(line.monitor)["event"]
            raise PeerLost(f"the producer is gone: {zmq.Event(event).name}")
        raise HandoffTimeout("the producer did not answer in time")


class ZeroMQServer:
    """One thread: it queues pieces without copying them and holds each payload until ZeroMQ has sent the last."""

    def __init__(self, post: Post, desk: Desk) -> None:
        self._desk = desk
        self._chunk = post.settings.chunk_bytes or ZeroMQ.chunk
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.SNDHWM, 0)  # a payload is queued as a whole: what is queued is held anyhow
        self._router.setsockopt(zmq.MAXMSGSIZE, LARGEST_REQUEST)  # a stranger who sends more is hung up on
        self._router.setsockopt(zmq.IPV6, ":" in post.settings.bind)
        if post.settings.curve:
            self._router.curve_publickey, self._router.curve_secretkey = _curve_keys(post.key)
            self._router.curve_server = True
        try:
            self.port = self._bind(post.settings)
        except HandoffError:
            self._context.destroy(linger=0)
            raise
        self._stop = self._context.socket(zmq.PAIR)
        self._stop.bind("inproc://stop")
        self._thread = threading.Thread(target=self._run, name="handoff-zeromq", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.send(b"")
        self._thread.join()
        self._stop.close()
        self._context.destroy(linger=0)

    def _bind(self, settings: HandoffSettings) -> int:
        host = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
        for port in ports_to_try(settings):
            try:
                self._router.bind(f"tcp://{host}:{port or '*'}")
            except zmq.ZMQError as error:
                if error.errno != errno.EADDRINUSE:
                    raise HandoffError(f"cannot listen on {settings.bind} (handoff.bind): {error}") from error
                continue
            address = self._router.getsockopt(zmq.LAST_ENDPOINT)
            assert isinstance(address, bytes)
            return int(address.rsplit(b":", 1)[1].rstrip(b"\0"))
        raise HandoffError(f"no free port on {settings.bind} from {settings.port} on")

    def _run(self) -> None:
        stop = self._context.socket(zmq.PAIR)
        stop.connect("inproc://stop")
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(stop, zmq.POLLIN)
        sending: list[tuple[contextlib.ExitStack, list[zmq.MessageTracker]]] = []
        while True:
            ready = dict(poller.poll(_UNSENT_MS if sending else None))
            for item in [item for item in sending if all(tracker.done for tracker in item[1])]:
                sending.remove(item)
                item[0].close()
            if stop in ready:
                break
            if self._router in ready:
                consumer, *request = self._router.recv_multipart()
                try:
                    sending.append(self._answer(consumer, request[0]))
                except Exception:  # whatever one request does, the others are served
                    _LOG.exception("a request could not be answered")
        self._router.close(linger=0)
        stop.close()
        _wait_for(sending)

    def _answer(self, consumer: bytes, request: bytes) -> tuple[contextlib.ExitStack, list[zmq.MessageTracker]]:
        held = contextlib.ExitStack()
        trackers = []
        try:
            parcel = held.enter_context(self._desk.parcel(*read_request(request)))
            self._router.send_multipart([consumer, b"{}"])
            for piece in parcel.pieces(self._chunk):
                self._router.send(consumer, zmq.SNDMORE)
                tracker = self._router.send(piece, copy=False, track=True)
                assert tracker is not None
                trackers.append(tracker)
        except HandoffError as error:
            self._desk.refused(error)
            refusal = {"error": error_name(error), "message": str(error)}
            self._router.send_multipart([consumer, json.dumps(refusal).encode()])
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
    """The producer's public and secret key."""
    secret = z85.encode(hashlib.sha256(b"zeromq curve " + key).digest())
    return zmq.curve_public(secret), secret
