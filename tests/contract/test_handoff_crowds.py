"""Many strangers at once, begun and never finished greetings, floods, and consumers that read next to nothing."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import zmq

from handoff import Handoff, HandoffSettings, open_handoff
from handoff.ticket import Ticket
from handoff.transports.nccl.transport import _hang_up
from handoff.transports.network.payload_server import proof
from handoff.transports.network.server import STRANGERS as LET_IN
from handoff.transports.network.zeromq import ADMISSION
from tests.contract.peers import digest, make_output, wait_until

STRANGERS = 500
THREADS = 2 * LET_IN + 32
"""More than before, at most: what a server of connections lets in, and what the libraries start when first used."""
MIB = 1 << 20
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
ZMTP = b"\xff\0\0\0\0\0\0\0\1\x7f"
NULL = ZMTP + b"\3\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32

HALF_OPEN = {
    "http": b"GET /payloads/a HTTP/1.1\r\nX-Never: ",
    "websocket": UPGRADE,
    "grpc": HTTP2[:20],
    "zeromq": ZMTP,
    "nccl": b'{"session": "',
}
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""How a TLS client begins."""
FLOODS = {
    "http": [
        b"GET /payloads/a HTTP/1.1\r\n" + b"X-More: " + b"a" * 8 * MIB,
        b"GET /payloads/a HTTP/1.1\r\n" + b"X: a\r\n" * (8 * MIB // 6),
        b"GET /payloads/a HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + b"[" * 8 * MIB,
        b"GET /payloads/a HTTP/1.1\r\nHost: a\r\n\r\n" * (8 * MIB // 38),
    ],
    "websocket": [
        UPGRADE + b"X-More: " + b"a" * 8 * MIB,
        UPGRADE + b"\r\n\x81\xff" + struct.pack(">Q", 1 << 62) + b"\0" * 8 * MIB,
        UPGRADE + b"\r\n\x01\x80\0\0\0\0" + b"\x00\xfe\x10\x00\0\0\0\0" + b"[" * 8 * MIB,
        UPGRADE + b"\r\n" + b"\x89\x80\0\0\0\0" * (8 * MIB // 6),
    ],
    "grpc": [
        HTTP2 + SETTINGS + b"\xff\xff\xff\1\4\0\0\0\1" + b"\x40" * 8 * MIB,
        HTTP2 + SETTINGS + (b"\0\x20\0\1\0\0\0\0\1" + b"\x40" * 8192) * 1024,
        b"\0" * 8 * MIB,
    ],
    "zeromq": [
        b"[" * 8 * MIB,
        b"\x02\0a" * (8 * MIB // 3),
        NULL + b"\4\x1a\5READY" + b"\0" * 8 * MIB,
        ZMTP + b"\3\0" + b"PLAIN".ljust(20, b"\0") + b"\0" * 32 + b"\6" + struct.pack(">Q", 1 << 62) + b"\0" * 8 * MIB,
    ],
    "nccl": [b"[" * 8 * MIB, b"{}\n" * (8 * MIB // 3), b'{"session": ' * (8 * MIB // 12)],
}


@pytest.fixture(params=HALF_OPEN)
def kind(request: pytest.FixtureRequest) -> str:
    """Each network kind in turn."""
    return str(request.param)


@pytest.fixture
def settings(kind: str, tmp_path: Path) -> HandoffSettings:
    """A minute is longer than any of these tests takes, unless a test says otherwise."""
    return HandoffSettings(kind=kind, folder=tmp_path, shared_folder=tmp_path, timeout_s=60)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Enough for both ends of 500 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * STRANGERS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{wanted} files may not be open here: {hard} are the most (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def descriptors() -> Counter[str]:
    """What this process has open, and how many of each."""
    found: Counter[str] = Counter()
    for path in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[re.sub(r"\d+", "", str(path.readlink()))] += 1
    return found


def where(producer: Handoff) -> tuple[str, int]:
    """Where consumers dial; from now on the producer listens there."""
    (route,) = producer.read(producer.put(make_output(0))).routes
    return route["host"], route["port"]


def take_afresh(producer: Handoff, seed: int) -> None:
    """By a consumer who was never here."""
    with open_handoff(producer.settings) as newcomer:
        assert digest(newcomer.take(producer.put(make_output(seed)))) == digest(make_output(seed))


def begin(address: tuple[str, int], opening: bytes) -> socket.socket:
    stranger = socket.create_connection(address, 60)
    with contextlib.suppress(OSError):  # hung up on already: there were too many
        stranger.sendall(opening)
    return stranger


def hung_up(stranger: socket.socket) -> bool:
    """Whether the other side has ended the connection; waits for it."""
    with contextlib.suppress(ConnectionError):
        while stranger.recv(1 << 16):
            pass
    return True


def check_a_crowd(settings: HandoffSettings, opening: bytes) -> None:
    """Beside 500 strangers consumers are served, by few threads, and afterwards nothing is left of them."""
    with open_handoff(settings) as producer:
        take_afresh(producer, 1)
        address = where(producer)
        had, open_before = threads(), descriptors()
        strangers = [begin(address, opening) for _ in range(STRANGERS)]
        try:
            for seed in (2, 3):
                take_afresh(producer, seed)
            assert wait_until(lambda: threads() <= had + THREADS, 60)
        finally:
            for stranger in strangers:
                stranger.close()
        assert wait_until(lambda: descriptors() <= open_before, 60), descriptors() - open_before
        take_afresh(producer, 4)


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("half_open", [False, True], ids=["idle", "half open"])
def test_five_hundred_strangers_keep_no_consumer_out(settings: HandoffSettings, half_open: bool) -> None:
    check_a_crowd(settings, HALF_OPEN[settings.kind] if half_open else b"")


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("kind", ["http", "websocket", "grpc"])
def test_nor_do_they_by_tls(settings: HandoffSettings, certificate: tuple[Path, Path]) -> None:
    encrypted = {"tls_certificate": certificate[0], "tls_key": certificate[1], "tls_authority": certificate[0]}
    check_a_crowd(replace(settings, **encrypted), HELLO)


@pytest.mark.parametrize("trickle", [False, True], ids=["silent", "byte by byte"])
def test_who_does_not_prove_to_hold_the_key_is_hung_up_on_in_time(settings: HandoffSettings, trickle: bool) -> None:
    with open_handoff(replace(settings, timeout_s=1)) as producer:
        address = where(producer)
        for opening in (b"", HALF_OPEN[settings.kind]):
            with begin(address, opening) as stranger:
                if trickle:
                    stranger.settimeout(0.2)
                    with contextlib.suppress(ConnectionError):
                        while True:
                            with contextlib.suppress(TimeoutError):
                                stranger.sendall(opening[-1:] or HALF_OPEN[settings.kind][:1])
                                if not stranger.recv(1 << 16):
                                    break
                else:
                    assert hung_up(stranger)


def flood(address: tuple[str, int], message: bytes) -> None:
    """Send as much of the message as the other side takes, and read what it answers meanwhile."""
    with socket.create_connection(address, 60) as stranger:

        def read() -> None:
            with contextlib.suppress(OSError):
                while stranger.recv(1 << 16):
                    pass

        reader = threading.Thread(target=read)
        reader.start()
        with contextlib.suppress(OSError):
            stranger.sendall(message)
            stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            stranger.shutdown(socket.SHUT_RDWR)
        reader.join()


def test_a_flood_is_neither_kept_nor_answered_at_length(settings: HandoffSettings) -> None:
    with open_handoff(settings) as producer:
        take_afresh(producer, 1)
        address = where(producer)
        open_before = descriptors()
        for message in FLOODS[settings.kind]:  # what the libraries set up once
            flood(address, message)
        assert wait_until(lambda: descriptors() <= open_before, 60), descriptors() - open_before
        process = psutil.Process()
        before, refused = process.memory_info().rss, producer.counters["refused", "request"]
        floods = [message for message in FLOODS[settings.kind] for _ in range(3)]
        for message in floods:
            flood(address, message)
        assert process.memory_info().rss - before < 32 * MIB  # 70 to 100 came
        assert producer.counters["refused", "request"] - refused <= len(floods)  # one refusal, then it is hung up on
        take_afresh(producer, 2)


def test_calls_without_a_request_hold_no_thread(tmp_path: Path) -> None:
    settings = HandoffSettings(kind="grpc", folder=tmp_path, shared_folder=tmp_path, timeout_s=60)
    with open_handoff(settings) as producer:
        host, port = where(producer)
        done = threading.Event()

        def nothing() -> Iterator[bytes]:
            done.wait()
            yield b""

        with grpc.insecure_channel(f"{host}:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
            pull = channel.stream_stream("/eden.handoff.Handoff/Pull")
            calls = [pull(nothing(), timeout=60) for _ in range(40)]
            take_afresh(producer, 1)
            assert {call.code() for call in calls} == {grpc.StatusCode.PERMISSION_DENIED}
            done.set()


def test_headers_over_the_limit_are_refused_by_grpc(tmp_path: Path) -> None:
    settings = HandoffSettings(kind="grpc", folder=tmp_path, shared_folder=tmp_path, timeout_s=60)
    with open_handoff(settings) as producer:
        host, port = where(producer)
        key = (tmp_path / "handoff.key").read_text().encode()
        with grpc.insecure_channel(f"{host}:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
            shown = [("payload", "a"), ("authorization", proof(key, "a")), *[(f"x-{i}", "a" * 1000) for i in range(20)]]
            with pytest.raises(grpc.RpcError) as refusal:
                list(channel.unary_stream("/eden.handoff.Handoff/Pull")(b"", timeout=60, metadata=shown))
            assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def masked(text: bytes) -> bytes:
    """A WebSocket message, as a client has to send it."""
    return b"\x81\xfe" + struct.pack(">H", len(text)) + b"\0\0\0\0" + text


def by_bytes(address: tuple[str, int], request: bytes) -> contextlib.ExitStack:
    """Ask, and read a byte at a time, five a second."""
    reading = contextlib.ExitStack()
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    reader.connect(address)
    reader.sendall(request)
    left = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError):
            while not left.wait(0.2) and reader.recv(1):
                pass

    thread = threading.Thread(target=read)
    thread.start()
    reading.callback(reader.close)
    reading.callback(thread.join)
    reading.callback(left.set)
    return reading


def slow_http(key: bytes, ticket: Ticket, address: tuple[str, int], _: Handoff) -> contextlib.ExitStack:
    shown = f"Authorization: Bearer {proof(key, ticket.id)}"
    return by_bytes(address, f"GET /payloads/{ticket.id} HTTP/1.1\r\nHost: a\r\n{shown}\r\n\r\n".encode())


def slow_websocket(key: bytes, ticket: Ticket, address: tuple[str, int], _: Handoff) -> contextlib.ExitStack:
    asked = json.dumps({"payload": ticket.id, "proof": proof(key, ticket.id)}).encode()
    return by_bytes(address, UPGRADE + b"\r\n" + masked(asked))


def slow_grpc(key: bytes, ticket: Ticket, address: tuple[str, int], _: Handoff) -> contextlib.ExitStack:
    reading = contextlib.ExitStack()
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    channel = reading.enter_context(grpc.insecure_channel(f"{address[0]}:{address[1]}", options))
    pull = channel.unary_stream("/eden.handoff.Handoff/Pull")
    call = pull(b"", metadata=[("payload", ticket.id), ("authorization", proof(key, ticket.id))])
    reading.callback(call.cancel)  # kept until then: a call that nothing refers to is cancelled at once
    next(call)
    return reading


def slow_zeromq(key: bytes, ticket: Ticket, address: tuple[str, int], _: Handoff) -> contextlib.ExitStack:
    reading = contextlib.ExitStack()
    context = reading.enter_context(zmq.Context())
    reader = reading.enter_context(context.socket(zmq.DEALER))
    reader.linger, reader.rcvhwm, reader.rcvbuf = 0, 1, 1 << 14
    reader.plain_username, reader.plain_password = b"zeromq", proof(key, ADMISSION).encode()
    reader.connect(f"tcp://{address[0]}:{address[1]}")
    reader.send(json.dumps({"payload": ticket.id, "proof": proof(key, ticket.id)}).encode())
    assert reader.recv() == b"{}"
    return reading


def slow_nccl(key: bytes, ticket: Ticket, address: tuple[str, int], consumer: Handoff) -> contextlib.ExitStack:
    reading = contextlib.ExitStack()
    transport: Any = consumer._transports["nccl"]
    session = transport._dial(address)
    reading.callback(_hang_up, session)
    session.control.send(payload=ticket.id, proof=proof(key, ticket.id))
    return reading


SLOW: dict[str, Callable[[bytes, Ticket, tuple[str, int], Handoff], contextlib.ExitStack]] = {
    "http": slow_http,
    "websocket": slow_websocket,
    "grpc": slow_grpc,
    "zeromq": slow_zeromq,
    "nccl": slow_nccl,
}


def test_a_consumer_that_reads_next_to_nothing_holds_neither_a_payload_nor_others(
    settings: HandoffSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("server", "grpc", "zeromq"):
        monkeypatch.setattr(f"handoff.transports.network.{module}.STALLED_S", 3.0)
    settings = replace(settings, timeout_s=10 if settings.kind == "nccl" else 60)  # what it waits for gloo
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        take_afresh(producer, 1)
        large = {"tokens": 3000}  # libraries start a thread when they first send as much
        assert digest(consumer.take(producer.put(make_output(2, **large)))) == digest(make_output(2, **large))
        address = where(producer)
        key = (settings.folder / "handoff.key").read_text().encode()
        ticket = producer.read(producer.put(make_output(3, tokens=48 * 1024, width=64)))  # 50 MB: no buffer holds it
        store = producer._producer.store
        assert store is not None
        held = store.leases.being_read
        had, open_before = threads(), descriptors()
        with SLOW[settings.kind](key, ticket, address, consumer):
            assert wait_until(lambda: held(ticket.slot), 60)
            for seed in (4, 5):
                take_afresh(producer, seed)
            assert wait_until(lambda: not held(ticket.slot), 60)
        assert wait_until(lambda: descriptors() <= open_before, 60), descriptors() - open_before
        assert wait_until(lambda: threads() <= had + 8, 60)
        assert digest(consumer.take(producer.put(make_output(6)))) == digest(make_output(6))


def refusal(kind: str, address: tuple[str, int], payload: str, shown: str) -> str:
    """What a stranger is told."""
    host, port = address
    asked = json.dumps({"payload": payload, "proof": shown}).encode()
    if kind == "grpc":
        with grpc.insecure_channel(f"{host}:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
            pull = channel.unary_stream("/eden.handoff.Handoff/Pull")
            with pytest.raises(grpc.RpcError) as refused:
                list(pull(b"", metadata=[("payload", payload), ("authorization", shown)], timeout=60))
            return f"{refused.value.code()} {refused.value.details()}"
    if kind == "zeromq":
        password = shown.encode()
        hello = b"\5HELLO\6zeromq" + bytes([len(password)]) + password
        asked = ZMTP + b"\3\0" + b"PLAIN".ljust(20, b"\0") + b"\0" * 32 + b"\4" + bytes([len(hello)]) + hello
    requests = {
        "http": f"GET /payloads/{payload} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        f"Authorization: Bearer {shown}\r\n\r\n".encode(),
        "websocket": UPGRADE + b"\r\n" + masked(asked),
        "zeromq": asked,
        "nccl": json.dumps({"session": payload, "proof": shown, "device": "cpu"}).encode() + b"\n",
    }
    with socket.create_connection(address, 60) as stranger:
        stranger.sendall(requests[kind])
        told = b""
        with contextlib.suppress(ConnectionError):
            while not told.endswith(b"RROR\x03400") and (part := stranger.recv(1 << 16)):
                told += part
    lines = [line for line in told.split(b"\r\n") if not line.lower().startswith(b"date:")]
    return b"\r\n".join(lines).decode("latin-1")


def test_a_stranger_learns_nothing_from_what_is_refused(
    settings: HandoffSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with open_handoff(settings) as producer:
        address = where(producer)
        data = producer.put(make_output(1))
        ticket, key = producer.read(data), (settings.folder / "handoff.key").read_text()
        shown = proof(key.encode(), ticket.id)
        told = [
            refusal(settings.kind, address, payload, wrong)
            for payload in (ticket.id, "0" * 32, "none")
            for wrong in ("0" * 64, shown[:-1] + ("0" if shown[-1] != "0" else "1"))
        ]
        assert len(set(told)) == 1
        assert told[0]
        (transport,) = producer._transports.values()
        for text in (told[0], caplog.text, repr(transport.context), repr(ticket), data.decode("latin-1")):
            assert key not in text
            assert shown not in text
            assert proof(key.encode(), ADMISSION) not in text
