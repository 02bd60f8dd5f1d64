"""Whatever strangers send to the port of a producer, its consumers are served as before."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
import zmq
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from handoff import Handoff, HandoffSettings, open_handoff
from handoff.transports.network.payload_server import LARGEST_REQUEST, proof
from handoff.transports.network.zeromq import ADMISSION
from tests.contract import few_descriptors
from tests.contract.peers import digest, make_output, wait_until

KEY = "known to those who are let in"
MESSAGES = {
    "nothing": b"",
    "nested": b"[" * 200_000,
    "nested, short": b"[" * 4000,
    "nested, as a field": b'{"payload":' + b"[" * 4000,
    "a list": b"[1]",
    "a number": b"1",
    "null": b"null",
    "no fields": b"{}",
    "fields of other types": b'{"payload": {"a": [1]}, "proof": 1e999, "session": [], "device": null}',
    "half a surrogate": b'{"payload": "\\ud800", "proof": "\\udfff", "session": "\\ud800", "device": "\\ud800"}',
    "not UTF-8": b"\xff\xfe\x80" * 100,
    "zeros": b"\0" * 100_000,
    "a long number": b"9" * 3900,
    "no proof": json.dumps({"payload": "0" * 32, "proof": "0" * 64, "session": "0" * 32, "device": ""}).encode(),
    "over the limit": json.dumps({"payload": "0" * 500_000, "proof": "0" * 64}).encode(),
    "an error": b'{"error": ["PeerLost"], "message": {}}',
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
}


def raw(port: int, message: bytes) -> None:
    """Bytes on a connection: as they are, as a line, and broken off by a reset."""
    for ending in (b"", b"\n"):
        with socket.create_connection(("127.0.0.1", port), 5) as stranger, contextlib.suppress(OSError):
            stranger.sendall(message + ending)
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(1 << 16):
                pass
    with socket.create_connection(("127.0.0.1", port), 5) as stranger, contextlib.suppress(OSError):
        stranger.sendall(message)
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def by_http(port: int, message: bytes) -> None:
    """As path, as token, and as body."""
    line = message.replace(b"\r", b"").replace(b"\n", b"").replace(b" ", b"")
    raw(port, b"GET /payloads/" + line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    raw(port, b"GET /payloads/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + line + b"\r\n\r\n")
    raw(port, b"GET /payloads/%ff%00 HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + message)


def by_websocket(port: int, message: bytes) -> None:
    """As a binary message, as text, and as fragments."""
    for form in (message, message.decode("latin-1"), [message[:5], message[5:]]):
        with (
            contextlib.suppress(WebSocketException, OSError),
            connect(f"ws://127.0.0.1:{port}/", proxy=None) as stranger,
        ):
            stranger.send(form)
            stranger.recv(5)


def by_grpc(port: int, message: bytes) -> None:
    """As a request of the method, and of another one; by who shows nothing, and what lets a consumer in."""
    shown = [("payload", "a"), ("authorization", proof(KEY.encode(), "a"))]
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        methods = "/eden.handoff.Handoff/Pull", "/eden.handoff.Handoff/Other"
        for method, metadata in itertools.product(methods, (None, shown)):
            with pytest.raises(grpc.RpcError):
                list(channel.unary_stream(method)(message, timeout=10, metadata=metadata))


def by_zeromq(port: int, message: bytes) -> None:
    """As one frame, and as several; by who shows nothing, a wrong proof, and what lets a consumer in."""
    with zmq.Context() as context:
        frames = [message], [b"", message], [message] * 3
        for password, sent in itertools.product((None, b"0" * 64, proof(KEY.encode(), ADMISSION).encode()), frames):
            with context.socket(zmq.DEALER) as stranger:
                if password:
                    stranger.plain_username, stranger.plain_password = b"zeromq", password
                stranger.linger = 0
                stranger.connect(f"tcp://127.0.0.1:{port}")
                with contextlib.suppress(zmq.Again):  # shut out already: there is nobody to send to
                    stranger.send_multipart(sent, zmq.DONTWAIT)
                answered = password not in (None, b"0" * 64) and len(message) <= LARGEST_REQUEST
                assert bool(stranger.poll(60_000 if answered else 20)) == answered


WAYS: dict[str, list[Callable[[int, bytes], None]]] = {
    "http": [raw, by_http],
    "websocket": [raw, by_websocket],
    "grpc": [raw, by_grpc],
    "zeromq": [raw, by_zeromq],
    "nccl": [raw],
}


@pytest.fixture(params=WAYS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each network kind in turn."""
    return str(request.param)


