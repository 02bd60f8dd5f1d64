"""Processes that the service starts go with it, however it ends: their standard input is a pipe of its."""

from __future__ import annotations

import os
import signal
import threading


def end_with_the_input() -> None:
    """Have this process told to end, as by SIGTERM, once its standard input does."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="input", daemon=True).start()
