"""Frames as planes of YCbCr 4:2:0, as video files store them: half the bytes of RGB, converted on the networks' device.

A frame of H x W pixels, both even, is uint8 [H*3/2, W]: H rows of luma (Y), then H/2 x W/2 samples of Cb, then as many
of Cr. Chroma is sited as in MPEG-2: in every second column, halfway between two rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from eden.geometry import as_intensities

Matrix = Literal["bt709", "bt601", "bt2020"]
Range = Literal["limited", "full"]

LUMA: dict[Matrix, tuple[float, float]] = {
    "bt709": (0.2126, 0.0722),
    "bt601": (0.299, 0.114),
    "bt2020": (0.2627, 0.0593),
}
"""Weights of red and of blue in luma; green has the rest (ITU-R BT.709, BT.601, BT.2020 non-constant luminance)."""

LEVELS: dict[Range, tuple[int, int, int]] = {"limited": (16, 219, 224), "full": (0, 255, 255)}
"""Luma of black, luma levels from black to white, chroma levels from least to most."""

GREY = 128
"""Both chroma values of grey."""


@dataclass(frozen=True)
class YuvFormat:
    """How the values of planes become colours: matrix and range."""

    matrix: Matrix = "bt709"
    range: Range = "limited"

    def __str__(self) -> str:
        return f"{self.matrix}, {self.range} range"


@dataclass(frozen=True)
class Planes:
    """The frames of a clip as planes. Raises ValueError for another shape, TypeError for another type."""

    samples: Tensor
    """[K, H*3/2, W] uint8, on any device."""
    format: YuvFormat

    def __post_init__(self) -> None:
        shape = self.samples.shape
        if len(shape) != 3 or shape[1] % 3 or shape[2] % 2:
            raise ValueError(f"planes must have the shape [K,H*3/2,W], H and W even, not {list(shape)}")
        if self.samples.dtype != torch.uint8:
            raise TypeError(f"planes must be uint8, not {self.samples.dtype}")

    def __len__(self) -> int:
        """K, the number of frames."""
        return len(self.samples)

    def __getitem__(self, frames: slice) -> Planes:
        """Some of the frames (a view)."""
        return Planes(self.samples[frames], self.format)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the frames, in pixels."""
        return self.samples.shape[1] // 3 * 2, self.samples.shape[2]


def to_rgb(planes: Planes) -> Tensor:
    """Planes -> frames [K,3,H,W] float32 in [0,1] on the same device; chroma is interpolated linearly."""
    (height, width), count = planes.size, len(planes)
    red, blue = LUMA[planes.format.matrix]
    black, luma_levels, chroma_levels = LEVELS[planes.format.range]
    luma = (planes.samples[:, :height].float() - black) / luma_levels
    chroma = planes.samples[:, height:].reshape(count, 2, height // 2, width // 2).float()
    cb, cr = _enlarged((chroma - GREY) / chroma_levels).unbind(1)
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return torch.stack([r, g, b], dim=1).clamp(0, 1)


def to_planes(frames: Tensor, format: YuvFormat) -> Planes:
    """Frames [K,3,H,W], uint8 or floating point in [0,1], H and W even -> planes, rounded to the nearest level.

    Chroma is weighted 1:2:1 along rows, and averaged over two rows. Raises ValueError for odd sides.
    """
    count, _, height, width = frames.shape
    if height % 2 or width % 2:
        raise ValueError(f"planes need even sides; these frames are {width}x{height} pixels (width x height)")
    red, blue = LUMA[format.matrix]
    black, luma_levels, chroma_levels = LEVELS[format.range]
    r, g, b = as_intensities(frames).unbind(1)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = torch.stack([(b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))], dim=1)
    parts = [luma * luma_levels + black, _reduced(chroma) * chroma_levels + GREY]
    samples = torch.cat([part.flatten(1) for part in parts], dim=1).round().clamp(0, 255).to(torch.uint8)
    return Planes(samples.view(count, -1, width), format)


def _enlarged(chroma: Tensor) -> Tensor:
    """Chroma [..,H/2,W/2] -> [..,H,W], linear between the positions of its samples; edges are repeated."""
    after = torch.cat([chroma[..., 1:], chroma[..., -1:]], dim=-1)
    across = torch.stack([chroma, (chroma + after) / 2], dim=-1).flatten(-2)
    above = torch.cat([across[..., :1, :], across[..., :-1, :]], dim=-2)
    below = torch.cat([across[..., 1:, :], across[..., -1:, :]], dim=-2)
    return torch.stack([across.lerp(above, 0.25), across.lerp(below, 0.25)], dim=-2).flatten(-3, -2)


def _reduced(chroma: Tensor) -> Tensor:
    """Chroma [..,H,W] -> [..,H/2,W/2], weighted around the position of each sample; edges are repeated."""
    rows = (chroma[..., ::2, :] + chroma[..., 1::2, :]) / 2
    at, after = rows[..., ::2], rows[..., 1::2]
    before = torch.cat([at[..., :1], after[..., :-1]], dim=-1)
    return (before + 2 * at + after) / 4
