"""`Handoff`: put an `EncoderOutput` in one process, take it in another; the same interface for every kind."""

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
    """Producer and consumer in one; a process uses either role, or both. Thread-safe. A context manager.

    device: where `take` puts outputs · makers: functions that make the transports it may use, by kind, best first.
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
        """Keep `output` (on any device) until it is taken or expires; returns a signed ticket for it.

        options: JSON values for the ticket; or a function that returns them, called after the payload is written ·
        by_caller: the ticket goes to a caller, who may never bring it back: its payload may be dropped earlier (see
        `PayloadStore`). Raises `OverCapacity` at once if there is no room, `HandoffError` if options are not JSON.
        """
        return self._producer.put(output, options or {}, by_caller)

    def refuse(self, text: bytes) -> bytes:
        """Sign `text`, which a producer sends in place of a ticket, as when it refuses a request."""
        return sign_refusal(text, self._key)

    def read(self, ticket: bytes) -> Ticket:
        """Verify and read a ticket. Raises `TicketRejected` if it is damaged, expired, or not of this server's key."""
        return self._consumer.read(ticket)

    def read_refusal(self, data: bytes) -> bytes | None:
        """The text of a refusal; None if `data` is not one. Raises `TicketRejected` if another key has signed it."""
        return self._consumer.read_refusal(data)

    def take(self, ticket: bytes | Ticket) -> EncoderOutput:
        """Take the output of a ticket (bytes, or what `read` returned), on this process's device; `HandoffError`s."""
        return self._consumer.take(ticket)

    def stream(self, ticket: bytes | Ticket) -> Iterator[EncoderOutput]:
        """Take the output pair by pair, each as soon as it has arrived. Raises like `take`, before any of the pairs."""
        return self._consumer.stream(ticket)

    def in_flight(self) -> int:
        """How many payloads of this process are neither taken nor expired."""
        store = self._producer.store
        return store.in_flight() if store else 0

    def in_flight_bytes(self) -> int:
        """Bytes of the payloads that are neither taken nor expired."""
        store = self._producer.store
        return store.in_flight_bytes() if store else 0

    def room(self, by_caller: bool = True) -> int:
        """How many more payloads `max_in_flight` allows now. `by_caller`: see `put`."""
        store = self._producer.store
        return store.room(by_caller) if store else self.settings.max_in_flight

    def queue(self) -> list[float]:
        """When each payload in flight was put (time.time()), the oldest first; abandoned ones are left out."""
        store = self._producer.store
        return store.queue() if store else []

    def close(self) -> None:
        """Drop all payloads and close every transport. Payloads of tickets that were not taken are lost."""
        self._producer.close()
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()
        self._buffers.close()

    def __enter__(self) -> Handoff:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
