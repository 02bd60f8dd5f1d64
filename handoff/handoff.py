"""`Handoff`: put an `EncoderOutput` here, take it there; the same for every kind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from eden.output import EncoderOutput
from handoff.buffers.host import ReceiveBufferPool, gpu_of
from handoff.consumer import Consumer
from handoff.counters import HandoffCounters
from handoff.errors import HandoffError
from handoff.key import load_key
from handoff.payload.leases import sweep
from handoff.producer import Options, Producer
from handoff.settings import HandoffSettings
from handoff.ticket import Ticket, sign_refusal
from handoff.transports.base import Transport, TransportContext

_LOG = logging.getLogger(__name__)


class Handoff:
    """Both roles, `Producer` and `Consumer`; a process uses one, or both. Thread-safe. A context manager.

    `makers`: by kind, the transports that it may use, best first.
    """

    def __init__(
        self,
        settings: HandoffSettings,
        device: torch.device | str,
        makers: Mapping[str, Callable[[TransportContext], Transport]],
    ) -> None:
        self.settings = settings
        self.counters = HandoffCounters()
        device = torch.device(device)
        self._key = load_key(settings.folder)
        self._buffers = ReceiveBufferPool(settings.budget_bytes, gpu_of(device))
        self._transports: dict[str, Transport] = {}
        context = TransportContext(settings, device, self._key, self.counters, self._buffers)
        for kind, make in makers.items():
            try:
                self._transports[kind] = make(context)
            except HandoffError as error:
                if kind == list(makers)[-1] and not self._transports:
                    raise
                self.counters.fell_back(kind, error)
        self._producer = Producer(context, self._transports)
        self._consumer = Consumer(context, self._transports)
        for folder in filter(Path.is_dir, settings.ledger_folders):
            if swept := sweep(folder):
                _LOG.info("removed %d files that killed processes left in %s", swept, folder)

    def put(self, output: EncoderOutput, options: Options | None = None, *, by_caller: bool = False) -> bytes:
        """Keep `output` (on any device) until it is taken or expires; the signed ticket to it.

        `options`: JSON values that travel along, signed; or what gives them once all else is done. `by_caller`: the
        ticket goes to a caller, who may never come back with it; it may give way to others then (see `PayloadStore`).
        Raises `OverCapacity` at once where there is no room, `HandoffError` where the options are no JSON values.
        """
        return self._producer.put(output, options or {}, by_caller)

    def refuse(self, text: bytes) -> bytes:
        """What a producer that has no ticket to give sends in its place, signed."""
        return sign_refusal(text, self._key)

    def read(self, ticket: bytes) -> Ticket:
        """What a ticket says. Raises `TicketRejected` unless it is whole, in time, and of this server's key."""
        return self._consumer.read(ticket)

    def read_refusal(self, data: bytes) -> bytes | None:
        """The text of a refusal, None if it is none. Raises `TicketRejected` if it is not of this server's key."""
        return self._consumer.read_refusal(data)

    def take(self, ticket: bytes | Ticket) -> EncoderOutput:
        """The output of a ticket (or of what `read` made of it), on this process's device. Raises `HandoffError`s."""
        return self._consumer.take(ticket)

    def stream(self, ticket: bytes | Ticket) -> Iterator[EncoderOutput]:
        """The output pair by pair, each as soon as it is there. Raises like `take`, at any pair."""
        return self._consumer.stream(ticket)

    def in_flight(self) -> int:
        """How many payloads were put here and are neither taken nor expired."""
        store = self._producer.store
        return store.in_flight() if store else 0

    def in_flight_bytes(self) -> int:
        """What those take together, of each kind of memory that holds them."""
        store = self._producer.store
        return store.in_flight_bytes() if store else 0

    def room(self, by_caller: bool = True) -> int:
        """How many more payloads may be put now, as far as `max_in_flight` goes."""
        store = self._producer.store
        return store.room(by_caller) if store else self.settings.max_in_flight

    def queue(self) -> list[float]:
        """When each of those was put (time.time()), the oldest first; abandoned ones are left out."""
        store = self._producer.store
        return store.queue() if store else []

    def close(self) -> None:
        """Drop all payloads, close every transport. Tickets that are still out lead nowhere from now on."""
        self._producer.close()
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()
        self._buffers.close()

    def __enter__(self) -> Handoff:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
