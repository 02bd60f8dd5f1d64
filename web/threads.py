"""What takes longer than an event loop can wait for, and cannot be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from eden_client.api.in_thread import in_thread

P = ParamSpec("P")
T = TypeVar("T")


async def threaded(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` returns, called in a thread of its own. That runs on where this is cancelled."""
    return await asyncio.shield(asyncio.wrap_future(in_thread(function, *args, **kwargs)))
