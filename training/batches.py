"""Triplets to train on: sets of scenes drawn on the device, each cut, turned and recoloured into many batches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from training.network import Window
from training.ranks import ALONE, Ranks
from training.scenes import Scenes
from training.settings import Settings, Size

AT_ONCE = 64
"""Scenes drawn together, which bounds memory."""


class Batch(NamedTuple):
    """`first`, `middle`, `last`: float32 [P,3,H,W] in [0,1]."""

    first: Tensor
    middle: Tensor
    last: Tensor
    window: Window | None = None
    """Of crops: where they lie."""

    @property
    def size(self) -> Size:
        return self.first.shape[-2], self.first.shape[-1]


class Batches:
    """The batch of any step. It depends on seed, rank, step and size alone: a resumed run goes on as it would have.

    Making data costs more than training on it: a set serves several times, mirrored and with its colours swapped.
    """

    def __init__(self, settings: Settings, ranks: Ranks = ALONE) -> None:
        self.settings, self.ranks = settings, ranks
        self.device = torch.device(settings.device)
        self.own_share, over = divmod(settings.batch, ranks.count)
        if over:
            raise ValueError(f"a batch of {settings.batch} cannot be shared by {ranks.count} processes alike")
        self.steps_a_set = max(1, settings.scenes * settings.uses // self.own_share)
        self._number: int | None = None
        self._set: Tensor

    def generators(self, step: int) -> tuple[torch.Generator, torch.Generator]:
        """Of `step`: one for the host, the same in every rank; one on the device, a different one in each."""
        seed = self.settings.seed * 1_000_003 + step
        own = seed + self.ranks.number * 500_000_009
        return torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(own)

    def at(self, step: int, large: float) -> Batch:
        """The batch of `step`; `large` is the probability that it has the full size."""
        choices, drawn = self.generators(step)
        number = step // self.steps_a_set
        if number != self._number:
            self._set, self._number = self._draw(number), number
        chance, down, across, *mirrored = torch.rand(5, generator=choices).tolist()
        (height, width), pairs, cut, window = self.settings.size, self.own_share, self._set, None
        if chance >= large:
            height, width, pairs = height // 2, width // 2, 4 * pairs
            cell = 2 * self.settings.config.patch_size
            top, left = (int(toss * (side // cell + 1)) * cell for toss, side in ((down, height), (across, width)))
            cut = cut[..., top : top + height, left : left + width]
            window = self._window(top, left)
        axes = [axis for axis, toss in zip((-2, -1), mirrored, strict=True) if toss < 0.5]
        colours = torch.randperm(3, generator=choices).tolist()
        which = torch.randint(len(cut), (pairs,), generator=drawn, device=self.device)
        chosen = cut[which].flip(axes).float() / 255
        return Batch(*torch.stack([chosen[:, :, colour] for colour in colours], dim=2).unbind(1), window)

    def _window(self, top: int, left: int) -> Window:
        """Of a crop whose upper left pixel is this one."""
        patch = self.settings.config.patch_size
        height, width = self.settings.size
        return Window(top // patch, left // patch, (height // patch, width // patch))

    def _draw(self, number: int) -> Tensor:
        """Set `number`: [scenes,3,3,H,W] uint8, the frames of a triplet in their order."""
        settings = self.settings
        scenes = Scenes(self.device, seed=settings.seed * 1_000_003 + number * self.ranks.count + self.ranks.number)
        made = torch.empty(settings.scenes, 3, 3, *settings.size, dtype=torch.uint8, device=self.device)
        stills = round(settings.scenes * settings.stills)
        for start in range(0, len(made), AT_ONCE):
            room = made[start : start + AT_ONCE]
            still = min(max(stills - start, 0), len(room))
            for part, furthest in ((room[:still], 0.0), (room[still:], settings.furthest)):
                if len(part):
                    drawn = scenes.draw(len(part), *settings.size, displacement=(0.0, furthest))
                    part.copy_(torch.stack([drawn.first, drawn.middle, drawn.last], dim=1).mul_(255).round_())
        return made
