"""The answer when a request cannot be served: one table of errors, and one JSON envelope, everywhere.

    {"code": 413, "type": "TooLarge", "message": "...", "retry": "never", "largest_clip": 20}
    {"code": 503, "type": "OverCapacity", "message": "...", "retry": "later", "retry_after": 2}

On `/predictions/...` the HTTP status is `code`; in a workflow TorchServe always says 200, and the envelope alone tells.
`retry` says whether trying again can help: "never", "later" (the same request), "encode" (the ticket is no longer
valid: the frames have to be encoded again). `retry_after` (every 503 has it): seconds after which to try again.
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
"""Most characters of a message: errors of many kilobytes are cut off by TorchServe, and nobody reads them."""

SOON, LATE = 1, 30
"""Values of `retry_after`, in seconds: the default, and the largest."""

Retry = Literal["never", "later", "encode"]


class BadRequest(ValueError):
    """The request itself is wrong."""


class NotAcceptable(BadRequest):
    """The request's Accept header names no format that this server has."""


class TooLarge(BadRequest):
    """More than can ever be served in one request. `largest_clip`: the most such frames, if fewer frames would help."""

    def __init__(self, message: str, largest_clip: int | None = None) -> None:
        super().__init__(message)
        self.largest_clip = largest_clip


class RegionUnavailable(BadRequest):
    """This server cannot use the shared memory region: the frames have to be sent in the request's body."""


class Overloaded(OverCapacity):
    """Too many requests wait. `retry_after`: seconds after which there may be room · `bound`: the limit reached."""

    def __init__(self, message: str, retry_after: float = SOON, bound: Bound = "room") -> None:
        super().__init__(message, bound)
        self.retry_after = retry_after


class DeadlinePassed(RuntimeError):
    """The deadline of the request has passed, so its caller waits no longer: the rest of the work was not done."""


class DeviceLost(RuntimeError):
    """This worker's GPU context is broken: the worker ends, and another takes its place."""

    retry_after = 5


class OutOfMemory(RuntimeError):
    """There was too little memory for this request, even by itself; another process may be using it for now."""

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
"""Errors that an envelope may name: HTTP code, and whether a retry can help. Subclasses come before their base."""

PASSED_ON = "passed_on"
"""Reason, in the metrics, of an encoder's refusal that dit_decoder passes on."""

UNFORESEEN: tuple[int, Retry] = (500, "later")
"""Code and retry of any other error. Callers see it as InternalError, without its text, which may contain paths."""

REFUSALS: tuple[tuple[int, str], ...] = (
    *((code, kind.__name__) for kind, (code, _) in TABLE.items() if kind is not OverCapacity),
    *((TABLE[OverCapacity][0], bound) for bound in get_args(Bound)),
    (UNFORESEEN[0], "InternalError"),
)
"""Every status that an error of this node can have, with its reason."""


def shown(value: object) -> str:
    """A caller's value as error messages show it: in quotes, and at most its first 60 characters."""
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
    """A label for metrics, one of few: the error's name in the table, or the limit that was reached."""
    if isinstance(error, OverCapacity):
        return error.bound
    return next((kind.__name__ for kind in TABLE if isinstance(error, kind)), "InternalError")


def is_envelope(value: object) -> bool:
    """Whether a value is the envelope of an error, with a status that may be passed on (400 to 599)."""
    return isinstance(value, Mapping) and isinstance(value.get("code"), int) and 400 <= value["code"] <= 599


def read_envelope(data: bytes) -> dict[str, Any]:
    """The envelope in these bytes. Raises ValueError if they are not one."""
    value = json.loads(data)
    if not is_envelope(value):
        raise ValueError("not the envelope of an error")
    return dict(value)


def _envelope(code: int, kind: str, message: str, retry: Retry) -> dict[str, Any]:
    short = message if len(message) <= LONGEST else f"{message[:LONGEST]}..."
    return {"code": code, "type": kind, "message": short, "retry": retry}


def _extras(code: int, error: Exception) -> dict[str, Any]:
    if code == 503:
        return {"retry_after": min(LATE, max(SOON, math.ceil(getattr(error, "retry_after", SOON))))}
    largest = getattr(error, "largest_clip", None)
    return {} if largest is None else {"largest_clip": largest}
