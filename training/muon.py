"""The optimiser Muon, for all matrices of one shape at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST = 1e-7
"""The lower bound of a norm that is divided by."""


class Muon:
    """The same update as `torch.optim.Muon` (Nesterov momentum, decoupled weight decay, "match_rms_adamw").

    PyTorch's loops over the matrices, with about 25 kernels each. Here, matrices of one shape are one tensor
    [N,rows,columns], so the number of kernels depends on the number of shapes. No step waits for the device, so a CUDA
    graph can record it. Source: https://kellerjordan.github.io/posts/muon; the scale is that of arXiv 2502.16982.
    """

    def __init__(self, matrices: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        """`matrices`: names and parameters of two dimensions. `decay`: weight decay, in units of the learning rate."""
        self.decay = decay
        self._groups: dict[torch.Size, dict[str, nn.Parameter]] = {}
        for name, matrix in matrices:
            self._groups.setdefault(matrix.shape, {})[name] = matrix
        self._momenta = {
            shape: torch.zeros(len(group), *shape, device=next(iter(group.values())).device)
            for shape, group in self._groups.items()
        }

    @torch.no_grad()
    def step(self, rate: Tensor, skipped: Tensor) -> None:
        """Update every matrix by its gradient.

        rate      the learning rate, a number on the device
        skipped   1.0, on the device, if a gradient is NaN or infinite and nothing may change; else 0.0
        """
        taken = 1 - skipped
        for shape, group in self._groups.items():
            matrices, momentum = list[Tensor](group.values()), self._momenta[shape]
            gradients = torch.stack([cast(Tensor, matrix.grad) for matrix in matrices])
            gradients = torch.where(skipped > 0, 0, gradients)
            momentum.lerp_(gradients, taken * (1 - MOMENTUM))
            update = orthogonalised(gradients.lerp_(momentum, MOMENTUM))
            scaled = update.float() * (taken * rate * (-0.2 * math.sqrt(max(shape))))
            torch._foreach_mul_(matrices, 1 - taken * rate * self.decay)
            torch._foreach_add_(matrices, list(scaled.unbind()))

    def momenta(self) -> Iterator[tuple[str, Tensor]]:
        """Name and momentum of every matrix. The momenta are views that may be written."""
        for shape, group in self._groups.items():
            yield from zip(group, self._momenta[shape].unbind(), strict=True)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices [N,rows,columns] with singular values near 1, in bfloat16, by a quintic Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.bfloat16()
    if tall:
        x = x.mT
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=SMALLEST)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
