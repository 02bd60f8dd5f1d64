"""How clips of several requests become the tensors of one pass through DiT and decoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from eden.grid_constants import GridConstants
from eden.output import EncoderOutput
from eden.sampler import draw_noise

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Batch sizes (pairs or frames) that CUDA graphs are captured for; other numbers are padded to the next one."""


@dataclass(frozen=True)
class Batch:
    """Inputs of one pass through DiT and decoder: P pairs of F frames, all of one grid of n patches."""

    cond_dit: Tensor
    """[F,n,d]"""
    cond_dec: Tensor
    """[F,n,d]"""
    mean: Tensor
    """[F] float32"""
    std: Tensor
    """[F] float32"""
    difference: Tensor
    """[P] float32"""
    noise: Tensor
    """[P,q,l] float32"""
    first: Tensor
    """[P] int64, index of the first frame of each pair; the second is the next one."""

    @classmethod
    def empty(cls, pairs: int, frames: int, constants: GridConstants, latent_dim: int) -> Batch:
        """A batch of zeros for `pairs` pairs of `frames` frames, on the device and in the type of `constants`."""
        (_, tokens, dim), device, dtype = constants.patches.shape, constants.patches.device, constants.patches.dtype
        return cls(
            cond_dit=torch.zeros(frames, tokens, dim, device=device, dtype=dtype),
            cond_dec=torch.zeros(frames, tokens, dim, device=device, dtype=dtype),
            mean=torch.zeros(frames, device=device),
            std=torch.zeros(frames, device=device),
            difference=torch.zeros(pairs, device=device),
            noise=torch.zeros(pairs, tokens // 4, latent_dim, device=device),
            first=torch.zeros(pairs, device=device, dtype=torch.int64),
        )

    def fill(self, clips: Sequence[EncoderOutput], noise: Sequence[Tensor]) -> None:
        """Copy clips and their noise ([K-1,q,l] each) in, one after the other; the rest of the batch stays as it is."""

        def lay(target: Tensor, tensors: Sequence[Tensor]) -> None:
            if len(tensors) == 1:
                target[: tensors[0].shape[0]].copy_(tensors[0], non_blocking=True)
                return
            device = target.device
            here = [each if each.device == device else each.to(device, non_blocking=True) for each in tensors]
            torch.cat(here, out=target[: sum(each.shape[0] for each in here)])

        lay(self.cond_dit, [clip.cond_dit for clip in clips])
        lay(self.cond_dec, [clip.cond_dec for clip in clips])
        lay(self.mean, [clip.stats_mean for clip in clips])
        lay(self.std, [clip.stats_std for clip in clips])
        lay(self.difference, [clip.difference for clip in clips])
        lay(self.noise, noise)
        lay(self.first, [first_frames(tuple(map(len, clips)), self.first.device)])

    def pair_stats(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each pair, [P] each: averages over its two frames."""
        mean, std = ((each[self.first] + each[self.first + 1]) / 2 for each in (self.mean, self.std))
        return mean, std


def bucket_size(count: int) -> int:
    """The smallest of COUNTS that is at least `count`; `count` itself if it exceeds all of them."""
    return next((size for size in COUNTS if size >= count), count)


def bucket(pairs: int, frames: int) -> tuple[int, int]:
    """(pairs, frames) of the smallest captured pass that `pairs` pairs of `frames` frames fit into.

    There are two buckets per number of pairs P, so that few graphs are captured: P + 1 frames (one clip), and 2P frames
    (clips of two frames each).
    """
    size = bucket_size(pairs)
    return size, size + 1 if frames <= size + 1 else 2 * size


class Span(NamedTuple):
    """Pairs start to stop - 1 of the clip with index `clip`."""

    clip: int
    start: int
    stop: int


def passes(spans: Iterable[Span], limit: int) -> list[list[Span]]:
    """Split and join spans, in order, into passes of `limit` pairs each; the last one may have fewer."""
    filled: list[list[Span]] = []
    free = 0
    for clip, start, stop in spans:
        while start < stop:
            if not free:
                filled.append([])
                free = limit
            end = min(stop, start + free)
            filled[-1].append(Span(clip, start, end))
            free -= end - start
            start = end
    return filled


@lru_cache(maxsize=256)
def first_frames(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """[P] int64, index of the first frame of every pair, where clips of `lengths` frames lie one after the other."""
    starts = accumulate(lengths, initial=0)
    index = [start + i for start, length in zip(starts, lengths, strict=False) for i in range(length - 1)]
    with torch.inference_mode(False):  # an ordinary tensor even if inference asks first: training uses the same one
        return torch.tensor(index, device=device)


@lru_cache(maxsize=32)
def noise_on(device: torch.device, seed: int, grid: tuple[int, int], latent_dim: int) -> Tensor:
    """`draw_noise` on a device, cached: all requests of a film have one seed."""
    return draw_noise(seed, grid, latent_dim).to(device)
