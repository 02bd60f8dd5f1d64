"""The diffusion transformer (DiT): from noisy latent tokens to their velocity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eden.config import EdenConfig
from eden.fused import Stream, add_norm
from eden.grid_constants import GridConstants
from eden.layers import Block, layer_norm

TIME_SINUSOIDS = 256
"""Cosines and sines of t, together."""


@dataclass(frozen=True)
class Modulation:
    """Shift, scale and gate of every block for one time t, [P,1,d] each (docs/model.md: "DiT", Modulation)."""

    shift_attn: Tensor
    scale_attn: Tensor
    gate_attn: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class DitBlock(Block):
    def forward(self, stream: Stream, by: Modulation, frames: Tensor, first: Tensor) -> Stream:
        """Tokens [P,q,d] -> tokens after this block. `frames`, `first`: see TemporalAttention.forward."""
        tokens, normed = add_norm(stream, self.norm_self_attn, (by.shift_attn, by.scale_attn))
        stream = Stream(tokens, self.self_attn(normed, kept=normed.shape[1]), by.gate_attn)
        tokens, normed = add_norm(stream, self.norm_temp_attn)
        stream = Stream(tokens, self.temp_attn(normed, frames, first))
        tokens, normed = add_norm(stream, self.norm_mlp, (by.shift_mlp, by.scale_mlp))
        return Stream(tokens, self.mlp(normed), by.gate_mlp)


class TimestepEmbedder(nn.Module):
    """Embedding of times t in [0,1]: sinusoids, then an MLP (docs/model.md: "DiT", Condition)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_SINUSOIDS, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        """S times, [S] float32 -> [S,d]."""
        half = TIME_SINUSOIDS // 2
        index = torch.arange(half, dtype=torch.float32, device=t.device)
        angle = t[:, None] * torch.exp(-math.log(10000.0) * index / half)
        sinusoids = torch.cat([angle.cos(), angle.sin()], dim=-1)
        return self.mlp(sinusoids)  # type: ignore[no-any-return]


class Dit(nn.Module):
    """Velocity of the latents (arXiv 2503.15831, section 3; docs/model.md: "DiT")."""

    def __init__(self, config: EdenConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.proj_in = nn.Linear(config.latent_dim, dim)
        self.denoise_timestep_embedder = TimestepEmbedder(dim)
        self.difference_embedder = nn.Linear(1, dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.dit_blocks = nn.ModuleList(DitBlock(config) for _ in range(config.dit_depth))
        self.norm_out = layer_norm(dim)
        self.proj_out = nn.Linear(dim, 2 * config.latent_dim)

    def blocks(self) -> list[DitBlock]:
        """The blocks, in order."""
        return cast("list[DitBlock]", list(self.dit_blocks))

    def cast_to(self, dtype: torch.dtype) -> None:
        """Compute in `dtype`, except for the condition: it stays float32, since it is small and scales every block."""
        self.to(dtype)
        for module in (self.denoise_timestep_embedder, self.difference_embedder, self.adaLN_modulation):
            module.float()

    def modulations(self, timestep_embeddings: Tensor, difference: Tensor) -> list[Modulation]:
        """The modulation of each of S steps.

        timestep_embeddings: [S,d], from denoise_timestep_embedder · difference: [P], of the pairs; both float32.
        """
        condition = timestep_embeddings[:, None] + self.difference_embedder(difference[:, None])
        vectors = self.adaLN_modulation(condition)[:, :, None].to(self.proj_in.weight.dtype)
        return [Modulation(*step.chunk(6, dim=-1)) for step in vectors]

    def frame_keys_values(self, cells: Tensor) -> Iterator[Tensor]:
        """Tokens of K frames by cells [K,n/4,4,d] -> per block, their keys and values, [K,n/4,4,2,h,d/h]."""
        return (block.temp_attn.frame_keys_values(cells) for block in self.blocks())

    def forward(
        self, x: Tensor, by: Modulation, frames: Iterable[Tensor], first: Tensor, constants: GridConstants
    ) -> Tensor:
        """Velocity v(x, t) of latents x, both [P,q,l] float32. `by`: the modulation for t and the pairs' difference.

        `frames`: from `frame_keys_values` · `first`: [P], index of the first frame of each pair.
        """
        stream = Stream(self.proj_in(x.to(self.proj_in.weight.dtype)) + constants.cells)
        for block, seen in zip(self.blocks(), frames, strict=True):
            stream = block(stream, by, seen, first)
        _, normed = add_norm(stream, self.norm_out)
        return F.linear(normed, *self._kept_half()).float()

    def _kept_half(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of proj_out's first l channels; sampling does not need the other l, a variance."""
        kept = self.proj_out.weight.shape[0] // 2
        return self.proj_out.weight[:kept], self.proj_out.bias[:kept]
