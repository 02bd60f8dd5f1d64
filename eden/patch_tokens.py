"""The encoder's network: every patch of a frame becomes two tokens, one for the DiT and one for the decoder."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from eden.config import EdenConfig
from eden.grid_constants import GridConstants
from eden.layers import layer_norm


class PatchTokens(nn.Module):
    """Standardised padded frames to the tokens that the DiT and the decoder attend to (docs/model.md: "Encoder")."""

    def __init__(self, config: EdenConfig) -> None:
        super().__init__()
        self.patch_cond_dit = nn.Conv2d(3, config.hidden_dim, config.patch_size, config.patch_size)
        self.norm_cond_dit = layer_norm(config.hidden_dim)
        self.patch_cond_dec = nn.Conv2d(3, config.hidden_dim, config.patch_size, config.patch_size)
        self.norm_cond_dec = layer_norm(config.hidden_dim)

    def forward(self, patches: Tensor, constants: GridConstants) -> tuple[Tensor, Tensor]:
        """Patches [K,n,3p²], each (colour, row, column) -> cond_dit and cond_dec, [K,n,d] each."""

        def tokens(patch: nn.Conv2d, norm: nn.LayerNorm) -> Tensor:
            # a convolution whose stride equals its size is one matrix product over patches
            return norm(F.linear(patches, patch.weight.flatten(1), patch.bias) + constants.patches)  # type: ignore[no-any-return]

        return tokens(self.patch_cond_dit, self.norm_cond_dit), tokens(self.patch_cond_dec, self.norm_cond_dec)
