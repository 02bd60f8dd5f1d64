"""The wire format: safetensors, laid out by a `Layout` that the signed ticket carries.

Both sides derive the same header from the same layout, so a header is valid if it is equal, byte for byte: nothing that
came over a transport is ever parsed.
"""

from __future__ import annotations

import torch

from eden.output import EncoderOutput
from handoff.errors import HandoffError
from handoff.payload.layout import Entry, Layout


def write(output: EncoderOutput, layout: Layout, payload: torch.Tensor) -> None:
    """Write `output` into `payload` (uint8, [>= layout.nbytes], any device); on the CPU with a header.

    Work on a GPU is only queued: wait for it before the payload is read. From a GPU to the CPU the tensors are laid out
    on the GPU first and go down in one copy.
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
    """Write what makes the payload (uint8, on the CPU) a safetensors file."""
    payload[: len(layout.header)] = torch.frombuffer(bytearray(layout.header), dtype=torch.uint8)


def check_header(payload: torch.Tensor, layout: Layout) -> None:
    """Raise `HandoffError` unless the payload (uint8, on the CPU) begins with the header that its ticket calls for."""
    if len(payload) < layout.nbytes or payload[: len(layout.header)].numpy().tobytes() != layout.header:
        raise HandoffError(f"the payload is not what its ticket says: {layout.nbytes} bytes of {layout.tensors}")


def read(payload: torch.Tensor, layout: Layout) -> EncoderOutput:
    """The output whose tensors are views of `payload` (uint8, [>= layout.nbytes], any device)."""
    tensors = {
        entry.name: _copy_out(payload, entry) if view is None else view for entry, view in _views(payload, layout)
    }
    return EncoderOutput(**tensors, grid=layout.grid, size=layout.size)


def _fill(output: EncoderOutput, layout: Layout, payload: torch.Tensor) -> None:
    targets, sources = [], []
    for entry, view in _views(payload, layout):
        tensor = getattr(output, entry.name)
        if view is None:
            tensor = tensor.to(entry.dtype).contiguous().view(-1).view(torch.uint8)
            view = payload[entry.start : entry.stop]
        targets.append(view)
        sources.append(tensor)
    torch._foreach_copy_(targets, sources)  # on a GPU a single launch


def _views(payload: torch.Tensor, layout: Layout) -> list[tuple[Entry, torch.Tensor | None]]:
    """Each tensor where it lies; None where it cannot be viewed. One operation for each: small payloads are common."""
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
