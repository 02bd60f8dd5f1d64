"""Whether two pictures show the same."""

from __future__ import annotations

import numpy as np

from eden_client.film.read.film import Picture
from media import Frame

SAME = 2.0
"""Grey levels by which no block of a duplicate differs on average from the picture before: coding noise is less."""

_BLOCK = 16


def is_same(first: Picture, second: Picture) -> bool:
    """Whether two pictures show the same, noise of coding aside."""
    if _far_apart(first.brightness(), second.brightness()) or not _alike(first.pixels, second.pixels):
        return False
    if first.alpha is None or second.alpha is None:
        return first.alpha is second.alpha
    return _alike(first.alpha[..., None], second.alpha[..., None])


def _far_apart(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    """Whether brightness alone tells that they differ: it saves a conversion of nearly every picture of a film."""
    if first is None or second is None or first.shape != second.shape:
        return False
    rough = slice(None, None, 8)
    return bool(np.abs(first[rough, rough].astype(np.int16) - second[rough, rough]).mean() > 2 * SAME)


def _alike(first: Frame, second: Frame) -> bool:
    rough = slice(None, None, 8)
    if np.abs(first[rough, rough].astype(np.int16) - second[rough, rough]).mean() > SAME:
        return False
    apart = np.maximum(first, second) - np.minimum(first, second)
    height, width = (side - side % _BLOCK for side in apart.shape[:2])
    blocks = apart[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, -1)
    edges = (apart[height:], apart[:, width:])
    return bool(blocks.mean((1, 3)).max(initial=0) <= SAME and all(e.size == 0 or e.mean() <= SAME for e in edges))
