"""Initial weights: a network that already returns the average of its two frames, with all detail.

Three things make that possible. The position embeddings span only a few dozen dimensions, so the pixels of a patch get
a subspace of the channels to themselves. One channel, which position embeddings leave at zero, holds a constant so
large that the norm of a token hardly depends on its content: a LayerNorm is then a fixed scaling, which its weight
undoes. And temporal attention with queries of zero takes an average.

Everything else that is added to a token begins small, but not at zero, so that gradients reach every matrix.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from eden.config import EdenConfig
from eden.grid_constants import positions
from training.network import Eden

CONSTANT = 64.0
"""The value of the constant channel. It reaches every linear layer as 1, and serves as a bias where there is none."""
PIXELS = 0.5
"""Scale of the orthogonal embedding of standardised pixels."""
BRANCH = 0.005
"""Scale of the last matrix of a branch, relative to 1 / sqrt(channels): a block begins near the identity."""
SLOPE, LIFT = 0.5, 4.0
"""The input of unpatchify's GELU is SLOPE * pixel + LIFT, where GELU is nearly linear."""
POSITION_RANK = 28
"""Dimensions reserved for position embeddings, of which less than 1e-4 lies outside."""
EVERYWHERE = (32, 56)
"""A grid (ph, pw) fine enough to represent all grids, which cover the same range of positions."""


@torch.no_grad()
def initialise(network: Eden, seed: int, near: float = 1.0) -> None:
    """Set every tensor, on the CPU. `near`: how much self-attention prefers near patches at first; 0: not at all."""
    generator = torch.Generator().manual_seed(seed)
    config, encoder, dit, decoder = network.config, network.encoder, network.dit, network.decoder
    constant = config.hidden_dim // 4 - 1  # the slowest horizontal sine: it never exceeds 0.004
    pixel, other = subspaces(config, constant, generator)
    typical = math.sqrt((CONSTANT**2 + config.hidden_dim / 4 + PIXELS**2 * config.patch_values) / config.hidden_dim)

    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
            if name.endswith((".proj", ".fc2")):
                module.weight.mul_(BRANCH)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.constant_(module.weight, typical)
            nn.init.zeros_(module.bias)
            module.weight[constant] = typical / CONSTANT

    for block in [*dit.blocks(), *decoder.blocks()]:
        block.self_attn.qkv.weight[: 2 * config.hidden_dim] += near * _same_place(config)

    for patch in (encoder.patch_cond_dit, encoder.patch_cond_dec):
        patch.weight.copy_(PIXELS * pixel.view_as(patch.weight))
        _constant_only(patch.bias, constant)

    # latents: in a subspace apart from positions and pixels; the first velocity is their negative, which removes noise
    latents = other[:, : config.latent_dim]
    dit.proj_in.weight.copy_(latents)
    _constant_only(dit.proj_in.bias, constant)
    dit.proj_out.weight.mul_(0.1)
    dit.proj_out.weight[: config.latent_dim] -= latents.t()
    decoder.proj_token.weight.copy_(latents)
    _constant_only(decoder.proj_token.bias, constant)

    # modulation of all blocks, independent of the time: no shift, no scale, gates open
    adapt = dit.adaLN_modulation[1]
    assert isinstance(adapt, nn.Linear)
    adapt.weight.mul_(0.1)
    adapt.bias.view(6, -1)[[2, 5]] = 1.0

    # values are pixels in every temporal attention; the decoder's first block puts their average into the patches
    for block in [*dit.blocks(), *decoder.blocks()]:
        block.temp_attn.qkv.weight[-config.hidden_dim :][: config.patch_values] = pixel.t()
    average = decoder.blocks()[0].temp_attn
    average.qkv.weight[: config.hidden_dim] = 0
    average.proj.weight[:, : config.patch_values] += 1.5 * pixel

    _, widen, _, out = decoder.unpatchify
    assert isinstance(widen, nn.Linear) and isinstance(out, nn.Linear)
    widen.weight.copy_(SLOPE / PIXELS * pixel.t())
    nn.init.constant_(widen.bias, LIFT)
    as_drawn = torch.arange(config.patch_values).view(3, -1).t().flatten()  # colour last, as patches are drawn
    out.weight.copy_(torch.eye(config.patch_values)[as_drawn] / SLOPE)
    nn.init.constant_(out.bias, -LIFT / SLOPE)


def subspaces(config: EdenConfig, constant: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Orthonormal bases [d,3p²] for pixels, and [d,rest] for everything else.

    Both are orthogonal to position embeddings, to the constant channel, and to the mean that a LayerNorm subtracts.
    """
    dim = config.hidden_dim
    everywhere = positions(EVERYWHERE, 1, dim)[0].double()
    everywhere[:, constant] = 0
    taken = [
        torch.ones(1, dim),
        torch.eye(dim)[constant : constant + 1],
        torch.linalg.svd(everywhere, full_matrices=False)[2][:POSITION_RANK],
    ]
    drawn = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(torch.cat([*taken, drawn]).double().t())[0][:, POSITION_RANK + 2 : dim].float()
    return basis[:, : config.patch_values], basis[:, config.patch_values :]


def _same_place(config: EdenConfig) -> Tensor:
    """[2d,d], queries and keys: each head has the faster sines of both axes, so near patches attend to each other."""
    dim, heads = config.hidden_dim, config.num_heads
    quarter = dim // heads // 4  # of a head's channels: sines and cosines, across and down
    chosen = torch.arange(4)[:, None] * (dim // 4) + torch.arange(quarter)
    head = torch.zeros(dim // heads, dim)
    head[torch.arange(4 * quarter), chosen.flatten()] = 1
    return head.repeat(2 * heads, 1)


def _constant_only(bias: Tensor | None, channel: int) -> None:
    assert bias is not None
    nn.init.zeros_(bias)
    bias[channel] = CONSTANT
