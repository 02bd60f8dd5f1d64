"""Signals to end become an exception, so that whatever was begun is cleaned up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGTERM", "SIGHUP")
"""What `kill` and `timeout` send, and a terminal that is closed; not every system has both."""


class _Told:
    """What this process has been told, and whether that has to wait."""

    ended = False
    waits = 0
    pending: int | None = None


def exit_when_told_to() -> None:
    """Have the first such signal raise SystemExit in the main thread, with the exit code that shells give for it.

    Those that follow do nothing: `timeout` sends two at once, and what is undone then must not be cut short (SIGINT
    still does that). A signal that is ignored already (nohup) stays so.
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
    """In the main thread: such a signal takes effect at the end of the block, so that what is made in it is undone."""
    _Told.waits += 1
    try:
        yield
    finally:
        _Told.waits -= 1
        if _Told.pending is not None and not _Told.waits:
            number, _Told.pending = _Told.pending, None
            raise SystemExit(128 + number)
