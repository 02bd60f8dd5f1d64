"""JSON lines over a TCP connection: a consumer asks a producer to send, and both join a process group."""

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
    """One end of a control connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = connection.makefile("rb")

    def send(self, **message: Any) -> None:
        """Send a message."""
        self.send_text(json.dumps(message))

    def send_text(self, message: str) -> None:
        """Send a message that is JSON already."""
        self._connection.sendall(message.encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The next message. Raises `PeerLost` if the connection has ended, `TicketRejected` if it is not a message, and
        the error that the other side reports.
        """
        return read_answer(read_line(self._lines))

    @contextlib.contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """A context in which `receive` waits up to `seconds` for each message."""
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
        """Close the connection, even while another thread reads from it."""
        hang_up(self._connection)
        self._lines.close()
        self._connection.close()


class ControlStore(Store):
    """The store by which the two members of a process group find each other: both see every value that either sets.

    It needs no port that strangers could dial: values travel over the connection on which the consumer has proven that
    it holds the key. torch.distributed calls it from any thread; after `close` values stay in this process.
    """

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control
        self._values: dict[str, bytes] = {}
        self._closed = self._ended = False
        self._sending = threading.Lock()
        self._receiving = threading.Lock()

    def set(self, key: str, value: bytes) -> None:  # type: ignore[override]  # its stub says str
        """Set a value here, and send it to the other side."""
        self._values[key] = value
        with self._sending:
            if not self._closed:
                self._control.send(key=key, value=value.hex())

    def get(self, key: str) -> bytes:
        """Wait for a value. Raises `PeerLost` if the other side has ended, `LookupError` after `close`."""
        with self._receiving:
            while key not in self._values and self._receive():
                pass
        return self._values[key]

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """Wait until all values are set."""
        for key in keys:
            self.get(key)

    def check(self, keys: list[str]) -> bool:
        """Whether all values are set, as far as this side knows."""
        return all(key in self._values for key in keys)

    def clone(self) -> ControlStore:
        """This store itself, which several threads may use."""
        return self

    def close(self) -> None:
        """The group is complete: read what the other side has still sent, so that no later `receive` gets it."""
        with self._sending:
            self._closed = True
            self._control.send()
        with self._receiving:
            while self._receive():
                pass

    def _receive(self) -> bool:
        """Receive the next value of the other side; False once it has closed its store."""
        if not self._ended:
            message = self._control.receive()
            self._ended = "key" not in message
            if not self._ended:
                self._values[str(message["key"])] = bytes.fromhex(message["value"])
        return not self._ended
