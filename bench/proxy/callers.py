"""A Locust file: pairs, clips and the chain of loadtest/, with a line in a file for each call that was made.

CALLS_FILE in the environment names the file: JSON lines of [when it ended (time.time()), what, seconds, what went
wrong].
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from locust import events

from loadtest._events import KINDS
from loadtest.batch import BatchUser  # noqa: F401
from loadtest.chain import ChainUser  # noqa: F401
from loadtest.streaming import StreamingUser  # noqa: F401


@events.request.add_listener  # type: ignore[untyped-decorator]
def _made(request_type: str, name: str, response_time: float, exception: Exception | None, **_: Any) -> None:
    if request_type not in KINDS:
        wrong = None if exception is None else str(exception)
        with Path(os.environ["CALLS_FILE"]).open("a") as file:
            file.write(json.dumps([round(time.time(), 3), name, round(response_time / 1e3, 3), wrong]) + "\n")
