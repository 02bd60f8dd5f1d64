"""Scene cuts: where two neighbouring pictures have nothing to do with each other, and nothing can go between.

A picture is compared with the one before it after each of its blocks has been moved to where it fits best, so that fast
motion does not count; and a difference is a cut only if it stands out among those before and after it, so that
flicker, shaking and noise do not count either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from eden_client.film.plan.duplicates import is_same
from eden_client.film.read.film import Picture
from media import Frame

SENSITIVITY = 0.6
"""By default; 0 (hardly any cut) to 1 (nearly everything is one)."""

_BLOCK = 8
_REACH, _STEP = 4, 2
_AROUND = 4
"""Pictures before and after that are looked at: enough to find the last motion of an animation drawn on fours."""
_NEAREST = 2
"""Of these, how many that moved a cut is compared with, on each side."""
_STILL = 0.5
"""Grey levels below which nothing moved."""
_ALONE = 2.5
"""How much more of a difference it takes where there is no other motion to compare with."""


def detect_cuts(pictures: Iterable[Picture], sensitivity: float = SENSITIVITY) -> Iterator[tuple[Picture, bool]]:
    """Each picture, and whether a cut lies right before it; looks four pictures ahead."""
    held: deque[Picture] = deque()
    scores: deque[float] = deque()  # of held[0] and its neighbours: at most _AROUND before it, all that follow
    before = 0
    last: np.ndarray | None = None
    for picture in pictures:
        small = separated(picture.small())
        score = 0.0 if last is None else difference(last, small)
        if score > _STILL and is_same(held[-1], picture):
            score = 0.0  # noise of coding: a duplicate says nothing about how much motion is usual
        held.append(picture)
        scores.append(score)
        last = small
        if len(held) > _AROUND:
            yield held.popleft(), is_cut(list(scores), before, sensitivity)
            before += 1
            if before > _AROUND:
                scores.popleft()
                before = _AROUND
    while held:
        yield held.popleft(), is_cut(list(scores), before, sensitivity)
        before += 1


def separated(small: Frame) -> np.ndarray:
    """RGB [H, W, 3] as brightness and two colour differences, float32 [3, H, W]."""
    red, green, blue = np.moveaxis(small.astype(np.float32), -1, 0)
    bright = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([bright, (red - bright) * 0.7, (blue - bright) * 0.6])


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """How much of `second` is not in `first`, in grey levels: each block is compared with its best place nearby."""
    _, height, width = second.shape
    padded = np.pad(first, ((0, 0), (_REACH, _REACH), (_REACH, _REACH)), mode="edge")
    moved = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))[:, ::_STEP, ::_STEP]
    apart = np.abs(moved - second[:, None, None]).sum(0)
    blocks = apart.reshape(-1, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).mean((2, 4))
    return float(blocks.min(0).mean())


def is_cut(scores: list[float], at: int, sensitivity: float) -> bool:
    """Whether scores[at] is a cut among its neighbours."""
    before = [score for score in scores[max(0, at - _AROUND) : at] if score > _STILL][-_NEAREST:]
    after = [score for score in scores[at + 1 : at + 1 + _AROUND] if score > _STILL][:_NEAREST]
    around = before + after
    least, ratio = 20 * (1 - sensitivity), 1 + 3.2 * (1 - sensitivity)
    if not around:
        return scores[at] > _ALONE * least
    return scores[at] > least and scores[at] > ratio * (sum(around) / len(around))
