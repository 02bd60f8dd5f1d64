"""Scenes drawn on the fly, with the exact middle between two frames.

    scenes = Scenes("cuda", seed=1)
    triplets = scenes.draw(256, 128, 224, displacement=(0, 16))

A scene is a background and up to five things before it, photographs above all, which move, turn, grow, lean and bend
by themselves and under a camera. Everything is a function of time, so the middle is drawn and not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training import scenes_drawing
from training.scenes_atlas import outline_atlas, texture_atlas
from training.scenes_script import Author, Script

CORRECTIONS = 3
"""Motion is set by its speed, which rotation and zoom make displacement nearly but not quite proportional to."""


@dataclass(frozen=True)
class Triplets:
    """`first`, `middle`, `last`: float32 [B, 3, H, W] in 0..1."""

    first: Tensor
    middle: Tensor
    last: Tensor
    displacement: Tensor
    """[B] pixels from first to last of the fastest point that is in sight."""


class Scenes:
    """An endless supply of scenes; the same for the same seed on one machine.

    `held_out` scenes share no photograph, pattern, word or outline with the others.
    """

    def __init__(self, device: str | torch.device, seed: int, held_out: bool = False) -> None:
        self._device = torch.device(device)
        self._textures = texture_atlas(held_out, self._device)
        self._outlines = outline_atlas(held_out, self._device)
        generator = torch.Generator(self._device).manual_seed(2 * seed + held_out)
        self._generator = generator
        self._author = Author(self._textures, self._outlines, generator)

    @torch.no_grad()
    def draw(self, count: int, height: int, width: int, displacement: tuple[float, float]) -> Triplets:
        """Scenes whose displacements lie evenly in `displacement` pixels; (0, 0) makes stills, three equal frames."""
        low, high = displacement
        wanted = torch.rand(count, generator=self._generator, device=self._device) * (high - low) + low
        return self.film(self.script(wanted, height, width), height, width)

    def script(self, wanted: Tensor, height: int, width: int) -> Script:
        """Random scenes of these displacements [B], not yet drawn."""
        script = self._author.write(len(wanted), height, width)
        for _ in range(CORRECTIONS):
            reached = scenes_drawing.displacement(script, self._outlines, height, width)
            script = script.faster(wanted / reached.clamp(min=1e-6))
        return replace(script, gain=script.gain * (wanted / 4).clamp(max=1))

    def film(self, script: Script, height: int, width: int) -> Triplets:
        """What a script says, drawn."""
        frames = scenes_drawing.draw(script, self._textures, self._outlines, height, width)
        return Triplets(*frames, scenes_drawing.displacement(script, self._outlines, height, width))
