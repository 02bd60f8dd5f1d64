"""What can go wrong between a client and its server.

EdenError
├── Refused              the request itself is at fault: sending it again is no use
│   └── TokenRejected    no token, a wrong one, or one that has expired and could not be renewed
└── ServerTrouble        may pass: the client tries again as long as its patience lasts
    ├── ServerLost       no connection, no answer in time, an answer that breaks off, a server that is still starting
    ├── ServerBusy       more work waits than the server takes
    ├── PayloadLost      the tokens that a ticket stands for are gone: the frames have to be encoded again
    └── ServerFailed     the server, or one of its workers, failed over this request
"""

from __future__ import annotations

import json
from typing import Any


class EdenError(Exception):
    """`code` is the server's (an HTTP status), None where none answered; `kind` is the server's name of the error."""

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


class ServerTrouble(EdenError):
    """Something that may pass."""


class ServerLost(ServerTrouble):
    """The server cannot be reached, or broke off."""


class ServerBusy(ServerTrouble):
    """The server takes no more work at the moment."""


class PayloadLost(ServerTrouble):
    """A ticket is worth nothing any more."""


class ServerFailed(ServerTrouble):
    """The server failed over a request that it should have served."""


_BY_KIND: dict[str, type[EdenError]] = {
    "InvalidKeyException": TokenRejected,
    "OverCapacity": ServerBusy,
    # While a server starts it answers already, but does not know its models yet.
    "WorkflowNotFoundException": ServerLost,
    "ModelNotFoundException": ServerLost,
    "ServiceUnavailableException": ServerLost,
    # All of them end a ticket; a new one may do better.
    "TicketRejected": PayloadLost,
    "PayloadGone": PayloadLost,
    "PeerLost": PayloadLost,
    "HandoffTimeout": PayloadLost,
}


def error_told(code: int, kind: str, message: str) -> EdenError:
    """The error that a server's envelope {"code", "type", "message"} stands for."""
    default = Refused if 400 <= code < 500 else ServerFailed
    return _BY_KIND.get(kind, default)(message.strip(), code, kind)


def envelope_in(body: bytes) -> EdenError | None:
    """The error in an answer's body, None if it is none: in a workflow it is the only sign, its status being 200."""
    if body.lstrip()[:1] != b"{":
        return None
    try:
        told: dict[str, Any] = json.loads(body)
        return error_told(int(told["code"]), str(told["type"]), str(told["message"]))
    except (ValueError, KeyError, TypeError):
        return None
