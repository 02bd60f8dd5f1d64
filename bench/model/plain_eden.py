"""EDEN written plainly after its specification, to compare speed and results with.

Everything is computed where it is used, each time it is used. Functions take the checkpoint's tensors as a dict `w` of
the published names; they share no code with `eden`. Shapes: B pairs, frames [B,3,H,W] in [0,1], n = ph * pw patches of
p pixels' side, q = n/4 latent tokens, l latent channels, d hidden channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from eden.config import EdenConfig

Weights = dict[str, Tensor]
Grid = tuple[int, int]


@dataclass(frozen=True)
class Encoded:
    """What the encoder's half gives to the decoder's for B pairs; of 2B frames the first B are the earlier ones."""

    cond_dit: Tensor
    """[2B,n,d]"""
    cond_dec: Tensor
    """[2B,n,d]"""
    mean: Tensor
    """[B,1,1,1]"""
    std: Tensor
    """[B,1,1,1]"""
    difference: Tensor
    """[B,1]"""
    grid: Grid
    size: tuple[int, int]


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)


def mlp(w: Weights, name: str, x: Tensor) -> Tensor:
    return linear(w, f"{name}.fc2", F.gelu(linear(w, f"{name}.fc1", x)))


def attention(w: Weights, name: str, x: Tensor, heads: int) -> Tensor:
    """Self-attention of x [B,T,d]: every token attends to all T."""
    batch, length, dim = x.shape
    q, k, v = linear(w, f"{name}.qkv", x).reshape(batch, length, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
    weight = (q * (dim // heads) ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
    return linear(w, f"{name}.proj", (weight @ v).transpose(1, 2).reshape(batch, length, dim))


def temporal_attention(w: Weights, name: str, x: Tensor, frame0: Tensor, frame1: Tensor, heads: int) -> Tensor:
    """Each token of x [B,m,d] attends to itself and to the 2c tokens of frame0, frame1 [B,m,c,d] at its place."""
    batch, places, dim = x.shape
    corners = frame0.shape[2]
    sequence = torch.cat([frame0, x[:, :, None], frame1], dim=2).reshape(batch * places, 2 * corners + 1, dim)
    return attention(w, name, sequence, heads)[:, corners].reshape(batch, places, dim)


def positions(grid: Grid, stride: int, dim: int, device: torch.device) -> Tensor:
    ph, pw = grid

    def sines(distance: Tensor) -> Tensor:
        frequency = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64, device=device) / (dim // 4))
        angle = distance.double()[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    columns = sines(torch.arange(pw // stride, dtype=torch.float32, device=device) / (pw / 28))
    rows = sines(torch.arange(ph // stride, dtype=torch.float32, device=device) / (ph / 16))
    table = torch.cat([columns.repeat(ph // stride, 1), rows.repeat_interleave(pw // stride, dim=0)], dim=-1)
    return table.float()


def cells(tokens: Tensor, grid: Grid) -> Tensor:
    """Group tokens [B,n,d] by cells of 2x2 patches: [B,q,4,d]."""
    (ph, pw), (batch, _, dim) = grid, tokens.shape
    laid = tokens.reshape(batch, ph // 2, 2, pw // 2, 2, dim).permute(0, 1, 3, 2, 4, 5)
    return laid.reshape(batch, ph * pw // 4, 4, dim)


def encode(w: Weights, config: EdenConfig, frame0: Tensor, frame1: Tensor) -> Encoded:
    height, width = frame0.shape[-2:]
    similarity = torch.cosine_similarity(frame0, frame1, dim=1).mean(dim=(1, 2))[:, None]
    difference = (similarity - config.cos_sim_mean) / config.cos_sim_std
    cell = 2 * config.patch_size
    tall, wide = -height % cell, -width % cell
    border = (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2)
    frames = F.pad(torch.cat([frame0, frame1]), border, mode="replicate")
    grid = (frames.shape[-2] // config.patch_size, frames.shape[-1] // config.patch_size)
    mean, std = frames.mean(dim=(1, 2, 3), keepdim=True), frames.std(dim=(1, 2, 3), keepdim=True)
    frames = (frames - mean) / (std + 1e-8)

    def tokens(which: str) -> Tensor:
        patch = f"patch_cond_{which}"
        laid = F.conv2d(frames, w[f"{patch}.weight"], w[f"{patch}.bias"], stride=config.patch_size)
        place = positions(grid, 1, config.hidden_dim, frames.device)
        return norm(w, f"norm_cond_{which}", laid.flatten(2).transpose(1, 2) + place)

    mean, std = (each.unflatten(0, (2, -1)).mean(0) for each in (mean, std))
    return Encoded(tokens("dit"), tokens("dec"), mean, std, difference, grid, (height, width))


def velocity(w: Weights, config: EdenConfig, x: Tensor, t: float, seen: Encoded) -> Tensor:
    """The velocity v(x, t) of latents x [B,q,l]."""
    frequency = torch.exp(-math.log(10000.0) * torch.arange(128, dtype=torch.float32, device=x.device) / 128)
    sinusoids = torch.cat([(t * frequency).cos(), (t * frequency).sin()])[None]
    moment = linear(w, "denoise_timestep_embedder.mlp.0", sinusoids)
    moment = linear(w, "denoise_timestep_embedder.mlp.2", F.silu(moment))
    condition = moment + linear(w, "difference_embedder", seen.difference)
    by = linear(w, "adaLN_modulation.1", F.silu(condition))[:, None].chunk(6, dim=-1)
    shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = by

    frame0, frame1 = cells(seen.cond_dit, seen.grid).chunk(2)
    tokens = linear(w, "proj_in", x) + positions(seen.grid, 2, config.hidden_dim, x.device)
    for i in range(config.dit_depth):
        block = f"dit_blocks.{i}"
        normed = norm(w, f"{block}.norm_self_attn", tokens) * (1 + scale_attn) + shift_attn
        tokens = tokens + gate_attn * attention(w, f"{block}.self_attn", normed, config.num_heads)
        normed = norm(w, f"{block}.norm_temp_attn", tokens)
        tokens = tokens + temporal_attention(w, f"{block}.temp_attn", normed, frame0, frame1, config.num_heads)
        normed = norm(w, f"{block}.norm_mlp", tokens) * (1 + scale_mlp) + shift_mlp
        tokens = tokens + gate_mlp * mlp(w, f"{block}.mlp", normed)
    return linear(w, "proj_out", norm(w, "norm_out", tokens))[..., : config.latent_dim]


def sample(w: Weights, config: EdenConfig, noise: Tensor, seen: Encoded) -> Tensor:
    x = noise + 0.75 * velocity(w, config, noise, 0.0, seen)
    return x + 0.25 * velocity(w, config, x, 0.75, seen)


def decode(w: Weights, config: EdenConfig, latents: Tensor, seen: Encoded) -> Tensor:
    """Decode latents [B,q,l]. Returns frames [B,3,H,W] in [0,1]."""
    (ph, pw), (height, width), p, d = seen.grid, seen.size, config.patch_size, config.hidden_dim
    query = linear(w, "proj_token", latents / config.vae_scaler + config.vae_shift)
    laid = query.transpose(1, 2).reshape(-1, d, ph // 2, pw // 2)
    laid = F.interpolate(laid, scale_factor=2, mode="bicubic", align_corners=False)
    patches = laid.flatten(2).transpose(1, 2) + positions(seen.grid, 1, d, latents.device)
    query = query + positions(seen.grid, 2, d, latents.device)
    frame0, frame1 = seen.cond_dec[:, :, None].chunk(2)
    for i in range(config.decoder_depth):
        block = f"decoder_blocks.{i}"
        x = torch.cat([patches, query], dim=1)
        x = x + attention(w, f"{block}.self_attn", norm(w, f"{block}.norm_self_attn", x), config.num_heads)
        patches = x[:, : ph * pw]
        normed = norm(w, f"{block}.norm_temp_attn", patches)
        patches = patches + temporal_attention(w, f"{block}.temp_attn", normed, frame0, frame1, config.num_heads)
        patches = patches + mlp(w, f"{block}.mlp", norm(w, f"{block}.norm_mlp", patches))
    x = F.gelu(linear(w, "unpatchify.1", norm(w, "unpatchify.0", patches)))
    x = linear(w, "unpatchify.3", x).reshape(-1, ph, pw, p, p, 3)
    frame = x.permute(0, 5, 1, 3, 2, 4).reshape(-1, 3, ph * p, pw * p) * seen.std + seen.mean
    top, left = (ph * p - height) // 2, (pw * p - width) // 2
    return frame.clamp(0, 1)[:, :, top : top + height, left : left + width]


def interpolate(w: Weights, config: EdenConfig, seen: Encoded, noise: Tensor) -> Tensor:
    """The decoder's half: frames [B,3,H,W] from tokens and noise [B,q,l]."""
    return decode(w, config, sample(w, config, noise, seen), seen)
