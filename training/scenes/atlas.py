"""Puts all source pictures on one sheet, so that one `grid_sample` serves a batch of different pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from training.scenes.outlines import outlines
from training.scenes.sources import miniatures, pages, patterns, photographs, surfaces

FINENESS = 2
"""The most texels per pixel of a frame: such smooth pictures are equally sharp wherever a bilinear sample falls."""
WIDTH = 1024
"""The width of a sheet, in texels."""


@dataclass(frozen=True)
class Atlas:
    """Pictures side by side on one sheet."""

    sheet: Tensor
    """float32 [1, C, height, width]"""
    sizes: Tensor
    """[N, 2] texels across and down each picture."""
    widths: tuple[int, ...]
    """The widths in texels again, on the host, for code that must not wait for the device."""
    corners: Tensor
    """[N, 2] upper left corners; `spans`: [N, 2] from there to the opposite corners, in `grid_sample`'s coordinates."""
    spans: Tensor
    kinds: dict[str, range]
    """Indices of the pictures of each kind."""

    def sample(self, picture: Tensor, u: Tensor, v: Tensor, mirrored: bool) -> Tensor:
        """Colours [C, N, H, W] of pictures [N] at u, v [N, H, W], from 0 to 1 across and down a picture.

        mirrored   beyond its edges, a picture continues mirrored; else with the values of its edge
        """
        grid = torch.empty(*u.shape, 2, device=u.device)
        for axis, place in enumerate((u, v)):
            corner, span = (values[picture, axis, None, None] for values in (self.corners, self.spans))
            inside = (place - 2 * (place / 2).round()).abs() if mirrored else place.clamp(0, 1)
            torch.addcmul(corner, inside, span, out=grid[..., axis])
        colours = F.grid_sample(self.sheet, grid.flatten(0, 1)[None], align_corners=False)
        return colours.view(-1, *u.shape)


@cache
def texture_atlas(held_out: bool, device: torch.device) -> Atlas:
    """Photographs, whole and in part, patterns and pages: RGB in [0,1], FINENESS texels per pixel."""
    makers = {
        "photograph": photographs,
        "miniature": miniatures,
        "surface": surfaces,
        "pattern": patterns,
        "page": pages,
    }
    return _laid_out({kind: map(_enlarged, maker(held_out)) for kind, maker in makers.items()}, device)


@cache
def outline_atlas(held_out: bool, device: torch.device) -> Atlas:
    """Signed distances of outlines, as `outlines` makes them."""
    return _laid_out({"outline": (distances[None] for distances in outlines(held_out))}, device)


def _enlarged(picture: Image.Image) -> np.ndarray:
    fine = picture.resize((picture.width * FINENESS, picture.height * FINENESS), Image.Resampling.BICUBIC)
    return np.asarray(fine, np.float32).transpose(2, 0, 1) / 255


def _laid_out(kinds: dict[str, Iterable[np.ndarray]], device: torch.device) -> Atlas:
    """Pictures [C, h, w] in rows, the tallest first, each with a border of its edge texels for samples to touch."""
    pictures: list[np.ndarray] = []
    numbers = {}
    for kind, made in kinds.items():
        start = len(pictures)
        pictures += [np.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="edge") for picture in made]
        numbers[kind] = range(start, len(pictures))
    corners = np.zeros((len(pictures), 2), int)
    left = top = shelf = 0
    for number in sorted(range(len(pictures)), key=lambda n: -pictures[n].shape[1]):
        _, high, wide = pictures[number].shape
        if left + wide > WIDTH:
            left, top = 0, top + shelf
        if left == 0:
            shelf = high
        corners[number] = left, top
        left += wide
    sheet = torch.zeros(1, len(pictures[0]), top + shelf, WIDTH)
    for picture, (x, y) in zip(pictures, corners, strict=True):
        sheet[0, :, y : y + picture.shape[1], x : x + picture.shape[2]] = torch.from_numpy(picture)
    sizes = torch.tensor([[picture.shape[2] - 2, picture.shape[1] - 2] for picture in pictures])
    whole = torch.tensor([WIDTH, top + shelf])
    left_upper, spans = 2 * (torch.from_numpy(corners) + 1) / whole - 1, 2 * sizes / whole
    widths = tuple(sizes[:, 0].tolist())
    return Atlas(
        sheet.to(device), sizes.to(device), widths, left_upper.float().to(device), spans.float().to(device), numbers
    )
