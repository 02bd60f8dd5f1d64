"""From noise to latents: two Euler steps (docs/model.md: "Sampling")."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

TIMES = (0.0, 0.75, 1.0)
"""The fixed times t, from noise to latents."""

MAX_SEED = 2**63 - 1
"""The largest seed; the smallest is 0."""


def check_seed(seed: int) -> int:
    """Return the seed. Raises ValueError unless it is a whole number from 0 to MAX_SEED."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"a seed must be a whole number from 0 to {MAX_SEED}, not {seed!r}")
    return seed


def draw_noise(seed: int, grid: tuple[int, int], latent_dim: int) -> Tensor:
    """x(0) ~ N(0, I) for a clip on `grid`: [q, latent_dim] float32, drawn on the CPU, so it is equal on every device.

    It depends on seed and grid alone: all pairs of a clip share it, and so do all requests of a film.
    """
    generator = torch.Generator("cpu").manual_seed(check_seed(seed))
    return torch.randn(grid[0] * grid[1] // 4, latent_dim, generator=generator)


def sample(velocity: Callable[[Tensor, int], Tensor], noise: Tensor) -> Tensor:
    """x(1) from x(0) = `noise`, [P,q,l] float32 both; `velocity(x, i)` is v(x, TIMES[i])."""
    x = noise
    for step, (t, t_next) in enumerate(pairwise(TIMES)):
        x = x + (t_next - t) * velocity(x, step)
    return x
