"""What a caller is told when a request cannot be served: one JSON envelope, everywhere.

Nothing may raise inside a workflow node (TorchServe then fails the whole batch and leaks threads), so every error
becomes an answer: `{"code": 400, "type": "BadRequest", "message": "..."}`. On `/predictions/...` the HTTP status is
`code`; in a workflow TorchServe always says 200 and the envelope is all there is. Between the two nodes an envelope is
signed: what a caller sends in the shape of one is no ticket, and nothing else.
"""

from __future__ import annotations

from typing import Any

from handoff import HandoffTimeout, OverCapacity, PayloadGone, PeerLost, TicketRejected
from media import MediaError

LONGEST = 1000
"""Characters of a message: an error of many kilobytes breaks off on its way, and nobody reads it."""


def shown(value: object) -> str:
    """What a caller sent, as an error names it: in quotes, and the first 60 characters of it at most."""
    text = value if isinstance(value, str) else str(value)
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}... ({len(text)} characters)"


class BadRequest(ValueError):
    """The request itself is at fault; `code` is the HTTP status that says how (400, 406, 413)."""

    def __init__(self, message: str, code: int = 400):
        super().__init__(message)
        self.code = code


_CODES: dict[type[Exception], int] = {
    MediaError: 400,
    TicketRejected: 403,
    PayloadGone: 410,
    PeerLost: 502,
    OverCapacity: 503,
    HandoffTimeout: 504,
}


def envelope(error: Exception) -> dict[str, Any]:
    """The envelope of an error; what is not the caller's fault and not foreseen is a plain 500."""
    code, kind, message = _told(error)
    return {"code": code, "type": kind, "message": message if len(message) <= LONGEST else f"{message[:LONGEST]}..."}


def _told(error: Exception) -> tuple[int, str, str]:
    if isinstance(error, BadRequest):
        return error.code, "BadRequest", str(error)
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code, type(error).__name__, str(error)
    return 500, "InternalError", f"{type(error).__name__}: {error}"
