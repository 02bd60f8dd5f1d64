"""The settings of a run, and the configuration of the network that it trains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from eden.config import EdenConfig
from training.loss import DEFAULT_LOSS, Weights

DEMO = EdenConfig(
    patch_size=8,
    latent_dim=32,
    hidden_dim=256,
    num_heads=8,
    mlp_ratio=2.0,
    dit_depth=3,
    decoder_depth=5,
    vae_scaler=1.0,
    vae_shift=0.0,
)
"""7.1 M parameters, 14.1 MB in half precision."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`, for a fraction `share` of the scenes."""

    share: float
    low: float
    high: float
    log: bool = False
    """Whether they are distributed evenly by their logarithm."""

    def at(self, place: Tensor) -> Tensor:
        """The values at `place`, from 0 for `low` to 1 for `high`."""
        if self.log:
            return self.low * (self.high / self.low) ** place
        return self.low + (self.high - self.low) * place


@dataclass(frozen=True)
class Settings:
    """The settings of a run. All its pieces share them."""

    folder: Path = Path("run/training")
    device: str = "cpu"
    seed: int = 1
    config: EdenConfig = DEMO

    plan_steps: int = 60_000
    """Steps of the whole run. The schedule counts in steps, so it is the same on any machine."""

    rate: float = 1e-3
    """Highest learning rate."""
    decay: float = 0.05
    """Weight decay of the blocks' matrices, in units of their learning rate. Without it they grow, until what they
    compute is more than float16 can hold."""
    warm_up: int = 300
    """Steps over which the learning rate rises."""
    memory: float = 0.999
    """Decay of the weights' moving average per step."""
    near: float = 1.0
    """How much self-attention prefers near patches at first (`initial.initialise`)."""
    loss: Weights = DEFAULT_LOSS
    arithmetic: torch.dtype = torch.float16
    """The type in which a GPU computes forward and backward pass; weights, loss and optimiser are float32. bfloat16
    rounds too coarsely for what hardly moves, and float32 takes twice as long."""
    recording: bool = True
    """Whether a GPU replays steps as CUDA graphs."""

    size: Size = (256, 448)
    """Frames (H, W) as scenes are drawn, and as the network is judged; crops have half of each side."""
    batch: int = 32
    """Triplets of full size per step, over all processes; or four times as many crops."""
    scenes: int = 1024
    """Scenes per set of a process."""
    uses: int = 6
    """How often each pixel of a set is trained on before the next set."""
    displacements: tuple[Range, ...] = (
        Range(0.25, 0.2, 4.0, log=True),
        Range(0.60, 4.0, 32.0),
        Range(0.15, 32.0, 56.0),
    )
    """Displacements of the fastest object between the two frames, in pixels."""
    stills: float = 1 / 16
    """Fraction of scenes in which nothing moves."""
    turning: float = math.radians(20)
    """The largest rotation of objects between the two frames, in radians; half of the scenes have rotations."""
    sharpening: Range = Range(0.65, 0.3, 3.0, log=True)
    """How strongly scenes are sharpened (`camera.sharpened`). The others stay as drawn, softer than film."""
    grain: Range = Range(0.3, 0.002, 0.02, log=True)
    """Standard deviation, in intensity, of the noise in the outer two frames of a scene."""
    virtual: float = 0.4
    """Fraction of steps in which frames and crops have the positions of a part of a larger frame."""
    virtual_sizes: tuple[Size, ...] = ((480, 854), (540, 960), (720, 1280), (1080, 1920))

    judged: int = 24
    """Held-out triplets per range of displacements."""
    report_seconds: float = 20.0
    judgements: int = 12
    """How often the network is judged, at equal intervals of the run."""
    save_seconds: float = 60.0
    half_state: bool = False
    """Whether the state is saved in half precision: half the size, and not exact."""

    def __post_init__(self) -> None:
        cell = 4 * self.config.patch_size
        if any(side % cell for side in self.size):
            raise ValueError(f"sides of {self.size[0]}x{self.size[1]} must be multiples of {cell}, as crops need")

    @property
    def furthest(self) -> float:
        """The largest displacement, in pixels."""
        return max(each.high for each in self.displacements)
