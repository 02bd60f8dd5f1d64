"""Where consumers ask a producer for a payload: the same for every kind that is asked over a network."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from handoff.errors import (
    HandoffError,
    HandoffTimeout,
    OverCapacity,
    PayloadGone,
    PeerLost,
    TicketRejected,
    out_of_descriptors,
)
from handoff.layout import Layout
from handoff.ledger import Ledger, Reading, reading
from handoff.payloads import Payload
from handoff.wire import write_header

_LOG = logging.getLogger(__name__)
LARGEST_REQUEST = 4096
"""Bytes of a request at most, before anything is read out of it."""
_ERRORS = {kind.__name__: kind for kind in (HandoffTimeout, OverCapacity, PayloadGone, PeerLost, TicketRejected)}


def proof(key: bytes, payload: str) -> str:
    """What a consumer shows to be given a payload: only who holds the key can make it."""
    return hmac.new(key, b"pull " + payload.encode(errors="replace"), hashlib.sha256).hexdigest()


def admission(key: bytes, kind: str) -> str:
    """What a consumer shows before it asks for anything, where a connection or a call costs the producer something."""
    return proof(key, f"connection by {kind}")


def read_object(text: bytes | str) -> dict[str, Any]:
    """A JSON object that came over a network. Raises `TicketRejected` for anything else, however it is malformed."""
    try:
        if len(text) > LARGEST_REQUEST:
            raise ValueError(f"{len(text)} bytes, at most {LARGEST_REQUEST} are read")
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TicketRejected(f"not a message of a hand-off: {error}") from error
    if not isinstance(message, dict):
        raise TicketRejected("not a message of a hand-off: no JSON object")
    return message


def read_request(text: bytes | str) -> tuple[str, str]:
    """Which payload is asked for, and the proof that is shown. Raises `TicketRejected` for anything else."""
    asked = read_object(text)
    return str(asked.get("payload")), str(asked.get("proof"))


@dataclass(frozen=True)
class Parcel:
    """A payload that cannot be dropped while it is sent."""

    body: memoryview
    layout: Layout
    held: Reading

    def pieces(self, largest: int) -> Iterator[memoryview]:
        """Its bytes in the order in which they travel. It counts as taken just before the last ones leave."""
        pieces = self.layout.pieces(largest)
        for piece in pieces:
            if piece is pieces[-1]:
                self.held.mark_taken()
            yield self.body[piece.start : piece.stop]


class Desk:
    """The payloads of one producer, for whoever proves to hold the key."""

    def __init__(self, key: bytes, ledger: Ledger, counters: Counter[tuple[str, str]]) -> None:
        self._key = key
        self._ledger = ledger
        self._counters = counters
        self._payloads: dict[str, tuple[Payload, Layout]] = {}

    def add(self, payload: Payload, layout: Layout) -> None:
        """From now on the payload can be asked for."""
        self._payloads[payload.id] = (payload, layout)

    def remove(self, payload: Payload) -> None:
        """From now on it cannot."""
        self._payloads.pop(payload.id, None)

    def check(self, name: str, shown: str) -> None:
        """Raise `TicketRejected` unless `shown` is the proof for `name`."""
        self._compare(shown, proof(self._key, name))

    def check_admission(self, kind: str, shown: str) -> None:
        """Raise `TicketRejected` unless `shown` is what `admission` gives."""
        self._compare(shown, admission(self._key, kind))

    def refused(self, error: Exception) -> None:
        """Count a request that was answered with `error`, where it was none of a consumer of ours."""
        if not isinstance(error, TicketRejected):
            return
        self._counters["refused", "request"] += 1
        if self._counters["refused", "request"] == 1:
            _LOG.warning("refused what a stranger asked for at the hand-off's port: %s", error)

    @staticmethod
    def _compare(shown: str, wanted: str) -> None:
        if not hmac.compare_digest(shown.encode(errors="replace"), wanted.encode()):
            raise TicketRejected("the request does not prove that it holds this server's key")

    @contextlib.contextmanager
    def payload(self, name: str, shown: str) -> Iterator[tuple[Payload, Layout, Reading]]:
        """A payload, held while this lasts.

        Raises `TicketRejected` for a bad proof, `PayloadGone`, or `OverCapacity` where it cannot be held just now.
        """
        self.check(name, shown)
        payload, layout = self._payloads.get(name, (None, None))
        if payload is None or layout is None or payload.slot is None or payload.body is None:
            raise PayloadGone("the payload is held no longer: taken and dropped since, or expired")
        with contextlib.ExitStack() as while_held:
            with out_of_descriptors():
                folder, producer = self._ledger.path.parent, self._ledger.producer
                held = while_held.enter_context(reading([folder], producer, payload.slot, name))
            yield payload, layout, held

    @contextlib.contextmanager
    def parcel(self, name: str, shown: str) -> Iterator[Parcel]:
        """The same, as bytes on the CPU."""
        with self.payload(name, shown) as (payload, layout, held):
            assert payload.body is not None
            body = payload.body[: layout.nbytes]
            if body.is_cuda:
                body = torch.empty(layout.nbytes, dtype=torch.uint8, pin_memory=True).copy_(body)
                write_header(body, layout)
            yield Parcel(body.numpy().data, layout, held)


def error_name(error: HandoffError) -> str:
    """How an error is called on the wire."""
    return type(error).__name__


def raise_error(name: str, message: str) -> None:
    """Raise what the producer raised."""
    raise _ERRORS.get(name, HandoffError)(message)
