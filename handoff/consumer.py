"""The consumer's role: verify a ticket, and take its payload by the first of its routes that works from here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from eden.output import EncoderOutput
from handoff.errors import OverCapacity, TicketRejected, TransportUnavailable, out_of_descriptors
from handoff.ticket import Ticket, verify, verify_refusal
from handoff.transports.base import Transport, TransportContext


class Consumer:
    """What this process takes. Thread-safe."""

    def __init__(self, context: TransportContext, transports: Mapping[str, Transport]) -> None:
        self._context = context
        self._transports = transports

    def read(self, ticket: bytes) -> Ticket:
        """See `Handoff.read`."""
        with self._counting_rejections():
            return verify(ticket, self._context.key)

    def read_refusal(self, data: bytes) -> bytes | None:
        """See `Handoff.read_refusal`."""
        with self._counting_rejections():
            return verify_refusal(data, self._context.key)

    def take(self, ticket: bytes | Ticket) -> EncoderOutput:
        """See `Handoff.take`."""
        known = self._check(ticket)
        errors: list[TransportUnavailable] = []
        for transport, route in self._usable(known):
            with self._falling_back(transport, errors):
                output = transport.take(known, route)
                self._context.counters.transferred("take", transport.kind, known.layout.nbytes)
                return output
        raise errors[-1]

    def stream(self, ticket: bytes | Ticket) -> Iterator[EncoderOutput]:
        """See `Handoff.stream`."""
        known = self._check(ticket)
        errors: list[TransportUnavailable] = []
        for transport, route in self._usable(known):
            with self._falling_back(transport, errors):  # it is told before the first pair, if at all
                yield from transport.stream(known, route)
                self._context.counters.transferred("take", transport.kind, known.layout.nbytes)
                return
        raise errors[-1]

    def _check(self, ticket: bytes | Ticket) -> Ticket:
        with self._counting_rejections():
            known = ticket if isinstance(ticket, Ticket) else verify(ticket, self._context.key)
            known.check_deadline()
        largest = self._context.settings.max_payload_bytes
        if known.layout.nbytes > largest:
            self._context.counters["refused", "capacity"] += 1
            raise OverCapacity(f"a payload of {known.layout.nbytes} bytes; at most {largest} are taken")
        return known

    def _usable(self, ticket: Ticket) -> list[tuple[Transport, Mapping[str, Any]]]:
        known = self._transports
        usable = [(known[route["kind"]], route) for route in ticket.routes if route["kind"] in known]
        if not usable:
            with self._counting_rejections():
                kinds = ", ".join(route["kind"] for route in ticket.routes)
                raise TicketRejected(f"the ticket goes by {kinds}; this server takes {', '.join(known)}")
        return usable

    @contextlib.contextmanager
    def _falling_back(self, transport: Transport, errors: list[TransportUnavailable]) -> Iterator[None]:
        """Note where a transport cannot be used, and go on."""
        try:
            with out_of_descriptors():
                yield
        except TransportUnavailable as error:
            errors.append(error)
            self._context.counters.fell_back(transport.kind, error)

    @contextlib.contextmanager
    def _counting_rejections(self) -> Iterator[None]:
        try:
            yield
        except TicketRejected:
            self._context.counters["refused", "ticket"] += 1
            raise
