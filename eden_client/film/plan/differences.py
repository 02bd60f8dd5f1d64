"""Compares each picture of a film with the one before it, to find cuts and duplicates."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from eden_client.film.plan.duplicates import is_same
from eden_client.film.read.film import Picture
from media import Frame

STILL = 0.5
"""Grey levels; a smaller difference is no motion."""

_BLOCK = 8
_REACH, _STEP = 4, 2


@dataclass(frozen=True)
class Step:
    """The step from the picture before to `picture`; for the first one of a film, with no difference."""

    picture: Picture
    difference: float = 0.0
    """how much of the picture was not in the one before it, in grey levels; 0 where it is not asked for"""
    same: bool = False
    """whether it shows the same as the one before it, coding noise aside; False where it is not asked for"""


def steps(pictures: Iterable[Picture], differences: bool, duplicates: bool, threads: int = 1) -> Iterator[Step]:
    """The step to each picture, in order.

    differences, duplicates   whether to find `Step.difference`, and `Step.same`
    threads                   threads that compare pictures, a few pictures ahead
    An error of reading the pictures is raised after the steps to those before it.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="differences") as pool:
        pending: deque[Future[Step]] = deque()
        for step in _begun(pictures, differences, duplicates, pool):
            pending.append(step)
            if len(pending) >= 2 * threads - 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _begun(
    pictures: Iterable[Picture], differences: bool, duplicates: bool, pool: ThreadPoolExecutor
) -> Iterator[Future[Step]]:
    """The steps, still being compared; if reading the pictures fails, its error as the last one."""
    before: Picture | None = None
    last: Future[np.ndarray] | None = None
    try:
        for picture in pictures:
            # Tasks begin in order: what a step waits for has begun before it.
            small = pool.submit(_small, picture) if differences else None
            yield pool.submit(_step, before, picture, last, small, duplicates)
            before, last = picture, small
    except Exception as error:
        failed: Future[Step] = Future()
        failed.set_exception(error)
        yield failed


def _small(picture: Picture) -> np.ndarray:
    return separated(picture.small())


def _step(
    before: Picture | None,
    picture: Picture,
    last: Future[np.ndarray] | None,
    small: Future[np.ndarray] | None,
    duplicates: bool,
) -> Step:
    apart = 0.0 if last is None or small is None else difference(last.result(), small.result())
    matters = duplicates or apart > STILL
    return Step(picture, apart, matters and before is not None and is_same(before, picture))


def separated(small: Frame) -> np.ndarray:
    """RGB [H, W, 3] uint8 as luma and two colour differences, float32 [3, H, W]."""
    red, green, blue = np.moveaxis(small, -1, 0).astype(np.float32, order="C")
    bright = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([bright, (red - bright) * 0.7, (blue - bright) * 0.6])


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """How much of `second` is not in `first`, both [3, H, W], in grey levels. Each block is compared with the most
    similar place nearby."""
    _, height, width = second.shape
    padded = np.pad(first, ((0, 0), (_REACH, _REACH), (_REACH, _REACH)), mode="edge")
    moved = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))[:, ::_STEP, ::_STEP]
    apart = np.subtract(
        moved, second[:, None, None], order="C"
    )  # without `order` laid out like `moved`, and slow to sum
    apart = np.abs(apart, out=apart).sum(0)
    while apart.shape[-1] > width // _BLOCK:
        apart = apart[..., ::2] + apart[..., 1::2]
    blocks = apart.reshape(-1, height // _BLOCK, _BLOCK, width // _BLOCK).sum(2) / _BLOCK**2
    return float(blocks.min(0).mean())
