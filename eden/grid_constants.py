"""Constants that depend on the grid alone, computed once per grid, device and type: positions and upsampling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

GRIDS_KEPT = 16
"""Grids whose constants are cached. Those of 2160x3840 in float32 take 125 MB."""


@dataclass(frozen=True)
class GridConstants:
    """Constants of one grid (docs/model.md: "Positions", "Decoder")."""

    grid: tuple[int, int]
    """(ph, pw), in patches."""
    patches: Tensor
    """pos(1): [1,n,d]."""
    cells: Tensor
    """pos(2): [1,n/4,d]."""
    down: Tensor
    """[ph, ph/2], matrix of bicubic upsampling along columns: more rows."""
    across: Tensor
    """[pw, pw/2], matrix of bicubic upsampling along rows: more columns."""

    def spread(self, query: Tensor) -> Tensor:
        """Latent tokens [P,n/4,d] -> [P,n,d], by bicubic upsampling of their (ph/2, pw/2) grid to (ph, pw).

        Upsampling is linear and separable, so it is two small matrix products, which keep the layout of tokens.
        """
        (ph, pw), (batch, _, dim) = self.grid, query.shape
        rows = self.down @ query.view(batch, ph // 2, pw // 2 * dim)
        return (self.across @ rows.view(batch * ph, pw // 2, dim)).view(batch, ph * pw, dim)


@lru_cache(maxsize=GRIDS_KEPT)
def grid_constants(grid: tuple[int, int], dim: int, device: torch.device, dtype: torch.dtype) -> GridConstants:
    """The constants of `grid` for tokens of `dim` channels."""
    # ordinary tensors even if inference asks first: training uses the same ones
    with torch.inference_mode(False):
        made = (positions(grid, 1, dim), positions(grid, 2, dim), doubling(grid[0] // 2), doubling(grid[1] // 2))
        return GridConstants(grid, *(tensor.to(device=device, dtype=dtype) for tensor in made))


def positions(grid: tuple[int, int], stride: int, dim: int) -> Tensor:
    """pos(stride) on the full grid (ph, pw): [1, (ph // stride) * (pw // stride), dim] float32, row by row.

    The column is in the first half of the channels, the row in the second. Distances are measured in a grid of 16 x 28
    patches (a frame of 256x448), so a larger frame has finer positions, not more distant ones.
    docs/model.md: "Positions".
    """
    ph, pw = grid
    rows = torch.arange(ph // stride, dtype=torch.float32) / (ph / 16)
    columns = torch.arange(pw // stride, dtype=torch.float32) / (pw / 28)
    across = _sines(columns, dim // 2)[None].expand(len(rows), -1, -1)
    down = _sines(rows, dim // 2)[:, None].expand(-1, len(columns), -1)
    return torch.cat([across, down], dim=-1).reshape(1, len(rows) * len(columns), dim).float()


def _sines(distance: Tensor, width: int) -> Tensor:
    """Distances [m] -> [m, width] float64: first the sines of all frequencies, then the cosines."""
    half = width // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = distance.double()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def doubling(side: int) -> Tensor:
    """PyTorch's bicubic upsampling (align_corners=False) of one axis from `side` to 2*side: a matrix [2*side, side]."""
    units = torch.eye(side)[None, :, :, None]
    columns = F.interpolate(units, size=(2 * side, 1), mode="bicubic", align_corners=False)
    return columns[0, :, :, 0].t().contiguous()
