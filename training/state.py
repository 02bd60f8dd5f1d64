"""What a run can go on from, and what it makes: the state file, and a checkpoint in half precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from eden.checkpoint import CONFIG, HALVES, WEIGHTS, load_half
from eden.config import EdenConfig
from training.network import Eden
from training.progress import Progress

STATE = "state.pt"
PROGRESS = "progress"


def tensors_of(network: Eden) -> dict[str, Tensor]:
    """Every tensor of the network by its checkpoint name."""
    return {name: tensor for half in network.halves() for name, tensor in half.state_dict().items()}


def set_tensors(network: Eden, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors by their checkpoint names into the network. Raises RuntimeError where names or shapes differ."""
    for half in network.halves():
        half.load_state_dict({name: tensors[name] for name in half.state_dict()})


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace the state file in one step: whoever is killed meanwhile leaves the last one."""
    unfinished = folder / f"{STATE}.part"
    torch.save(dict(state), unfinished)
    unfinished.replace(folder / STATE)


def read_state(folder: Path, device: torch.device) -> dict[str, Any]:
    """What `write_state` wrote. Raises FileNotFoundError."""
    state: dict[str, Any] = torch.load(folder / STATE, map_location=device, weights_only=True)
    return state


def export(network: Eden, progress: Progress, folder: Path) -> int:
    """Write config.json and weights.safetensors, float16, into `folder`; the size of the latter in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    network.config.write(folder / CONFIG)
    halved = {name: tensor.to("cpu", torch.float16).contiguous() for name, tensor in tensors_of(network).items()}
    save_file(halved, folder / WEIGHTS, metadata={PROGRESS: progress.dumped()})
    return (folder / WEIGHTS).stat().st_size


def read_export(folder: Path) -> tuple[EdenConfig, dict[str, Tensor], Progress]:
    """What `export` wrote, the tensors in float32. Raises CheckpointError, and ValueError for another checkpoint."""
    halves = [load_half(folder, half) for half in HALVES]
    with safe_open(folder / WEIGHTS, "pt") as file:
        metadata = file.metadata() or {}
    if PROGRESS not in metadata:
        raise ValueError(f"{folder} does not say how far its training was: it is no export of a run")
    tensors = {name: tensor for _, half in halves for name, tensor in half.items()}
    return halves[0][0], tensors, Progress.loaded(metadata[PROGRESS])
