"""The consumer's role: verify a ticket, and take its payload by the first of its routes that works from here."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.errors import OverCapacity, TicketRejected, TransportUnavailable, Unreachable, out_of_descriptors
from handoff.payload.layout import Layout
from handoff.payload.wire import read
from handoff.ticket import Ticket, verify, verify_refusal
from handoff.transports.base import Transport, TransportContext

_LOG = logging.getLogger(__name__)
_CLOCKS_S = 5.0
"""How far the clocks of two machines may be apart before it is said."""


class Consumer:
    """What this process takes. Thread-safe."""

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
        known = self._check(ticket)
        errors: list[TransportUnavailable] = []
        usable = self._usable(known)
        into = self._context.receive_buffer(known.layout)
        for transport, route in usable:
            with self._falling_back(transport, errors):
                for _ in transport.fetch(known, route, into):
                    pass
                self._context.counters.transferred("take", transport.kind, known.layout.nbytes)
                return read(into, known.layout)
        raise Unreachable(str(errors[-1])) from errors[-1]

    def stream(self, ticket: bytes | Ticket) -> Iterator[EncoderOutput]:
        """See `Handoff.stream`."""
        known = self._check(ticket)
        errors: list[TransportUnavailable] = []
        usable = self._usable(known)
        into = self._context.receive_buffer(known.layout)
        for transport, route in usable:
            with self._falling_back(transport, errors):  # it is told before the first pair, if at all
                yield from _pairs(transport.fetch(known, route, into), known.layout, into)
                self._context.counters.transferred("take", transport.kind, known.layout.nbytes)
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

    def _check(self, ticket: bytes | Ticket) -> Ticket:
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


def _pairs(fetching: Iterator[int], layout: Layout, into: torch.Tensor) -> Iterator[EncoderOutput]:
    """Each pair as soon as both of its frames are there; `fetching` says how many are."""
    given = 0
    try:
        for frames in fetching:
            for pair in range(given, frames - 1):
                yield read(into, layout).pairs(pair, pair + 1)
            given = max(given, frames - 1)
    finally:
        if isinstance(fetching, Generator):
            fetching.close()
