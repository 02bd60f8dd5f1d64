"""The layers that the DiT and the decoder are made of (docs/model.md: "Everywhere", "TemporalAttention")."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from eden.config import EdenConfig
from eden.fused import linear_gelu, self_attention, temporal_attention

NORM_EPS = 1e-6


def layer_norm(dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=NORM_EPS)


class Mlp(nn.Module):
    """Linear, exact GELU, linear, from [..., d] to [..., d]."""

    def __init__(self, config: EdenConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_dim, config.mlp_dim)
        self.fc2 = nn.Linear(config.mlp_dim, config.hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(linear_gelu(x, self.fc1))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """The parameters that both kinds of attention have. Scores are scaled by (d / heads) ** -0.5."""

    def __init__(self, config: EdenConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.heads = config.num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=config.qkv_bias)
        self.proj = nn.Linear(dim, dim, bias=config.qkv_bias)


class SelfAttention(Attention):
    def forward(self, x: Tensor, kept: int) -> Tensor:
        """[B,T,d] -> [B,kept,d]: all tokens are looked at, only the first `kept` look."""
        batch, length, dim = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, dim // self.heads)
        return self.proj(self_attention(qkv, kept))  # type: ignore[no-any-return]


class TemporalAttention(Attention):
    """Attention of one token over itself and the tokens that two frames have at its place."""

    def frame_keys_values(self, tokens: Tensor) -> Tensor:
        """Frame tokens [K,m,c,d], c of them at each of m places -> [K,m,c,2,heads,d/heads].

        They depend neither on the latents nor on t, and belong to frames, not to pairs: once per clip is enough.
        """
        dim = tokens.shape[-1]
        bias = self.qkv.bias
        keys_values = F.linear(tokens, self.qkv.weight[dim:], None if bias is None else bias[dim:])
        return keys_values.view(*tokens.shape[:-1], 2, self.heads, dim // self.heads)

    def forward(self, x: Tensor, frames: Tensor, first: Tensor) -> Tensor:
        """x [P,m,d], `frames` from frame_keys_values, `first` [P], the earlier frame of each pair -> [P,m,d]."""
        batch, length, dim = x.shape
        own = self.qkv(x).view(batch, length, 3, self.heads, dim // self.heads)
        return self.proj(temporal_attention(own, frames, first))  # type: ignore[no-any-return]


class Block(nn.Module):
    """What the DiT's and the decoder's blocks are made of; they differ in how they put it together."""

    def __init__(self, config: EdenConfig) -> None:
        super().__init__()
        self.norm_self_attn = layer_norm(config.hidden_dim)
        self.self_attn = SelfAttention(config)
        self.norm_temp_attn = layer_norm(config.hidden_dim)
        self.temp_attn = TemporalAttention(config)
        self.norm_mlp = layer_norm(config.hidden_dim)
        self.mlp = Mlp(config)
