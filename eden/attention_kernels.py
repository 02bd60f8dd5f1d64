# mypy: ignore-errors
# Triton is not installed everywhere, and its functions have no types.

"""Triton kernels of eden.fused for both kinds of attention (docs/model.md: "Everywhere", "TemporalAttention").

Scores and sums are float32, whatever type the tensors have. Importing this module needs Triton, which comes with GPU
builds of PyTorch.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

ROWS = 4
"""Combinations of token and head that one program of temporal attention computes."""

TILE = 64
"""Queries per program of self-attention, and keys per iteration of its loop."""


@triton.jit(do_not_specialize=["rows", "length"])
def _temporal_attention(
    own, frames, first, seen,
    rows, length, heads: tl.constexpr, width: tl.constexpr, sharpness: tl.constexpr,
    CELL: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """ROWS rows per program, row = (pair * length + place) * heads + head; online softmax over 2 * CELL + 1 keys."""
    dim: tl.constexpr = heads * width
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    head = row % heads
    token = row // heads
    place = token % length
    column = tl.arange(0, WIDTH)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    within = (head * width)[:, None] + column[None, :]

    at = (token * (3 * dim))[:, None] + within
    query = tl.load(own + at, mask=inside, other=0.0).to(tl.float32) * sharpness
    best = tl.sum(query * tl.load(own + at + dim, mask=inside, other=0.0).to(tl.float32), 1)
    mixed = tl.load(own + at + 2 * dim, mask=inside, other=0.0).to(tl.float32)
    total = tl.full((ROWS,), 1.0, tl.float32)

    frame = tl.load(first + token // length, mask=row < rows, other=0).to(tl.int64)
    for side in tl.static_range(2):
        cell = ((frame + side) * length + place) * CELL
        for corner in tl.static_range(CELL):
            there = ((cell + corner) * (2 * dim))[:, None] + within
            key = tl.load(frames + there, mask=inside, other=0.0).to(tl.float32)
            value = tl.load(frames + there + dim, mask=inside, other=0.0).to(tl.float32)
            score = tl.sum(query * key, 1)
            highest = tl.maximum(best, score)
            fade, weight = tl.exp(best - highest), tl.exp(score - highest)
            mixed = mixed * fade[:, None] + value * weight[:, None]
            total = total * fade + weight
            best = highest
    tl.store(seen + (token * dim)[:, None] + within, (mixed / total[:, None]).to(seen.dtype.element_ty), mask=inside)


def temporal_attention(own: Tensor, frames: Tensor, first: Tensor) -> Tensor:
    """See eden.fused.temporal_attention."""
    pairs, length, _, heads, width = own.shape
    own, frames = own.contiguous(), frames.contiguous()
    seen = own.new_empty(pairs, length, heads * width)
    rows = pairs * length * heads
    _temporal_attention[(triton.cdiv(rows, ROWS),)](
        own,
        frames,
        first,
        seen,
        rows,
        length,
        heads,
        width,
        width**-0.5,
        CELL=frames.shape[2],
        ROWS=ROWS,
        WIDTH=triton.next_power_of_2(width),
        num_warps=1,
    )
    return seen


@triton.jit(do_not_specialize=["length", "kept"])
def _self_attention(
    qkv, seen, length, kept,
    heads: tl.constexpr, width: tl.constexpr, sharpness: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Per program TILE queries of one head of one sequence; online softmax with powers of 2."""
    dim: tl.constexpr = heads * width
    sequence = (tl.program_id(1) // heads).to(tl.int64)
    within = tl.program_id(1) % heads * width + tl.arange(0, WIDTH)
    channel = (tl.arange(0, WIDTH) < width)[None, :]
    mine = tl.program_id(0) * TILE + tl.arange(0, TILE)
    tokens = qkv + sequence * length * (3 * dim) + within[None, :]
    here = (mine < kept)[:, None] & channel
    query = tl.load(tokens + mine[:, None] * (3 * dim), mask=here, other=0.0)

    best = tl.full((TILE,), -1e30, tl.float32)
    total = tl.zeros((TILE,), tl.float32)
    mixed = tl.zeros((TILE, WIDTH), tl.float32)
    for start in range(0, length, TILE):
        other = start + tl.arange(0, TILE)
        at = tokens + other[:, None] * (3 * dim)
        there = (other < length)[:, None] & channel
        key = tl.load(at + dim, mask=there, other=0.0)
        value = tl.load(at + 2 * dim, mask=there, other=0.0)
        score = tl.dot(query, tl.trans(key)) * sharpness
        score = tl.where((other < length)[None, :], score, -1e30)
        highest = tl.maximum(best, tl.max(score, 1))
        weight = tl.exp2(score - highest[:, None])
        fade = tl.exp2(best - highest)
        total = total * fade + tl.sum(weight, 1)
        mixed = tl.dot(weight.to(value.dtype), value, mixed * fade[:, None])
        best = highest
    at = seen + sequence * kept * dim + mine[:, None] * dim + within[None, :]
    tl.store(at, (mixed / total[:, None]).to(seen.dtype.element_ty), mask=here)


def self_attention(qkv: Tensor, kept: int) -> Tensor:
    """See eden.fused.self_attention."""
    batch, length, _, heads, width = qkv.shape
    seen = qkv.new_empty(batch, kept, heads * width)
    _self_attention[(triton.cdiv(kept, TILE), batch * heads)](
        qkv.contiguous(),
        seen,
        length,
        kept,
        heads,
        width,
        width**-0.5 / math.log(2),
        WIDTH=max(16, triton.next_power_of_2(width)),
        TILE=TILE,
        num_warps=4,
        num_stages=3,
    )
    return seen
