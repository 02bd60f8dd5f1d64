"""Draws scenes with the exact frame in the middle, on which the demo weights are trained and judged."""

from training.scenes.supply import Scenes, Triplets

__all__ = ["Scenes", "Triplets"]
