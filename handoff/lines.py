"""Connections from a consumer to producers, kept between takes; and where a producer listens for them."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar

from handoff.errors import HandoffError, HandoffTimeout, PeerLost, Unreachable, out_of_descriptors
from handoff.settings import HandoffSettings

_LOG = logging.getLogger(__name__)

_KEPT = 32
"""Idle connections that a consumer keeps, of all producers together."""
_PORTS = 64
"""How many ports from the first one on are tried."""

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
        _look_up(address[0])
        return self._dial(address), False


class PatientListener(socket.socket):
    """A listening socket whose `accept` outlives a shortage (of file descriptors, of memory): it tries again."""

    def accept(self) -> tuple[socket.socket, Any]:
        while True:
            try:
                return super().accept()
            except OSError as error:
                if error.errno not in _SHORTAGES:
                    raise
            time.sleep(_PAUSE_S)


class PatientTlsListener(ssl.SSLSocket):
    """The same for TLS, where a peer that is gone before it is greeted would be an error of `accept` too."""

    def accept(self) -> tuple[ssl.SSLSocket, Any]:
        while True:
            try:
                return super().accept()
            except OSError as error:  # a time-out too: the listener may have been closed meanwhile
                if self.fileno() < 0 or error.errno in (errno.EBADF, errno.EINVAL):
                    raise
                if error.errno in _SHORTAGES:
                    time.sleep(_PAUSE_S)


def listen(settings: HandoffSettings) -> socket.socket:
    """A listening TCP socket where the settings want it. Raises `HandoffError` where there is no free port."""
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    for port in ports_to_try(settings):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.bind((settings.bind, port))
            listener.listen(64)
            return listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise HandoffError(f"cannot listen on {settings.bind} (handoff.bind): {error}") from error
    raise HandoffError(f"no free port on {settings.bind} from {settings.port} on")


def ports_to_try(settings: HandoffSettings) -> Sequence[int]:
    """Which ports to try, in order; 0 stands for any."""
    return range(settings.port, settings.port + _PORTS) if settings.port else (0,)


def check_bind(settings: HandoffSettings) -> None:
    """Raise `HandoffError` where this host has no such address to listen on; whatever port, which is another matter."""
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((settings.bind, 0))
        except OSError as error:
            raise HandoffError(f"cannot listen on {settings.bind} (handoff.bind): {error}") from error


def warn_of_unknown(settings: HandoffSettings) -> None:
    """Say so where a name that consumers are told to dial is unknown on this host: it may be known on theirs."""
    try:
        _look_up(settings.dialled)
    except PeerLost as error:
        _LOG.warning("%s; consumers that do not know it either cannot take what is put here", error)


def _look_up(host: str) -> None:
    """Raise `Unreachable` for a name that is unknown, `PeerLost` where nobody answers who would know it."""
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
