"""`nccl`: torch.distributed, point to point between two workers, on one or several hosts.

A consumer's connection to a producer is a session: a small TCP connection for control, and a process group of the two,
with one GPU each. When either side ends, the TCP connection breaks, the other side leaves the group, and the next take
dials anew; a restart needs nothing else. On CPUs gloo takes NCCL's place, so it can be tested without a GPU. Nothing is
encrypted, and NCCL and gloo listen on ports of their own: only for networks that you trust. The rendezvous needs no
port: it uses the control connection, after the consumer has proven that it holds the key.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from handoff.buffers.device import SlabAllocator
from handoff.errors import HandoffError, require_descriptors
from handoff.machine import device_name
from handoff.payload.store import PayloadStore
from handoff.settings import HandoffSettings
from handoff.ticket import Ticket
from handoff.transports.base import Transport, TransportContext
from handoff.transports.nccl.control import Control
from handoff.transports.nccl.pair_group import CONSUMER, PRODUCER, PairGroup
from handoff.transports.network.on_demand import ServerOnDemand, address_of
from handoff.transports.network.payload_server import PayloadServer, proof, write_error
from handoff.transports.network.pool import Address, ConnectionPool
from handoff.transports.network.server import ConnectionServer, listen

_DESCRIPTORS = 32
"""File descriptors that must be free on either side before a group is joined: gloo ends a process that has none."""


@dataclass(frozen=True)
class Session:
    """A consumer's connection to one producer."""

    control: Control
    group: PairGroup


class Nccl(Transport):
    """The producer keeps payloads on its device and sends them from there."""

    kind = "nccl"

    def __init__(self, context: TransportContext) -> None:
        super().__init__(context)
        self._connections = ConnectionPool(self._dial, _hang_up)
        self.server = ServerOnDemand(context, self.kind, self._listen, encrypted=False)

    def make_pool(self, store: PayloadStore, device: torch.device) -> SlabAllocator:
        settings = self.context.settings
        make = functools.partial(torch.empty, dtype=torch.uint8, device=device)
        return SlabAllocator(settings.budget_bytes, settings.max_payload_bytes, make)

    def serve(self, store: PayloadStore, device: torch.device, nbytes: int) -> None:
        self.server.start(store, device)

    def route(self, buffer: object) -> Mapping[str, Any]:
        return self.server.route()

    def fetch(self, ticket: Ticket, route: Mapping[str, Any], into: torch.Tensor) -> Generator[int, None, None]:
        def receive(session: Session) -> Iterator[int]:
            session.control.send(payload=ticket.id, proof=proof(self.context.key, ticket.id))
            session.group.receive(into, meanwhile=session.control.receive)
            yield ticket.length

        return self._connections.use(address_of(route), receive)

    def close(self) -> None:
        self.server.close()
        self._connections.close()
        super().close()

    def _listen(self, payloads: PayloadServer, device: torch.device) -> ConnectionServer:
        answer = Sender(self.context.settings, payloads, device).answer
        return ConnectionServer(listen(self.context.settings), self.kind, answer, self.context.settings.timeout_s)

    def _dial(self, address: Address) -> Session:
        settings, device = self.context.settings, self.context.device
        require_descriptors(_DESCRIPTORS)
        control = Control(socket.create_connection(address, settings.timeout_s))
        try:
            name = secrets.token_hex(16)
            control.send(session=name, proof=proof(self.context.key, name), device=device_name(device))
            control.receive()
            group = PairGroup(control, CONSUMER, device, settings)
        except BaseException:
            control.close()
            raise
        return Session(control, group)


def _hang_up(session: Session) -> None:
    session.control.close()
    session.group.give_up()


@dataclass(frozen=True)
class Sender:
    """The producer's side: joins a group with each consumer, and sends the payloads that it requests."""

    settings: HandoffSettings
    payloads: PayloadServer
    device: torch.device

    def answer(self, connection: socket.socket, proven: Callable[[], None]) -> None:
        """Serve a connection until the consumer leaves."""
        control, group = Control(connection), None
        try:
            group = self._meet(control, proven)
            while True:
                self._send(control, group)
        except HandoffError as error:  # the consumer is gone, or does not hold the key
            self.payloads.refused(error)
        finally:
            control.close()
            if group is not None:
                group.give_up()

    def _meet(self, control: Control, proven: Callable[[], None]) -> PairGroup:
        hello = control.receive()
        name, device, own = str(hello.get("session")), str(hello.get("device")), device_name(self.device)
        try:
            self.payloads.check(name, str(hello.get("proof")))
            proven()
            require_descriptors(_DESCRIPTORS)
            if device.partition(" ")[0] != own.partition(" ")[0]:
                raise HandoffError(f"nccl goes between GPUs, or between CPUs; these are {own} and {device}")
            if device == own != "cpu":
                raise HandoffError(f"nccl needs a GPU for each side; both are on {own}")
        except HandoffError as error:
            control.send_text(write_error(error))
            raise
        control.send()
        return PairGroup(control, PRODUCER, self.device, self.settings)

    def _send(self, control: Control, group: PairGroup) -> None:
        request = control.receive()
        with contextlib.ExitStack() as while_sent:
            try:
                asked = self.payloads.payload(str(request.get("payload")), str(request.get("proof")))
                payload = while_sent.enter_context(asked)
            except HandoffError as error:
                self.payloads.refused(error)
                control.send_text(write_error(error))
                return
            payload.lease.mark_taken()
            group.send(payload.body, meanwhile=control.send)
