"""What can go wrong between `put` and `take`.

HandoffError            anything below, and a hand-off that cannot be set up (the message says what to change)
├── TicketRejected      forged, altered, expired, a stranger's, or not for this server: nothing was dialled
├── PayloadGone         the ticket is good, its payload is held no longer: taken and dropped since, or expired
├── PeerLost            the process that holds the payload has died, ended, or cannot be reached
├── OverCapacity        no room: too many payloads in flight, the byte budget spent, or one payload over its cap
└── HandoffTimeout      the peer lives and does not answer in time
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Literal

Bound = Literal["room", "in_flight", "queued", "wait"]
"""Memory (or descriptors), payloads in flight, requests that wait for a node, seconds that one would have to wait."""


class HandoffError(Exception):
    """A hand-off failed; the root of the tree above."""


class TicketRejected(HandoffError):
    """The ticket was refused before any I/O."""


class PayloadGone(HandoffError):
    """The payload of a good ticket is held no longer."""


class PeerLost(HandoffError):
    """The process at the other end is gone."""


class OverCapacity(HandoffError):
    """There is no room for the payload now; a later try may succeed, except where it is over `max_payload_bytes`.

    bound: of what there is too much, in a word.
    """

    def __init__(self, message: str, bound: Bound = "room") -> None:
        super().__init__(message)
        self.bound = bound


class HandoffTimeout(HandoffError):
    """The other end did not answer within `timeout_s`."""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
"""How a file system says that it is full; ENOMEM: the memory of the machine, or of its control group, is."""
REMEDY = "make it larger (docker run --shm-size), budget_bytes smaller, or let other kinds help out (kind: auto)"


@contextlib.contextmanager
def out_of_descriptors() -> Iterator[None]:
    """Say that there is no room now where a file or socket cannot be had because too many are open."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise OverCapacity(f"too many files are open (ulimit -n): {error}") from error
