"""Makes processes that the service starts end with it: their standard input is a pipe that the service holds."""

from __future__ import annotations

import os
import signal
import threading


def end_with_the_input() -> None:
    """Send this process SIGTERM once its standard input ends."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="input", daemon=True).start()
