"""`Handoff`: put an `EncoderOutput` here, take it there; the same for every kind."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.errors import HandoffError, OverCapacity, TicketRejected, out_of_descriptors
from handoff.key import load_key
from handoff.layout import Layout
from handoff.ledger import sweep
from handoff.link import Full, Link, MachineFull, Post, Unusable, Written
from handoff.payloads import Payload, Payloads
from handoff.settings import HandoffSettings
from handoff.ticket import Ticket, sign, sign_refusal, verify, verify_refusal

_LOG = logging.getLogger(__name__)


class Handoff:
    """Both ends of a hand-off; a process uses one, or both. Thread-safe. Use it as a context manager.

    `links`: by kind, the ways that it knows, best first.
    """

    def __init__(
        self, settings: HandoffSettings, device: torch.device | str, links: Mapping[str, Callable[[Post], Link]]
    ) -> None:
        self.settings = settings
        self.counters: Counter[tuple[str, str]] = Counter()
        """(event, route or reason) -> how often, or how many bytes: put, put_bytes, take, take_bytes by route;
        refused by reason (ticket, capacity, request: a stranger's, at the port of this process); fallback by the route
        that could not be used; dropped, expired, abandoned."""
        self._key = load_key(settings.folder)
        self._post = Post(settings, torch.device(device), self._key, self.counters)
        self._payloads: Payloads | None = None
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._links = self._open(links)
        for folder in filter(Path.is_dir, settings.ledger_folders):
            if swept := sweep(folder):
                _LOG.info("removed %d files that killed processes left in %s", swept, folder)

    def put(self, output: EncoderOutput, options: Mapping[str, Any] | None = None, *, by_caller: bool = False) -> bytes:
        """Keep `output` (on any device) until it is taken or expires; the signed ticket to it.

        `options`: JSON values that travel along, signed. `by_caller`: the ticket goes to a caller, who may never come
        back with it; it may give way to others then (see `Payloads`). Raises `OverCapacity` at once where there is no
        room, `HandoffError` where the options are no JSON values.
        """
        layout = Layout.of(output, self.settings.wire)
        try:
            with out_of_descriptors():
                signed, kind = self._put(output, layout, options or {}, by_caller)
        except OverCapacity:
            self.counters["refused", "capacity"] += 1
            raise
        self._count("put", kind, layout.nbytes)
        return signed

    def read(self, ticket: bytes) -> Ticket:
        """What a ticket says. Raises `TicketRejected` unless it is whole, in time, and of this server's key."""
        try:
            return verify(ticket, self._key)
        except TicketRejected:
            self.counters["refused", "ticket"] += 1
            raise

    def refuse(self, words: bytes) -> bytes:
        """What a producer that has no ticket to give sends in its place, signed."""
        return sign_refusal(words, self._key)

    def read_refusal(self, data: bytes) -> bytes | None:
        """The words of a refusal, None if it is none. Raises `TicketRejected` if it is not of this server's key."""
        try:
            return verify_refusal(data, self._key)
        except TicketRejected:
            self.counters["refused", "ticket"] += 1
            raise

    def take(self, ticket: bytes | Ticket) -> EncoderOutput:
        """The output of a ticket (or of what `read` made of it), on this process's device. Raises `HandoffError`s."""
        known = self._check(ticket)
        problem = None
        for link, route in self._routes(known):
            try:
                with out_of_descriptors():
                    output = link.take(known, route)
            except Unusable as error:
                problem = error
                self._fall_back(link.kind, error)
                continue
            self._count("take", link.kind, known.layout.nbytes)
            return output
        raise problem or self._no_way(known)

    def stream(self, ticket: bytes | Ticket) -> Iterator[EncoderOutput]:
        """The output pair by pair, each as soon as it is there. Raises like `take`, at any pair."""
        known = self._check(ticket)
        problem = None
        for link, route in self._routes(known):
            try:
                with out_of_descriptors():
                    yield from link.stream(known, route)
            except Unusable as error:  # told before the first pair, if at all
                problem = error
                self._fall_back(link.kind, error)
                continue
            self._count("take", link.kind, known.layout.nbytes)
            return
        raise problem or self._no_way(known)

    def in_flight(self) -> int:
        """How many payloads were put here and are neither taken nor expired."""
        return self._payloads.in_flight() if self._payloads else 0

    def in_flight_bytes(self) -> int:
        """What those take together, of each kind of memory that holds them."""
        return self._payloads.in_flight_bytes() if self._payloads else 0

    def room(self, by_caller: bool = True) -> int:
        """How many more payloads may be put now, as far as `max_in_flight` goes."""
        return self._payloads.room(by_caller) if self._payloads else self.settings.max_in_flight

    def queue(self) -> list[float]:
        """When each of those was put (time.time()), the oldest first; abandoned ones are left out."""
        return self._payloads.queue() if self._payloads else []

    def close(self) -> None:
        """Drop all payloads, close every link. Tickets that are still out lead nowhere from now on."""
        if self._payloads:
            self._payloads.close()
            self._payloads = None
        for link in self._links.values():
            link.close()
        self._links.clear()

    def __enter__(self) -> Handoff:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, makers: Mapping[str, Callable[[Post], Link]]) -> dict[str, Link]:
        links: dict[str, Link] = {}
        for kind, make in makers.items():
            try:
                links[kind] = make(self._post)
            except HandoffError as error:
                if kind == list(makers)[-1] and not links:
                    raise
                self._fall_back(kind, error)
        return links

    def _put(
        self, output: EncoderOutput, layout: Layout, options: Mapping[str, Any], by_caller: bool
    ) -> tuple[bytes, str]:
        payloads = self._producer()
        payload = payloads.admit(layout.nbytes, by_caller)
        try:
            ways = self._write(payloads, payload, output, layout)
            ticket = Ticket(
                id=payload.id,
                producer=payloads.ledger.producer,
                slot=payloads.keep(payload),
                deadline=payload.deadline,
                layout=layout,
                routes=tuple({"kind": kind, **way.route} for kind, way in ways.items()),
                options=options,
                payload=memoryview(b"".join(way.inline for way in ways.values())),
            )
            return sign(ticket, self._key), next(iter(ways))
        except BaseException:
            payloads.withdraw(payload)
            raise

    def _producer(self) -> Payloads:
        with self._lock:
            if self._payloads is None:
                self._payloads = Payloads(self.settings, self.counters, self._drop)
            return self._payloads

    def _write(self, payloads: Payloads, payload: Payload, output: EncoderOutput, layout: Layout) -> dict[str, Written]:
        """Put the payload in reach: by the best way, and by others where they need no copy or the best is not sure."""
        ways: dict[str, Written] = {}
        problems: dict[str, Unusable] = {}
        for kind, link in self._links.items():
            sure = any(self._links[written].relies(payloads.ledger) for written in ways)
            if sure and not (link.shares and payload.body is not None):
                continue
            try:
                ways[kind] = self._write_by(link, payloads, payload, output, layout)
            except Unusable as error:
                problems[kind] = error
        if not ways:
            passes = any(isinstance(problem.__cause__, OverCapacity) for problem in problems.values())
            words = "; ".join(f"{kind}: {problem}" for kind, problem in problems.items())
            raise OverCapacity(words) if passes else HandoffError(words)
        for kind, problem in problems.items():
            self._fall_back(kind, problem)
        return ways

    def _write_by(
        self, link: Link, payloads: Payloads, payload: Payload, output: EncoderOutput, layout: Layout
    ) -> Written:
        while True:
            try:
                return link.put(payload, output, layout, payloads.ledger)
            except Full as full:
                if payloads.make_room(lambda dropped: link.fits(layout.nbytes, dropped), payload.by_caller):
                    continue
                refusal = OverCapacity(str(full))
                if isinstance(full, MachineFull):
                    raise Unusable(str(full)) from refusal
                raise refusal from full

    def _drop(self, payload: Payload) -> None:
        for link in self._links.values():
            link.drop(payload)

    def _check(self, ticket: bytes | Ticket) -> Ticket:
        known = ticket if isinstance(ticket, Ticket) else self.read(ticket)
        try:
            known.check_deadline()
        except TicketRejected:
            self.counters["refused", "ticket"] += 1
            raise
        if known.layout.nbytes > self.settings.max_payload_bytes:
            self.counters["refused", "capacity"] += 1
            raise OverCapacity(
                f"a payload of {known.layout.nbytes} bytes; at most {self.settings.max_payload_bytes} are taken"
            )
        return known

    def _routes(self, ticket: Ticket) -> Iterator[tuple[Link, Mapping[str, Any]]]:
        for route in ticket.routes:
            if route["kind"] in self._links:
                yield self._links[route["kind"]], route

    def _no_way(self, ticket: Ticket) -> TicketRejected:
        self.counters["refused", "ticket"] += 1
        kinds = ", ".join(route["kind"] for route in ticket.routes)
        return TicketRejected(f"the ticket goes by {kinds}; this server takes {', '.join(self._links)}")

    def _fall_back(self, kind: str, why: object) -> None:
        with self._lock:
            self.counters["fallback", kind] += 1
            news = kind not in self._warned
            self._warned.add(kind)
        if news:
            _LOG.warning("%s cannot be used: %s", kind, why)

    def _count(self, event: str, kind: str, nbytes: int) -> None:
        with self._lock:
            self.counters[event, kind] += 1
            self.counters[f"{event}_bytes", kind] += nbytes
            first = self.counters[event, kind] == 1
        if first:
            _LOG.info("the first %s by %s, %d bytes", event, kind, nbytes)
