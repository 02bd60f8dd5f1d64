"""What only the network kinds can do wrong: strangers at the port, encryption, kept connections, streaming."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import requests
import torch

from handoff import (
    Handoff,
    HandoffError,
    HandoffSettings,
    HandoffTimeout,
    PayloadGone,
    PeerLost,
    TicketRejected,
    open_handoff,
)
from handoff.transports.network.payload_server import proof
from server.settings import Ports
from tests.contract.peers import digest, make_output, wait_until
from tests.contract.stage import Stage
from tests.contract.suite import Case
from tests.serving_thread import serving

NETWORK = ["http", "websocket", "grpc", "zeromq"]


@pytest.fixture(params=NETWORK)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> HandoffSettings:
    """Each network kind in turn."""
    return HandoffSettings(kind=request.param, folder=tmp_path, timeout_s=20)


@pytest.fixture
def pair(settings: HandoffSettings) -> Iterator[tuple[Handoff, Handoff]]:
    """A producer and a consumer in this process."""
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        yield producer, consumer


def test_only_loopback_listens_unless_told_otherwise(pair: tuple[Handoff, Handoff]) -> None:
    producer, _ = pair
    (route,) = producer.read(producer.put(make_output(1))).routes
    assert route["host"] == "127.0.0.1"
    assert listening_on(route["port"]) == {"127.0.0.1"}
    everywhere = replace(producer.settings, bind="0.0.0.0", advertise="localhost")
    with open_handoff(everywhere) as told_otherwise:
        (route,) = told_otherwise.read(told_otherwise.put(make_output(1))).routes
        assert listening_on(route["port"]) <= {"0.0.0.0", "::"} != set()


def listening_on(port: int) -> set[str]:
    """The addresses on which this process listens at that port."""
    links = psutil.Process().net_connections("inet")
    return {
        link.laddr.ip.removeprefix("::ffff:")
        for link in links
        if link.status == psutil.CONN_LISTEN and link.laddr.port == port
    }


def test_a_fixed_port_is_used_and_the_next_producer_takes_the_next(settings: HandoffSettings) -> None:
    fixed = replace(settings, port=Ports.free().inference)
    with open_handoff(fixed) as one, open_handoff(fixed) as other, open_handoff(fixed) as consumer:
        tickets = [handoff.put(make_output(i)) for i, handoff in enumerate((one, other))]
        ports = [consumer.read(ticket).routes[0]["port"] for ticket in tickets]
        assert ports[0] == fixed.port < ports[1] < fixed.port + 64
        for i, ticket in enumerate(tickets):
            assert digest(consumer.take(ticket)) == digest(make_output(i))


def test_a_kept_connection_survives_the_producers_restart(settings: HandoffSettings) -> None:
    fixed = replace(settings, port=Ports.free().inference)
    with open_handoff(fixed) as consumer:
        for seed in range(3):
            with open_handoff(fixed) as producer:
                assert digest(consumer.take(producer.put(make_output(seed)))) == digest(make_output(seed))


def test_a_consumer_without_the_key_is_given_nothing(
    settings: HandoffSettings, pair: tuple[Handoff, Handoff], tmp_path: Path
) -> None:
    producer, _ = pair
    ticket = producer.read(producer.put(make_output(1)))
    with open_handoff(replace(settings, folder=tmp_path / "stranger")) as stranger, pytest.raises(TicketRejected):
        stranger.take(ticket)  # verified by someone else, as if it had been stolen
    assert producer.in_flight() == 1


def test_strangers_at_the_port_do_no_harm(pair: tuple[Handoff, Handoff]) -> None:
    producer, consumer = pair
    ticket = producer.put(make_output(1))
    (route,) = producer.read(ticket).routes
    address = (route["host"], route["port"])
    for noise in (
        b"",
        b"\0" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
        json.dumps({"payload": 1}).encode() + b"\n",
        b"{" * 10_000,
    ):
        with socket.create_connection(address) as stranger, contextlib.suppress(OSError):
            stranger.sendall(noise)
    assert digest(consumer.take(ticket)) == digest(make_output(1))


@pytest.mark.parametrize("reads_first", [False, True])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_one_that_hangs_up_when_greeted_is_a_lost_peer(
    settings: HandoffSettings, reads_first: bool, reset: bool
) -> None:
    settings = replace(settings, timeout_s=2, port=Ports.free().inference)  # a port that no outgoing call can take
    with open_handoff(settings) as producer:
        ticket = producer.put(make_output(1))
        port = producer.read(ticket).routes[0]["port"]

    class HangsUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if reads_first:
                self.request.recv(1)
            if reset:
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def finish(self) -> None:
            self.request.close()

    class Listener(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with serving(Listener(("127.0.0.1", port), HangsUp)), open_handoff(settings) as consumer:
        for _ in range(20):  # where in the greeting it happens is chance
            with pytest.raises((PeerLost, HandoffTimeout)):
                consumer.take(ticket)


def test_http_refuses_a_bad_proof_and_an_unknown_payload(tmp_path: Path) -> None:
    settings = HandoffSettings(kind="http", folder=tmp_path)
    with open_handoff(settings) as producer:
        ticket = producer.read(producer.put(make_output(1)))
        url = f"http://127.0.0.1:{ticket.routes[0]['port']}/payloads/"
        key = (tmp_path / "handoff.key").read_text().encode()
        good = {"Authorization": f"Bearer {proof(key, ticket.id)}"}

        def asked(payload: str, headers: dict[str, str]) -> int:
            return requests.get(url + payload, headers=headers, timeout=60).status_code

        assert asked(ticket.id, {}) == asked(ticket.id, {"Authorization": "Bearer " + "0" * 64}) == 403
        assert asked("0" * 32, good) == 403
        assert producer.in_flight() == 1
        assert asked(ticket.id, good) == 200
        assert producer.in_flight() == 0


@pytest.mark.parametrize("kind", ["http", "websocket", "grpc"])
def test_a_clip_is_there_pair_by_pair_before_its_last_frame(kind: str, tmp_path: Path) -> None:
    stage = Stage(Case(kind), tmp_path, Path("/dev/shm"))
    try:
        producer = stage("producer")
        clip = {"seed": 5, "length": 12, "tokens": 1026, "width": 512}  # 50 MB: far more than any buffer on the way
        ticket = producer.ask("put", **clip)
        with open_handoff(stage.settings(timeout_s=60)) as consumer:
            pairs = consumer.stream(ticket)
            wanted = make_output(**clip)
            assert digest(next(pairs)) == digest(wanted.pairs(0, 1))
            producer.kill()  # what is still to come cannot come
            with pytest.raises(HandoffError):
                for _ in range(10):
                    next(pairs)
    finally:
        stage.end()


def test_a_stream_that_is_left_early_leaves_the_next_take_alone(pair: tuple[Handoff, Handoff]) -> None:
    producer, consumer = pair
    for seed in range(3):
        pairs = consumer.stream(producer.put(make_output(seed, length=6, tokens=513, width=64)))
        next(pairs)
        pairs.close()
        assert digest(consumer.take(producer.put(make_output(9)))) == digest(make_output(9))


@pytest.mark.parametrize("kind", ["http", "websocket", "grpc"])
def test_tls_is_used_and_a_stranger_certificate_is_refused(
    kind: str, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    plain = HandoffSettings(kind=kind, folder=tmp_path, timeout_s=3)
    signed = {"tls_certificate": certificate[0], "tls_key": certificate[1], "tls_authority": certificate[0]}
    secure = replace(plain, **signed, timeout_s=20)
    with open_handoff(secure) as producer:
        ticket = producer.put(make_output(1, tokens=3000))
        with open_handoff(plain) as talks_plain, pytest.raises(HandoffError):
            talks_plain.take(ticket)
        public = replace(plain, tls_authority=Path(requests.certs.where()))
        with open_handoff(public) as trusts_others, pytest.raises(HandoffError):
            trusts_others.take(ticket)
        with open_handoff(secure) as consumer:
            assert digest(consumer.take(ticket)) == digest(make_output(1, tokens=3000))


def test_curve_encrypts_zeromq(tmp_path: Path) -> None:
    plain = HandoffSettings(kind="zeromq", folder=tmp_path, timeout_s=1)
    secure = replace(plain, curve=True, timeout_s=20)
    with open_handoff(secure) as producer:
        ticket = producer.put(make_output(1, tokens=3000))
        with open_handoff(plain) as talks_plain, pytest.raises(HandoffError):
            talks_plain.take(ticket)
        with open_handoff(secure) as consumer:
            assert digest(consumer.take(ticket)) == digest(make_output(1, tokens=3000))


def test_two_machines_share_no_memory_only_the_key(
    settings: HandoffSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDEN_HANDOFF_KEY", "carried by the operator's hand")
    stages = [replace(settings, folder=tmp_path / name, shared_folder=tmp_path / name) for name in ("cloud", "edge")]
    for stage in stages:
        stage.folder.mkdir()
    with open_handoff(stages[0]) as producer, open_handoff(stages[1]) as consumer:
        assert digest(consumer.take(producer.put(make_output(1)))) == digest(make_output(1))
        assert producer.in_flight() == 0  # told over the wire


def test_auto_goes_by_http_where_memory_is_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "handoff")
    monkeypatch.setattr("handoff.transports.shared_memory.shared_folder_id", lambda folder: str(folder))
    here, there = (tmp_path / name for name in ("here", "there"))
    for folder in (here, there):
        folder.mkdir()
    settings = HandoffSettings(kind="auto", folder=tmp_path, shared_folder=here)
    with (
        open_handoff(settings) as producer,
        open_handoff(settings) as near,
        open_handoff(replace(settings, shared_folder=there)) as far,
    ):
        for consumer, kind in ((near, "shared_memory"), (far, "http")):
            ticket = producer.put(make_output(1))
            assert [route["kind"] for route in producer.read(ticket).routes] == ["shared_memory", "http"]
            assert digest(consumer.take(ticket)) == digest(make_output(1))
            assert consumer.counters["take", kind] == 1
            assert f"the first take by {kind}" in caplog.text
        assert far.counters["fallback", "shared_memory"] == 1
        assert not near.counters["fallback", "shared_memory"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this is about machines without a GPU")
def test_cuda_ipc_without_a_gpu_falls_back_and_counts_it(tmp_path: Path) -> None:
    with open_handoff(HandoffSettings(kind="cuda_ipc", folder=tmp_path)) as handoff:
        assert digest(handoff.take(handoff.put(make_output(1)))) == digest(make_output(1))
        assert handoff.counters["fallback", "cuda_ipc"] == 1
        assert handoff.counters["take", "shared_memory"] == 1


def test_in_process_holds_the_tensors_until_they_are_dropped(tmp_path: Path) -> None:
    settings = HandoffSettings(kind="in_process", folder=tmp_path, keep_taken=0)
    hasty = replace(settings, time_to_live_s=0.1)
    with open_handoff(settings) as encoder, open_handoff(hasty) as forgetful, open_handoff(settings) as decoder:
        ticket = encoder.put(make_output(1))
        assert digest(decoder.take(ticket)) == digest(make_output(1))
        encoder.put(make_output(3))  # makes room: what was taken is dropped now
        with pytest.raises(PayloadGone):
            decoder.take(ticket)
        never = forgetful.put(make_output(2))
        assert wait_until(lambda: forgetful.in_flight() == 0, 10)
        with pytest.raises(TicketRejected, match="expired"):
            decoder.take(never)
    stage = Stage(Case("in_process"), tmp_path, Path("/dev/shm"))
    try:
        with open_handoff(stage.settings()) as other, pytest.raises(PeerLost):
            other.take(stage("producer").ask("put", seed=1))
    finally:
        stage.end()


def test_torch_save_is_for_benchmarks_only(tmp_path: Path) -> None:
    with pytest.raises(HandoffError, match="baseline"):
        open_handoff(HandoffSettings(kind="torch_save", folder=tmp_path))
    settings = HandoffSettings(kind="torch_save", folder=tmp_path, benchmark=True, wire="bf16")
    with open_handoff(settings) as handoff:
        output = handoff.take(handoff.put(make_output(1)))
        assert torch.equal(output.cond_dit, make_output(1).cond_dit.bfloat16())
        assert handoff.in_flight() == 0


@pytest.fixture
def occupied() -> Iterator[list[socket.socket]]:
    """Listeners on as many ports in a row as a producer tries."""
    with contextlib.ExitStack() as sockets:
        for first in range(2_000, 9_900, 100):  # below those that other tests take
            listeners: list[socket.socket] = []
            try:
                with contextlib.ExitStack() as attempt:
                    for port in range(first, first + 64):
                        listener = attempt.enter_context(socket.socket())
                        listener.bind(("127.0.0.1", port))
                        listener.listen()
                        listeners.append(listener)
                    sockets.push(attempt.pop_all())
            except OSError:
                continue
            yield listeners
            return


def test_auto_goes_on_by_shared_memory_where_its_server_cannot_start(
    occupied: list[socket.socket], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = occupied[0].getsockname()[1]
    settings = HandoffSettings(kind="auto", folder=tmp_path, shared_folder=tmp_path, port=first)
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        for seed in range(3):
            ticket = producer.put(make_output(seed))
            assert [route["kind"] for route in producer.read(ticket).routes] == ["shared_memory"]
            assert digest(consumer.take(ticket)) == digest(make_output(seed))
        assert producer.counters["fallback", "http"] == 3
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"http cannot be used: its server cannot start: no free port on 127.0.0.1 from {first} on"]


@pytest.mark.parametrize("kind", [*NETWORK, "nccl"])
def test_a_server_that_cannot_start_is_told_and_started_once_it_can(
    kind: str, occupied: list[socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = occupied[0].getsockname()[1]
    settings = HandoffSettings(kind=kind, folder=tmp_path, shared_folder=tmp_path, port=first)
    monkeypatch.setattr("handoff.transports.network.on_demand._PAUSE_S", 0.0)
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        for _ in range(2):
            with pytest.raises(HandoffError, match=f"{kind}: its server cannot start: no free port"):
                producer.put(make_output(1))
        assert producer.in_flight() == 0
        occupied[-1].close()
        ticket = producer.put(make_output(2))
        assert producer.read(ticket).routes[0]["port"] == first + len(occupied) - 1
        assert digest(consumer.take(ticket)) == digest(make_output(2))


@pytest.mark.parametrize("kind", ["http", "websocket", "grpc"])
def test_a_certificate_that_cannot_be_read_is_named_and_spoils_no_other_way(kind: str, tmp_path: Path) -> None:
    bad = tmp_path / "cert.pem"
    bad.write_text("no certificate")
    broken = {"tls_certificate": bad, "tls_key": bad}
    with (
        open_handoff(HandoffSettings(kind=kind, folder=tmp_path, shared_folder=tmp_path, **broken)) as producer,
        pytest.raises(HandoffError, match=f"{kind}: its server cannot start"),
    ):
        producer.put(make_output(1))
    with open_handoff(HandoffSettings(kind="auto", folder=tmp_path, shared_folder=tmp_path, **broken)) as handoff:
        assert digest(handoff.take(handoff.put(make_output(1)))) == digest(make_output(1))
