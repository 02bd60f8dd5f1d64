"""`in_process`: both halves in one process; a payload is the encoder's tensors themselves, copied by `.to(device)`."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from eden.output import EncoderOutput
from handoff.errors import PeerLost
from handoff.payload.layout import WIRE_DTYPES, Layout
from handoff.payload.leases import Ledger, reading
from handoff.payload.store import Payload
from handoff.ticket import Ticket
from handoff.transports.base import Full, Link, Post, Written

_HELD: dict[str, EncoderOutput] = {}
"""Of all hand-offs of this process: the one that takes need not be the one that put."""


class InProcess(Link):
    """What is put must not be changed afterwards: nothing is copied until it is taken."""

    kind = "in_process"

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self._own: dict[str, int] = {}
        self._lock = threading.Lock()

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, ledger: Ledger) -> Written:
        settings = self.post.settings
        with self._lock:
            held = sum(self._own.values())
            if held + layout.nbytes > settings.budget_bytes:
                raise Full(
                    f"{held} of {settings.budget_bytes} bytes are held (budget_bytes), "
                    f"and {layout.nbytes} more are wanted"
                )
            self._own[payload.id] = layout.nbytes
        if settings.wire is not None:
            dtype = WIRE_DTYPES[settings.wire]
            output = replace(output, cond_dit=output.cond_dit.to(dtype), cond_dec=output.cond_dec.to(dtype))
        _HELD[payload.id] = output
        return Written({})

    def fits(self, nbytes: int, without: Collection[str]) -> bool:
        with self._lock:
            held = sum(size for payload, size in self._own.items() if payload not in without)
        return held + nbytes <= self.post.settings.budget_bytes

    def drop(self, payload: Payload) -> None:
        with self._lock:
            self._own.pop(payload.id, None)
        _HELD.pop(payload.id, None)

    def take(self, ticket: Ticket, route: Mapping[str, Any]) -> EncoderOutput:
        with reading(self.post.settings.ledger_folders, ticket.producer, ticket.slot, ticket.id) as held:
            if ticket.id not in _HELD:
                raise PeerLost("the payload is held by another process")
            output = _HELD[ticket.id].to(self.post.device)
            held.mark_taken()
        return output

    def close(self) -> None:
        for payload in self._own:
            _HELD.pop(payload, None)
        self._own.clear()
