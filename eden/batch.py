"""Clips side by side: how pairs of several requests become the tensors of one pass through the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from eden.output import EncoderOutput
from eden.place import Place
from eden.sampler import draw_noise

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Numbers of pairs, or frames, that graphs are captured for. A pass of another number leaves a few places empty."""


@dataclass(frozen=True)
class Batch:
    """P pairs between F frames of one grid, with everything that the network asks of them."""

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
    """[P], the earlier frame of each pair; the later one is the next."""

    @classmethod
    def empty(cls, pairs: int, frames: int, place: Place, latent_dim: int) -> Batch:
        """Room for `pairs` pairs between `frames` frames, zeroed."""
        (_, tokens, dim), device, dtype = place.patches.shape, place.patches.device, place.patches.dtype
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
        """Lay clips and their noise [K-1,q,l] in, one after another. Places left over keep what they had."""

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
        """Mean and standard deviation of each pair, [P] each: the average of its two frames'."""
        mean, std = ((each[self.first] + each[self.first + 1]) / 2 for each in (self.mean, self.std))
        return mean, std


def enough(count: int) -> int:
    """The smallest of COUNTS that is at least `count`; beyond them `count` itself."""
    return next((size for size in COUNTS if size >= count), count)


def room(pairs: int, frames: int) -> tuple[int, int]:
    """(pairs, frames) of the smallest captured pass with room for as many; few kinds, so that few are captured.

    A kind is a number of pairs, as one clip or as clips of two frames each.
    """
    places = enough(pairs)
    return places, places + 1 if frames <= places + 1 else 2 * places


class Span(NamedTuple):
    """Pairs start .. stop - 1 of the clip with index `clip`."""

    clip: int
    start: int
    stop: int


def passes(spans: Iterable[Span], limit: int) -> list[list[Span]]:
    """Cut and put together spans, in order, into passes of `limit` pairs; the last one may have fewer."""
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
    """[P], the earlier frame of every pair of neighbours in clips of `lengths` frames that lie one after another."""
    starts = accumulate(lengths, initial=0)
    index = [start + i for start, length in zip(starts, lengths, strict=False) for i in range(length - 1)]
    with torch.inference_mode(False):  # an ordinary tensor, whoever asks first: training uses the same one
        return torch.tensor(index, device=device)


@lru_cache(maxsize=32)
def noise_on(device: torch.device, seed: int, grid: tuple[int, int], latent_dim: int) -> Tensor:
    """`draw_noise` on a device: a film's requests share their seed."""
    return draw_noise(seed, grid, latent_dim).to(device)
