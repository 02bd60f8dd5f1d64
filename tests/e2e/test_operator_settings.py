"""What an operator may set, on one server: parts sent over gRPC, few tickets, shared memory elsewhere, small logs.

Of tickets that nobody redeems: the service goes on, a ticket that gave way is said to be worth nothing, and a stop
leaves none of their payloads. The last test stops the server.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import requests

import media
from eden_client.api.grpc_route import GrpcConnection
from eden_client.api.parts import read_parts
from eden_client.api.tokens import FixedToken
from eden_client.api.traffic import Traffic
from server import Server
from server.api import BINARY
from server.topology import NODES
from tests.e2e.servers import PREDICT, WORKFLOW, moving_frames, pack, wait_for

MOST, WAIT = 6, 1
"""Less than a batch, which may always wait: so it is the number of tickets that is too much here, and not the time."""
LOG, EVENT = 2000, 100_000
"""Bytes of a log, and of the longest that is written at once: an exception with its trace."""
CLIP = media.encode_npy(moving_frames())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's own is in it, its model store, and what it has for /dev/shm."""
    made = tmp_path_factory.mktemp("set")
    (made / "shared").mkdir()
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A server that gives out few tickets, each good for minutes."""
    settings = {
        "encoder:handoff.max_in_flight": MOST,
        "encoder:max_wait_s": WAIT,
        "dit_decoder:grpc_streaming": "true",
        "handoff.shared_folder": folder / "shared",
    }
    options = [option for name, value in settings.items() for option in ("--set", f"{name}={value}")]
    store = pack(folder / "store", "--handoff", "shared_memory", *options)
    options_of_java = f"{os.environ.get('JDK_JAVA_OPTIONS', '')} -Deden.log.size={LOG}B"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", options_of_java)
        with Server(store, folder=folder / "server", ports="free") as running:
            yield running


def encode(server: Server) -> requests.Response:
    return server.api.call(PREDICT[0], data=CLIP, headers=BINARY)


def draw(server: Server, ticket: requests.Response) -> requests.Response:
    return server.api.call(PREDICT[1], data=ticket.content, headers=BINARY)


def between(server: Server) -> bytes:
    return server.api.call(WORKFLOW, data=CLIP, headers=BINARY).content


def is_frame(answer: bytes) -> bool:
    return answer.startswith(media.NPY_MAGIC)


def test_calls_are_served_again_long_before_abandoned_tickets_expire(server: Server):
    tickets = [encode(server) for _ in range(MOST)]
    assert all(ticket.ok for ticket in tickets)
    wait_for(lambda: is_frame(between(server)), 60)  # not the 300 s of a ticket
    assert all(is_frame(between(server)) for _ in range(3 * MOST))
    oldest, newest = draw(server, tickets[0]), draw(server, tickets[-1])
    assert (oldest.status_code, oldest.json()["type"]) == (410, "PayloadGone")
    assert newest.ok  # one at a time, the oldest first, and no more than others needed
    assert draw(server, encode(server)).ok  # what a client does when it is told so


def test_tickets_that_come_late_are_good_as_long_as_nobody_needs_their_room(server: Server):
    ticket = encode(server)
    deadline = time.monotonic() + 2 * WAIT
    while time.monotonic() < deadline:
        assert is_frame(between(server))
    assert draw(server, ticket).ok


def test_parts_over_grpc_are_sent_as_they_are_drawn(server: Server):
    encoder, decoder = NODES
    before = [server.worker_pids(node) for node in NODES]
    with closing(GrpcConnection(f"127.0.0.1:{server.grpc_port}", FixedToken(server.token()), Traffic())) as calls:
        ticket = calls.call(encoder, {"data": media.encode_npy(moving_frames(4))}, 60)
        asked = {"data": ticket, "stream": b"1", "format": b"npy"}
        *parts, _end = calls.streamed(decoder, asked, 60)
        streamed = [np.load(io.BytesIO(p.body)) for part in parts for p in read_parts([part + b"--eden-frame--\r\n"])]
        assert [len(frames) for frames in streamed] == [1, 1, 1]
        (error,) = calls.streamed(decoder, asked | {"data": b"anything"}, 60)
        assert json.loads(error)["code"] == 403
        whole = np.load(io.BytesIO(calls.call(decoder, {"data": ticket}, 60)))
        assert np.abs(np.concatenate(streamed).astype(int) - whole).max() <= 1
    assert [server.worker_pids(node) for node in NODES] == before


def test_logs_are_rolled_over_and_few_are_kept(server: Server):
    for name in ("access_log", "model_log", "ts_log"):
        wait_for(lambda name=name: is_frame(between(server)) and bool(list(server.logs.glob(f"{name}.*.log.gz"))))
    for path in list(server.logs.iterdir()):
        # One that is just being rolled over has its next name, and is not packed yet.
        assert re.fullmatch(r"(access|model|ts)_log(\.[1-5])?\.log(\.gz)?|console\.log", path.name)
        with contextlib.suppress(FileNotFoundError):
            assert path.stat().st_size <= LOG + EVENT


def test_payloads_that_nobody_took_go_with_the_server_wherever_they_lie(server: Server, folder: Path):
    assert encode(server).content.startswith(b"EDEN-TICKET")
    assert list((folder / "shared").glob("*.segment"))
    shutil.rmtree(folder / "store")  # what counts is what the server was started with
    server.stop()
    assert list((folder / "shared").iterdir()) == []
    assert {path.name for path in (folder / "server").iterdir()} <= {".eden-server", "logs", "handoff.key"}
