"""The layers that the DiT and the decoder are made of (docs/model.md: "Everywhere", "TemporalAttention")."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from eden.config import EdenConfig
from eden.fused import linear_gelu, self_attention, temporal_attention

NORM_EPS = 1e-6
"""Added to the variance by every LayerNorm."""


def layer_norm(dim: int) -> nn.LayerNorm:
    """A LayerNorm over `dim` channels with this network's epsilon."""
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
    """Parameters of both kinds of attention; scores are multiplied by (d / heads) ** -0.5."""

    def __init__(self, config: EdenConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.heads = config.num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=config.qkv_bias)
        self.proj = nn.Linear(dim, dim, bias=config.qkv_bias)


class SelfAttention(Attention):
    def forward(self, x: Tensor, kept: int) -> Tensor:
        """[B,T,d] -> [B,kept,d]: queries of the first `kept` tokens, keys and values of all."""
        batch, length, dim = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, dim // self.heads)
        return self.proj(self_attention(qkv, kept))  # type: ignore[no-any-return]


class TemporalAttention(Attention):
    """Attention of each token over itself and the tokens at its place in two frames."""

    def frame_keys_values(self, tokens: Tensor) -> Tensor:
        """Keys and values of frame tokens [K,m,c,d] (c tokens at each of m places) -> [K,m,c,2,heads,d/heads].

        They depend neither on the latents nor on t, and belong to frames, not pairs: they are computed once per clip.
        """
        dim = tokens.shape[-1]
        bias = self.qkv.bias
        keys_values = F.linear(tokens, self.qkv.weight[dim:], None if bias is None else bias[dim:])
        return keys_values.view(*tokens.shape[:-1], 2, self.heads, dim // self.heads)

    def forward(self, x: Tensor, frames: Tensor, first: Tensor) -> Tensor:
        """Tokens x [P,m,d] -> [P,m,d]. `frames`: from `frame_keys_values` · `first`: [P], first frame of each pair."""
        batch, length, dim = x.shape
        own = self.qkv(x).view(batch, length, 3, self.heads, dim // self.heads)
        return self.proj(temporal_attention(own, frames, first))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Layers of one block: the same in DiT and decoder, whose `forward` methods differ."""

    def __init__(self, config: EdenConfig) -> None:
        super().__init__()
        self.norm_self_attn = layer_norm(config.hidden_dim)
        self.self_attn = SelfAttention(config)
        self.norm_temp_attn = layer_norm(config.hidden_dim)
        self.temp_attn = TemporalAttention(config)
        self.norm_mlp = layer_norm(config.hidden_dim)
        self.mlp = Mlp(config)
