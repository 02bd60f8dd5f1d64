"""What training makes small."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SOFT = 1e-3
"""Intensity under which an error counts by its square, and above which by its size."""


@dataclass(frozen=True)
class Weights:
    """Of the loss's terms, beside the error of pixels, which counts once."""

    gradient: float = 0.5
    """Errors of the differences between neighbouring pixels: it keeps edges sharp."""
    seam: float = 4.0
    """How many times as much those count that lie across the edge of a patch."""
    pyramid: float = 0.5
    """Errors in each band of a Laplacian pyramid, the mean of the bands: it keeps what is coarse right as well."""
    levels: int = 5


DEFAULT_LOSS = Weights()


class Loss:
    """Frames [P,3,H,W] and what they should be -> one number, about the mean error in intensity."""

    def __init__(self, weights: Weights, patch_size: int) -> None:
        self.weights, self.patch_size = weights, patch_size

    def __call__(self, made: Tensor, wanted: Tensor) -> Tensor:
        weights, error = self.weights, made - wanted
        total = _charbonnier(error).mean()
        if weights.gradient:
            total = total + weights.gradient * (self._differences(error) + self._differences(error.mT))
        if weights.pyramid:
            bands = pyramid(error, weights.levels)
            total = (
                total + weights.pyramid / len(bands) * torch.stack([_charbonnier(band).mean() for band in bands]).sum()
            )
        return total

    def _differences(self, error: Tensor) -> Tensor:
        """Mean error of the differences along the last dimension, those across patches' edges made heavier."""
        differences = _charbonnier(error.diff(dim=-1))
        place = torch.arange(1, error.shape[-1], device=error.device)
        seams = (place % self.patch_size == 0) * (self.weights.seam - 1) + 1
        return (differences * seams).mean()


def pyramid(picture: Tensor, levels: int) -> list[Tensor]:
    """[P,C,H,W] -> its bands, the finest first and what is left last; fewer where a side gets odd."""
    bands: list[Tensor] = []
    while len(bands) < levels - 1 and not any(side % 2 for side in picture.shape[-2:]):
        coarse = F.avg_pool2d(picture, 2)
        bands.append(picture - F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False))
        picture = coarse
    return [*bands, picture]


def _charbonnier(error: Tensor) -> Tensor:
    return (error.square() + SOFT**2).sqrt()


def psnr(made: Tensor, wanted: Tensor) -> Tensor:
    """[P,3,H,W] each, in [0,1] -> [P] dB. Equal frames have 100 dB."""
    return -10 * torch.log10((made - wanted).square().mean(dim=(1, 2, 3)).clamp(min=1e-10))
