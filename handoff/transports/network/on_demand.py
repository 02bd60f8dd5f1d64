"""What all kinds share in which a producer is asked for its payloads: a server there, kept connections here."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from typing import ClassVar, Generic, Protocol, TypeVar

import torch

from eden.output import EncoderOutput
from handoff.desk import Desk
from handoff.errors import OverCapacity, TransportUnavailable, out_of_descriptors
from handoff.lines import Address, Lines, is_loopback
from handoff.payload.layout import Layout
from handoff.payload.store import Payload, PayloadStore
from handoff.transports.base import PutResult, Transport, TransportContext

_LOG = logging.getLogger(__name__)

_PAUSE_S = 10.0
"""How long a server that could not start is not tried again: puts go on by other ways meanwhile."""

C = TypeVar("C")


class Server(Protocol):
    """A producer's server; it serves from the moment it is made."""

    port: int

    def close(self) -> None:
        """Stop serving; its port and threads are free afterwards."""


class PulledLink(Transport, Generic[C]):
    """A link whose consumer dials the producer and asks; C is its connection."""

    chunk: ClassVar[int]
    """The size of piece that measured best, in bytes."""

    def __init__(self, context: TransportContext) -> None:
        super().__init__(context)
        self._server: Server | None = None
        self._desk: Desk | None = None
        self._problem = ""
        self._no_start_before = 0.0
        self._lines = Lines(self._dial, self._hang_up)

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, store: PayloadStore) -> PutResult:
        desk, server = self._producer(store, output.cond_dit.device)
        if payload.body is None:
            payload.body, payload.layout = self._keep(payload, output, layout), layout
        desk.add(payload, layout)
        settings = self.context.settings
        host = settings.advertise or settings.bind
        return PutResult({"host": host, "port": server.port, "chunk": settings.chunk_bytes or self.chunk})

    def drop(self, payload: Payload) -> None:
        if self._desk:
            self._desk.remove(payload)

    def close(self) -> None:
        if self._server:
            self._server.close()
        self._lines.close()

    def _producer(self, store: PayloadStore, device: torch.device) -> tuple[Desk, Server]:
        settings = self.context.settings
        with self._lock:
            if self._desk is None or self._server is None:
                if time.monotonic() < self._no_start_before:
                    raise TransportUnavailable(self._problem)
                if not is_loopback(settings.bind) and not self._protected():
                    where = settings.bind
                    _LOG.warning("%s serves on %s unencrypted: for a network of your own only", self.kind, where)
                self._desk = Desk(self.context.key, store.leases, self.context.counters)
                try:
                    with out_of_descriptors():
                        self._server = self._serve(self._desk, device)
                except OverCapacity as error:  # it passes: the next put tries again
                    raise TransportUnavailable(f"its server cannot start: {error}") from error
                except Exception as error:  # libraries have their own: no port, a bad certificate, no thread
                    self._problem = f"its server cannot start: {error}"
                    self._no_start_before = time.monotonic() + _PAUSE_S
                    raise TransportUnavailable(self._problem) from error
            return self._desk, self._server

    @abstractmethod
    def _keep(self, payload: Payload, output: EncoderOutput, layout: Layout) -> torch.Tensor:
        """Copy `output` to where it is sent from. Raises `Full`."""

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
