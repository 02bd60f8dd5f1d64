"""The network for training: eden's own modules, composed so that gradients flow through all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eden.batch import first_frames
from eden.config import EdenConfig
from eden.decoder import Decoder
from eden.dit import Dit
from eden.encoder import STD_EPS, difference
from eden.geometry import to_cells, to_patches, to_pixels
from eden.grid_constants import GridConstants, grid_constants
from eden.patch_tokens import PatchTokens
from eden.sampler import TIMES, sample


class Window(NamedTuple):
    """Where a crop lies in its frame, in patches, all even: position embeddings depend on the whole frame's grid."""

    top: int
    left: int
    grid: tuple[int, int]
    """of the whole frame"""


def seen_through(window: Window, crop: GridConstants) -> GridConstants:
    """The constants of a crop whose tokens keep the positions that they have in the whole frame."""
    dim = crop.patches.shape[-1]
    whole = grid_constants(window.grid, dim, crop.patches.device, crop.patches.dtype)

    def cut(tokens: Tensor, stride: int) -> Tensor:
        rows, columns = (
            slice(start // stride, (start + side) // stride)
            for start, side in zip((window.top, window.left), crop.grid, strict=True)
        )
        return tokens.view(-1, window.grid[1] // stride, dim)[rows, columns].reshape(1, -1, dim)

    return replace(crop, patches=cut(whole.patches, 1), cells=cut(whole.cells, 2))


class Eden(nn.Module):
    """From two frames and noise to the frame between: what `Encoder` and `DitDecoder` compute, in one module.

    Frames are not padded (their sides must be multiples of two patches), and the result is not clamped, so that values
    out of range have gradients. tests/unit/training compares it with `DitDecoder.interpolate`.
    """

    def __init__(self, config: EdenConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.dit, self.decoder = PatchTokens(config), Dit(config), Decoder(config)
        self.times: Tensor
        self.register_buffer("times", torch.tensor(TIMES[:-1]))

    def halves(self) -> tuple[nn.Module, ...]:
        """The modules whose tensors, under their own names, make a checkpoint."""
        return self.encoder, self.dit, self.decoder

    def noise(self, pairs: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """x(0) ~ N(0, I) of P pairs of frames of `size` (H, W) pixels: [P,q,l], on the generator's device."""
        latents = size[0] * size[1] // (2 * self.config.patch_size) ** 2
        shape = (pairs, latents, self.config.latent_dim)
        return torch.randn(shape, generator=generator, device=generator.device)

    def forward(self, first: Tensor, last: Tensor, noise: Tensor, constants: GridConstants | None = None) -> Tensor:
        """Frames [P,3,H,W] float32 in [0,1] and noise [P,q,l] -> [P,3,H,W] float32, about in [0,1].

        `constants`: the grid's, where they are not those of a whole frame.
        """
        config, pairs = self.config, len(first)
        frames = torch.stack([first, last], dim=1).flatten(0, 1)
        std, mean = torch.std_mean(frames, dim=(1, 2, 3), keepdim=True)
        grid = (frames.shape[-2] // config.patch_size, frames.shape[-1] // config.patch_size)
        if constants is None:
            constants = grid_constants(grid, config.hidden_dim, frames.device, torch.float32)
        earlier = first_frames((2,) * pairs, frames.device)

        cond_dit, cond_dec = self.encoder(to_patches((frames - mean) / (std + STD_EPS), config.patch_size), constants)
        seen_dit = list(self.dit.frame_keys_values(to_cells(cond_dit, grid)))
        timestep_embeddings = self.dit.denoise_timestep_embedder(self.times)
        steps = self.dit.modulations(timestep_embeddings, difference(frames, config)[::2])
        latents = sample(lambda x, step: self.dit(x, steps[step], seen_dit, earlier, constants), noise)
        z = latents / config.vae_scaler + config.vae_shift
        patches = self.decoder(z, self.decoder.frame_keys_values(cond_dec), earlier, constants)

        std, mean = (each.view(pairs, 2, 1, 1, 1).mean(dim=1) for each in (std, mean))
        return to_pixels(patches.float(), grid, config.patch_size).permute(0, 3, 1, 2) * std + mean
