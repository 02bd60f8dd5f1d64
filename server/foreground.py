"""A server in the foreground, for containers and service managers: it runs as long as this process does."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from server.launch import last_words
from server.torchserve import Server, ServerError

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
TWICE = 1.0
"""Seconds within which a second signal counts as the first one again: `timeout` sends two at once."""


class StopSignal(BaseException):
    """A signal to stop was received."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number
        """the exit code for it: 128 + its number"""


class SignalHandlers:
    """Handlers of SIGTERM, SIGINT and SIGHUP: the first and the second raise StopSignal in the main thread, later ones
    nothing.
    """

    def __init__(self) -> None:
        self._received: list[float] = []
        for name in SIGNALS:
            number = getattr(signal, name)
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._receive)

    def _receive(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if len(self._received) < 2 and not (self._received and now - self._received[-1] < TWICE):
            self._received.append(now)
            raise StopSignal(number)


def serve_until_stopped(
    server: Server, timeout: float, within: float, notice: float, started: Callable[[], None]
) -> int:
    """Start a server and call `started`; drain and stop it at the first signal, stop it at once at the second.

    timeout, within, notice: seconds for the start, for accepted calls to finish, and with /ready false before that.
    Returns the exit code: 0 if all accepted calls were finished, 1 if not, 128 + the signal's number if the signal came
    during the start, or twice. Raises ServerError: it cannot be started, or ended by itself.
    """
    SignalHandlers()
    since = time.strftime("%Y-%m-%dT%H:%M:%S")
    try:
        server.start(timeout)
        started()
        sys.stdout.flush()
        while server.is_running():
            _reap()
            time.sleep(0.2)
    except StopSignal as signalled:
        if not server.is_running():  # it was starting
            return signalled.code
        return _end(server, within, notice)
    words = last_words(server.place, since)
    server.stop()
    raise ServerError(f"TorchServe has ended.\n{words}")


def _end(server: Server, within: float, notice: float) -> int:
    try:
        print(f"Draining, for at most {notice + within:g} s; another signal stops it at once ...", flush=True)
        unfinished = server.drain(within, notice)
    except StopSignal as signalled:
        print("Stopping at once.", flush=True)
        server.stop()
        return signalled.code
    print(
        f"Stopped before all accepted calls were finished: {unfinished}."
        if unfinished
        else "All accepted calls were finished."
    )
    return 1 if unfinished else 0


def _reap() -> None:
    """Reap orphaned processes if this is a container's first process, which inherits them."""
    if os.getpid() == 1:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
