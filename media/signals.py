"""Being told to end: a signal becomes an exception, so that whatever was begun is undone on the way out."""

from __future__ import annotations

import signal
from types import FrameType

NAMES = ("SIGTERM", "SIGHUP")
"""What `kill` and `timeout` send, and a terminal that is closed; not every system has both."""


def exit_when_told_to() -> None:
    """Have the first such signal raise SystemExit in the main thread, with the exit code that shells give for it.

    Those that follow do nothing: `timeout` sends two at once, and what is undone then must not be cut short (SIGINT
    still does that). A signal that is ignored already (nohup) stays so.
    """
    told = False

    def end(number: int, _: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            raise SystemExit(128 + number)

    for name in NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
