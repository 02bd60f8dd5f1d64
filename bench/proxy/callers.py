"""A Locust file: the users of loadtest/ that send pairs and clips, with every call written into a file.

CALLS_FILE in the environment names the file, of JSON lines: [when it ended (Unix time), name, seconds, error or null].
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
