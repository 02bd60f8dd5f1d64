"""`nccl`: torch.distributed, point to point between two workers, asked for by a control message. Several hosts.

A consumer's connection to a producer is a session: a small TCP connection for control, and a process group of the two,
a GPU each. When either side ends or is killed the TCP connection breaks, the other gives the group up, and the next
take dials anew: that is the whole of the rendezvous after a restart. On CPUs the same goes by gloo, which is how it is
tested without a GPU. Neither group nor rendezvous is encrypted: for a network of your own only.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
import socket
import threading
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.control import Control
from handoff.deadlines import Deadlines
from handoff.desk import Desk, error_name, proof
from handoff.device_memory import Arena
from handoff.errors import HandoffError, require_descriptors
from handoff.layout import Layout
from handoff.lines import IDLE_S, Address, PatientListener, listen
from handoff.link import Post
from handoff.machine import device_name
from handoff.pair_group import CONSUMER, PRODUCER, PairGroup, find_store, open_store
from handoff.payloads import Payload
from handoff.pulled import PulledLink, Server
from handoff.shared_memory import wait_for_copies
from handoff.ticket import Ticket
from handoff.wire import write

_LOG = logging.getLogger(__name__)
_DESCRIPTORS = 32
"""How many have to be free on either side before the two find each other: gloo ends a process that runs out of them."""


@dataclass(frozen=True)
class Session:
    """A consumer's connection to one producer."""

    control: Control
    group: PairGroup


class Nccl(PulledLink[Session]):
    """The producer keeps payloads on its device and sends them from there."""

    kind = "nccl"
    chunk = 0

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self._arena: Arena | None = None

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        return self._arena is None or self._arena.fits(nbytes, without)

    def drop(self, payload: Payload) -> None:
        super().drop(payload)
        if self._arena:
            self._arena.release(payload.id)

    def close(self) -> None:
        super().close()
        if self._arena:
            self._arena.close()

    def _keep(self, payload: Payload, output: EncoderOutput, layout: Layout) -> torch.Tensor:
        device = output.cond_dit.device
        with self._lock:
            if self._arena is None:
                settings = self.post.settings
                make = functools.partial(torch.empty, dtype=torch.uint8, device=device)
                self._arena = Arena(settings.budget_bytes, settings.max_payload_bytes, make)
        body = self._arena.acquire(payload.id, layout.nbytes).bytes
        write(output, layout, body)
        wait_for_copies(device)
        return body

    def _arrive(self, ticket: Ticket, route: Mapping[str, Any], target: torch.Tensor) -> Generator[int, None, None]:
        def receive(session: Session) -> Iterator[int]:
            session.control.send(payload=ticket.id, proof=proof(self.post.key, ticket.id))
            session.group.receive(target, meanwhile=session.control.receive)
            yield ticket.layout.length

        return self._lines.use((route["host"], route["port"]), receive)

    def _serve(self, desk: Desk, device: torch.device) -> Server:
        return NcclServer(self.post, desk, device)

    def _protected(self) -> bool:
        return False

    def _dial(self, address: Address) -> Session:
        settings, device = self.post.settings, self.post.device
        require_descriptors(_DESCRIPTORS)
        control = Control(socket.create_connection(address, settings.timeout_s))
        try:
            name = secrets.token_hex(16)
            control.send(session=name, proof=proof(self.post.key, name), device=device_name(device))
            port = int(control.receive()["store"])
            store = lambda: find_store(address[0], port)  # noqa: E731
            group = PairGroup(store, name, CONSUMER, device, settings, control.broken)
        except BaseException:
            control.close()
            raise
        return Session(control, group)

    def _hang_up(self, line: Session) -> None:
        line.control.hang_up()
        line.control.close()
        line.group.give_up()


class NcclServer:
    """A thread for each session: of consumers, and of as many others as `PatientListener` lets in."""

    def __init__(self, post: Post, desk: Desk, device: torch.device) -> None:
        self._post = post
        self._desk = desk
        self._device = device
        self._store, self._store_port = open_store(post.settings)
        self._listener = PatientListener(fileno=listen(post.settings).detach())
        self.port: int = self._listener.getsockname()[1]
        self._unproven = self._listener.deadlines = Deadlines(post.settings.timeout_s, PatientListener.most)
        self._sessions: dict[threading.Thread, Control] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="handoff-nccl", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that accepts
        self._listener.close()
        self._thread.join()
        self._unproven.close()
        with self._lock:
            sessions = dict(self._sessions)
        for thread, control in sessions.items():
            control.hang_up()
            thread.join()
        del self._store

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            control = Control(connection)
            serve = functools.partial(self._serve, control, address)
            thread = threading.Thread(target=serve, name="handoff-nccl-session", daemon=True)
            with self._lock:
                self._sessions[thread] = control
            try:
                thread.start()
            except RuntimeError as error:  # no thread is to be had now; the next consumer may fare better
                _LOG.warning("a consumer could not be served: %s", error)
                with self._lock:
                    del self._sessions[thread]
                control.close()

    def _serve(self, control: Control, address: Any) -> None:
        group = None
        try:
            group = self._meet(control, address)
            while True:
                self._send(control, group)
        except HandoffError as error:  # the consumer is gone, or is none of ours
            self._desk.refused(error)
        except (OSError, ValueError):  # the connection was closed
            return
        finally:
            control.close()
            if group is not None:
                group.give_up()
            with self._lock:
                del self._sessions[threading.current_thread()]

    def _meet(self, control: Control, address: Any) -> PairGroup:
        control.wait(self._post.settings.timeout_s)
        hello = control.receive()
        name, device, own = str(hello.get("session")), str(hello.get("device")), device_name(self._device)
        try:
            self._desk.check(name, str(hello.get("proof")))
            self._unproven.end(address)
            require_descriptors(_DESCRIPTORS)
            if device.partition(" ")[0] != own.partition(" ")[0]:
                raise HandoffError(f"nccl goes between GPUs, or between CPUs; these are {own} and {device}")
            if device == own != "cpu":
                raise HandoffError(f"nccl needs a GPU for each side; both are on {own}")
        except HandoffError as error:
            control.send(error=error_name(error), message=str(error))
            raise
        control.send(store=self._store_port)
        control.wait(IDLE_S)
        return PairGroup(lambda: self._store, name, PRODUCER, self._device, self._post.settings, control.broken)

    def _send(self, control: Control, group: PairGroup) -> None:
        request = control.receive()
        with contextlib.ExitStack() as while_sent:
            try:
                asked = self._desk.payload(str(request.get("payload")), str(request.get("proof")))
                payload, layout, held = while_sent.enter_context(asked)
            except HandoffError as error:
                self._desk.refused(error)
                control.send(error=error_name(error), message=str(error))
                return
            assert payload.body is not None
            held.mark_taken()
            group.send(payload.body[: layout.nbytes], meanwhile=control.send)
