"""What a caller is told when a request cannot be served: one table, one JSON envelope, everywhere.

    {"code": 413, "type": "TooLarge", "message": "...", "retry": "never", "largest_clip": 20}
    {"code": 503, "type": "OverCapacity", "message": "...", "retry": "later", "retry_after": 2}

On `/predictions/...` the HTTP status is `code`; in a workflow TorchServe always says 200, and the envelope is all there
is. `retry` says whether trying again can help: "never", "later" (the same request), "encode" (the ticket is worth
nothing any more: the frames have to be encoded again). `retry_after`, of every 503: seconds after which to try.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from handoff import HandoffTimeout, OverCapacity, PayloadGone, PeerLost, TicketRejected, Unreachable
from handoff.errors import Bound
from media import MediaError

LONGEST = 1000
"""Characters of a message: an error of many kilobytes breaks off on its way, and nobody reads it."""

SOON, LATE = 1, 30
"""Seconds after which to try again: where nothing better is known, and at most."""

Retry = Literal["never", "later", "encode"]


class BadRequest(ValueError):
    """The request itself is at fault."""


class NotAcceptable(BadRequest):
    """No format of ours is one that the request accepts."""


class TooLarge(BadRequest):
    """More than can ever be served at once; `largest_clip` is how many such frames can, where fewer would do."""

    def __init__(self, message: str, largest_clip: int | None = None) -> None:
        super().__init__(message)
        self.largest_clip = largest_clip


class RegionUnavailable(BadRequest):
    """No such shared memory region for this server: the frames have to come in the request's body."""


class Overloaded(OverCapacity):
    """Too much waits. `retry_after`: seconds in which there may be room."""

    def __init__(self, message: str, retry_after: float = SOON, bound: Bound = "room") -> None:
        super().__init__(message, bound)
        self.retry_after = retry_after


class DeadlinePassed(RuntimeError):
    """The caller has given up waiting by now: what was left of the work was not done."""


class DeviceLost(RuntimeError):
    """This worker's GPU context is broken: the worker ends, and another takes its place."""

    retry_after = 5


class OutOfMemory(RuntimeError):
    """There was too little memory for this request, even by itself: another process may hold it, for now."""

    retry_after = 5


TABLE: dict[type[Exception], tuple[int, Retry]] = {
    TooLarge: (413, "never"),
    NotAcceptable: (406, "never"),
    RegionUnavailable: (409, "never"),
    BadRequest: (400, "never"),
    MediaError: (400, "never"),
    TicketRejected: (403, "encode"),
    PayloadGone: (410, "encode"),
    Unreachable: (502, "never"),
    PeerLost: (502, "encode"),
    OverCapacity: (503, "later"),
    DeviceLost: (503, "later"),
    OutOfMemory: (503, "later"),
    HandoffTimeout: (504, "encode"),
    DeadlinePassed: (504, "later"),
}
"""Each error that a caller may be told: HTTP code, and whether a retry can help. Subclasses stand before their base."""

PASSED_ON = "passed_on"
"""The reason for a refusal of the encoder's that dit_decoder passes on."""

UNFORESEEN: tuple[int, Retry] = (500, "later")
"""Of anything else, which is told as InternalError, without its text: that may hold paths and is for the log."""

REFUSALS: tuple[tuple[int, str], ...] = (
    *((code, kind.__name__) for kind, (code, _) in TABLE.items() if kind is not OverCapacity),
    *((TABLE[OverCapacity][0], bound) for bound in get_args(Bound)),
    (UNFORESEEN[0], "InternalError"),
)
"""Every status that an error of this node's own can have, with its reason."""


def shown(value: object) -> str:
    """What a caller sent, as an error names it: in quotes, and the first 60 characters of it at most."""
    text = value if isinstance(value, str) else str(value)
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}... ({len(text)} characters)"


def envelope(error: Exception) -> dict[str, Any]:
    """The envelope of an error."""
    for kind, (code, retry) in TABLE.items():
        if isinstance(error, kind):
            return _envelope(code, kind.__name__, str(error), retry) | _extras(code, error)
    code, retry = UNFORESEEN
    return _envelope(code, "InternalError", f"the server failed over this request ({type(error).__name__})", retry)


def reason(error: Exception) -> str:
    """Why, in one word of few, for metrics: a name of the table, or which bound has been reached."""
    if isinstance(error, OverCapacity):
        return error.bound
    return next((kind.__name__ for kind in TABLE if isinstance(error, kind)), "InternalError")


def is_envelope(told: object) -> bool:
    """Whether this is such an envelope, with a status that may be passed on."""
    return isinstance(told, Mapping) and isinstance(told.get("code"), int) and 400 <= told["code"] <= 599


def read_envelope(words: bytes) -> dict[str, Any]:
    """The envelope in these bytes. Raises ValueError for what is none."""
    told = json.loads(words)
    if not is_envelope(told):
        raise ValueError("no envelope of an error")
    return dict(told)


def _envelope(code: int, kind: str, message: str, retry: Retry) -> dict[str, Any]:
    short = message if len(message) <= LONGEST else f"{message[:LONGEST]}..."
    return {"code": code, "type": kind, "message": short, "retry": retry}


def _extras(code: int, error: Exception) -> dict[str, Any]:
    if code == 503:
        return {"retry_after": min(LATE, max(SOON, math.ceil(getattr(error, "retry_after", SOON))))}
    largest = getattr(error, "largest_clip", None)
    return {} if largest is None else {"largest_clip": largest}
