"""A server in the foreground, for containers and service managers: as long as this process lives, and no longer."""

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
"""Seconds within which a second signal is the same word said again: `timeout` sends two at once."""


class Told(BaseException):
    """A signal has come."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number
        """as shells have it"""


class Ears:
    """The first signal raises Told in the main thread, and so does a second one; further ones do nothing."""

    def __init__(self) -> None:
        self._heard: list[float] = []
        for name in SIGNALS:
            number = getattr(signal, name)
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._hear)

    def _hear(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if len(self._heard) < 2 and not (self._heard and now - self._heard[-1] < TWICE):
            self._heard.append(now)
            raise Told(number)


def serve_until_told(server: Server, timeout: float, within: float, notice: float, started: Callable[[], None]) -> int:
    """Start a server and call `started`; drain and stop it at the first signal, stop it at once at the second.

    The exit code: 0 where all that was accepted is finished, 1 where not, 128 + the signal's number where it was told
    while it started, or twice. Raises ServerError where it cannot be started, or ends by itself.
    """
    Ears()
    since = time.strftime("%Y-%m-%dT%H:%M:%S")
    try:
        server.start(timeout)
        started()
        sys.stdout.flush()
        while server.is_running():
            _reap()
            time.sleep(0.2)
    except Told as told:
        if not server.is_running():  # it was starting
            return told.code
        return _end(server, within, notice)
    words = last_words(server.place, since)
    server.stop()
    raise ServerError(f"TorchServe has ended.\n{words}")


def _end(server: Server, within: float, notice: float) -> int:
    try:
        print(f"Draining, for {notice + within:g} s at most; another signal stops it at once ...", flush=True)
        unfinished = server.drain(within, notice)
    except Told as told:
        print("Stopping at once.", flush=True)
        server.stop()
        return told.code
    print(f"Stopped, but not everything was finished: {unfinished}." if unfinished else "Everything was finished.")
    return 1 if unfinished else 0


def _reap() -> None:
    """A container's first process inherits what others leave behind."""
    if os.getpid() == 1:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
