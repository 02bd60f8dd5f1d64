"""Several processes for one run, with a GPU each: each has triplets of its own, and all take the same steps.

torchrun --nproc-per-node 2 -m training
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import distributed, nn

ASKED_EVERY = 50
"""Steps between two votes, since a vote waits for all devices."""


@dataclass(frozen=True)
class Ranks:
    """The rank of this process, and the number of processes."""

    number: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: str) -> Ranks:
        """Join the processes of torchrun, by its environment; without it, this process is alone."""
        if "WORLD_SIZE" not in os.environ:
            return cls()
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(distributed.get_rank(), distributed.get_world_size())

    def leave(self) -> None:
        """Leave the group. Every process calls it once."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    @property
    def leading(self) -> bool:
        """Whether this is the process that measures the network and writes files."""
        return self.number == 0

    def any(self, step: int, said: bool) -> bool:
        """Whether `said` is true in any process. All call it at each step; several processes vote at some steps."""
        if self.count == 1:
            return said
        if step % ASKED_EVERY:
            return False
        device = f"cuda:{torch.cuda.current_device()}" if distributed.get_backend() == "nccl" else "cpu"
        votes = torch.tensor(float(said), device=device)
        distributed.all_reduce(votes)
        return votes.item() > 0

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their mean over all processes."""
        if self.count == 1:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        flat = torch.cat([each.flatten() for each in gradients])
        distributed.all_reduce(flat)
        parts = flat.div_(self.count).split([each.numel() for each in gradients])
        torch._foreach_copy_(gradients, [part.view_as(each) for part, each in zip(parts, gradients, strict=True)])


ALONE = Ranks()
