"""Tickets: they travel through TorchServe in place of the tensors.

    EDEN-TICKET  1 byte version  4 bytes length  JSON  32 bytes HMAC-SHA256  [payload, inline only]

The signature covers everything else, including the payload. No value in a ticket is used before it is verified.

A refusal, which a producer sends in place of a ticket, is signed as well, so that nobody else can make a consumer pass
on a text:

    EDEN-REFUSAL  1 byte version  32 bytes HMAC-SHA256 of everything else  text of the producer
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
"""Raised with each change that older consumers cannot read. `verify` must then read the version before as well, since
servers are replaced one by one: tests/data/tickets keeps a ticket of each version."""
_FRONT = len(MAGIC) + len(VERSION) + 4
_SIGNATURE = hashlib.sha256().digest_size
LARGEST_JSON = 64 << 10
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Ticket:
    """A verified ticket, or one about to be signed."""

    id: str
    """Random id of the payload, 32 hexadecimal digits."""
    producer: str
    """Random id of the process that holds the payload, 32 hexadecimal digits, as in the name of its ledger."""
    slot: int
    """The payload's slot in that ledger."""
    put: float
    """When the payload was put: seconds since the epoch, by the producer's clock."""
    deadline: float
    """Until when it is held, by the same clock; machines that share tickets must keep their clocks in step."""
    layout: Layout
    routes: tuple[Mapping[str, Any], ...]
    """Routes to the payload, best first: each has its `kind`, and what a consumer of that kind needs to know."""
    options: Mapping[str, Any]
    """The request's options, as `put` got them."""
    payload: memoryview = field(default=memoryview(b""), repr=False)
    """The payload itself, for the kinds inline and torch_save only."""

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
        """Seconds by which `put` lies in the future of this machine's clock: usually negative, the ticket's age."""
        return self.put - time.time()


def sign(ticket: Ticket, key: bytes) -> bytes:
    """The signed ticket as bytes. Raises `HandoffError` if its options are not JSON values, or are too large."""
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
    """The ticket in `data`. Raises `TicketRejected` unless `key` signed it and its deadline has not passed."""
    view = memoryview(data)
    if len(view) < _FRONT or view[: len(MAGIC)] != MAGIC:
        raise TicketRejected("this is not a ticket")
    if view[len(MAGIC) : len(MAGIC) + len(VERSION)] != VERSION:
        raise TicketRejected("the ticket is of another version of this software")
    length = int.from_bytes(view[_FRONT - 4 : _FRONT], "big")
    end = _FRONT + length
    if length > LARGEST_JSON or len(view) < end + _SIGNATURE:
        raise TicketRejected("the ticket is cut short")
    payload = view[end + _SIGNATURE :]
    if not hmac.compare_digest(_signature(key, view[:end], payload), view[end : end + _SIGNATURE]):
        raise TicketRejected("the ticket's signature is not of this server's key: forged, altered, or another server's")
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
    """A signed refusal with this text, to be sent in place of a ticket."""
    front = REFUSAL + VERSION
    return front + _signature(key, front, memoryview(text)) + text


def verify_refusal(data: bytes, key: bytes) -> bytes | None:
    """The text of a refusal; None if `data` is not one. Raises `TicketRejected` if another key has signed it."""
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
