"""`inline`: the payload travels behind its ticket, through TorchServe itself. Anywhere; for small frames only."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.errors import HandoffError
from handoff.layout import Layout
from handoff.ledger import Ledger, reading
from handoff.link import Link, Written
from handoff.payloads import Payload
from handoff.ticket import Ticket
from handoff.wire import check_header, read, write


class Inline(Link):
    """Nothing is held here; the ledger's slot only counts the payload as in flight until it is taken.

    A consumer on another machine cannot mark that slot. What callers carry there gives way to the next at the bounds,
    and can be taken nevertheless.
    """

    kind = "inline"
    holds = False

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, ledger: Ledger) -> Written:
        body = torch.empty(layout.nbytes, dtype=torch.uint8)
        write(output, layout, body)
        if output.cond_dit.is_cuda:
            torch.cuda.current_stream(output.cond_dit.device).synchronize()
        return Written({}, body.numpy().tobytes())

    def drop(self, payload: Payload) -> None:
        pass

    def take(self, ticket: Ticket, route: Mapping[str, Any]) -> EncoderOutput:
        if len(ticket.payload) != ticket.layout.nbytes:
            raise HandoffError(f"the ticket carries {len(ticket.payload)} bytes; its layout {ticket.layout.nbytes}")
        body = torch.frombuffer(bytearray(ticket.payload), dtype=torch.uint8)
        check_header(body, ticket.layout)
        output = read(body.to(self.post.device), ticket.layout)
        with (
            contextlib.suppress(HandoffError),  # the payload is here, whatever became of its producer
            reading(self.post.settings.ledger_folders, ticket.producer, ticket.slot, ticket.id) as held,
        ):
            held.mark_taken()
        return output

    def close(self) -> None:
        pass
