"""Work in threads that would block the event loop, and that cannot be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from eden_client.api.in_thread import in_thread

P = ParamSpec("P")
T = TypeVar("T")


async def threaded(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in a thread and return its result. If this is cancelled, the thread still runs to its end."""
    return await asyncio.shield(asyncio.wrap_future(in_thread(function, *args, **kwargs)))
