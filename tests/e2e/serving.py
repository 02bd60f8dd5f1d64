"""What the end-to-end tests share besides their server: where it is called, how archives are packed, what is sent."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from server.settings import PROJECT

PREDICT = "/predictions/eden__encoder", "/predictions/eden__dit_decoder"
WORKFLOW = "/wfpredict/eden"


def pack(folder: Path, *options: str) -> Path:
    """A model store built by archive.sh with these options."""
    built = subprocess.run(
        [str(PROJECT / "archive.sh"), "--output", str(folder), *options], capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def moving_frames(count: int = 2, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """[K, H, W, 3] uint8: a soft texture that moves four pixels a frame, of its own for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + count + 2, 3)).astype(np.float32)
    fine = coarse.repeat(8, 0).repeat(8, 1)
    return np.stack([fine[4 : 4 + height, 4 * i : 4 * i + width] for i in range(count)]).astype(np.uint8)
