"""One film, made by the command eden-interpolate in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

LONGEST_LINE = 1 << 20
TIDYING = 100.0
"""Seconds that the process gets, when told to end, to join its finished part; then it is killed."""


def environment() -> dict[str, str]:
    """The environment of processes that read films: without the service's token."""
    return {name: value for name, value in os.environ.items() if name != "EDEN_WEB_TOKEN"}


class FilmProcess:
    """Runs `command`, and passes each JSON object that it prints to `hear`."""

    def __init__(self, command: Sequence[str], hear: Callable[[dict[str, Any]], None]) -> None:
        self._command, self._hear = command, hear
        self._process: asyncio.subprocess.Process | None = None
        self._told_to_end = False

    async def run(self) -> int:
        """Run the process and return its exit code; if this is cancelled, the process is ended first."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for the service, which ends it in its own time
        )
        if self._told_to_end:
            self._end(self._process)
        listening = asyncio.create_task(self._listen(self._process))
        try:
            await asyncio.shield(listening)
        except asyncio.CancelledError:
            self._end(self._process)
            await listening
            raise
        return await self._process.wait()

    def end(self) -> None:
        """Tell the process to end; what it has finished stays."""
        self._told_to_end = True
        if self._process:
            self._end(self._process)

    def _end(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):
            process.terminate()
        asyncio.get_running_loop().call_later(TIDYING, _kill, process)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than it can be
                continue
            if not line:
                break
            with suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict):
                    self._hear(told)
        await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
