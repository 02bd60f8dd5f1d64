"""The decoder network: latent tokens and the tokens of two frames become patches of the frame between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from torch import Tensor, nn

from eden.config import EdenConfig
from eden.fused import Stream, add_norm, linear_gelu
from eden.grid_constants import GridConstants
from eden.layers import Block, layer_norm


class DecoderBlock(Block):
    def forward(self, stream: Stream, query: Tensor, frames: Tensor, first: Tensor) -> Stream:
        """Patches [P,n,d] attend to each other and to the query [P,q,d], then to both frames -> their next stream.

        The query is the same in every block. `frames`, `first`: see TemporalAttention.forward.
        """
        patches, normed = add_norm(stream, self.norm_self_attn, tail=query)
        stream = Stream(patches, self.self_attn(normed, kept=patches.shape[1]))
        patches, normed = add_norm(stream, self.norm_temp_attn)
        stream = Stream(patches, self.temp_attn(normed, frames, first))
        patches, normed = add_norm(stream, self.norm_mlp)
        return Stream(patches, self.mlp(normed))


class Decoder(nn.Module):
    """Latents to standardised patches of the frame between (docs/model.md: "Decoder")."""

    def __init__(self, config: EdenConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.proj_token = nn.Linear(config.latent_dim, dim)
        self.decoder_blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.decoder_depth))
        self.unpatchify = nn.Sequential(
            layer_norm(dim),
            nn.Linear(dim, config.patch_values),
            nn.GELU(),
            nn.Linear(config.patch_values, config.patch_values),
        )

    def blocks(self) -> list[DecoderBlock]:
        """The blocks, in order."""
        return cast("list[DecoderBlock]", list(self.decoder_blocks))

    def frame_keys_values(self, cond_dec: Tensor) -> Iterator[Tensor]:
        """Tokens of K frames [K,n,d] -> per block, their keys and values in its temporal attention, [K,n,1,2,h,d/h]."""
        return (block.temp_attn.frame_keys_values(cond_dec[:, :, None]) for block in self.blocks())

    def forward(self, z: Tensor, frames: Iterable[Tensor], first: Tensor, constants: GridConstants) -> Tensor:
        """Latents z [P,q,l] float32 -> standardised patches [P,n,3p²], each ordered (row, column, colour).

        `frames`: from `frame_keys_values` · `first`: [P], index of the first frame of each pair.
        """
        query = self.proj_token(z.to(self.proj_token.weight.dtype))
        stream = Stream(constants.spread(query) + constants.patches)
        query = query + constants.cells
        for block, seen in zip(self.blocks(), frames, strict=True):
            stream = block(stream, query, seen, first)
        norm, widen, _, out = self.unpatchify
        _, normed = add_norm(stream, cast("nn.LayerNorm", norm))
        return out(linear_gelu(normed, cast("nn.Linear", widen)))  # type: ignore[no-any-return]
