"""The consumer's role: verify a ticket, and take its payload by the first of its routes that works in this process."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.errors import OverCapacity, TicketRejected, TransportUnavailable, Unreachable, out_of_descriptors
from handoff.payload.wire import read
from handoff.ticket import Ticket, verify, verify_refusal
from handoff.transports.base import Transport, TransportContext

_LOG = logging.getLogger(__name__)
_CLOCKS_S = 5.0
"""Most seconds by which the clocks of two machines may differ without a warning."""

Usable = list[tuple[Transport, Mapping[str, Any]]]
"""The routes of a ticket that this process can try, best first, each with its transport."""


class Consumer:
    """Takes payloads. Thread-safe."""

    def __init__(self, context: TransportContext, transports: Mapping[str, Transport]) -> None:
        self._context = context
        self._transports = transports
        self._clock_told = False

    def read(self, ticket: bytes) -> Ticket:
        """See `Handoff.read`."""
        with self._counting_rejections():
            return self._verified(ticket)

    def read_refusal(self, data: bytes) -> bytes | None:
        """See `Handoff.read_refusal`."""
        with self._counting_rejections():
            return verify_refusal(data, self._context.key)

    def take(self, ticket: bytes | Ticket) -> EncoderOutput:
        """See `Handoff.take`."""
        known, usable = self._check(ticket)
        into = self._context.receive_buffer(known.layout)
        for _ in self._fetch(known, usable, into):
            pass
        return read(into, known.layout)

    def stream(self, ticket: bytes | Ticket) -> Iterator[EncoderOutput]:
        """See `Handoff.stream`."""
        known, usable = self._check(ticket)
        into = self._context.receive_buffer(known.layout)
        given = 0
        with contextlib.closing(self._fetch(known, usable, into)) as fetching:
            for frames in fetching:
                for pair in range(given, frames - 1):  # each as soon as both of its frames are there
                    yield read(into, known.layout).pairs(pair, pair + 1)
                given = max(given, frames - 1)

    def _fetch(self, ticket: Ticket, usable: Usable, into: torch.Tensor) -> Generator[int, None, None]:
        """Fill `into` by the first transport that works; yields how many frames are complete, as they come."""
        errors: list[TransportUnavailable] = []
        for transport, route in usable:
            with self._falling_back(transport, errors):  # a transport raises TransportUnavailable before any frame
                yield from transport.fetch(ticket, route, into)
                self._context.counters.transferred("take", transport.kind, ticket.layout.nbytes)
                return
        raise Unreachable(str(errors[-1])) from errors[-1]

    def _verified(self, ticket: bytes) -> Ticket:
        known = verify(ticket, self._context.key)
        if (ahead := known.ahead()) > _CLOCKS_S and not self._clock_told:
            self._clock_told = True
            _LOG.warning(
                "a ticket was made %.1f s from now: its producer's clock is ahead of this one (NTP); where "
                "a consumer's is ahead, by more than time_to_live_s, no ticket is taken", ahead,
            )  # fmt: skip
        return known

    def _check(self, ticket: bytes | Ticket) -> tuple[Ticket, Usable]:
        with self._counting_rejections():
            if isinstance(ticket, Ticket):
                known = ticket
                known.check_deadline()  # it was read in time, and may have waited since
            else:
                known = self._verified(ticket)
        largest = self._context.settings.max_payload_bytes
        if known.layout.nbytes > largest:
            self._context.counters["refused", "capacity"] += 1
            raise OverCapacity(f"a payload of {known.layout.nbytes} bytes; at most {largest} are taken")
        return known, self._usable(known)

    def _usable(self, ticket: Ticket) -> Usable:
        known = self._transports
        usable = [(known[route["kind"]], route) for route in ticket.routes if route["kind"] in known]
        if not usable:
            with self._counting_rejections():
                kinds = ", ".join(route["kind"] for route in ticket.routes)
                raise TicketRejected(f"the ticket goes by {kinds}; this server takes {', '.join(known)}")
        return usable

    @contextlib.contextmanager
    def _falling_back(self, transport: Transport, errors: list[TransportUnavailable]) -> Iterator[None]:
        """A context that records that a transport cannot be used, and lets the next one be tried."""
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
