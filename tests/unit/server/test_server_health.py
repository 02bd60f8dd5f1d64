"""What a server says of its health, to whom, and to how many at once."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from server import health as health_module
from server.api import Api
from server.health import LARGEST, Health, HealthServer
from server.tokens import Tokens
from server.topology import NODES, SPLIT
from tests.serving_thread import serving

ENCODER, DECODER = NODES


class TorchServeTells(ThreadingHTTPServer):
    """The interfaces of a TorchServe that are asked: its models' workers, and when each model answered last."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Tells)
        self.workers = {model: ["READY"] for model in NODES}
        self.ago = dict.fromkeys(NODES, 0.0)
        self.fails = False
        self.asked = 0


class Tells(BaseHTTPRequestHandler):
    server: TorchServeTells

    def do_GET(self) -> None:
        self.server.asked += 1
        name, now = "eden_last_answer_timestamp_seconds", time.time()
        lines = [
            f'{name}{{ModelName="{model}",Level="Model",}} {now - ago!r}\n' for model, ago in self.server.ago.items()
        ]
        workers = [{"status": status} for status in self.server.workers.get(self.path.rpartition("/")[2], ())]
        body = "".join(lines) if self.path == "/metrics" else json.dumps([{"workers": workers}])
        self.send_response(500 if self.server.fails else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def told() -> Iterator[TorchServeTells]:
    with serving(TorchServeTells()) as server:
        yield server


@pytest.fixture
def make(told, place, monkeypatch):
    monkeypatch.setattr(health_module, "KEPT", 0.0)  # each question is asked anew
    monkeypatch.setattr(health_module, "KEPT_BAD", 0.0)
    monkeypatch.setattr(health_module, "PATIENCE", 60.0)

    def _make(recent: float | None = 60, is_registered: Callable[[], bool] = lambda: True) -> Health:
        url = f"http://127.0.0.1:{told.server_port}"
        api = Api(url, url, Tokens(place.path, url))
        return Health(api, f"{url}/metrics", SPLIT, place, is_registered, recent)

    return _make


def test_it_is_ready_once_all_is_registered_up_and_has_answered(make, told):
    assert make(is_registered=lambda: False).ready() == "starting"
    told.ago = {ENCODER: 3}
    assert make().ready() == f"{DECODER} has not answered any call for 60 s"
    told.ago[DECODER] = 3
    assert make().ready() == ""


def test_who_answered_too_long_ago_is_not_ready(make, told):
    told.ago[ENCODER] = 5
    health = make()
    assert health.ready() == ""
    told.ago[ENCODER] = 61
    assert health.ready() == f"{ENCODER} has not answered any call for 60 s"
    assert make(recent=300).ready() == ""
    assert make(recent=None).ready() == ""  # it calls nothing by itself, so silence says nothing


@pytest.mark.parametrize(
    ("workers", "ready"),
    [(["READY"], True), (["UNLOADED", "READY"], True), (["UNLOADED", "LOADING"], False), ([], False)],
)
def test_one_worker_of_a_model_is_enough_and_none_is_not(make, told, workers, ready):
    told.workers[DECODER] = workers
    assert make().ready() == ("" if ready else f"{DECODER} has no worker up")


def test_a_torchserve_that_fails_or_is_gone_is_neither_alive_nor_ready(make, told):
    health = make()
    assert health.live() == ""
    told.fails = True
    assert health.live() == health.ready() == "TorchServe does not answer"
    told.fails = False
    assert health.live() == health.ready() == ""
    told.shutdown()
    told.server_close()
    assert health.live() == health.ready() == "TorchServe does not answer"


def test_a_drain_is_seen_at_once_though_other_answers_are_kept(make, told, place, monkeypatch):
    monkeypatch.setattr(health_module, "KEPT", 1000.0)
    health = make()
    assert health.ready() == health.ready() == ""
    asked = told.asked
    told.workers[ENCODER] = []
    assert health.ready() == "" and told.asked == asked
    place.refuse_from(time.time() + 1000)  # with notice
    assert health.ready() == "draining"
    assert health.live() == ""
    place.refuse_from(None)
    assert health.ready() == ""


# ---------------------------------------------------------------------- the port


@contextmanager
def asked_at(health: Health, **bounds: float) -> Iterator[tuple[str, int]]:
    """A HealthServer on a free port of a thread of its own."""
    loop, listening = asyncio.new_event_loop(), threading.Event()
    address: list[tuple[str, int]] = []

    async def serve() -> None:
        server = await HealthServer(health, **bounds).listen("127.0.0.1", 0)
        address.append(server.sockets[0].getsockname())
        listening.set()
        async with server:
            await asyncio.Event().wait()

    task = loop.create_task(serve())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])))
    thread.start()
    assert listening.wait(60)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_it_answers_over_http_without_a_token(make, place):
    with asked_at(make()) as (host, port):
        url = f"http://{host}:{port}"
        assert (requests.get(f"{url}/live").status_code, requests.get(f"{url}/ready").status_code) == (200, 200)
        assert requests.head(f"{url}/ready").status_code == 200
        place.refuse_from(0)
        reply = requests.get(f"{url}/ready")
        assert (reply.status_code, reply.text) == (503, "draining\n")
        assert requests.get(f"{url}/live").status_code == 200
        assert requests.head(f"{url}/ready").status_code == 503
        assert requests.get(f"{url}/models").status_code == 404
        assert requests.post(f"{url}/ready", b"x").status_code == 405


def received(connection: socket.socket) -> bytes:
    """All that comes until the other end closes."""
    connection.settimeout(60)
    parts = []
    try:
        while part := connection.recv(4096):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def test_a_question_that_is_too_long_or_never_ends_is_hung_up_on(make):
    with asked_at(make(), longest=0.2) as address, socket.create_connection(address) as connection:
        connection.sendall(b"GET /ready HTTP/1.1\r\n")  # and no end of it
        assert received(connection) == b""
    with asked_at(make(), longest=600) as address:
        with socket.create_connection(address) as connection:
            connection.sendall(b"GET /ready HTTP/1.1\r\nX: " + b"a" * 2 * LARGEST)
            assert received(connection) == b""
        with socket.create_connection(address) as connection:
            connection.sendall(b"\0\xff garbage\r\n\r\n")
            assert received(connection).startswith(b"HTTP/1.1 405 ")
        assert requests.get(f"http://{address[0]}:{address[1]}/ready").status_code == 200


def test_of_too_many_at_once_the_rest_are_hung_up_on_and_there_is_room_again_after_them(make):
    with asked_at(make(), most=2, longest=600) as address:
        waiting = [socket.create_connection(address) for _ in range(2)]
        for connection in waiting:
            connection.sendall(b"GET /ready HTTP/1.1\r\n")
        with socket.create_connection(address) as third:
            assert received(third) == b""
        for connection in waiting:
            connection.sendall(b"\r\n")
            assert received(connection).startswith(b"HTTP/1.1 200 OK\r\n")
            connection.close()
        assert requests.get(f"http://{address[0]}:{address[1]}/ready").status_code == 200
