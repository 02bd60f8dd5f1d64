"""Batches of triplets to train on: sets of scenes, each cropped, mirrored and recoloured into many batches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eden.geometry import padded_grid
from training.network import Window
from training.ranks import ALONE, Ranks
from training.sets import Sets
from training.settings import Settings, Size

Grid = tuple[int, int]


class Batch(NamedTuple):
    """`first`, `middle`, `last`: float32 [P,3,H,W] in [0,1]."""

    first: Tensor
    middle: Tensor
    last: Tensor
    window: Window | None = None
    """Where crops, and frames that stand for a part of a larger frame, lie in it; None: they are whole frames."""

    @property
    def size(self) -> Size:
        return self.first.shape[-2], self.first.shape[-1]


class Batches:
    """The batch of each step, which depends on seed, rank, step and size alone: a resumed run gets the same batches.

    Drawing data costs more than training on it, so a set is used several times, mirrored and with its colours swapped.
    Raises ValueError: the batch cannot be divided equally among the processes.
    """

    def __init__(self, settings: Settings, ranks: Ranks = ALONE) -> None:
        self.settings, self.ranks = settings, ranks
        self.device = torch.device(settings.device)
        self.own_share, over = divmod(settings.batch, ranks.count)
        if over:
            raise ValueError(f"a batch of {settings.batch} cannot be shared by {ranks.count} processes alike")
        self.steps_a_set = max(1, settings.scenes * settings.uses // self.own_share)
        self.sets = Sets(settings, ranks)
        patch = settings.config.patch_size
        self._grid = (settings.size[0] // patch, settings.size[1] // patch)
        self._larger = [padded_grid(*size, patch) for size in settings.virtual_sizes]

    def generators(self, step: int) -> tuple[torch.Generator, torch.Generator]:
        """The random generators of a step: one for the host, equal in all ranks; one for the device, of this rank."""
        seed = self.settings.seed * 1_000_003 + step
        own = seed + self.ranks.number * 500_000_009
        return torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(own)

    def at(self, step: int, large: float) -> Batch:
        """The batch of `step`; `large` is the probability that it has the full size."""
        choices, drawn = self.generators(step)
        number, within = divmod(step, self.steps_a_set)
        cut = self.sets.get(number)
        self.sets.draw_ahead(number + 1, (within + 1) / self.steps_a_set)
        chance, down, across, virtual, which_grid, *mirrored = torch.rand(7, generator=choices).tolist()
        patch, pairs, window = self.settings.config.patch_size, self.own_share, None
        if chance >= large:
            pairs = 4 * pairs
            window = _placed(self._grid, (self._grid[0] // 2, self._grid[1] // 2), down, across)
            rows, columns = (
                slice(start * patch, start * patch + side // 2)
                for start, side in zip((window.top, window.left), self.settings.size, strict=True)
            )
            cut = cut[..., rows, columns]
        if virtual < self.settings.virtual:
            grid = self._larger[int(which_grid * len(self._larger))]
            window = _placed(grid, (cut.shape[-2] // patch, cut.shape[-1] // patch), down, across)
        axes = [axis for axis, toss in zip((-2, -1), mirrored, strict=True) if toss < 0.5]
        colours = torch.randperm(3, generator=choices).tolist()
        which = torch.randint(len(cut), (pairs,), generator=drawn, device=self.device)
        chosen = cut[which].flip(axes).float() / 255
        first, middle, last = torch.stack([chosen[:, :, colour] for colour in colours], dim=2).unbind(1)
        return Batch(first, middle, last, window)


def _placed(whole: Grid, part: Grid, down: float, across: float) -> Window:
    """The window of `part` patches in a frame of `whole` patches. `down`, `across`: its position, 0 to 1."""
    top, left = (
        int(toss * ((side - own) // 2 + 1)) * 2 for toss, side, own in zip((down, across), whole, part, strict=True)
    )
    return Window(top, left, whole)
