"""JSON lines over a TCP connection, by which a consumer asks a producer to send, and the two join a group."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from torch.distributed import Store  # type: ignore[attr-defined]

from handoff.transports.network.payload_server import read_answer, read_line
from handoff.transports.network.server import hang_up


class Control:
    """One end of it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = connection.makefile("rb")

    def send(self, **message: Any) -> None:
        """Send a message."""
        self.send_text(json.dumps(message))

    def send_text(self, message: str) -> None:
        """The same, of a message that is JSON already."""
        self._connection.sendall(message.encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The next message. Raises `PeerLost` where the connection ended, `TicketRejected` where it is no message,
        or the error that the other side reports.
        """
        return read_answer(read_line(self._lines))

    @contextlib.contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Wait so long for each message, not as long as otherwise."""
        before = self._connection.gettimeout()
        self._connection.settimeout(seconds)
        try:
            yield
        finally:
            self._connection.settimeout(before)

    def broken(self) -> bool:
        """Whether the other side is gone."""
        poll = select.poll()  # a new one each time: two threads may ask at once, which one object does not allow
        try:
            poll.register(self._connection, select.POLLRDHUP)
            return bool(poll.poll(0))
        except (OSError, ValueError):  # closed on this side
            return True

    def close(self) -> None:
        """Hang up, under whoever is reading from it as well, and give the socket back."""
        hang_up(self._connection)
        self._lines.close()
        self._connection.close()


class ControlStore(Store):
    """The store in which the two members of a group find each other: what either sets, both have.

    It needs no port of its own, which strangers could dial: values travel over the connection on which the consumer
    has proven that it holds the key. torch.distributed calls it, from any thread; after `close` it is of this process.
    """

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control
        self._values: dict[str, bytes] = {}
        self._closed = self._ended = False
        self._sending = threading.Lock()
        self._receiving = threading.Lock()

    def set(self, key: str, value: bytes) -> None:  # type: ignore[override]  # its stub says str
        """Give the other side a value."""
        self._values[key] = value
        with self._sending:
            if not self._closed:
                self._control.send(key=key, value=value.hex())

    def get(self, key: str) -> bytes:
        """The value, once it is set. Raises `PeerLost` where the other side ended, `LookupError` after `close`."""
        with self._receiving:
            while key not in self._values and self._receive():
                pass
        return self._values[key]

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """Return once all are set."""
        for key in keys:
            self.get(key)

    def check(self, keys: list[str]) -> bool:
        """Whether all are set, as far as is known here."""
        return all(key in self._values for key in keys)

    def clone(self) -> ControlStore:
        """The same: it is for several threads."""
        return self

    def close(self) -> None:
        """The group is joined: what the other side has set and nobody asked for is no message to come upon later."""
        with self._sending:
            self._closed = True
            self._control.send()
        with self._receiving:
            while self._receive():
                pass

    def _receive(self) -> bool:
        """Take in what the other side sets next; False once it has closed."""
        if not self._ended:
            message = self._control.receive()
            self._ended = "key" not in message
            if not self._ended:
                self._values[str(message["key"])] = bytes.fromhex(message["value"])
        return not self._ended
