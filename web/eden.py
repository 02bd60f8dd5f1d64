"""The service's own calls of the EDEN server, for single pairs, with the same options as films."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from eden_client.api.client import EdenClient
from eden_client.api.errors import EdenError, Refused, ServerTrouble, TokenRejected
from eden_client.cli.connect import connect, servers
from eden_client.cli.options import parser
from media import Frame
from web.answers import ApiError
from web.threads import threaded

Priority = Literal["interactive", "live"]
_WAITING: dict[Priority, dict[str, float]] = {
    "interactive": {"timeout": 60.0, "patience": 5.0},
    "live": {"timeout": 10.0, "patience": 0.0},
}
"""Seconds to wait for the answer to a single pair, and for a server that is away."""


class Eden:
    """Calls the EDEN server, each call in a thread of its own.

    Raises ValueError or SystemExit: wrong `film_options`.
    """

    def __init__(self, film_options: Sequence[str], at_once: int) -> None:
        args = parser().parse_args(["-", "-", *film_options])
        made = connect(args, servers(args)[0])
        self._connect: partial[EdenClient] = partial(made, window=at_once, trace=None)
        self.server: str = made.args[0]
        self.key_file: Path | None = made.keywords["key_file"]
        self.trouble: deque[str] = deque(maxlen=3)
        """Errors of the last calls, the latest first; empty after a call that was served."""
        self._clients: dict[Priority, EdenClient] = {}
        self._room = asyncio.Semaphore(at_once)

    async def between(self, first: Frame, second: Frame, priority: Priority) -> tuple[Frame, float]:
        """The frame between two, [H, W, 3] uint8, and the seconds that the call took.

        Raises ApiError: 422 the server refuses these frames, 502 it rejects the service's token, 503 it is away or
        busy.
        """
        async with self._room:
            begun = time.perf_counter()
            try:
                frame = await threaded(self._call, first, second, priority)
            except (EdenError, OSError, ValueError) as error:
                refused = refusal(error, self.server)
                if refused.status != 422 and refused.message not in self.trouble:
                    self.trouble.appendleft(refused.message)
                raise refused from error
            self.trouble.clear()
            return frame, time.perf_counter() - begun

    def close(self) -> None:
        """Close the connections; calls under way are not tried again."""
        for client in self._clients.values():
            client.close()

    def _call(self, first: Frame, second: Frame, priority: Priority) -> Frame:
        client = self._clients.get(priority)
        if client is None:
            client = self._clients.setdefault(priority, self._connect(priority=priority, **_WAITING[priority]))
        return client.interpolate_pair(first, second)


def refusal(error: Exception, server: str) -> ApiError:
    """The answer to a visitor whose call of the EDEN server failed."""
    if isinstance(error, TokenRejected):
        return ApiError(502, f"the EDEN server at {server} rejects this service's token: {error.message}")
    if isinstance(error, Refused):
        return ApiError(422, f"the EDEN server refuses these frames: {error.message}")
    if isinstance(error, ServerTrouble):
        return ApiError(503, f"the EDEN server at {server} does not answer: {error}", {"Retry-After": "2"})
    return ApiError(502, f"the EDEN server at {server} cannot be called: {error}")
