"""Pixels and patches: frames of any size onto the network's grid, and back (docs/model.md: "Padding")."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_SIDE = 16
"""The smallest height or width of a frame, in pixels."""


def as_intensities(frames: Tensor) -> Tensor:
    """[K,3,H,W], uint8 or floating point in [0,1] -> float32 in [0,1]."""
    return frames / 255 if frames.dtype == torch.uint8 else frames.float()


def padded_grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """The grid (ph, pw), in patches, of a frame of height x width pixels.

    Both are even: a latent token stands for a cell of 2x2 patches. Raises ValueError for a frame under 16 x 16.
    """
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"a frame of {height}x{width} is too small: at least {MIN_SIDE}x{MIN_SIDE} is needed")
    cell = 2 * patch_size
    return -(-height // cell) * 2, -(-width // cell) * 2


def one_grid(grids: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The one grid of all clips of a call. Raises ValueError if they differ, naming two."""
    first, *others = dict.fromkeys(grids)
    if others:
        raise ValueError(f"all clips of a call must have one grid; these have {first} and {others[0]} patches")
    return first


def margins(size: tuple[int, int], grid: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """(top, left): rows that padding adds above a frame of `size`, columns left of it; an odd one goes after it."""
    return (grid[0] * patch_size - size[0]) // 2, (grid[1] * patch_size - size[1]) // 2


def pad(frames: Tensor, patch_size: int) -> Tensor:
    """[K,3,H,W] -> [K,3,H',W']: edge pixels are repeated up to whole cells of 2x2 patches."""
    size = (frames.shape[-2], frames.shape[-1])
    grid = padded_grid(*size, patch_size)
    top, left = margins(size, grid, patch_size)
    bottom, right = grid[0] * patch_size - size[0] - top, grid[1] * patch_size - size[1] - left
    if not any((top, bottom, left, right)):
        return frames
    return F.pad(frames, (left, right, top, bottom), mode="replicate")


def crop(pixels: Tensor, size: tuple[int, int], grid: tuple[int, int], patch_size: int) -> Tensor:
    """[P,H',W',3] -> [P,H,W,3], a view: without the margins that `pad` added."""
    top, left = margins(size, grid, patch_size)
    return pixels[:, top : top + size[0], left : left + size[1]]


def to_patches(frames: Tensor, patch_size: int) -> Tensor:
    """[K,3,H',W'] -> [K,n,3p²], each patch ordered (colour, row, column), like the weight of a convolution."""
    count, colours, height, width = frames.shape
    p = patch_size
    cells = frames.reshape(count, colours, height // p, p, width // p, p)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(count, (height // p) * (width // p), colours * p * p)


def to_pixels(patches: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """[P,n,3p²], each patch ordered (row, column, colour), -> [P,H',W',3]."""
    (ph, pw), p = grid, patch_size
    cells = patches.reshape(-1, ph, pw, p, p, 3)
    return cells.transpose(2, 3).reshape(-1, ph * p, pw * p, 3)


def to_cells(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patch tokens [K,n,d] -> [K,n/4,4,d]: the four of each 2x2 cell, upper two first, left before right."""
    (ph, pw), dim = grid, tokens.shape[-1]
    cells = tokens.reshape(-1, ph // 2, 2, pw // 2, 2, dim)
    return cells.transpose(2, 3).reshape(-1, ph * pw // 4, 4, dim)
