"""The payloads of a producer for consumers who prove that they hold the key: the same for every network kind."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from handoff.counters import HandoffCounters
from handoff.errors import (
    HandoffError,
    HandoffTimeout,
    OverCapacity,
    PayloadGone,
    PeerLost,
    TicketRejected,
    out_of_descriptors,
)
from handoff.payload.layout import Layout
from handoff.payload.leases import Lease, read_lease
from handoff.payload.store import PayloadStore
from handoff.payload.wire import write_header

_LOG = logging.getLogger(__name__)
LARGEST_REQUEST = 4096
"""Most bytes of a request; a longer one is not parsed."""
_ERRORS = {kind.__name__: kind for kind in (HandoffTimeout, OverCapacity, PayloadGone, PeerLost, TicketRejected)}


@dataclass(frozen=True)
class OutgoingPayload:
    """A payload that is being sent, and so is not dropped."""

    body: torch.Tensor
    """uint8, [nbytes], in the memory where it waits."""
    layout: Layout
    lease: Lease

    def pieces(self, largest: int) -> Iterator[memoryview]:
        """Its bytes, on the CPU, in the order in which they travel. It is marked taken just before the last piece.

        largest: most bytes per piece.
        """
        body = self.body
        if body.is_cuda:
            body = torch.empty(len(body), dtype=torch.uint8, pin_memory=True).copy_(body)
            write_header(body, self.layout)
        view = body.numpy().data
        pieces = self.layout.pieces(largest)
        for piece in pieces:
            if piece is pieces[-1]:
                self.lease.mark_taken()
            yield view[piece.start : piece.stop]


class PayloadServer:
    """The payloads of one producer, for consumers who prove that they hold the key."""

    def __init__(self, key: bytes, store: PayloadStore, counters: HandoffCounters) -> None:
        self._key = key
        self._store = store
        self._counters = counters

    def check(self, name: str, shown: str) -> None:
        """Raise `TicketRejected` unless `shown` is the proof for `name`."""
        if not hmac.compare_digest(shown.encode(errors="replace"), proof(self._key, name).encode()):
            raise TicketRejected("the request does not prove that it holds this server's key")

    @contextlib.contextmanager
    def payload(self, name: str, shown: str, proven: Callable[[], None] = lambda: None) -> Iterator[OutgoingPayload]:
        """A context with the payload `name`, which is not dropped inside. `proven` is called once `shown` is verified.

        Raises `TicketRejected` for a wrong proof, `PayloadGone`, and `OverCapacity` if too many files are open.
        """
        self.check(name, shown)
        proven()
        payload, leases = self._store.find(name), self._store.leases
        if payload is None or payload.slot is None or payload.body is None or payload.layout is None:
            raise PayloadGone("the payload is held no longer: taken and dropped since, or expired")
        with contextlib.ExitStack() as while_held:
            with out_of_descriptors():
                lease = read_lease([leases.path.parent], leases.producer, payload.slot, name)
                held = while_held.enter_context(lease)
            yield OutgoingPayload(payload.body[: payload.layout.nbytes], payload.layout, held)

    def refused(self, error: Exception) -> None:
        """Count a request that was refused with `error`, if its sender does not hold the key."""
        if not isinstance(error, TicketRejected):
            return
        self._counters["refused", "request"] += 1
        if self._counters["refused", "request"] == 1:
            _LOG.warning("refused a stranger's request at the hand-off's port: %s", error)


def proof(key: bytes, payload: str) -> str:
    """The proof by which a consumer shows that it holds the key: an HMAC of the payload's id."""
    return hmac.new(key, b"pull " + payload.encode(errors="replace"), hashlib.sha256).hexdigest()


def write_request(key: bytes, payload: str) -> str:
    """A consumer's request for a payload, as JSON."""
    return json.dumps({"payload": payload, "proof": proof(key, payload)})


def read_request(text: bytes | str) -> tuple[str, str]:
    """(id of the requested payload, proof) of a request. Raises `TicketRejected` for anything else."""
    request = read_object(text)
    return str(request.get("payload")), str(request.get("proof"))


def write_error(error: HandoffError) -> str:
    """A producer's answer in place of a payload, as JSON."""
    return json.dumps({"error": type(error).__name__, "message": str(error)})


def read_answer(text: bytes | str) -> dict[str, Any]:
    """A producer's message. Raises the error that it reports, or `TicketRejected` if it is not a message."""
    answer = read_object(text)
    if "error" in answer:
        raise_error(str(answer["error"]), str(answer.get("message")))
    return answer


def read_line(stream: io.BufferedReader) -> bytes:
    """The next line of the other side. Raises `PeerLost` if the connection has ended."""
    line = stream.readline(LARGEST_REQUEST)
    if not line.endswith(b"\n") and len(line) < LARGEST_REQUEST:
        raise PeerLost("the other side has ended")
    return line


def raise_error(name: str, message: str) -> None:
    """Raise the producer's error of this type."""
    raise _ERRORS.get(name, HandoffError)(message)


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
