"""What each picture of a film is to the one before it: motion, a cut, or the same picture again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from eden_client import cuts
from eden_client.timeline import Relation
from media import Frame
from media.film import Picture

SAME = 2.0
"""Grey levels by which no block of a duplicate differs on average from the picture before: coding noise is less."""

_BLOCK = 16


def judged(
    pictures: Iterable[Picture], cut_sensitivity: float | None, duplicates: bool
) -> Iterator[tuple[Picture, Relation]]:
    """Each picture and its relation to the one before; None and False leave cuts and duplicates undetected."""
    before: Picture | None = None
    found = ((each, False) for each in pictures) if cut_sensitivity is None else cuts.marked(pictures, cut_sensitivity)
    for picture, is_cut in found:
        if is_cut:
            relation = Relation.CUT
        elif duplicates and before is not None and is_same(before, picture):
            relation = Relation.DUPLICATE
        else:
            relation = Relation.MOTION
        yield picture, relation
        before = picture


def is_same(first: Picture, second: Picture) -> bool:
    """Whether two pictures show the same, noise of coding aside."""
    if not _alike(first.pixels, second.pixels):
        return False
    if first.alpha is None or second.alpha is None:
        return first.alpha is second.alpha
    return _alike(first.alpha[..., None], second.alpha[..., None])


def _alike(first: Frame, second: Frame) -> bool:
    rough = slice(None, None, 8)
    if np.abs(first[rough, rough].astype(np.int16) - second[rough, rough]).mean() > SAME:
        return False
    apart = np.maximum(first, second) - np.minimum(first, second)
    height, width = (side - side % _BLOCK for side in apart.shape[:2])
    blocks = apart[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, -1)
    edges = (apart[height:], apart[:, width:])
    return bool(blocks.mean((1, 3)).max(initial=0) <= SAME and all(e.size == 0 or e.mean() <= SAME for e in edges))
