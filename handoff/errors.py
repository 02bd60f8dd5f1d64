"""What can go wrong between `put` and `take`.

HandoffError              anything below, and a hand-off that cannot be set up (the message says what to change)
├── TicketRejected        forged, altered, expired, a stranger's, or not for this server: nothing was dialled
├── PayloadGone           the ticket is good, its payload is held no longer: taken and dropped since, or expired
├── PeerLost              the process that holds the payload has died, ended, or cannot be reached
│   └── Unreachable       no route of the ticket leads there from here: a setting has to change; the message names it
├── OverCapacity          no room: too many payloads in flight, the byte budget spent, or one payload over its cap
├── HandoffTimeout        the peer lives and does not answer in time
└── TransportUnavailable  this process cannot use a transport: the next one of the ticket, or of the settings, may do

PoolExhausted             what a transport tells the producer, not its caller: no room until others are dropped
└── MachineExhausted      the same, and not for want of budget: another transport may have room
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Literal

Bound = Literal["room", "in_flight", "queued", "wait", "draining"]
"""Memory (or descriptors), payloads in flight, requests that wait for a node, seconds that one would have to wait;
draining: of nothing, the server ends what it has, and is stopped."""


class HandoffError(Exception):
    """A hand-off failed; the root of the tree above."""


class TicketRejected(HandoffError):
    """The ticket was refused before any I/O."""


class PayloadGone(HandoffError):
    """The payload of a good ticket is held no longer."""


class PeerLost(HandoffError):
    """The process at the other end is gone."""


class Unreachable(PeerLost):
    """The ticket's routes lead nowhere from this process, and will not before a setting is changed."""


class OverCapacity(HandoffError):
    """There is no room for the payload now; a later try may succeed, except where it is over `max_payload_bytes`.

    bound: of what there is too much, in a word.
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


def require_descriptors(count: int) -> None:
    """Raise `OverCapacity` unless so many files can be opened now: some libraries end the process if they cannot."""
    held: list[int] = []
    try:
        with out_of_descriptors():
            while len(held) < count:
                held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for each in held:
            os.close(each)
