"""Triton kernels of eden.fused for norms and pixels. Sums are float32, whatever type the tensors have.

Importing this module needs Triton, which comes with GPU builds of PyTorch.
"""

# mypy: ignore-errors
# Triton is not installed everywhere, and its functions have no types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

PIXELS = 1024
"""Colour values per program."""

TO_NEAREST = 12582912.0
"""1.5 * 2**23: adding it to a small float32 and taking it away again rounds half to even, as torch.round does."""


@triton.jit(do_not_specialize=["length", "tail_length"])
def _add_norm(
    tokens, update, gate, tail, weight, bias, shift, scale, added, normed,
    length, tail_length, dim: tl.constexpr, gate_stride: tl.constexpr, modulation_stride: tl.constexpr,
    eps: tl.constexpr, HAS_UPDATE: tl.constexpr, HAS_GATE: tl.constexpr, HAS_TAIL: tl.constexpr,
    HAS_MODULATION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row of `normed` per program: row = pair * (length + tail_length) + place."""
    row = tl.program_id(0).to(tl.int64)
    pair = row // (length + tail_length)
    place = row % (length + tail_length)
    column = tl.arange(0, BLOCK)
    inside = column < dim
    mine = inside & (place < length)
    own = (pair * length + place) * dim + column

    x = tl.load(tokens + own, mask=mine, other=0.0)
    if HAS_UPDATE:
        u = tl.load(update + own, mask=mine, other=0.0).to(tl.float32)
        if HAS_GATE:
            u *= tl.load(gate + pair * gate_stride + column, mask=mine, other=0.0).to(tl.float32)
        x = (x.to(tl.float32) + u).to(x.dtype)
        tl.store(added + own, x, mask=mine)
    x = x.to(tl.float32)
    if HAS_TAIL:
        behind = (pair * tail_length + place - length) * dim + column
        x += tl.load(tail + behind, mask=inside & (place >= length), other=0.0).to(tl.float32)

    mean = tl.sum(x, 0) / dim
    apart = tl.where(inside, x - mean, 0.0)
    y = apart * tl.rsqrt(tl.sum(apart * apart, 0) / dim + eps)
    y *= tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    y += tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    if HAS_MODULATION:
        at = pair * modulation_stride + column
        y *= 1.0 + tl.load(scale + at, mask=inside, other=0.0).to(tl.float32)
        y += tl.load(shift + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + row * dim + column, y.to(normed.dtype.element_ty), mask=inside)


def add_norm(
    tokens: Tensor,
    update: Tensor | None,
    gate: Tensor | None,
    norm: nn.LayerNorm,
    modulation: tuple[Tensor, Tensor] | None,
    tail: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """See eden.fused.add_norm."""
    pairs, length, dim = tokens.shape
    tokens = tokens.contiguous()
    tail_length = 0 if tail is None else tail.shape[1]
    added = tokens if update is None else torch.empty_like(tokens)
    normed = tokens.new_empty(pairs, length + tail_length, dim)
    shift, scale = (None, None) if modulation is None else modulation
    _add_norm[(pairs * (length + tail_length),)](
        tokens,
        _dense(update),
        gate,
        _dense(tail),
        norm.weight,
        norm.bias,
        shift,
        scale,
        added,
        normed,
        length,
        tail_length,
        dim,
        0 if gate is None else gate.stride(0),
        0 if shift is None else shift.stride(0),
        norm.eps,
        HAS_UPDATE=update is not None,
        HAS_GATE=gate is not None,
        HAS_TAIL=tail is not None,
        HAS_MODULATION=modulation is not None,
        BLOCK=triton.next_power_of_2(dim),
        num_warps=1,
    )
    return added, normed


@triton.jit(do_not_specialize=["values"])
def _pixels(
    patches, mean, std, out, values,
    ph: tl.constexpr, pw: tl.constexpr, side: tl.constexpr, to_nearest: tl.constexpr,
    AS_UINT8: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """BLOCK colour values per program, in the order of a picture: row, column, colour."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < values
    row_values: tl.constexpr = 3 * side
    line = at // (pw * row_values)
    across = at % (pw * row_values)
    pair = line // (ph * side)
    down = line % (ph * side)
    patch = (pair * ph + down // side) * pw + across // row_values
    source = (patch * side + down % side) * row_values + across % row_values
    x = tl.load(patches + source, mask=inside, other=0.0).to(tl.float32)
    x = x * tl.load(std + pair, mask=inside, other=0.0) + tl.load(mean + pair, mask=inside, other=0.0)
    x = tl.minimum(tl.maximum(x, 0.0), 1.0)
    if AS_UINT8:
        x = (x * 255.0 + to_nearest) - to_nearest
    tl.store(out + at, x.to(out.dtype.element_ty), mask=inside)


def pixels(patches: Tensor, mean: Tensor, std: Tensor, grid: tuple[int, int], side: int, as_uint8: bool) -> Tensor:
    """See eden.fused.pixels."""
    (ph, pw), pairs = grid, patches.shape[0]
    dtype = torch.uint8 if as_uint8 else torch.float32
    out = torch.empty(pairs, ph * side, pw * side, 3, device=patches.device, dtype=dtype)
    _pixels[(triton.cdiv(out.numel(), PIXELS),)](
        patches.contiguous(),
        mean,
        std,
        out,
        out.numel(),
        ph,
        pw,
        side,
        TO_NEAREST,
        AS_UINT8=as_uint8,
        BLOCK=PIXELS,
    )
    return out


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()
