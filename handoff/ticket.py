"""Tickets: what travels through TorchServe in place of the tensors.

    EDEN-TICKET  1 byte version  4 bytes length  JSON  32 bytes HMAC-SHA256  [payload, inline only]

The signature covers all the rest, the payload too. Nothing in a ticket is looked at before the signature is verified.

What a producer sends in place of a ticket, where it could make none, is signed too, so that nobody else can have a
consumer pass on what they like:

    EDEN-REFUSAL  1 byte version  32 bytes HMAC-SHA256 of all the rest  what the producer says
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handoff.errors import HandoffError, TicketRejected
from handoff.payload.layout import Layout, parse_layout

MAGIC = b"EDEN-TICKET"
REFUSAL = b"EDEN-REFUSAL"
VERSION = b"\x02"
"""Counted up with whatever a consumer of before could not read. `verify` then reads the one before too, since servers
are replaced one after the other: tests/data/tickets keeps a ticket of each."""
_FRONT = len(MAGIC) + len(VERSION) + 4
_SIGNATURE = hashlib.sha256().digest_size
LARGEST_JSON = 64 << 10
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Ticket:
    """A verified ticket, or one about to be signed."""

    id: str
    """32 hexadecimal digits, unlike any other payload's."""
    producer: str
    """Which process holds the payload: 32 hexadecimal digits, the name of its ledger."""
    slot: int
    """The payload's place in that ledger."""
    put: float
    """When the payload was put: seconds since the epoch, by the producer's clock."""
    deadline: float
    """Until when it is held, likewise; machines that share tickets keep their clocks in step."""
    layout: Layout
    routes: tuple[Mapping[str, Any], ...]
    """Ways to the payload, best first: `kind`, and what that kind needs to know."""
    options: Mapping[str, Any]
    """The request's options, as `put` got them."""
    payload: memoryview = field(default=memoryview(b""), repr=False)
    """Inline only."""

    @property
    def length(self) -> int:
        """K, the number of frames."""
        return self.layout.length

    def check_deadline(self) -> None:
        """Raise `TicketRejected` once the deadline has passed, by this machine's clock."""
        now, lives = time.time(), self.deadline - self.put
        late = now - self.deadline
        if late < 0:
            return
        message = f"the ticket expired {late:.1f} s ago: by this machine's clock it was made {now - self.put:.1f} s ago"
        if late > lives:
            message += (
                f", and it lives {lives:g} s: unless it was kept so long, the clocks of the two machines differ (NTP)"
            )
        raise TicketRejected(message)

    def ahead(self) -> float:
        """Seconds by which it comes from the future: the clock of the machine that made it is so far ahead at least."""
        return self.put - time.time()


def sign(ticket: Ticket, key: bytes) -> bytes:
    """The ticket as bytes. Raises `HandoffError` where its options are no JSON values, or too many."""
    fields = {
        "id": ticket.id,
        "producer": ticket.producer,
        "slot": ticket.slot,
        "put": ticket.put,
        "deadline": ticket.deadline,
        "layout": ticket.layout.text,
        "routes": ticket.routes,
        "options": ticket.options,
    }
    try:
        text = _ENCODER.encode(fields).encode()
    except (TypeError, ValueError) as error:
        raise HandoffError(f"a ticket's options have to be JSON values: {error}") from error
    if len(text) > LARGEST_JSON:
        raise HandoffError(f"a ticket's fields take {len(text)} bytes; at most {LARGEST_JSON} travel")
    front = MAGIC + VERSION + len(text).to_bytes(4, "big") + text
    return b"".join((front, _signature(key, front, ticket.payload), ticket.payload))


def verify(data: bytes, key: bytes) -> Ticket:
    """The ticket in `data`, if `key` signed it and its deadline has not passed; else `TicketRejected`."""
    view = memoryview(data)
    if len(view) < _FRONT or view[: len(MAGIC)] != MAGIC:
        raise TicketRejected("this is no ticket")
    if view[len(MAGIC) : len(MAGIC) + len(VERSION)] != VERSION:
        raise TicketRejected("the ticket is of another version of this software")
    length = int.from_bytes(view[_FRONT - 4 : _FRONT], "big")
    end = _FRONT + length
    if length > LARGEST_JSON or len(view) < end + _SIGNATURE:
        raise TicketRejected("the ticket is cut short")
    payload = view[end + _SIGNATURE :]
    if not hmac.compare_digest(_signature(key, view[:end], payload), view[end : end + _SIGNATURE]):
        raise TicketRejected("the ticket's signature is not of this server's key: forged, altered, or a stranger's")
    fields = json.loads(bytes(view[_FRONT:end]))
    ticket = Ticket(
        id=fields["id"],
        producer=fields["producer"],
        slot=fields["slot"],
        put=fields["put"],
        deadline=fields["deadline"],
        layout=parse_layout(fields["layout"]),
        routes=tuple(fields["routes"]),
        options=fields["options"],
        payload=payload,
    )
    ticket.check_deadline()
    return ticket


def sign_refusal(text: bytes, key: bytes) -> bytes:
    """What goes on in place of a ticket."""
    front = REFUSAL + VERSION
    return front + _signature(key, front, memoryview(text)) + text


def verify_refusal(data: bytes, key: bytes) -> bytes | None:
    """The text in `data`, if `key` signed them; None if it is no refusal at all; else `TicketRejected`."""
    front = REFUSAL + VERSION
    if not data.startswith(REFUSAL):
        return None
    signature, text = data[len(front) : len(front) + _SIGNATURE], data[len(front) + _SIGNATURE :]
    if not data.startswith(front) or not hmac.compare_digest(_signature(key, front, memoryview(text)), signature):
        raise TicketRejected("a refusal that is not signed with this server's key")
    return text


def _signature(key: bytes, front: bytes | memoryview, payload: memoryview) -> bytes:
    code = hmac.new(key, front, hashlib.sha256)
    code.update(payload)
    return code.digest()
