"""Supplies scenes, drawn when they are needed, with the exact frame in the middle of two.

    scenes = Scenes("cuda", seed=1)
    triplets = scenes.draw(256, 128, 224, displacement=(0, 16))

A scene is a background and up to five objects in front of it, which move, turn, grow, shear and bend, by themselves and
with the camera. All of it is a function of time, so the middle is drawn like its neighbours, not computed from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.scenes import drawing
from training.scenes.atlas import outline_atlas, texture_atlas
from training.scenes.author import Author
from training.scenes.drawing import Speedometer
from training.scenes.script import Script
from training.settings import Range

ROUNDS = 3
"""Iterations of setting the speed: with rotation and zoom, displacement is only nearly proportional to it."""
RESTING = 0.1
"""Pixels: if everything visible in an unscaled script moves less, its camera pans."""


@dataclass(frozen=True)
class Triplets:
    """`first`, `middle`, `last`: float32 [B, 3, H, W] in [0,1]."""

    first: Tensor
    middle: Tensor
    last: Tensor
    displacement: Tensor
    """[B] pixels from first to last, of the fastest point that is visible in the middle."""


class Scenes:
    """An endless supply of scenes, which are the same for the same seed on one machine.

    held_out   scenes that share no photograph, pattern, word or outline with the others
    """

    def __init__(self, device: str | torch.device, seed: int, held_out: bool = False) -> None:
        self._device = torch.device(device)
        self._textures = texture_atlas(held_out, self._device)
        self._outlines = outline_atlas(held_out, self._device)
        self._generator = torch.Generator(self._device).manual_seed(2 * seed + held_out)
        self._author = Author(self._textures, self._outlines, self._generator)

    def draw(self, count: int, height: int, width: int, displacement: tuple[float, float]) -> Triplets:
        """Scenes with displacements evenly distributed in `displacement` pixels; (0, 0) gives three equal frames."""
        return self.draw_moving(self.displacements(count, (Range(1.0, *displacement),)), height, width)

    def displacements(self, count: int, ranges: Sequence[Range]) -> Tensor:
        """Displacements [count] in pixels, from the ranges, by their shares."""
        wanted = self._uniform(count)
        if len(ranges) > 1:
            which = self._uniform(count)
            start, inside = 0.0, wanted
            for each in ranges:
                wanted = torch.where(which >= start, each.at(inside), wanted)
                start += each.share
            return wanted
        return ranges[0].at(wanted)

    @torch.no_grad()
    def draw_moving(self, wanted: Tensor, height: int, width: int, turning: float = 0.0) -> Triplets:
        """Scenes with displacements `wanted` [B] in pixels; objects turn by up to `turning` radians in half of them."""
        with torch.autocast(self._device.type, enabled=False):
            return self.film(self.script(wanted, height, width, turning), height, width)

    def script(self, wanted: Tensor, height: int, width: int, turning: float = 0.0) -> Script:
        """Scripts of random scenes with the displacements `wanted` [B] in pixels.

        Rotation is bounded by the displacement too: it moves no point of an object's outline further than that.
        """
        script = self._author.write(len(wanted), height, width)
        speedometer = Speedometer(script, self._outlines, height, width)
        resting = speedometer.read(script) < RESTING
        script = replace(script, velocity=script.velocity + resting[:, None, None])
        factor = torch.ones_like(wanted)
        for _ in range(ROUNDS):
            factor = factor * wanted / speedometer.read(script.faster(factor)).clamp(min=1e-6)
        script = replace(script.faster(factor), gain=script.gain * (wanted[:, None] / 4).clamp(max=1))
        if turning:
            turn = self._author.turns(script, turning)
            bound = wanted[:, None] / script.reach(height, width)
            script = replace(script, angle=script.angle + turn.clamp(-bound, bound))
            script = script.faster(wanted / speedometer.read(script).clamp(min=1e-6))
        return script

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self._generator, device=self._device)

    def film(self, script: Script, height: int, width: int) -> Triplets:
        """The triplets of a script."""
        first, middle, last = drawing.draw(script, self._textures, self._outlines, height, width)
        return Triplets(first, middle, last, Speedometer(script, self._outlines, height, width).read(script))
