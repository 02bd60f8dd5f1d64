"""`torch_save`: the baseline that the others are measured against: tensors pickled to bytes that travel in the ticket.

Refused unless `benchmark` is set. Even here nothing is unpickled that is not a tensor (`weights_only`).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.errors import HandoffError
from handoff.payload.layout import TOKENS, WIRE_DTYPES, Layout
from handoff.payload.leases import Ledger, reading
from handoff.payload.store import Payload
from handoff.ticket import Ticket
from handoff.transports.base import Link, Post, Written


class TorchSave(Link):
    """As `inline`, but for the format."""

    kind = "torch_save"

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        if not post.settings.benchmark:
            raise HandoffError("torch_save is the benchmark's baseline; use inline, or any other kind")

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, ledger: Ledger) -> Written:
        tensors = {name: tensor.cpu() for name, tensor in output.tensors().items()}
        wire = self.post.settings.wire
        if wire is not None:
            tensors |= {name: tensors[name].to(WIRE_DTYPES[wire]) for name in TOKENS}
        # torch.save writes a view's whole storage: of one pair of a long clip, all the clip
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        file = io.BytesIO()
        torch.save(tensors, file)
        return Written({}, file.getvalue())

    def drop(self, payload: Payload) -> None:
        pass

    def take(self, ticket: Ticket, route: Mapping[str, Any]) -> EncoderOutput:
        tensors = torch.load(io.BytesIO(ticket.payload), map_location=self.post.device, weights_only=True)
        with (
            contextlib.suppress(HandoffError),
            reading(self.post.settings.ledger_folders, ticket.producer, ticket.slot, ticket.id) as held,
        ):
            held.mark_taken()
        return EncoderOutput(**tensors, grid=ticket.grid, size=ticket.size)

    def close(self) -> None:
        pass
