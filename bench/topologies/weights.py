"""Which weights a benchmark's servers have, and where: a checkpoint that the command line names, or a tiny network."""

from __future__ import annotations

import argparse
from pathlib import Path

from eden import EdenConfig
from eden.random_weights import write_random

TINY = EdenConfig(hidden_dim=48, num_heads=3, dit_depth=1, decoder_depth=1)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--checkpoint, --precision, --device."""
    add = parser.add_argument
    add("--checkpoint", type=lambda text: Path(text).absolute(), help="default: a tiny network, random values")
    add("--precision", default="fp32")
    add("--device", choices=("cuda", "cpu"), default="cuda")


def checkpoint(args: argparse.Namespace, folder: Path) -> Path:
    """The one that is named, or a tiny one, written to `folder`."""
    if args.checkpoint is not None:
        return args.checkpoint
    path = folder / "checkpoint"
    write_random(path, TINY)
    return path
