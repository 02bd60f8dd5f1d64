"""What training makes small."""

from __future__ import annotations

import torch
from torch import Tensor

SOFT = 1e-3
"""Intensity under which an error counts by its square, and above which by its size."""
GRADIENT = 0.5
"""Weight of the errors of the differences between neighbouring pixels: it keeps edges sharp."""


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Frames [P,3,H,W] and what they should be -> one number, about the mean error in intensity."""
    error = made - wanted
    edges = _charbonnier(error.diff(dim=-1)) + _charbonnier(error.diff(dim=-2))
    return _charbonnier(error) + GRADIENT * edges


def _charbonnier(error: Tensor) -> Tensor:
    return (error.square() + SOFT**2).sqrt().mean()


def psnr(made: Tensor, wanted: Tensor) -> Tensor:
    """[P,3,H,W] each, in [0,1] -> [P] dB. Equal frames have 100 dB."""
    return -10 * torch.log10((made - wanted).square().mean(dim=(1, 2, 3)).clamp(min=1e-10))
