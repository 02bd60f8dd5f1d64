"""A producer's server, started with the first payload: a process that only takes opens no port."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from handoff.errors import OverCapacity, TransportUnavailable, Unreachable, out_of_descriptors
from handoff.machine import loopback_id
from handoff.payload.store import PayloadStore
from handoff.settings import is_loopback
from handoff.transports.base import TransportContext
from handoff.transports.network.payload_server import PayloadServer
from handoff.transports.network.pool import Address, warn_of_unknown

_LOG = logging.getLogger(__name__)
_PAUSE_S = 10.0
"""Seconds before a server that could not start is tried again; meanwhile other transports are used."""


class Server(Protocol):
    """A producer's server; it serves from the moment it is made."""

    @property
    def port(self) -> int:
        """The port it listens on."""

    def close(self) -> None:
        """Stop serving; its port and threads are free afterwards."""


class ServerOnDemand:
    """The server of one kind in this process, started when needed. `make`: starts it. Thread-safe."""

    def __init__(
        self,
        context: TransportContext,
        kind: str,
        make: Callable[[PayloadServer, torch.device], Server],
        *,
        encrypted: bool,
    ) -> None:
        self._context = context
        self._kind = kind
        self._make = make
        self._encrypted = encrypted
        self._lock = threading.Lock()
        self._error = ""
        self._no_start_before = 0.0
        self.running: Server | None = None

    def start(self, store: PayloadStore, device: torch.device) -> None:
        """Start the server unless it runs. Raises `TransportUnavailable` if it cannot start."""
        with self._lock:
            if self.running is not None:
                return
            if time.monotonic() < self._no_start_before:
                raise TransportUnavailable(self._error)
            bind = self._context.settings.bind
            if not is_loopback(bind) and not self._encrypted:
                _LOG.warning("%s serves on %s without encryption: only for networks that you trust", self._kind, bind)
            payloads = PayloadServer(self._context.key, store, self._context.counters)
            try:
                with out_of_descriptors():
                    warn_of_unknown(self._context.settings)
                    self.running = self._make(payloads, device)
            except OverCapacity as error:  # temporary: the next put tries again
                raise TransportUnavailable(f"its server cannot start: {error}") from error
            except Exception as error:  # libraries have their own: no port, a bad certificate, no thread
                self._error = f"its server cannot start: {error}"
                self._no_start_before = time.monotonic() + _PAUSE_S
                raise TransportUnavailable(self._error) from error

    def route(self, **more: Any) -> Mapping[str, Any]:
        """The route to the server, for tickets; `more`: further values of it."""
        assert self.running is not None
        settings = self._context.settings
        route = {"host": settings.dialled, "port": self.running.port, **more}
        return {**route, "loopback": loopback_id()} if settings.names_loopback else route

    def close(self) -> None:
        """Stop the server, if it runs."""
        if self.running is not None:
            self.running.close()


def address_of(route: Mapping[str, Any]) -> Address:
    """The address to dial. Raises `Unreachable` if it is a loopback address of another host or container."""
    if route.get("loopback", here := loopback_id()) != here:
        raise Unreachable(
            f"the ticket comes from another host or container, but names {route['host']}, which is this one: on "
            "the host that made it, set handoff.advertise to the address by which others reach that host, and "
            "handoff.bind to one that it listens on"
        )
    return route["host"], route["port"]
