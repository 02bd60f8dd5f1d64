"""What depends on the grid alone: position embeddings and upsampling, computed once per grid, device and type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

GRIDS_KEPT = 16
"""The largest in use, 2160x3840 in float32, takes 125 MB."""


@dataclass(frozen=True)
class Place:
    """One grid's constants."""

    grid: tuple[int, int]
    """(ph, pw), in patches."""
    patches: Tensor
    """pos(1): [1,n,d]."""
    cells: Tensor
    """pos(2): [1,n/4,d]."""
    down: Tensor
    """[ph, ph/2], bicubic upsampling of rows."""
    across: Tensor
    """[pw, pw/2], the same of columns."""

    def spread(self, query: Tensor) -> Tensor:
        """Latent tokens [P,n/4,d] -> [P,n,d], upsampled bicubically from their (ph/2, pw/2) grid to the patches'.

        It is linear and separable: two small matrix products, which keep the tokens' layout.
        """
        (ph, pw), (batch, _, dim) = self.grid, query.shape
        rows = self.down @ query.view(batch, ph // 2, pw // 2 * dim)
        return (self.across @ rows.view(batch * ph, pw // 2, dim)).view(batch, ph * pw, dim)


@lru_cache(maxsize=GRIDS_KEPT)
def place_of(grid: tuple[int, int], dim: int, device: torch.device, dtype: torch.dtype) -> Place:
    """The constants of `grid` for tokens of `dim` channels."""
    # ordinary tensors, whoever asks first: training uses the same ones
    with torch.inference_mode(False):
        made = (positions(grid, 1, dim), positions(grid, 2, dim), doubling(grid[0] // 2), doubling(grid[1] // 2))
        return Place(grid, *(tensor.to(device=device, dtype=dtype) for tensor in made))


def positions(grid: tuple[int, int], stride: int, dim: int) -> Tensor:
    """pos(stride) on the full grid (ph, pw): [1, (ph // stride) * (pw // stride), dim] float32, row-major.

    Columns fill the first half of the channels, rows the second. Distances are counted in the grid that the network
    was first trained on, 16 x 28 patches (256x448 pixels), so that a larger frame is finer and not longer.
    """
    ph, pw = grid
    rows = torch.arange(ph // stride, dtype=torch.float32) / (ph / 16)
    columns = torch.arange(pw // stride, dtype=torch.float32) / (pw / 28)
    across = _sines(columns, dim // 2)[None].expand(len(rows), -1, -1)
    down = _sines(rows, dim // 2)[:, None].expand(-1, len(columns), -1)
    return torch.cat([across, down], dim=-1).reshape(1, len(rows) * len(columns), dim).float()


def _sines(distance: Tensor, width: int) -> Tensor:
    """[m] -> [m, width] float64, all sines, then all cosines."""
    half = width // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = distance.double()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def doubling(side: int) -> Tensor:
    """[2 * side, side] float32: PyTorch's bicubic upsampling by two (align_corners false) of one axis, as a matrix."""
    units = torch.eye(side)[None, :, :, None]
    columns = F.interpolate(units, size=(2 * side, 1), mode="bicubic", align_corners=False)
    return columns[0, :, :, 0].t().contiguous()
