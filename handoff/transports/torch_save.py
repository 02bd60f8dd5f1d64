"""`torch_save`: the baseline of benchmarks: tensors are pickled, and travel behind the ticket.

Refused unless `benchmark` is set. Only tensors are unpickled (`weights_only`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from eden.output import EncoderOutput
from handoff.buffers.host import wait_for_copies
from handoff.errors import HandoffError
from handoff.payload.layout import TOKENS, WIRE_DTYPES, Layout
from handoff.payload.store import Payload, PayloadStore
from handoff.payload.wire import write
from handoff.ticket import Ticket
from handoff.transports.base import PutResult, Transport, TransportContext


class TorchSave(Transport):
    """Like `inline`, with another format."""

    kind = "torch_save"

    def __init__(self, context: TransportContext) -> None:
        super().__init__(context)
        if not context.settings.benchmark:
            raise HandoffError("torch_save is the benchmark's baseline; use inline, or any other kind")

    def put(self, payload: Payload, output: EncoderOutput, layout: Layout, store: PayloadStore) -> PutResult:
        tensors = {name: tensor.cpu() for name, tensor in output.tensors().items()}
        wire = self.context.settings.wire
        if wire is not None:
            tensors |= {name: tensors[name].to(WIRE_DTYPES[wire]) for name in TOKENS}
        # torch.save writes a view's whole storage: of one pair of a long clip, all the clip
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        file = io.BytesIO()
        torch.save(tensors, file)
        return PutResult({}, file.getvalue())

    def fetch(self, ticket: Ticket, route: Mapping[str, Any], into: torch.Tensor) -> Iterator[int]:
        tensors = torch.load(io.BytesIO(ticket.payload), map_location=into.device, weights_only=True)
        layout = ticket.layout
        write(EncoderOutput(**tensors, grid=layout.grid, size=layout.size), layout, into)
        wait_for_copies(into.device)
        self.context.mark_taken_if_known(ticket)
        return iter((ticket.length,))
