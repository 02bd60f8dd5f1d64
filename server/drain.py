"""Waits until a server has finished what it accepted, as far as that can be seen from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import requests

from server.api import Api
from server.folder import ServerFolder

QUIET = 2.0
"""Seconds for which nothing must be left to do: between worker and socket, TorchServe holds an answer unseen."""
ESTABLISHED = "01"
SMALL = 4096
"""Bytes that the kernel still delivers to a caller after the server has ended."""


def wait_until_idle(
    place: ServerFolder,
    api: Api,
    models: tuple[str, ...],
    java: int,
    ports: set[int],
    goes_on: Callable[[], bool],
    end: float,
) -> str:
    """Wait until all accepted calls are finished, until `end` (time.monotonic()) at most. Returns what is left to do.

    Empty: nothing is left. Calls that wait in TorchServe's queues have been refused by then.
    java: its pid. ports: those on which it accepts calls. goes_on: whether the server is still running.
    """
    flushed, quiet_since = False, time.monotonic()
    while goes_on():
        now = time.monotonic()
        if left := _left(place, java, ports):
            flushed, quiet_since = False, now
        elif not flushed:
            _flush(api, models, max(1.0, end - now))
            flushed, quiet_since = True, time.monotonic()
        elif now - quiet_since >= QUIET:
            return ""
        if now >= end:
            return left or "it was not idle for long enough to be sure"
        time.sleep(0.1)
    return "it ended before that, or was stopped"


def _left(place: ServerFolder, java: int, ports: set[int]) -> str:
    if place.is_working():
        return "calls are being computed, or tokens wait to be fetched"
    if count := unsent(java, ports):
        return f"{count} answers are on their way to slow callers"
    return ""


def _flush(api: Api, models: tuple[str, ...], within: float) -> None:
    """Return once all queued calls are refused: queues are first come, first served, so a call sent now is the last."""
    for model in models:
        try:
            api.answers(model, within)
        except (requests.RequestException, OSError, ValueError):
            return  # whoever waits there gets no answer either


def unsent(pid: int, ports: set[int]) -> int:
    """How many connections on these ports of a process have more to send than the other end accepts.

    While Java has more to write than the socket holds, the socket is full (proc_pid_net(5): tx_queue).
    """
    tables = (Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6"))
    rows = (line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:])
    return sum(
        int(local.rpartition(":")[2], 16) in ports and state == ESTABLISHED and int(queues[:8], 16) > SMALL
        for _, local, _, state, queues, *_ in rows
    )
