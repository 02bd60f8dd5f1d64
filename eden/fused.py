"""The memory-bound operations between matrix products: one Triton kernel each on a GPU, plain PyTorch elsewhere.

Both give the same result up to rounding (tests/gpu compares them). Plain PyTorch is used on CPUs, without Triton, and
where gradients are recorded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eden.geometry import to_pixels

try:
    from eden import attention_kernels, kernels
except ImportError:  # no Triton: CPU builds of PyTorch come without it
    kernels = attention_kernels = None  # type: ignore[assignment]

SHORT = 4096
"""Longest sequence, in tokens, for which our own attention measured faster than PyTorch's (one H200, bfloat16)."""


@dataclass(frozen=True)
class Stream:
    """Tokens [P,m,d] with an update [P,m,d] still to be added: tokens + gate * update.

    The next `add_norm` adds it, so that adding and normalising read the tokens from memory once.
    """

    tokens: Tensor
    update: Tensor | None = None
    gate: Tensor | None = None
    """[P,1,d]; None means 1."""


def add_norm(
    stream: Stream,
    norm: nn.LayerNorm,
    modulation: tuple[Tensor, Tensor] | None = None,
    tail: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(tokens, normed): the stream's tokens [P,m,d] with their update added, and `norm` of these.

    modulation: (shift, scale), [P,1,d] each; normed becomes normed * (1 + scale) + shift.
    tail: [P,t,d], tokens that are normalised as well: normed is then [P,m+t,d].
    """
    if _on_gpu(stream.tokens):
        return kernels.add_norm(stream.tokens, stream.update, stream.gate, norm, modulation, tail)
    tokens, update = stream.tokens, stream.update
    if update is not None:
        tokens = tokens + (update if stream.gate is None else stream.gate * update)
    normed: Tensor = norm(tokens if tail is None else torch.cat([tokens, tail], dim=1))
    if modulation is not None:
        shift, scale = modulation
        normed = normed * (1 + scale) + shift
    return tokens, normed


def temporal_attention(own: Tensor, frames: Tensor, first: Tensor) -> Tensor:
    """Attention of each token over itself and the c tokens at its place in each of its two frames -> [P,m,heads*w].

    own: [P,m,3,heads,w], queries, keys and values of the tokens · frames: [K,m,c,2,heads,w], keys and values of the
    frames' tokens · first: [P] int64, index of the first frame of each pair; the second is the next one.
    docs/model.md: "TemporalAttention".
    """
    if _on_gpu(own):
        return attention_kernels.temporal_attention(own, frames, first)
    query, key, value = own[:, :, None].unbind(3)
    seen = torch.cat([frames[first], torch.stack([key, value], dim=3), frames[first + 1]], dim=2)
    keys, values = seen.unbind(3)
    weight = ((query * keys).sum(-1, keepdim=True) * own.shape[-1] ** -0.5).softmax(dim=2)
    mixed: Tensor = (weight * values).sum(2)
    return mixed.flatten(2)


def self_attention(qkv: Tensor, kept: int) -> Tensor:
    """Attention of the first `kept` tokens over all T: queries, keys, values [B,T,3,heads,w] -> [B,kept,heads*w]."""
    if _on_gpu(qkv) and qkv.dtype == torch.bfloat16 and qkv.shape[1] <= SHORT:
        return attention_kernels.self_attention(qkv, kept)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    seen = F.scaled_dot_product_attention(query[:, :, :kept], key, value)
    return seen.transpose(1, 2).flatten(2)


def linear_gelu(x: Tensor, linear: nn.Linear) -> Tensor:
    """GELU(linear(x)), x [...,d]. In bfloat16 on a GPU both are one operation, which uses GELU's tanh approximation.

    The approximation is within 5e-4 of the exact GELU; where it differs most, that is less than bfloat16 resolves.
    """
    if _on_gpu(x) and x.dtype == torch.bfloat16:
        flat: Tensor = torch._addmm_activation(linear.bias, x.flatten(0, -2), linear.weight.t(), use_gelu=True)
        return flat.view(*x.shape[:-1], -1)
    return F.gelu(linear(x))


def pixels(patches: Tensor, mean: Tensor, std: Tensor, grid: tuple[int, int], as_uint8: bool) -> Tensor:
    """Standardised patches [P,n,3p²], each (row, column, colour) -> [P,H',W',3], float32 in [0,1] or uint8.

    mean, std: [P] float32, by which each frame was standardised (docs/model.md: "Decoder").
    """
    side = math.isqrt(patches.shape[-1] // 3)
    if _on_gpu(patches):
        return kernels.pixels(patches, mean, std, grid, side, as_uint8)
    intensities = (patches.float() * std[:, None, None] + mean[:, None, None]).clamp(0, 1)
    if as_uint8:
        intensities = (intensities * 255).round().to(torch.uint8)
    return to_pixels(intensities, grid, side)


def _on_gpu(tensor: Tensor) -> bool:
    return kernels is not None and tensor.is_cuda and not torch.is_grad_enabled()
