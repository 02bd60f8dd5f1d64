"""Where --ray may connect: to somebody who speaks gRPC, as Ray does; others are told of, and not waited for."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest

from eden_client.film.cluster import ray_cluster
from eden_client.film.cluster.ray_cluster import _check_reached
from tests.serving_thread import serving


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Whoever answers is waited for."""
    monkeypatch.setattr(ray_cluster, "_REACHED", 60.0)


@pytest.fixture
def silent():
    """Takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_who_says_nothing_is_no_cluster(monkeypatch, silent):
    monkeypatch.setattr(ray_cluster, "_REACHED", 0.3)
    with pytest.raises(ValueError, match=rf"no Ray cluster at 127\.0\.0\.1:{silent}: timed out"):
        _check_reached(f"127.0.0.1:{silent}")


def test_who_speaks_http_1_is_no_cluster():
    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with serving(HTTPServer(("127.0.0.1", 0), Quiet)) as server:
        address = f"127.0.0.1:{server.server_port}"
        with pytest.raises(ValueError, match=f"no Ray cluster at {address}: something else listens there"):
            _check_reached(address)


def test_who_hangs_up_is_no_cluster():
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as beside:
        beside.submit(lambda: listener.accept()[0].close())
        with pytest.raises(ValueError, match="no Ray cluster at"):
            _check_reached(f"127.0.0.1:{listener.getsockname()[1]}")


def test_who_speaks_grpc_may_be_one():
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        _check_reached(f"127.0.0.1:{port}")
    finally:
        server.stop(None).wait()


def test_with_tls_ray_itself_finds_out(monkeypatch, silent):
    monkeypatch.setenv("RAY_USE_TLS", "1")
    _check_reached(f"127.0.0.1:{silent}")
