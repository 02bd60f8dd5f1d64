"""Connections from a consumer to producers, kept between takes; and where a producer listens for them."""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar

from handoff.deadlines import Deadlines
from handoff.errors import HandoffError, HandoffTimeout, PeerLost, out_of_descriptors
from handoff.settings import HandoffSettings

_KEPT = 32
"""Idle connections that a consumer keeps, of all producers together."""
_PORTS = 64
"""How many ports from the first one on are tried."""

IDLE_S = 3600.0
"""How long a producer keeps the connection of a consumer that asks for nothing."""
STALLED_S = 60.0
"""How long a consumer may take none of what is on its way to it."""
_BACKLOG = 1024
_GONE_S = 5.0

_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 0.1

C = TypeVar("C")
T = TypeVar("T")
Address = tuple[str, int]


class Lines(Generic[C]):
    """Connections that are kept: each is used by one take at a time. Thread-safe."""

    def __init__(self, dial: Callable[[Address], C], hang_up: Callable[[C], None]) -> None:
        self._dial = dial
        self._hang_up = hang_up
        self._idle: deque[tuple[Address, C]] = deque()
        self._lock = threading.Lock()

    def use(self, address: Address, receive: Callable[[C], Iterator[T]]) -> Generator[T, None, None]:
        """What `receive` yields on a connection to `address`. A kept one that turns out dead is dialled anew, once.

        Raises `PeerLost` and `HandoffTimeout` for network errors.
        """
        for fresh in (False, True):
            kept = begun = False
            try:
                with _naming_the_peer(address), self._borrow(address, fresh) as (line, kept):
                    for item in receive(line):
                        begun = True
                        yield item
                return
            except PeerLost:
                if begun or not kept:
                    raise

    def close(self) -> None:
        """Hang up all that are idle."""
        with self._lock:
            while self._idle:
                self._hang_up(self._idle.popleft()[1])

    @contextlib.contextmanager
    def _borrow(self, address: Address, fresh: bool) -> Iterator[tuple[C, bool]]:
        """A connection, and whether it was kept. It is kept again unless the block ends by an error."""
        line, kept = self._find(address, fresh)
        try:
            yield line, kept
        except BaseException:
            self._hang_up(line)
            raise
        with self._lock:
            self._idle.append((address, line))
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
        return self._dial(address), False


class Listener(socket.socket):
    """A listening socket for a server that takes connections up in an event loop.

    Whoever connects is hung up on unless `proven` in time; of those who are not there are at most `most`, the newest.
    """

    most = 256
    deadlines: Deadlines | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        if self.deadlines:
            self.deadlines.begin(address, functools.partial(_shut, connection))
        return connection, address


class PatientListener(Listener):
    """The same for a server with a thread for each connection: there are fewer, and one ends before the next begins.

    Its `accept` outlives a shortage (of file descriptors, of memory): it tries again.
    """

    most = 32

    def accept(self) -> tuple[socket.socket, Any]:
        while True:
            try:
                connection, address = socket.socket.accept(self)
            except OSError as error:
                if error.errno not in _SHORTAGES:
                    raise
            else:
                return _admit(self.deadlines, connection, address)
            time.sleep(_PAUSE_S)


class PatientTlsListener(ssl.SSLSocket):
    """The same for TLS, where a peer that is gone before it is greeted would be an error of `accept` too."""

    deadlines: Deadlines | None = None

    def accept(self) -> tuple[ssl.SSLSocket, Any]:
        while True:
            try:
                connection, address = super().accept()
            except OSError as error:  # a time-out too: the listener may have been closed meanwhile
                if self.fileno() < 0 or error.errno in (errno.EBADF, errno.EINVAL):
                    raise
                if error.errno in _SHORTAGES:
                    time.sleep(_PAUSE_S)
            else:
                return _admit(self.deadlines, connection, address)


S = TypeVar("S", bound=socket.socket)


def _admit(deadlines: Deadlines | None, connection: S, address: Any) -> tuple[S, Any]:
    if deadlines:
        deadlines.begin(address, functools.partial(_shut_and_wait, connection))
    return connection, address


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # wakes whoever reads from it, and has them close it


def _shut_and_wait(connection: socket.socket) -> None:
    _shut(connection)
    end = time.monotonic() + _GONE_S
    while connection.fileno() >= 0 and time.monotonic() < end:
        time.sleep(0.001)


def listen(settings: HandoffSettings) -> socket.socket:
    """A listening TCP socket where the settings want it. Raises `HandoffError` where there is no free port."""
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    for port in ports_to_try(settings):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_S * 1000))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # its connections have both from it
            listener.bind((settings.bind, port))
            listener.listen(_BACKLOG)
            return listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise HandoffError(f"cannot listen on {settings.bind}: {error}") from error
    raise HandoffError(f"no free port on {settings.bind} from {settings.port} on")


def ports_to_try(settings: HandoffSettings) -> Sequence[int]:
    """Which ports to try, in order; 0 stands for any."""
    return range(settings.port, settings.port + _PORTS) if settings.port else (0,)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


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
