"""What takes the steps: Muon for the blocks' matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

BETAS = (0.9, 0.98)
MATRICES = 2.0
"""Rate of Muon, in units of AdamW's: its updates are scaled to the size that AdamW's have."""


class Optimiser:
    """Both, with one rate.

    Muon (a step of orthogonal matrices) learns twice as fast here: 2.2 minutes of training gave 3.5 dB above averaging
    at 4-16 pixels where AdamW alone gave 1.6, although its steps take 40 % longer (one H100).
    """

    def __init__(self, network: nn.Module) -> None:
        named = list(network.named_parameters())
        matrices = [each for name, each in named if _in_a_block(name, each)]
        others = [each for name, each in named if not _in_a_block(name, each)]
        self.adamw = torch.optim.AdamW(others, betas=BETAS, weight_decay=0, fused=others[0].is_cuda)
        self.muon = torch.optim.Muon(matrices, weight_decay=0, adjust_lr_fn="match_rms_adamw")

    def step(self, rate: float) -> None:
        """One step, at this learning rate."""
        for optimiser, share in ((self.adamw, 1.0), (self.muon, MATRICES)):
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        return {"adamw": self.adamw.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.adamw.load_state_dict(state["adamw"])
        self.muon.load_state_dict(state["muon"])


def _in_a_block(name: str, parameter: nn.Parameter) -> bool:
    return "_blocks." in name and parameter.ndim == 2
