"""`inline`: the payload travels behind its ticket, through TorchServe. Works everywhere; for small frames only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.buffers.host import wait_for_copies
from handoff.errors import HandoffError
from handoff.payload.layout import Layout
from handoff.payload.store import Payload, PayloadStore
from handoff.payload.wire import check_header, write
from handoff.ticket import Ticket
from handoff.transports.base import PutResult, Transport


class Inline(Transport):
    """Holds no data; the payload's lease only counts it as in flight until it is taken.

    A consumer on another machine cannot mark it taken. So when a limit is reached, payloads of callers are dropped from
    the count; they can be taken nevertheless.
    """

    kind = "inline"
    holds = False

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, store: PayloadStore) -> PutResult:
        body = torch.empty(layout.nbytes, dtype=torch.uint8)
        write(output, layout, body)
        wait_for_copies(output.cond_dit.device)
        return PutResult({}, body.numpy().tobytes())

    def fetch(self, ticket: Ticket, route: Mapping[str, Any], into: torch.Tensor) -> Iterator[int]:
        if len(ticket.payload) != ticket.layout.nbytes:
            raise HandoffError(f"the ticket carries {len(ticket.payload)} bytes; its layout {ticket.layout.nbytes}")
        body = torch.frombuffer(bytearray(ticket.payload), dtype=torch.uint8)
        check_header(body, ticket.layout)
        into.copy_(body)
        self.context.mark_taken_if_known(ticket)
        return iter((ticket.length,))
