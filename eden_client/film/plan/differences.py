"""How each picture of a film differs from the one before it: all that cuts and duplicates are told by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from eden_client.film.plan.duplicates import is_same
from eden_client.film.read.film import Picture
from media import Frame

STILL = 0.5
"""Grey levels below which nothing moved."""

TOGETHER = 4
"""Pictures that a thread looks at together, where there are several: it has Python's lock for less time per picture."""

_BLOCK = 8
_REACH, _STEP = 4, 2


@dataclass(frozen=True)
class Step:
    """From the picture before it to `picture`; to the first one of a film, nothing differs."""

    picture: Picture
    difference: float = 0.0
    """how much of the picture was not in the one before it, in grey levels; 0 where nobody asks"""
    same: bool = False
    """it shows the same as the one before it, noise of coding aside"""


def steps(pictures: Iterable[Picture], differences: bool, duplicates: bool, threads: int = 1) -> Iterator[Step]:
    """The step to each picture, in order.

    differences, duplicates   whether it matters how much it differs, and whether it shows the same
    threads                   that look at steps side by side, some pictures ahead: of several, each at TOGETHER of them
    What reading the pictures raises is raised after the steps to those before.
    """
    together = TOGETHER if threads > 1 else 1
    with ThreadPoolExecutor(threads, thread_name_prefix="differences") as pool:
        pending: deque[Future[list[Step]]] = deque()
        for begun in _begun(pictures, differences, duplicates, together, pool):
            pending.append(begun)
            if len(pending) >= 2 * threads - 1:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _begun(
    pictures: Iterable[Picture], differences: bool, duplicates: bool, together: int, pool: ThreadPoolExecutor
) -> Iterator[Future[list[Step]]]:
    """The steps, still to be looked at; last, where reading the pictures fails, how it did."""
    before: Picture | None = None
    last: Future[np.ndarray] | None = None
    reading, failed = iter(pictures), None
    while not failed:
        batch, failed = _read(reading, together)
        if not batch:
            break
        # Tasks begin in order: what a step waits for has begun before it.
        small = pool.submit(_small, batch) if differences else None
        yield pool.submit(_steps, before, batch, last, small, duplicates)
        before, last = batch[-1], small
    if failed:
        raised: Future[list[Step]] = Future()
        raised.set_exception(failed)
        yield raised


def _read(pictures: Iterator[Picture], count: int) -> tuple[list[Picture], Exception | None]:
    """So many pictures, fewer at the end; and what reading the next one raised."""
    read: list[Picture] = []
    try:
        for picture in islice(pictures, count):
            read.append(picture)
    except Exception as error:
        return read, error
    return read, None


def _small(pictures: Sequence[Picture]) -> np.ndarray:
    return separated(np.stack([each.small() for each in pictures]))


def _steps(
    before: Picture | None,
    pictures: Sequence[Picture],
    last: Future[np.ndarray] | None,
    small: Future[np.ndarray] | None,
    duplicates: bool,
) -> list[Step]:
    apart = [0.0] * len(pictures)
    if small is not None:
        seen = small.result() if last is None else np.concatenate([last.result()[-1:], small.result()])
        apart[len(pictures) + 1 - len(seen) :] = differences_of(seen)
    found = []
    for difference, picture in zip(apart, pictures, strict=True):
        matters = duplicates or difference > STILL
        found.append(Step(picture, difference, matters and before is not None and is_same(before, picture)))
        before = picture
    return found


def separated(small: Frame) -> np.ndarray:
    """RGB [N, H, W, 3] as brightness and two colour differences, float32 [N, 3, H, W]."""
    red, green, blue = np.moveaxis(small, -1, 0).astype(np.float32, order="C")
    bright = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([bright, (red - bright) * 0.7, (blue - bright) * 0.6], axis=1)


def differences_of(pictures: np.ndarray) -> list[float]:
    """How much of each of [N, 3, H, W] is not in the one before it, in grey levels: N - 1.

    Each block is compared with its best place nearby.
    """
    height, width = pictures.shape[2:]
    rows, columns = (np.arange(-_REACH, side + _REACH).clip(0, side - 1) for side in (height, width))
    padded = pictures[:-1, :, rows[:, None], columns]
    moved = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (2, 3))[:, :, ::_STEP, ::_STEP]
    apart = np.subtract(moved, pictures[1:, :, None, None], order="C")  # else laid out like `moved`, and slow to sum
    apart = np.abs(apart, out=apart).sum(1)
    while apart.shape[-1] > width // _BLOCK:
        apart = apart[..., ::2] + apart[..., 1::2]
    blocks = apart.reshape(*apart.shape[:3], height // _BLOCK, _BLOCK, width // _BLOCK).sum(4) / _BLOCK**2
    return [float(best.mean()) for best in blocks.min((1, 2))]
