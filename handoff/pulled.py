"""What all kinds share in which a producer is asked for its payloads: a server there, kept connections here."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch

from eden.output import EncoderOutput
from handoff.desk import Desk
from handoff.errors import OverCapacity, Unreachable, out_of_descriptors
from handoff.layout import Layout
from handoff.ledger import Ledger
from handoff.lines import Address, Lines, check_bind, warn_of_unknown
from handoff.link import Link, Post, Unusable, Written
from handoff.machine import loopback_id
from handoff.memory import Landing, gpu_of
from handoff.payloads import Payload
from handoff.settings import is_loopback
from handoff.ticket import Ticket
from handoff.wire import read

_LOG = logging.getLogger(__name__)

_PAUSE_S = 10.0
"""How long a server that could not start is not tried again: puts go on by other ways meanwhile."""

C = TypeVar("C")


class Server(Protocol):
    """A producer's server; it serves from the moment it is made."""

    port: int

    def close(self) -> None:
        """Stop serving; its port and threads are free afterwards."""


class PulledLink(Link, Generic[C]):
    """A link whose consumer dials the producer and asks; C is its connection."""

    chunk: ClassVar[int]
    """The size of piece that measured best, in bytes."""

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self._server: Server | None = None
        self._desk: Desk | None = None
        self._problem = ""
        self._no_start_before = 0.0
        self._lines = Lines(self._dial, self._hang_up)
        self._landing = Landing(post.settings.budget_bytes, gpu_of(post.device))
        self._lock = threading.Lock()

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, ledger: Ledger) -> Written:
        desk, server = self._producer(ledger, output.cond_dit.device)
        if payload.body is None:
            payload.body = self._keep(payload, output, layout)
        desk.add(payload, layout)
        settings = self.post.settings
        route = {"host": settings.dialled, "port": server.port, "chunk": settings.chunk_bytes or self.chunk}
        if settings.names_loopback:
            route["loopback"] = loopback_id()
        return Written(route)

    def drop(self, payload: Payload) -> None:
        if self._desk:
            self._desk.remove(payload)

    def take(self, ticket: Ticket, route: Mapping[str, Any]) -> EncoderOutput:
        _check_reachable(route)
        target = self._target(ticket.layout)
        for _ in self._arrive(ticket, route, target):
            pass
        return read(target, ticket.layout)

    def stream(self, ticket: Ticket, route: Mapping[str, Any]) -> Iterator[EncoderOutput]:
        _check_reachable(route)
        target = self._target(ticket.layout)
        given = 0
        with contextlib.closing(self._arrive(ticket, route, target)) as arriving:
            for frames in arriving:
                while given < frames - 1:
                    yield read(target, ticket.layout).pairs(given, given + 1)
                    given += 1

    def close(self) -> None:
        if self._server:
            self._server.close()
        self._lines.close()
        self._landing.close()

    def _producer(self, ledger: Ledger, device: torch.device) -> tuple[Desk, Server]:
        settings = self.post.settings
        with self._lock:
            if self._desk is None or self._server is None:
                if time.monotonic() < self._no_start_before:
                    raise Unusable(self._problem)
                if not is_loopback(settings.bind) and not self._protected():
                    where = settings.bind
                    _LOG.warning("%s serves on %s unencrypted: for a network of your own only", self.kind, where)
                self._desk = Desk(self.post.key, ledger, self.post.counters)
                try:
                    with out_of_descriptors():
                        check_bind(settings)
                        warn_of_unknown(settings)
                        self._server = self._serve(self._desk, device)
                except OverCapacity as error:  # it passes: the next put tries again
                    raise Unusable(f"its server cannot start: {error}") from error
                except Exception as error:  # libraries have their own: no port, a bad certificate, no thread
                    self._problem = f"its server cannot start: {error}"
                    self._no_start_before = time.monotonic() + _PAUSE_S
                    raise Unusable(self._problem) from error
            return self._desk, self._server

    def _target(self, layout: Layout) -> torch.Tensor:
        if self.post.device.type == "cpu":
            return self._landing.buffer(layout.nbytes)
        return torch.empty(layout.nbytes, dtype=torch.uint8, device=self.post.device)

    @abstractmethod
    def _keep(self, payload: Payload, output: EncoderOutput, layout: Layout) -> torch.Tensor:
        """Copy `output` to where it is sent from. Raises `Full`."""

    @abstractmethod
    def _arrive(self, ticket: Ticket, route: Mapping[str, Any], target: torch.Tensor) -> Generator[int, None, None]:
        """Ask for a payload and fill `target` (uint8, [nbytes]); how many frames are complete in it, now and again."""

    @abstractmethod
    def _serve(self, desk: Desk, device: torch.device) -> Server:
        """Start the producer's server; its payloads come from `device`."""

    @abstractmethod
    def _protected(self) -> bool:
        """Whether the settings have it encrypt."""

    @abstractmethod
    def _dial(self, address: Address) -> C:
        """A connection to a producer's server."""

    @abstractmethod
    def _hang_up(self, line: C) -> None:
        """Close it."""


def _check_reachable(route: Mapping[str, Any]) -> None:
    if route.get("loopback", here := loopback_id()) != here:
        raise Unreachable(
            f"the ticket comes from another host, or container, and names {route['host']}, which is this one: where it "
            "was made, set handoff.advertise to the address by which that host is reached, and handoff.bind to one "
            "that it listens on"
        )
