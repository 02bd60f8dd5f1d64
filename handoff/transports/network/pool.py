"""A consumer's connections to producers, kept between takes."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

from handoff.errors import HandoffTimeout, PeerLost, Unreachable, out_of_descriptors
from handoff.settings import HandoffSettings

_LOG = logging.getLogger(__name__)
_KEPT = 32
"""Most idle connections that a consumer keeps, to all producers together."""

C = TypeVar("C")
T = TypeVar("T")
Address = tuple[str, int]
"""Host and port."""


class ConnectionPool(Generic[C]):
    """Kept connections, each used by one take at a time. Thread-safe."""

    def __init__(self, dial: Callable[[Address], C], hang_up: Callable[[C], None]) -> None:
        self._dial = dial
        self._hang_up = hang_up
        self._idle: deque[tuple[Address, C]] = deque()
        self._lock = threading.Lock()

    def use(self, address: Address, receive: Callable[[C], Iterator[T]]) -> Generator[T, None, None]:
        """Yield what `receive` yields on a connection to `address`. If a kept one is dead, a new one is dialled, once.

        Raises `PeerLost` and `HandoffTimeout` for network errors.
        """
        for fresh in (False, True):
            kept = begun = False
            try:
                with _naming_the_peer(address), self._borrow(address, fresh) as (connection, kept):
                    for item in receive(connection):
                        begun = True
                        yield item
                return
            except PeerLost:
                if begun or not kept:
                    raise

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            while self._idle:
                self._hang_up(self._idle.popleft()[1])

    @contextlib.contextmanager
    def _borrow(self, address: Address, fresh: bool) -> Iterator[tuple[C, bool]]:
        """A context with (a connection, whether it was kept); afterwards it is kept, unless an error was raised."""
        connection, kept = self._find(address, fresh)
        try:
            yield connection, kept
        except BaseException:
            self._hang_up(connection)
            raise
        with self._lock:
            self._idle.append((address, connection))
            old = [self._idle.popleft() for _ in range(len(self._idle) - _KEPT)]
        for _, other in old:
            self._hang_up(other)

    def _find(self, address: Address, fresh: bool) -> tuple[C, bool]:
        if not fresh:
            with self._lock:
                for item in self._idle:
                    if item[0] == address:
                        self._idle.remove(item)
                        return item[1], True
        look_up(address[0])
        return self._dial(address), False


def warn_of_unknown(settings: HandoffSettings) -> None:
    """Warn if this host cannot resolve the name in its tickets; consumers' hosts may be able to."""
    try:
        look_up(settings.dialled)
    except PeerLost as error:
        _LOG.warning("%s; consumers that do not know it either cannot take what is put here", error)


def look_up(host: str) -> None:
    """Raise `Unreachable` if a host name does not exist, `PeerLost` if it cannot be resolved now."""
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        passes = isinstance(error, socket.gaierror) and error.errno not in (socket.EAI_NONAME, socket.EAI_NODATA)
        kind = PeerLost if passes else Unreachable
        raise kind(f"{host!r}, which tickets name (handoff.advertise), is not to be found: {error}") from error


@contextlib.contextmanager
def _naming_the_peer(address: Address) -> Iterator[None]:
    host, port = address
    try:
        with out_of_descriptors():
            yield
    except TimeoutError as error:
        raise HandoffTimeout(f"the producer at {host}:{port} did not answer in time") from error
    except OSError as error:
        raise PeerLost(f"the producer at {host}:{port} is gone: {error}") from error
