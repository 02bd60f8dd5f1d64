"""All source pictures in one tensor, so that one `grid_sample` gives every item of a batch its own picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from training.scenes_sources import OUTLINE, outlines, pages, patterns, photographs

FINENESS = 2
"""Texels a pixel of a frame at most: bilinear samples of pictures so smooth are equally sharp wherever they fall."""
WIDTH = 960


@dataclass(frozen=True)
class Atlas:
    """Pictures side by side on one sheet."""

    sheet: Tensor
    """float32 [1, C, height, width]"""
    places: Tensor
    """float32 [N, 4]: left, top, width, height of each picture, in texels."""
    kinds: dict[str, tuple[int, int]]
    """Kind of picture -> its first number, and how many there are."""

    def sample(self, picture: Tensor, x: Tensor, y: Tensor, mirrored: bool) -> Tensor:
        """Colours [C, N, H, W] of pictures [N] at x, y [N, H, W], texels from each picture's corner.

        Beyond its edges a picture goes on mirrored, or with the values of its edge.
        """
        left, top, width, height = (column[:, None, None] for column in self.places[picture].unbind(-1))
        if mirrored:
            x, y = _folded(x, width), _folded(y, height)
        x = left + torch.minimum(x.clamp(min=0.5), width - 0.5)
        y = top + torch.minimum(y.clamp(min=0.5), height - 0.5)
        channels, rows, columns = self.sheet.shape[1:]
        grid = torch.stack([x * (2 / columns) - 1, y * (2 / rows) - 1], dim=-1)
        colours = F.grid_sample(self.sheet, grid.flatten(0, 1)[None], align_corners=False)
        return colours.view(channels, *grid.shape[:3])


def _folded(x: Tensor, width: Tensor) -> Tensor:
    """Any coordinate as one within 0..width, going back and forth."""
    return width - (x.remainder(2 * width) - width).abs()


@cache
def texture_atlas(held_out: bool, device: torch.device) -> Atlas:
    """Photographs, patterns and pages, RGB in 0..1, FINENESS texels a pixel."""
    makers = {"photograph": photographs, "pattern": patterns, "page": pages}
    pictures: list[np.ndarray] = []
    kinds = {}
    for kind, maker in makers.items():
        made = [_enlarged(picture) for picture in maker(held_out)]
        kinds[kind] = (len(pictures), len(made))
        pictures += made
    return _laid_out(pictures, kinds, device)


@cache
def outline_atlas(held_out: bool, device: torch.device) -> Atlas:
    """Signed distances of outlines: see `outlines`."""
    pictures = [distances[None] for distances in outlines(held_out)]
    return _laid_out(pictures, {"outline": (0, len(pictures))}, device, OUTLINE * 4)


def _enlarged(picture: Image.Image) -> np.ndarray:
    fine = picture.resize((picture.width * FINENESS, picture.height * FINENESS), Image.Resampling.BICUBIC)
    return np.asarray(fine, np.float32).transpose(2, 0, 1) / 255


def _laid_out(
    pictures: list[np.ndarray], kinds: dict[str, tuple[int, int]], device: torch.device, width: int = WIDTH
) -> Atlas:
    """Pictures [C, h, w] on shelves, the tallest first."""
    places = np.zeros((len(pictures), 4), np.float32)
    left = top = shelf = 0
    for number in sorted(range(len(pictures)), key=lambda n: -pictures[n].shape[1]):
        _, high, wide = pictures[number].shape
        if left + wide > width:
            left, top = 0, top + shelf
        if left == 0:
            shelf = high
        places[number] = left, top, wide, high
        left += wide
    sheet = torch.zeros(pictures[0].shape[0], top + shelf, width)
    for picture, (x, y, wide, high) in zip(pictures, places.astype(int), strict=True):
        sheet[:, y : y + high, x : x + wide] = torch.from_numpy(np.ascontiguousarray(picture))
    return Atlas(sheet[None].to(device), torch.from_numpy(places).to(device), kinds)
