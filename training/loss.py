"""The training loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SOFT = 1e-3
"""Intensity: smaller errors count by their square, larger ones by their absolute value (Charbonnier)."""


@dataclass(frozen=True)
class Weights:
    """Weights of the loss's terms, relative to the error of pixels, whose weight is 1."""

    gradient: float = 0.5
    """Errors of differences between neighbouring pixels, for sharp edges."""
    seam: float = 24.0
    """Factor for those of these differences that lie across the edge of a patch."""
    pyramid: float = 0.5
    """Mean of the errors per band of a Laplacian pyramid, for coarse structure."""
    levels: int = 5
    geometric: bool = True
    """Whether the triplets' errors are averaged as PSNR is, by their logarithms: easy triplets count as much as hard
    ones. Else by their values."""


DEFAULT_LOSS = Weights()


class Loss:
    """The loss of frames [P,3,H,W] against the true ones: a number, roughly the mean error in intensity."""

    def __init__(self, weights: Weights, patch_size: int) -> None:
        self.weights, self.patch_size = weights, patch_size

    def __call__(self, made: Tensor, wanted: Tensor) -> Tensor:
        weights, error = self.weights, made - wanted
        total = _charbonnier(error)
        if weights.gradient:
            total = total + weights.gradient * (self._differences(error) + self._differences(error.mT))
        if weights.pyramid:
            bands = torch.stack([_charbonnier(band) for band in pyramid(error, weights.levels)])
            total = total + weights.pyramid * bands.mean(dim=0)
        return total.log().mean().exp() if weights.geometric else total.mean()

    def _differences(self, error: Tensor) -> Tensor:
        """Mean errors [P] of differences along the last dimension, with those across patch edges weighted by `seam`."""
        place = torch.arange(1, error.shape[-1], device=error.device)
        seams = (place % self.patch_size == 0) * (self.weights.seam - 1) + 1
        return _charbonnier(error.diff(dim=-1), seams)


def pyramid(picture: Tensor, levels: int) -> list[Tensor]:
    """The Laplacian bands of [P,C,H,W], the finest first and the remainder last; fewer if a side becomes odd."""
    bands: list[Tensor] = []
    while len(bands) < levels - 1 and not any(side % 2 for side in picture.shape[-2:]):
        coarse = F.avg_pool2d(picture, 2)
        bands.append(picture - F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False))
        picture = coarse
    return [*bands, picture]


def _charbonnier(error: Tensor, weights: Tensor | float = 1.0) -> Tensor:
    """Mean errors [P] of [P,C,H,W], each times its weight."""
    return ((error.square() + SOFT**2).sqrt() * weights).mean(dim=(1, 2, 3))


def psnr(made: Tensor, wanted: Tensor) -> Tensor:
    """PSNR [P] in dB of frames [P,3,H,W] in [0,1] against the true ones. Equal frames give 100 dB."""
    return -10 * torch.log10((made - wanted).square().mean(dim=(1, 2, 3)).clamp(min=1e-10))
