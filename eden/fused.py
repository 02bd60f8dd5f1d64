"""The memory-bound steps between matrix products: one kernel each on a GPU, plain PyTorch anywhere else.

Both give the same result but for rounding (tests/gpu and the kernels' tests compare them). Gradients, and machines
without Triton, take the plain way.
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
"""Tokens of a sequence up to which our own attention measures faster than the library's (one H200, bfloat16)."""


@dataclass(frozen=True)
class Stream:
    """Tokens [P,m,d] with an update [P,m,d] still to be added: tokens + gate * update.

    Adding is left to whoever normalises next, so that tokens go through memory once for both.
    """

    tokens: Tensor
    update: Tensor | None = None
    gate: Tensor | None = None
    """[P,1,d], or none for 1."""


def add_norm(
    stream: Stream,
    norm: nn.LayerNorm,
    modulation: tuple[Tensor, Tensor] | None = None,
    tail: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(tokens, normed): the stream's tokens with their update added, and `norm` of them.

    `modulation` (shift, scale), [P,1,d] each, makes normed * (1 + scale) + shift of the latter; `tail` [P,t,d] is
    normalised behind them, so that normed is [P,m+t,d].
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
    """Each token's attention over itself and the c tokens that each of its two frames has at its place.

    own: [P,m,3,heads,w], queries, keys and values of the tokens · frames: [K,m,c,2,heads,w], keys and values of the
    frames' tokens · first: [P], the earlier frame of each pair; the later one is the next. Returns [P,m,heads*w].
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
    """The first `kept` tokens' attention over all: [B,T,3,heads,w], queries, keys and values -> [B,kept,heads*w]."""
    if _on_gpu(qkv) and qkv.dtype == torch.bfloat16 and qkv.shape[1] <= SHORT:
        return attention_kernels.self_attention(qkv, kept)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    seen = F.scaled_dot_product_attention(query[:, :, :kept], key, value)
    return seen.transpose(1, 2).flatten(2)


def linear_gelu(x: Tensor, linear: nn.Linear) -> Tensor:
    """GELU of `linear` of x [...,d]. In bfloat16 on a GPU the product ends in it, by its tanh form.

    That form is within 5e-4 of the exact one, less than bfloat16 can tell apart where it differs most.
    """
    if _on_gpu(x) and x.dtype == torch.bfloat16:
        flat: Tensor = torch._addmm_activation(linear.bias, x.flatten(0, -2), linear.weight.t(), use_gelu=True)
        return flat.view(*x.shape[:-1], -1)
    return F.gelu(linear(x))


def pixels(patches: Tensor, mean: Tensor, std: Tensor, grid: tuple[int, int], as_uint8: bool) -> Tensor:
    """Standardised patches [P,n,3p²], (row, column, colour) each, -> [P,H',W',3] in [0,1], or rounded to 0..255.

    `mean` and `std`, [P] float32, are what the intensities of each frame are standardised by.
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
