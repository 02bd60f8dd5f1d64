"""What can go wrong between a client and its server.

EdenError
├── Refused              the request itself is at fault: do not send it again
│   ├── TokenRejected    no token, a wrong one, or one that has expired and could not be renewed
│   ├── RegionUnavailable  no shared memory between client and server: send the frames in the body
│   └── TooLarge         more than the server accepts at once; it may have said how many such frames it accepts
└── ServerTrouble        temporary: the client tries again as long as its patience lasts
    ├── ServerLost       no connection, no answer in time, an answer that breaks off
    │   ├── NotOffered   the server has no such model or workflow, or is still starting
    │   └── ServerAway   a gateway answers without a server behind it, or TorchServe without a worker
    ├── ServerBusy       more work waits than the server accepts, or than it could do in the client's time
    ├── PayloadLost      the tokens that a ticket stands for are gone: encode the frames again
    └── ServerFailed     the server, or one of its workers, failed on this request

If an error's JSON says whether to retry ("never", "later" or "encode"), that decides. The tables here are for
TorchServe's own errors, and for servers that do not say it.
"""

from __future__ import annotations

import json
from typing import Any


class EdenError(Exception):
    """An error of a call. `code`: HTTP status, None if there was no answer; `kind`: the server's name for the error."""

    def __init__(self, message: str, code: int | None = None, kind: str = "") -> None:
        super().__init__(message)
        self.message, self.code, self.kind = message, code, kind

    def __str__(self) -> str:
        told = " ".join(str(part) for part in (self.code, self.kind) if part)
        return f"{self.message} ({told})" if told else self.message


class Refused(EdenError):
    """The request itself is at fault."""


class TokenRejected(Refused):
    """The server does not take this token."""


class TooLarge(Refused):
    """More than the server accepts at once. `largest_clip`: how many such frames it accepts, None if it did not say."""

    def __init__(self, message: str, code: int | None = None, kind: str = "", largest_clip: int | None = None) -> None:
        super().__init__(message, code, kind)
        self.largest_clip = largest_clip


class RegionUnavailable(Refused):
    """No shared memory region that both client and server can use; `code` is None where the client could make none."""


class ServerTrouble(EdenError):
    """A temporary error. `retry_after`: seconds after which to ask again, None if the server did not say."""

    retry_after: float | None = None


class ServerLost(ServerTrouble):
    """The server cannot be reached, did not answer in time, or broke off its answer."""


class NotOffered(ServerLost):
    """The server knows no such model or workflow, or does not know it yet."""


class ServerAway(ServerLost):
    """A gateway answers in place of the server, or TorchServe without a worker: the address is right."""


class ServerBusy(ServerTrouble):
    """The server takes no more work at the moment."""


class PayloadLost(ServerTrouble):
    """The tokens that a ticket stands for are gone: encode the frames again."""


class ServerFailed(ServerTrouble):
    """The server failed on a request that it should have served."""


_BY_KIND: dict[str, type[EdenError]] = {
    "RegionUnavailable": RegionUnavailable,
    "DeadlinePassed": ServerBusy,
    "InvalidKeyException": TokenRejected,
    # While a server starts it answers already, but does not know its models yet.
    "WorkflowNotFoundException": NotOffered,
    "ModelNotFoundException": NotOffered,
    "ServiceUnavailableException": ServerAway,
}
_UNSAID: dict[str, type[EdenError]] = {
    "OverCapacity": ServerBusy,
    # All of them end a ticket; a new one may do better.
    "TicketRejected": PayloadLost,
    "PayloadGone": PayloadLost,
    "PeerLost": PayloadLost,
    "HandoffTimeout": PayloadLost,
    "DeviceLost": ServerBusy,
    "OutOfMemory": ServerBusy,
    # Of a setting: it leads nowhere the next time, too.
    "Unreachable": Refused,
}
"""Errors by EDEN's own names, for answers that do not say whether to retry."""


def error_told(
    code: int,
    kind: str,
    message: str,
    retry: object = None,
    largest_clip: object = None,
    retry_after: object = None,
) -> EdenError:
    """The exception for a server's error, JSON with {"code", "type", "message", "retry", ...}."""
    made = _BY_KIND.get(kind) or _by_retry(code, retry) or _UNSAID.get(kind) or _by_code(code)
    if made is Refused and code == 413:
        return TooLarge(message.strip(), code, kind, largest_clip if isinstance(largest_clip, int) else None)
    error = made(message.strip(), code, kind)
    if isinstance(error, ServerTrouble) and type(retry_after) is int and retry_after >= 0:
        error.retry_after = retry_after
    return error


def _by_retry(code: int, retry: object) -> type[EdenError] | None:
    if retry == "later":
        return ServerBusy if code == 503 else ServerFailed
    return {"never": Refused, "encode": PayloadLost}.get(str(retry))


def _by_code(code: int) -> type[EdenError]:
    return Refused if 400 <= code < 500 else ServerFailed


def envelope_in(body: bytes) -> EdenError | None:
    """The error in an answer's body, None if it holds none. (A workflow's error has status 200.)"""
    if body.lstrip()[:1] != b"{":
        return None
    try:
        told: dict[str, Any] = json.loads(body)
        code, kind, message = int(told["code"]), str(told["type"]), str(told["message"])
        return error_told(code, kind, message, *map(told.get, ("retry", "largest_clip", "retry_after")))
    except (ValueError, KeyError, TypeError):
        return None
