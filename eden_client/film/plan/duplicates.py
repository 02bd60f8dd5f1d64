"""Whether two pictures show the same."""

from __future__ import annotations

import numpy as np

from eden_client.film.read.film import Picture
from media import Frame

SAME = 2.0
"""Grey levels; in a duplicate, every block differs by less on average from the picture before, as coding noise does."""

_BLOCK = 16


def is_same(first: Picture, second: Picture) -> bool:
    """Whether two pictures show the same, coding noise aside. Compares their planes, or RGB where they have none."""
    planes, others = first.planes(), second.planes()
    if [each.shape for each in planes] != [each.shape for each in others]:
        planes = others = []
    if not planes:
        planes, others = [first.pixels], [second.pixels]
    if not all(_alike(one, other, planes[0].shape[0]) for one, other in zip(planes, others, strict=True)):
        return False
    if first.alpha is None or second.alpha is None:
        return first.alpha is second.alpha
    return _alike(first.alpha, second.alpha, first.alpha.shape[0])


def _alike(first: Frame, second: Frame, rows: int) -> bool:
    """Whether two planes, or two RGB pictures, show the same. `rows`: of the picture; a chroma plane may have fewer."""
    rough = slice(None, None, 8)
    if np.abs(first[rough, rough].astype(np.int16) - second[rough, rough]).mean() > SAME:
        return False
    block = _BLOCK * first.shape[0] // rows
    apart = np.maximum(first, second) - np.minimum(first, second)
    height, width = (side - side % block for side in apart.shape[:2])
    colours = apart[0, 0].size
    # Rows first: whole rows are added fast.
    bands = apart[:height, :width].reshape(height // block, block, width * colours).sum(1, dtype=np.uint16)
    blocks = bands.reshape(height // block, width // block, block * colours).sum(2, dtype=np.uint32)
    edges = (apart[height:], apart[:, width:])
    most = blocks.max(initial=0) / (block * block * colours)
    return bool(most <= SAME and all(e.size == 0 or e.mean() <= SAME for e in edges))
