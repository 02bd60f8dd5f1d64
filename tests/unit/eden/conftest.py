"""Outputs of the published network on random weights (tests/data/parity), and small things to interpolate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from eden import DitDecoder, Encoder

PARITY = Path(__file__).parents[2] / "data" / "parity"


@dataclass(frozen=True)
class Case:
    """One recorded case: frames 0 and 1 of B pairs and every tensor on the way to the frames between."""

    checkpoint: Path
    tensors: dict[str, torch.Tensor]

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    @property
    def clips(self) -> list[torch.Tensor]:
        """B clips of two frames."""
        return list(torch.stack([self["frame0"], self["frame1"]], dim=1))

    @property
    def noise(self) -> list[torch.Tensor]:
        return list(self["noise"][:, None])


@pytest.fixture(params=sorted(PARITY.glob("*/case_*.safetensors")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param.parent, load_file(request.param))


@pytest.fixture(scope="session")
def tiny() -> tuple[Encoder, DitDecoder]:
    return Encoder.load(PARITY / "tiny"), DitDecoder.load(PARITY / "tiny")


@pytest.fixture
def clip() -> Callable[..., torch.Tensor]:
    """clip(frames, height, width): a random clip, uint8, whose frames differ but little."""

    def make(frames: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        first = torch.randint(0, 256, (1, 3, height, width), generator=generator)
        change = torch.randint(-30, 31, (frames, 3, height, width), generator=generator)
        return (first + change).clamp(0, 255).to(torch.uint8)

    return make
