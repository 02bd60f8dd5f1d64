"""What a run is made of, and the shape of the network that it trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eden.config import EdenConfig

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
class Settings:
    """One run. Its pieces share all of this, but for where each stops."""

    folder: Path = Path("run/training")
    device: str = "cpu"
    seed: int = 1
    config: EdenConfig = DEMO

    plan_samples: int = 550_000
    """Length of the whole run in triplets of any size. The schedule goes by them, on any machine alike."""

    rate: float = 1e-3
    """Highest learning rate."""
    warm_up: int = 300
    """Steps in which the rate rises."""
    near: float = 1.0
    """See initial.initialise."""

    size: Size = (256, 448)
    """Frames (H, W) as scenes are drawn, and as the network is judged; crops have half of each side."""
    batch: int = 32
    """Triplets of the full size in one step, of all processes together; four times as many crops."""
    scenes: int = 1024
    """Scenes that a process draws at once: a set."""
    uses: int = 6
    """How often each pixel of a set is trained on, before the next set."""
    furthest: float = 32.0
    """Displacement between the frames, in pixels."""
    stills: float = 1 / 16
    """Share of scenes without any."""

    judged: int = 24
    """Held-out triplets for each range of displacements."""
    report_seconds: float = 20.0
    judgements: int = 4
    """How often the network is judged, at equal parts of the run."""
    save_seconds: float = 60.0

    def __post_init__(self) -> None:
        cell = 4 * self.config.patch_size
        if any(side % cell for side in self.size):
            raise ValueError(f"sides of {self.size[0]}x{self.size[1]} are no multiples of {cell}, as crops need")
