"""A producer's sockets, ports and TLS, and a TCP server with one thread per connection."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from handoff.errors import HandoffError, out_of_descriptors
from handoff.settings import HandoffSettings
from handoff.transports.network.deadlines import Deadlines

_LOG = logging.getLogger(__name__)
_PORTS = 64
"""How many ports from the first one on are tried."""
_BACKLOG = 1024
STRANGERS = 32
"""Most connections that have not proven that they hold the key; with one more, the oldest of them is closed."""
IDLE_S = 3600.0
"""Seconds for which a connection without requests is kept."""
STALLED_S = 60.0
"""Seconds after which a consumer that receives nothing of what is being sent to it is disconnected."""
_PAUSE_S = 0.1
_GONE_S = 5.0

T = TypeVar("T")
Answer = Callable[[socket.socket, Callable[[], None]], None]
"""A function that serves a connection, and calls its second argument once the peer has proven that it holds the key."""


class ConnectionServer:
    """Calls `answer` for each connection, on a thread of its own; closes the connection when it returns or raises.

    It serves as soon as it is made, on `listener`, which it owns; over TLS if `tls` is given. A peer that has not
    proven within `timeout_s` that it holds the key is disconnected; there are at most STRANGERS of these at a time.
    """

    def __init__(
        self, listener: socket.socket, name: str, answer: Answer, timeout_s: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self._listener = listener
        self._answer = answer
        self._tls = tls
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name=f"handoff-{name}", daemon=True)
        try:
            self._unproven = Deadlines(timeout_s, STRANGERS)
            self._thread.start()
        except RuntimeError:
            self._listener.close()
            raise

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop serving; port and threads are free afterwards."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that accepts
        self._thread.join()
        self._listener.close()
        self._unproven.close()
        for thread in list(self._connections):
            self._end(thread)
            thread.join()

    def _accept(self) -> None:
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        while not self._closing:
            waiting.poll()  # to wait in accept would take a descriptor for all the time
            try:
                connection, _ = self._listener.accept()
            except OSError:  # a shortage of descriptors or memory, a peer that is gone already, or the end
                if not self._closing:
                    time.sleep(_PAUSE_S)
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), name="handoff-connection", daemon=True)
            self._connections[thread] = connection
            self._unproven.begin(thread, functools.partial(self._end, thread))
            try:
                thread.start()
            except RuntimeError as error:  # no thread is to be had now; the next consumer may fare better
                _LOG.warning("a consumer could not be served, since no thread could be started: %s", error)
                self._forget(thread)

    def _serve(self, connection: socket.socket) -> None:
        thread = threading.current_thread()
        try:
            with contextlib.suppress(OSError, ValueError, HandoffError):  # the peer is gone, or is none of ours
                if self._tls is not None:
                    with self._lock:  # what is being wrapped is no socket for an instant: nobody could hang up on it
                        tls = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                        connection = self._connections[thread] = tls
                    tls.do_handshake()
                connection.settimeout(IDLE_S)
                self._answer(connection, functools.partial(self._unproven.end, thread))
        finally:
            self._forget(thread)

    def _end(self, thread: threading.Thread) -> None:
        """Have a thread's connection end; each stranger ends before the next begins, if it can."""
        with self._lock:
            connection = self._connections.get(thread)
            if connection is not None:
                hang_up(connection)
        if connection is not None:
            thread.join(_GONE_S)

    def _forget(self, thread: threading.Thread) -> None:
        self._unproven.end(thread)
        self._connections.pop(thread).close()


def hang_up(connection: socket.socket) -> None:
    """Shut a connection down, even while another thread reads or writes."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # TLS's own would say farewell first


def listen(settings: HandoffSettings) -> socket.socket:
    """A TCP socket that listens on the address and port in the settings. Raises like `at_free_port`."""

    def at(port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET6 if ":" in settings.bind else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.bind((settings.bind, port))
            listener.listen(_BACKLOG)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_S * 1000))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # its connections have all three from it
            return listener
        except OSError:
            listener.close()
            raise

    return at_free_port(settings, at)


def at_free_port(settings: HandoffSettings, listen_at: Callable[[int], T]) -> T:
    """The result of `listen_at(port)` for the first free port; port 0 means any.

    listen_at: raises `OSError` if it cannot listen on the port. Raises `HandoffError` if no port is free or the host
    does not have the address, `OverCapacity` if too many files are open.
    """
    for port in range(settings.port, settings.port + _PORTS) if settings.port else (0,):
        try:
            with out_of_descriptors():
                return listen_at(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise HandoffError(f"cannot listen on {settings.bind} (handoff.bind): {error}") from error
    raise HandoffError(f"no free port on {settings.bind} from {settings.port} on")


def bracketed(host: str) -> str:
    """A host as it is written before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def server_tls(settings: HandoffSettings) -> ssl.SSLContext | None:
    """TLS context with a producer's certificate; None without TLS."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


def client_tls(settings: HandoffSettings) -> ssl.SSLContext | None:
    """TLS context with which a consumer verifies a producer's server; None without TLS."""
    if settings.tls_authority is None:
        return None
    return ssl.create_default_context(cafile=settings.tls_authority)
