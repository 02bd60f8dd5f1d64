"""Checkpoints: opened, checked by name and shape, and read one half at a time (docs/model.md: "Checkpoint").

A checkpoint is one of
- a folder with `config.json` and `weights.safetensors`,
- a `.safetensors` file with `config.json` beside it,
- the published `eden.pt`: a dict whose key `eden` holds the tensors. Its configuration is the published one, unless a
  `config.json` lies beside it. It is read with `weights_only=True`, so no code in it runs.

It holds the tensors of the whole network, or of one half only. `split_checkpoint` writes the latter:

    python -m eden.checkpoint split SOURCE FOLDER --half encoder|decoder|both [--precision fp32|bf16]
"""

from __future__ import annotations

import argparse
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from eden.config import ConfigError, EdenConfig
from eden.decoder import Decoder
from eden.dit import Dit
from eden.patch_tokens import PatchTokens
from eden.precision import dtype_of

CONFIG, WEIGHTS = "config.json", "weights.safetensors"
HALVES = ("encoder", "decoder")

Shapes = dict[str, tuple[int, ...]]


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or its tensors are not those of the network. The message names every such tensor."""


@dataclass(frozen=True)
class Source:
    """An open checkpoint: names and shapes of its tensors, and a function that reads some of them."""

    path: Path
    config: EdenConfig
    shapes: Shapes
    read: Callable[[Iterable[str]], dict[str, Tensor]]
    """Reads the tensors with these names, and no others; each has the type in which it is stored."""


def expected_shapes(config: EdenConfig, half: str) -> Shapes:
    """Names and shapes of the tensors of one half, "encoder" or "decoder". Raises ValueError for another name."""
    if half not in HALVES:
        raise ValueError(f"unknown half {half!r}: choose one of {', '.join(HALVES)}")
    with torch.device("meta"):
        networks: list[nn.Module] = [PatchTokens(config)] if half == "encoder" else [Dit(config), Decoder(config)]
    return {name: tuple(tensor.shape) for network in networks for name, tensor in network.state_dict().items()}


def load_half(path: str | Path, half: str) -> tuple[EdenConfig, dict[str, Tensor]]:
    """The configuration, and the tensors of one half ("encoder" or "decoder") as float32 on the CPU.

    Tensors of the other half may be present; they are not read. Raises CheckpointError, which names every tensor that
    is missing, surplus (in neither half) or of the wrong shape, with the shape found and the shape expected.
    """
    source = open_checkpoint(path)
    wanted = expected_shapes(source.config, half)
    _check(source, wanted)
    tensors = source.read(wanted)
    if foreign := [name for name, tensor in tensors.items() if not tensor.is_floating_point()]:
        raise CheckpointError(f"{source.path}: these tensors are not floating point: {', '.join(foreign)}")
    return source.config, {name: tensor.float() for name, tensor in tensors.items()}


def split_checkpoint(path: str | Path, folder: str | Path, half: str, precision: str = "fp32") -> None:
    """Write one half of the checkpoint at `path` ("encoder", "decoder" or "both") to `folder`, as a checkpoint.

    Raises CheckpointError, and ValueError for an unknown half or precision.
    """
    dtype = dtype_of(precision)
    tensors: dict[str, Tensor] = {}
    for each in HALVES if half == "both" else (half,):
        config, own = load_half(path, each)
        tensors |= own
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config.write(folder / CONFIG)
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)


def open_checkpoint(path: str | Path) -> Source:
    """Open the checkpoint at `path`; of a safetensors file only the header is read. Raises CheckpointError."""
    path = Path(path)
    if path.is_dir():
        path = path / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    safetensors = path.suffix == ".safetensors"
    beside = path.parent / CONFIG
    try:
        config = EdenConfig() if not safetensors and not beside.exists() else EdenConfig.from_file(beside)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    return _open_safetensors(path, config) if safetensors else _open_pickle(path, config)


def _open_safetensors(path: Path, config: EdenConfig) -> Source:
    try:
        with safe_open(path, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error

    def read(names: Iterable[str]) -> dict[str, Tensor]:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in names}

    return Source(path, config, shapes, read)


def _open_pickle(path: Path, config: EdenConfig) -> Source:
    try:
        # mapped where the file's format allows it: only pages of tensors that are used are read from disk
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: not a readable PyTorch checkpoint ({error})") from error
    state = content.get("eden") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f"{path}: not an EDEN checkpoint (a dict whose key 'eden' holds the tensors)")
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return Source(path, config, shapes, lambda names: {name: state[name].clone() for name in names})


def _check(source: Source, wanted: Shapes) -> None:
    """Compare the tensors of a checkpoint with those that are wanted. Raises CheckpointError."""
    known = {name for half in HALVES for name in expected_shapes(source.config, half)}
    problems = []
    for name in sorted({*wanted, *source.shapes}):
        found, right = source.shapes.get(name), wanted.get(name)
        if found is None:
            problems.append(f"missing {name}, wanted {list(right or ())}")
        elif right is None:
            if name not in known:
                problems.append(f"surplus {name} {list(found)}, wanted none")
        elif found != right:
            problems.append(f"mis-shaped {name} {list(found)}, wanted {list(right)}")
    if problems:
        raise CheckpointError(
            f"{source.path}: {len(problems)} tensors do not match the network:\n  " + "\n  ".join(problems)
        )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m eden.checkpoint", description="Split or convert EDEN checkpoints.")
    split = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "split", help="write one half of a checkpoint, or all of it, as a checkpoint of its own"
    )
    split.add_argument("source", help="a folder, a .safetensors file, or the published eden.pt")
    split.add_argument("folder", help="where config.json and weights.safetensors are written")
    split.add_argument("--half", choices=(*HALVES, "both"), required=True, help="which tensors are written")
    split.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="type of the written tensors")
    chosen = parser.parse_args(arguments)
    try:
        split_checkpoint(chosen.source, chosen.folder, chosen.half, chosen.precision)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
