"""Turns signals that end a process into an exception, so that the process cleans up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGTERM", "SIGHUP")
"""The signals that `kill` and `timeout`, and a closed terminal, send. Not every system has both."""


class _Told:
    """The signal that this process has received, and whether it has to wait."""

    ended = False
    waits = 0
    pending: int | None = None


def exit_when_told_to() -> None:
    """Let the first such signal raise SystemExit in the main thread, with the exit code that shells use for it.

    Later ones are ignored: `timeout` sends two at once, and must not interrupt the cleaning up (SIGINT still does). A
    signal that was ignored before (nohup) stays ignored.
    """
    _Told.ended = False

    def end(number: int, _: FrameType | None) -> None:
        if _Told.ended:
            return
        _Told.ended = True
        if _Told.waits:
            _Told.pending = number
        else:
            raise SystemExit(128 + number)

    for name in NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


@contextmanager
def signals_wait() -> Iterator[None]:
    """A context, for the main thread, in which such signals wait until its end: what it makes can be cleaned up."""
    _Told.waits += 1
    try:
        yield
    finally:
        _Told.waits -= 1
        if _Told.pending is not None and not _Told.waits:
            number, _Told.pending = _Told.pending, None
            raise SystemExit(128 + number)
