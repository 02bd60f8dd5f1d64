"""Seeded random weights for any configuration, to run a server, test or benchmark without a trained checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from eden.checkpoint import CONFIG, HALVES, WEIGHTS, expected_shapes
from eden.config import EdenConfig

SMALL = EdenConfig(hidden_dim=192, num_heads=3, dit_depth=4, decoder_depth=2)
"""A small network: 0.06 s per pair of 256x448 on two CPU cores."""


def random_tensors(config: EdenConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Every tensor of the network by its checkpoint name, scaled so that activations neither grow nor fade.

    Nothing is learnt in them: frames drawn with them look like noise.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for half in HALVES:
        for name, shape in expected_shapes(config, half).items():
            drawn = torch.randn(shape, generator=generator)
            if len(shape) > 1:
                drawn /= math.sqrt(math.prod(shape[1:]))
            else:
                # weights of norms, the only vectors that are not biases, are near one
                drawn = 0.05 * drawn + (1 if _is_norm_scale(name) else 0)
            tensors[name] = drawn.to(dtype)
    return tensors


def write_random(folder: Path, config: EdenConfig = SMALL, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
    """Write `random_tensors` to `folder` as a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    config.write(folder / CONFIG)
    save_file(random_tensors(config, seed, dtype), folder / WEIGHTS)


def _is_norm_scale(name: str) -> bool:
    return name.endswith(".weight") and ("norm" in name or name == "unpatchify.0.weight")
