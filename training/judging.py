"""Measures the network on held-out scenes, per range of displacements, beside averaging the two frames."""

from __future__ import annotations

import torch
from torch import Tensor

from training.batches import Batch
from training.loss import psnr
from training.network import Eden
from training.scenes import Scenes
from training.settings import Settings

RANGES = {
    "still": (0.0, 0.0),
    "4-16 px": (4.0, 16.0),
    "16-32 px": (16.0, 32.0),
    "0-4 px": (0.0, 4.0),
    "32-56 px": (32.0, 56.0),
}
"""Ranges of displacements between the two frames, in pixels. A range's scenes depend on the ranges before it."""

AT_ONCE = 8

Figures = dict[str, dict[str, float]]
"""Per range: mean PSNR in dB of "eden" and of "average", and the "blockiness" of the former."""


class Judge:
    """Measures networks on always the same held-out scenes, with the same noise."""

    def __init__(self, settings: Settings) -> None:
        scenes = Scenes(settings.device, seed=settings.seed, held_out=True)
        self.triplets: dict[str, Batch] = {}
        for name, displacement in RANGES.items():
            drawn = scenes.draw(settings.judged, *settings.size, displacement=displacement)
            self.triplets[name] = Batch(drawn.first, drawn.middle, drawn.last)

    def judge(self, network: Eden) -> tuple[Figures, Tensor]:
        """The figures, and a sheet [rows,5,3,H,W]: first, average, ours, truth and last of two scenes per range."""
        figures: Figures = {}
        rows = []
        for name, (first, middle, last, _) in self.triplets.items():
            ours, average = interpolated(network, first, last), (first + last) / 2
            figures[name] = {
                "eden": psnr(ours, middle).mean().item(),
                "average": psnr(average, middle).mean().item(),
                "blockiness": blockiness(ours, network.config.patch_size),
            }
            rows.append(torch.stack([each[:2] for each in (first, average, ours, middle, last)], dim=1))
        return figures, torch.cat(rows)


def blockiness(frames: Tensor, patch_size: int) -> float:
    """The mean difference between neighbouring pixels across patch edges, divided by that elsewhere.

    frames   [P,3,H,W]

    Film has 1.0; with more, the patches become visible.
    """
    across, inside = [], []
    for turned in (frames, frames.mT):
        steps = turned.diff(dim=-1).abs().mean(dim=(0, 1, 2))
        seams = torch.arange(1, turned.shape[-1], device=frames.device) % patch_size == 0
        across.append(steps[seams])
        inside.append(steps[~seams])
    elsewhere = torch.cat(inside).mean()
    return (torch.cat(across).mean() / elsewhere.clamp(min=1e-12)).item()


def interpolated(network: Eden, first: Tensor, last: Tensor) -> Tensor:
    """The frames between, [P,3,H,W] float32 in [0,1], of a network that no longer needs gradients."""
    made = []
    for earlier, later in zip(first.split(AT_ONCE), last.split(AT_ONCE), strict=True):
        generator = torch.Generator(first.device).manual_seed(0)
        noise = network.noise(len(earlier), (first.shape[-2], first.shape[-1]), generator)
        made.append(network(earlier, later, noise).clamp(0, 1))
    return torch.cat(made)
