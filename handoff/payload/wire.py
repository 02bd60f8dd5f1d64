"""The wire format: safetensors, laid out as the `Layout` in the signed ticket says.

Both sides derive the same header from the same layout, and the consumer compares it byte for byte: nothing that comes
over a transport is ever parsed.
"""

from __future__ import annotations

import torch

from eden.output import EncoderOutput
from handoff.errors import HandoffError
from handoff.payload.layout import Entry, Layout


def write(output: EncoderOutput, layout: Layout, payload: torch.Tensor) -> None:
    """Write `output` into `payload` (uint8, [>= layout.nbytes], any device); with the header if that is on the CPU.

    Work on a GPU is only queued: wait for it before the payload is read. From a GPU to the CPU, the tensors are packed
    on the GPU first, and copied at once.
    """
    source = output.cond_dit.device
    if payload.is_cuda:
        _fill(output, layout, payload)
        return
    write_header(payload, layout)
    if source.type == "cpu":
        _fill(output, layout, payload)
        return
    laid_out = torch.empty(layout.nbytes, dtype=torch.uint8, device=source)
    _fill(output, layout, laid_out)
    start = len(layout.header)
    payload[start : layout.nbytes].copy_(laid_out[start:], non_blocking=True)


def write_header(payload: torch.Tensor, layout: Layout) -> None:
    """Write the safetensors header into the payload (uint8, on the CPU)."""
    payload[: len(layout.header)] = torch.frombuffer(bytearray(layout.header), dtype=torch.uint8)


def check_header(payload: torch.Tensor, layout: Layout) -> None:
    """Raise `HandoffError` unless the payload (uint8, on the CPU) begins with the header of its ticket's layout."""
    if len(payload) < layout.nbytes or payload[: len(layout.header)].numpy().tobytes() != layout.header:
        raise HandoffError(f"the payload is not what its ticket says: {layout.nbytes} bytes of {layout.tensors}")


def read(payload: torch.Tensor, layout: Layout) -> EncoderOutput:
    """The output in `payload` (uint8, [>= layout.nbytes], any device); its tensors are views where possible."""
    tensors = {
        entry.name: _copy_out(payload, entry) if view is None else view for entry, view in _views(payload, layout)
    }
    return EncoderOutput(**tensors, grid=layout.grid, size=layout.size)


def _fill(output: EncoderOutput, layout: Layout, payload: torch.Tensor) -> None:
    targets, sources = [], []
    for entry, view in _views(payload, layout):
        tensor = getattr(output, entry.name)
        if view is None:
            tensor = tensor.contiguous().view(-1).view(torch.uint8)
            view = payload[entry.start : entry.stop]
        targets.append(view)
        sources.append(tensor)
    torch._foreach_copy_(targets, sources)  # on a GPU a single launch


def _views(payload: torch.Tensor, layout: Layout) -> list[tuple[Entry, torch.Tensor | None]]:
    """A view of each tensor; None if it is not aligned. One operation per tensor, since small payloads are common."""
    flat: dict[torch.dtype, tuple[torch.Tensor, int]] = {}
    views: list[tuple[Entry, torch.Tensor | None]] = []
    for entry in layout.entries:
        if entry.place is None:
            views.append((entry, None))
            continue
        if entry.dtype not in flat:
            size = entry.dtype.itemsize
            whole = payload[: len(payload) // size * size].view(entry.dtype)
            flat[entry.dtype] = whole, int(whole.storage_offset())
        whole, offset = flat[entry.dtype]
        views.append((entry, whole.as_strided(entry.shape, entry.strides, offset + entry.place)))
    return views


def _copy_out(payload: torch.Tensor, entry: Entry) -> torch.Tensor:
    return payload[entry.start : entry.stop].clone().view(entry.dtype).view(entry.shape)
