"""A socket that keeps whatever it is sent: a proxy that nobody should use, a server that no secret is for."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator

BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Recorder:
    """Listens on a port of 127.0.0.1, keeps each request, and gives one answer to all, or what a function gives."""

    def __init__(self, port: int, answer: bytes | Callable[[], bytes]) -> None:
        self.heard: list[bytes] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # ends the wait in accept
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(10)
                    self._hear(connection)

    def _hear(self, connection: socket.socket) -> None:
        said = connection.recv(1 << 16)
        self.heard.append(said)
        while b"\r\n\r\n" not in said and (more := connection.recv(1 << 16)):
            said += more
        head, _, body = said.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        left = int(length[1]) - len(body) if length else 0
        while left > 0 and (more := connection.recv(1 << 16)):
            left -= len(more)
        self.heard[-1] = said
        connection.sendall(self._answer if isinstance(self._answer, bytes) else self._answer())


@contextlib.contextmanager
def recorder(port: int = 0, answer: bytes | Callable[[], bytes] = BAD_GATEWAY) -> Iterator[Recorder]:
    listening = Recorder(port, answer)
    try:
        yield listening
    finally:
        listening.close()


def redirect(to: str) -> bytes:
    """An answer that sends the caller elsewhere, body and all."""
    return f"HTTP/1.1 307 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
