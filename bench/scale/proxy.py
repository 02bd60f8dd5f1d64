"""Measures what a call costs HAProxy: its processor time, while calls of real sizes pass through it over loopback.

Nothing is computed behind it: two processes of this machine call and answer. Only HAProxy's own processor time counts,
so neither the callers' speed nor other work on the machine matters.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import psutil

from bench.processes import running
from bench.proxy import haproxy
from server.settings import Ports

KEY = "a-caller-s-own"
CALLERS = 4
STARTS_WITHIN = 30.0


@dataclass(frozen=True)
class Call:
    """A kind of call, by the bytes that pass."""

    name: str
    sent: int
    """bytes of its body"""
    received: int
    """bytes of its answer"""
    pairs: int
    buffer: int | None = None
    """bytes of HAProxy's buffers (tune.bufsize); None: as deploy/haproxy.cfg has it, to send a pair again elsewhere"""


@dataclass(frozen=True)
class ProxyCost:
    """What one call costs."""

    cpu_s_per_call: float
    calls: int
    """calls that were counted"""


def measure(call: Call, seconds: float, folder: Path) -> ProxyCost:
    """Measure such calls for `seconds`, with deploy/haproxy.cfg. Raises FileNotFoundError: HAProxy is not installed."""
    if haproxy.PROGRAM is None:
        raise FileNotFoundError("HAProxy is not installed (Debian: apt install haproxy)")
    behind, own = Ports.free(), Ports.free()
    config = haproxy.configured({"a": behind}, own.inference, own.management, folder, KEY, call.buffer)
    command = [haproxy.PROGRAM, "-db", "-f", str(config)]
    with (folder / "haproxy.log").open("wb") as log, _answering(behind, call), running(command, stdout=log) as proxy:
        _wait_for(own.inference)
        return _count(psutil.Process(proxy.pid), own.inference, call, seconds)


def _count(proxy: psutil.Process, port: int, call: Call, seconds: float) -> ProxyCost:
    """Make calls and count them, but for the first of each connection, during which it is opened."""
    start, stop = threading.Barrier(CALLERS + 1), threading.Event()
    done = [0] * CALLERS

    def caller(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            _call(connection, call)
            start.wait(60)
            while not stop.is_set():
                _call(connection, call)
                done[number] += 1

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    start.wait(60)
    before = _cpu(proxy)
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return ProxyCost((_cpu(proxy) - before) / sum(done), sum(done))


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _call(connection: socket.socket, call: Call) -> None:
    head = "POST /predictions/eden_fused HTTP/1.1\r\nHost: here\r\nContent-Type: application/octet-stream\r\n"
    connection.sendall(f"{head}Authorization: Bearer {KEY}\r\nContent-Length: {call.sent}\r\n\r\n".encode())
    connection.sendall(bytes(call.sent))
    status = _read(connection)
    if not status.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"HAProxy answered {status[:80]!r}")


def _read(connection: socket.socket) -> bytes:
    """Read a message. Returns its head; empty: the connection has ended."""
    came = b""
    while b"\r\n\r\n" not in came:
        piece = connection.recv(1 << 16)
        if not piece:
            return b""
        came += piece
    head, _, body = came.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    left, scratch = int(fields.get(b"content-length", 0)) - len(body), bytearray(1 << 20)
    while left > 0:
        got = connection.recv_into(scratch)
        if not got:
            raise RuntimeError("a body is cut short")
        left -= got
    return head


def _answer(at: Ports, call: Call) -> None:
    """Answer calls, and HAProxy when it asks whether this server is ready."""
    assert at.health
    threading.Thread(target=_listen, args=(at.health, b"ready"), daemon=True).start()
    _listen(at.inference, bytes(call.received))


def _listen(port: int, body: bytes) -> None:
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while _read(connection):
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", port), backlog=64) as server:
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


@contextlib.contextmanager
def _answering(at: Ports, call: Call) -> Iterator[None]:
    process = get_context("spawn").Process(target=_answer, args=(at, call), daemon=True)
    process.start()
    try:
        for port in (at.inference, at.health):
            _wait_for(port)
        yield
    finally:
        process.terminate()
        process.join()


def _wait_for(port: int | None) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on port {port} after {STARTS_WITHIN:g} s")
        time.sleep(0.05)
