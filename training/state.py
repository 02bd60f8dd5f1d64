"""Reads and writes a run's state, from which it can continue, and its export, a checkpoint in half precision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eden.checkpoint import CONFIG, HALVES, WEIGHTS, load_half
from eden.config import EdenConfig
from training.network import Eden
from training.progress import Progress

PART = 14_900_000
"""The most bytes of tensors per file of the state: with names, a file stays below 15 MB."""
NETWORK, AVERAGE = "network", "average"
PROGRESS = "progress"


def tensors_of(network: Eden) -> dict[str, Tensor]:
    """Every tensor of the network by its checkpoint name."""
    return {name: tensor for half in network.halves() for name, tensor in half.state_dict().items()}


def set_tensors(network: Eden, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors by their checkpoint names into the network. Raises RuntimeError: names or shapes differ."""
    for half in network.halves():
        half.load_state_dict({name: tensors[name] for name in half.state_dict()})


def write_state(folder: Path, tensors: Mapping[str, Tensor], progress: Progress, half: bool = False) -> list[Path]:
    """Write the state into files of at most PART bytes, then remove older ones. Returns the new files.

    half   weights and their average in float16, the optimiser's moments in bfloat16; else exactly, and a resumed run
           continues as if it had not stopped

    If it is killed meanwhile, the last state is still complete.
    """
    kept = {name: tensor.detach().to("cpu", _stored(name) if half else None) for name, tensor in tensors.items()}
    parts: list[dict[str, Tensor]] = [{}]
    room = PART
    for name, tensor in kept.items():
        room -= tensor.nbytes
        if room < 0 and parts[-1]:
            parts.append({})
            room = PART - tensor.nbytes
        parts[-1][name] = tensor.clone(memory_format=torch.contiguous_format)
    names = [f"state-{progress.step:07d}-{number}of{len(parts)}.safetensors" for number in range(1, len(parts) + 1)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / f"{name}.part", metadata={PROGRESS: progress.dumped()})
    files = [folder / name for name in names]
    for file in files:
        file.with_name(f"{file.name}.part").replace(file)
    for older in set(folder.glob("state-*.safetensors")) - set(files):
        older.unlink()
    return files


def read_state(folder: Path) -> tuple[dict[str, Tensor], Progress]:
    """The latest complete state in `folder`, on the CPU.

    Raises FileNotFoundError: there is none; ValueError: a file was not written by `write_state`.
    """
    found: dict[tuple[int, int], list[Path]] = {}
    for path in folder.glob("state-*.safetensors"):
        if match := re.fullmatch(r"state-(\d+)-\d+of(\d+)\.safetensors", path.name):
            found.setdefault((int(match[1]), int(match[2])), []).append(path)
    whole = [key for key, paths in found.items() if len(paths) == key[1]]
    if not whole:
        raise FileNotFoundError(f"{folder} holds no complete state of a run")
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for path in found[max(whole)]:
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path}: {error}") from error
    if PROGRESS not in metadata:
        raise ValueError(f"{folder}: its state does not say how far the run was")
    return tensors, Progress.loaded(metadata[PROGRESS])


def _stored(name: str) -> torch.dtype:
    """The type of a tensor in half precision: moments may be too small for float16; step counts need float32."""
    kind = name.partition("/")[0]
    return {NETWORK: torch.float16, AVERAGE: torch.float16, "step": torch.float32}.get(kind, torch.bfloat16)


def export(network: Eden, progress: Progress, folder: Path) -> int:
    """Write config.json and weights.safetensors, float16, into `folder`. Returns the size of the latter in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    network.config.write(folder / CONFIG)
    halved = {name: tensor.to("cpu", torch.float16).contiguous() for name, tensor in tensors_of(network).items()}
    save_file(halved, folder / WEIGHTS, metadata={PROGRESS: progress.dumped()})
    return (folder / WEIGHTS).stat().st_size


def read_export(folder: Path) -> tuple[EdenConfig, dict[str, Tensor], Progress]:
    """Read what `export` wrote, with float32 tensors. Raises CheckpointError; ValueError: it is no export of a run."""
    halves = [load_half(folder, half) for half in HALVES]
    with safe_open(folder / WEIGHTS, "pt") as file:
        metadata = file.metadata() or {}
    if PROGRESS not in metadata:
        raise ValueError(f"{folder} does not say how far its training was: it is no export of a run")
    tensors = {name: tensor for _, half in halves for name, tensor in half.items()}
    return halves[0][0], tensors, Progress.loaded(metadata[PROGRESS])
