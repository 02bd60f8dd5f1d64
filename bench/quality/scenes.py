"""Held-out scenes with their exact middles, by how far things move."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from media import Frame
from training.scenes import Scenes

DISPLACEMENTS = {"still": (0.0, 0.0), "0-4": (0.0, 4.0), "4-16": (4.0, 16.0), "16-32": (16.0, 32.0)}
"""Pixels that the fastest thing in sight moves between the first and the last frame."""

SIZE = (256, 448)


@dataclass(frozen=True)
class Scene:
    """Three frames uint8 [H, W, 3], and the pixels that things move between the outer two."""

    first: Frame
    middle: Frame
    last: Frame
    displacement: float


def held_out(seed: int, count: int, size: tuple[int, int] = SIZE) -> dict[str, list[Scene]]:
    """`count` scenes for each range of displacements. They are drawn on the CPU, whatever the model's device."""
    source = Scenes("cpu", seed, held_out=True)
    scenes = {}
    for name, displacement in DISPLACEMENTS.items():
        drawn = source.draw(count, *size, displacement=displacement)
        frames = [
            (batch * 255).round().byte().permute(0, 2, 3, 1).numpy()
            for batch in (drawn.first, drawn.middle, drawn.last)
        ]
        scenes[name] = [Scene(*each) for each in zip(*frames, drawn.displacement.tolist(), strict=True)]
    return scenes


def digest(scenes: Mapping[str, list[Scene]]) -> str:
    """SHA-256 of all the frames' pixels, in their order."""
    whole = hashlib.sha256()
    for scene in (scene for group in scenes.values() for scene in group):
        for frame in (scene.first, scene.middle, scene.last):
            whole.update(np.ascontiguousarray(frame).data)
    return whole.hexdigest()
