"""What a camera adds to a scene: frames as sharp as those of film, and grain."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sharpened(frames: Tensor, strength: Tensor) -> Tensor:
    """Frames [B,3,H,W] in [0,1] with their finest detail, what a blur over 3x3 pixels takes away, added again.

    strength   [B], how many times it is added; with 0 a frame stays as it is
    """
    padded = F.pad(frames, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4
    blurred = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 4
    return torch.lerp(blurred, frames, 1 + strength[:, None, None, None]).clamp(0, 1)


def grained(frames: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Frames [B,3,H,W] in [0,1] with noise that is new in every pixel and colour.

    deviation   [B], standard deviation of the noise, in intensity
    """
    noise = torch.randn(frames.shape, generator=generator, device=frames.device)
    return torch.addcmul(frames, noise, deviation[:, None, None, None]).clamp(0, 1)
