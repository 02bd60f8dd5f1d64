"""The diffusion transformer: from noised latent tokens to their velocity."""

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
from eden.layers import Block, layer_norm
from eden.place import Place

TIME_SINUSOIDS = 256


@dataclass(frozen=True)
class Modulation:
    """What t and the pair's difference do to every block, [P,1,d] each. The same for all blocks."""

    shift_attn: Tensor
    scale_attn: Tensor
    gate_attn: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class DitBlock(Block):
    def forward(self, stream: Stream, by: Modulation, frames: Tensor, first: Tensor) -> Stream:
        """Tokens [P,q,d]; `frames` and `first` as temporal attention has them."""
        tokens, normed = add_norm(stream, self.norm_self_attn, (by.shift_attn, by.scale_attn))
        stream = Stream(tokens, self.self_attn(normed, kept=normed.shape[1]), by.gate_attn)
        tokens, normed = add_norm(stream, self.norm_temp_attn)
        stream = Stream(tokens, self.temp_attn(normed, frames, first))
        tokens, normed = add_norm(stream, self.norm_mlp, (by.shift_mlp, by.scale_mlp))
        return Stream(tokens, self.mlp(normed), by.gate_mlp)


class TimestepEmbedder(nn.Module):
    """Sinusoids of t, in [0,1] and unscaled, through an MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_SINUSOIDS, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        """[S] float32 -> [S,d]."""
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
        return cast("list[DitBlock]", list(self.dit_blocks))

    def cast_to(self, dtype: torch.dtype) -> None:
        """Compute in `dtype`, all but the conditioning: it is a handful of vectors, and scales every block."""
        self.to(dtype)
        for module in (self.denoise_timestep_embedder, self.difference_embedder, self.adaLN_modulation):
            module.float()

    def modulations(self, moments: Tensor, difference: Tensor) -> list[Modulation]:
        """What each of S steps does to every block.

        moments: [S,d], denoise_timestep_embedder of their times · difference: [P], the pairs'; both float32.
        """
        condition = moments[:, None] + self.difference_embedder(difference[:, None])
        vectors = self.adaLN_modulation(condition)[:, :, None].to(self.proj_in.weight.dtype)
        return [Modulation(*step.chunk(6, dim=-1)) for step in vectors]

    def frame_keys_values(self, cells: Tensor) -> Iterator[Tensor]:
        """Tokens of K frames cell by cell [K,n/4,4,d] -> block by block, what its temporal attention sees of them."""
        return (block.temp_attn.frame_keys_values(cells) for block in self.blocks())

    def forward(self, x: Tensor, by: Modulation, frames: Iterable[Tensor], first: Tensor, place: Place) -> Tensor:
        """Velocity v(x, t) of latents x [P,q,l] float32; t and the difference come in as `by`."""
        stream = Stream(self.proj_in(x.to(self.proj_in.weight.dtype)) + place.cells)
        for block, seen in zip(self.blocks(), frames, strict=True):
            stream = block(stream, by, seen, first)
        _, normed = add_norm(stream, self.norm_out)
        return F.linear(normed, *self._kept_half()).float()

    def _kept_half(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of proj_out's first l channels; the other l are a variance that sampling has no use for."""
        kept = self.proj_out.weight.shape[0] // 2
        return self.proj_out.weight[:kept], self.proj_out.bias[:kept]
