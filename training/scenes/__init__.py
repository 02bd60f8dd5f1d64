"""Drawn scenes with their exact middles: what the demo weights are trained on, and judged by."""

from training.scenes.supply import Scenes, Triplets

__all__ = ["Scenes", "Triplets"]
