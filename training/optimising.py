"""What takes the steps: Muon for the blocks' matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.muon import Muon

BETAS = (0.9, 0.98)
MATRICES = 2.0
"""Rate of Muon, in units of AdamW's: its updates are scaled to the size that AdamW's have."""


class Optimiser:
    """Muon for the matrices of blocks, AdamW for all other parameters, with one learning rate.

    Muon learns twice as fast here: after 2.2 minutes of training, PSNR at 4-16 pixels was 3.5 dB above averaging, and
    with AdamW alone 1.6 dB, although Muon's steps took 40 % longer (one H100).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """`decay`: Muon's weight decay. AdamW has none."""
        named = list(network.named_parameters())
        self._others = {name: each for name, each in named if not _in_a_block(name, each)}
        some = next(iter(self._others.values()))
        self.rate = torch.zeros((), device=some.device)
        """The learning rate, on the device. Fill it before a step, which a CUDA graph may have recorded."""
        self.skipped = torch.zeros((), device=some.device)
        """1.0, on the device, if a gradient is NaN or infinite, and a step must change nothing; else 0.0."""
        self.adamw = torch.optim.AdamW(
            self._others.values(), lr=self.rate, betas=BETAS, weight_decay=0, fused=True, capturable=some.is_cuda
        )
        self.adamw.found_inf = self.skipped  # type: ignore[attr-defined]  # where GradScaler would set it
        for each in self._others.values():
            self.adamw.state[each] = {
                "step": torch.zeros((), device=some.device),
                "exp_avg": torch.zeros_like(each),
                "exp_avg_sq": torch.zeros_like(each),
            }
        self.muon = Muon(((name, each) for name, each in named if _in_a_block(name, each)), decay)

    def step(self) -> None:
        """Take a step with the learning rate `rate`, unless `skipped`."""
        self.adamw.step()
        self.muon.step(self.rate * MATRICES, self.skipped)

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's state by name. The tensors are views that may be written."""
        adamw = {
            f"{kind}/{name}": tensor
            for name, each in self._others.items()
            for kind, tensor in self.adamw.state[each].items()
        }
        return adamw | {f"momentum/{name}": momentum for name, momentum in self.muon.momenta()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a state that `tensors` returned. Raises KeyError: a tensor is missing."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


def _in_a_block(name: str, parameter: nn.Parameter) -> bool:
    return "_blocks." in name and parameter.ndim == 2
