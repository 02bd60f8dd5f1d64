"""The weights of a benchmark's servers: a checkpoint that the command line names, or a tiny network."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from eden import EdenConfig
from eden.random_weights import write_random

TINY = EdenConfig(hidden_dim=48, num_heads=3, dit_depth=1, decoder_depth=1)


def add_options(parser: argparse.ArgumentParser, quick: bool = False) -> None:
    """Add --checkpoint, --precision and --device; with `quick` also --quick, without which a checkpoint is needed."""
    add = parser.add_argument
    tiny = "a tiny network with random values"
    by_itself = f"needed, except with --quick: then {tiny}" if quick else f"default: {tiny}"
    add("--checkpoint", type=lambda text: Path(text).absolute(), help=f"folder or file of the weights ({by_itself})")
    add("--precision", default="fp32", help="fp32, tf32 or bf16 (default: %(default)s)")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="where the model runs (default: %(default)s)")
    if quick:
        add("--quick", action="store_true", help="a short trial run: tiny frames, small settings, one second each")


def check(parser: argparse.ArgumentParser, args: argparse.Namespace, gpus: int) -> None:
    """End the program with an error where a checkpoint is missing (without --quick), or so many GPUs are."""
    if args.checkpoint is None and not args.quick:
        parser.error("name a --checkpoint, or --quick")
    there = torch.cuda.device_count()
    if args.device == "cuda" and there < gpus:
        parser.error(f"it takes {gpus} GPUs, of which there are {there}: or try --device cpu --quick")


def checkpoint(args: argparse.Namespace, folder: Path) -> Path:
    """The checkpoint that is named, or a tiny one that is written to `folder`."""
    if args.checkpoint is not None:
        return Path(args.checkpoint)
    path = folder / "checkpoint"
    write_random(path, TINY)
    return path
