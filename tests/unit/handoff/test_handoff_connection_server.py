"""The server of connections: whom it hangs up on."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any

import pytest

from handoff.transports.network import server
from handoff.transports.network.server import ConnectionServer


class SlowContext(ssl.SSLContext):
    """Takes its time between the plain socket and the encrypted one."""

    def __init__(self, protocol: int) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        wrapped = super().wrap_socket(*arguments, **options)
        self.began.set()
        self.go_on.wait(1)  # at the latest: who hangs up may wait for it
        return wrapped


def test_a_stranger_too_many_is_hung_up_on_while_its_connection_is_being_encrypted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hang_up, tls = server.hang_up, SlowContext(ssl.PROTOCOL_TLS_SERVER)

    def hang_up_and_tell(connection: socket.socket) -> None:
        hang_up(connection)
        tls.go_on.set()

    monkeypatch.setattr(server, "hang_up", hang_up_and_tell)
    monkeypatch.setattr(server, "STRANGERS", 1)
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    serving = ConnectionServer(listener, "test", lambda connection, proven: None, 600, tls)
    with contextlib.closing(serving), socket.create_connection(address, 60) as first:
        assert tls.began.wait(60)
        with socket.create_connection(address, 60):
            assert first.recv(1) == b""
