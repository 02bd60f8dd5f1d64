"""A clip to draw, and how long an action takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def median_ms(action: Callable[[], Any], device: torch.device, seconds: float, at_least: int = 3) -> float:
    """Median wall time in ms of `action` with all GPU work that it starts, over about `seconds`, after a warm-up."""
    ready = time.perf_counter() + seconds / 2
    for calls in range(200):
        action()
        synchronise(device)
        if calls and time.perf_counter() > ready:
            break
    taken: list[float] = []
    while len(taken) < at_least or (sum(taken) < seconds and len(taken) < 200):
        start = time.perf_counter()
        action()
        synchronise(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1000


def a_clip(size: tuple[int, int], seed: int) -> torch.Tensor:
    """Two frames of smooth colours that move, uint8 [2,3,H,W]."""
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 24 + 2, width // 24 + 2, generator=generator)
    canvas = F.interpolate(coarse, size=(height + 8, width + 8), mode="bicubic", align_corners=False)[0]
    frames = torch.stack([canvas[:, :height, :width], canvas[:, 8:, 8:]])
    return (frames * 255).clamp(0, 255).to(torch.uint8)
