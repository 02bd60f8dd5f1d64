"""What the encoder hands to the decoder; `eden` and `handoff` share this dataclass and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

TENSORS = ("cond_dit", "cond_dec", "stats_mean", "stats_std", "difference", "frames")
"""Names of the tensors of an `EncoderOutput`, in the order in which they travel."""


@dataclass(frozen=True)
class EncoderOutput:
    """Tokens of one clip of K frames, on a grid of n = ph * pw patches (docs/model.md: "Encoder").

    Tokens belong to frames, not to pairs: pair i consists of frames i and i + 1, so neighbouring pairs share a frame.
    """

    cond_dit: torch.Tensor
    """[K, n, d], what the DiT attends to."""
    cond_dec: torch.Tensor
    """[K, n, d], what the decoder attends to."""
    stats_mean: torch.Tensor
    """[K] float32, mean of each padded frame."""
    stats_std: torch.Tensor
    """[K] float32, unbiased standard deviation of each padded frame."""
    difference: torch.Tensor
    """[K - 1] float32, of each pair: standardised cosine similarity (docs/model.md: "Difference")."""
    grid: tuple[int, int]
    """(ph, pw): rows and columns of patches of the padded frame."""
    size: tuple[int, int]
    """(H, W) of the source frames, in pixels."""
    frames: torch.Tensor | None = None
    """[K, 3, H, W] uint8, the source frames; only if the answer contains them too (mp4)."""

    def __len__(self) -> int:
        """K, the number of frames."""
        return self.cond_dit.shape[0]

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors that are present, by name, in the order of `TENSORS`."""
        present = ((name, getattr(self, name)) for name in TENSORS)
        return {name: tensor for name, tensor in present if tensor is not None}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> EncoderOutput:
        """The same clip on `device`."""
        moved: dict[str, Any] = {
            name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self.tensors().items()
        }
        return replace(self, **moved)

    def pairs(self, start: int, stop: int) -> EncoderOutput:
        """Pairs start to stop - 1 as a clip of their own (views). Raises IndexError for pairs that do not exist."""
        if not 0 <= start < stop < len(self):
            raise IndexError(f"no pairs {start} to {stop - 1} in a clip of {len(self)} frames")
        cut: dict[str, Any] = {name: tensor[start : stop + 1] for name, tensor in self.tensors().items()}
        cut["difference"] = self.difference[start:stop]
        return replace(self, **cut)

    def __iter__(self) -> Iterator[EncoderOutput]:
        """The clip's pairs in order, each a clip of two frames."""
        return (self.pairs(i, i + 1) for i in range(len(self) - 1))


assert {field.name for field in fields(EncoderOutput)} == {*TENSORS, "grid", "size"}