@pytest.fixture
def pair(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Handoff, Handoff]]:
    """A producer and a consumer, in this process: a thread of the producer that ends by an error fails the test."""
    monkeypatch.setenv("EDEN_HANDOFF_KEY", KEY)
    settings = HandoffSettings(kind=kind, folder=tmp_path, shared_folder=tmp_path, timeout_s=20)
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        yield producer, consumer


def port_of(producer: Handoff) -> int:
    """All that strangers can dial."""
    (transport,) = producer._transports.values()
    return int(transport.server.running.port)  # type: ignore[attr-defined]


def listening() -> set[int]:
    """The ports at which this process listens."""
    links = psutil.Process().net_connections("inet")
    return {link.laddr.port for link in links if link.status == psutil.CONN_LISTEN}


def serving() -> Counter[str]:
    """The producers' threads of this process, by what they serve."""
    names = [thread.name.split("_")[0] for thread in threading.enumerate()]
    return Counter(name for name in names if name in {f"handoff-{kind}" for kind in WAYS})


def take_afresh(producer: Handoff, consumer: Handoff, seed: int) -> None:
    """Over the connection that is kept, and over a new one."""
    assert digest(consumer.take(producer.put(make_output(seed)))) == digest(make_output(seed))
    with open_handoff(consumer.settings) as newcomer:
        assert digest(newcomer.take(producer.put(make_output(seed)))) == digest(make_output(seed))


def test_a_producer_listens_where_consumers_ask_and_nowhere_else(pair: tuple[Handoff, Handoff]) -> None:
    producer, _ = pair
    before = listening()
    producer.put(make_output(0))
    assert listening() - before == {port_of(producer)}


def test_no_message_of_a_stranger_ends_the_service(pair: tuple[Handoff, Handoff], kind: str) -> None:
    producer, consumer = pair
    take_afresh(producer, consumer, 0)
    before = serving()
    for message in MESSAGES.values():
        for send in WAYS[kind]:
            send(port_of(producer), message)
    take_afresh(producer, consumer, 1)
    assert before
    assert serving() >= before
    assert wait_until(lambda: producer.counters["refused", "request"] > 0, 60)


def test_a_stranger_who_falls_silent_in_mid_message_holds_nobody_up(pair: tuple[Handoff, Handoff]) -> None:
    producer, consumer = pair
    producer.put(make_output(0))  # from here on it listens
    with contextlib.ExitStack() as connections:
        for start in (b"", b"\0", b"G", b"\x03", b'{"payload"', b"\xff\0\0\0\0\0\0\0\1\x7f"):
            address = ("127.0.0.1", port_of(producer))
            stranger = connections.enter_context(socket.create_connection(address, 5))
            stranger.sendall(start)
        take_afresh(producer, consumer, 1)


def test_peers_that_are_gone_before_their_greeting_end_no_encrypted_listener(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    settings = HandoffSettings(
        kind="websocket", folder=tmp_path, tls_certificate=certificate[0], tls_key=certificate[1],
        tls_authority=certificate[0], timeout_s=20,
    )  # fmt: skip
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        (route,) = producer.read(producer.put(make_output(0))).routes
        for _ in range(200):
            with socket.create_connection((route["host"], route["port"])) as gone:
                gone.sendall(b"\x16\x03\x01")
                gone.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )  # a reset, in place of an end
        take_afresh(producer, consumer, 1)


def test_a_shortage_of_descriptors_ends_no_listener(kind: str, tmp_path: Path) -> None:
    few_descriptors.run(few_descriptors.served_after_strangers_found_none, kind, tmp_path)
