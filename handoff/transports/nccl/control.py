"""JSON lines over a TCP connection, by which a consumer asks a producer to send."""

from __future__ import annotations

import json
import select
import socket
from typing import Any

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

    def broken(self) -> bool:
        """Whether the other side is gone. It says nothing while a payload is on its way."""
        poll = select.poll()  # a new one each time: two threads may ask at once, which one object does not allow
        try:
            poll.register(self._connection, select.POLLIN)
            return bool(poll.poll(0)) and self._connection.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):  # closed on this side
            return True

    def hang_up(self) -> None:
        """End the connection under whoever is reading from it."""
        hang_up(self._connection)

    def close(self) -> None:
        """Give the socket back."""
        self._lines.close()
        self._connection.close()
