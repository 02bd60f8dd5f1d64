"""What can go wrong between `put` and `take`.

HandoffError              any of these, or a hand-off that cannot be set up (the message says what to change)
├── TicketRejected        forged, altered, expired, signed with another key, or not for this server; nothing was dialled
├── PayloadGone           the ticket is valid, but its payload has been taken and dropped, or has expired
├── PeerLost              the process that holds the payload has died, ended, or cannot be reached
│   └── Unreachable       no route of the ticket works from this process, until the setting in the message is changed
├── OverCapacity          no room: too many payloads in flight, the byte budget used up, or one payload too large
├── HandoffTimeout        the peer lives but did not answer in time
└── TransportUnavailable  this process cannot use a transport; another one of the ticket or the settings may work

PoolExhausted             within the producer only: no room in a transport's memory until payloads are dropped
└── MachineExhausted      the same, for lack of memory and not of budget: another transport may have room
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Literal

Bound = Literal["room", "in_flight", "queued", "wait", "draining"]
"""The limit that was reached: room, of memory or file descriptors; in_flight, payloads not yet taken; queued, requests
that wait for a node; wait, seconds that a request would wait; draining, none: the server is being stopped."""


class HandoffError(Exception):
    """A hand-off failed; the root of the tree above."""


class TicketRejected(HandoffError):
    """The ticket was refused before any I/O."""


class PayloadGone(HandoffError):
    """The payload of a valid ticket is no longer held."""


class PeerLost(HandoffError):
    """The process at the other end is gone."""


class Unreachable(PeerLost):
    """No route of the ticket works from this process until a setting is changed."""


class OverCapacity(HandoffError):
    """There is no room for the payload now. A later try may succeed, unless it is larger than `max_payload_bytes`.

    bound: the limit that was reached.
    """

    def __init__(self, message: str, bound: Bound = "room") -> None:
        super().__init__(message)
        self.bound = bound


class HandoffTimeout(HandoffError):
    """The other end did not answer within `timeout_s`."""


class TransportUnavailable(HandoffError):
    """This process cannot use a transport."""


class PoolExhausted(Exception):
    """No room for a payload; the message says where. The producer tries again once it has dropped others."""


class MachineExhausted(PoolExhausted):
    """The budget has room for the payload, the machine has not."""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
"""Error numbers of a full file system; ENOMEM if the memory of the machine or of its control group is used up."""
REMEDY = "make it larger (docker run --shm-size), budget_bytes smaller, or let other kinds help out (kind: auto)"


@contextlib.contextmanager
def out_of_descriptors() -> Iterator[None]:
    """A context that raises `OverCapacity` where a file or socket cannot be opened because too many are open."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise OverCapacity(f"too many files are open (ulimit -n): {error}") from error


def require_descriptors(count: int) -> None:
    """Raise `OverCapacity` unless `count` files can be opened now: some libraries end the process if they cannot."""
    held: list[int] = []
    try:
        with out_of_descriptors():
            while len(held) < count:
                held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for each in held:
            os.close(each)
