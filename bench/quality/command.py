"""What the commands that measure quality share: options, the description of a run, and their output."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench import machine
from eden.checkpoint import WEIGHTS, CheckpointError


def parser(description: str, out: Path) -> argparse.ArgumentParser:
    """A parser with the options that all measurements of quality have. `out`: the default path of the results."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    demo = Path("weights/demo")
    add("--checkpoint", type=Path, default=demo, help="folder or file of the weights (default: %(default)s)")
    add("--out", type=Path, default=out, help="path of the results, without a suffix (default: %(default)s)")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", default=device, help="where the model runs: cuda or cpu (default: cuda, if there is a GPU)")
    add(
        "--precision",
        choices=("fp32", "tf32", "bf16"),
        default="fp32",
        help="arithmetic of the model (default: %(default)s)",
    )
    return made


def described(checkpoint: Path, device: str, precision: str) -> dict[str, Any]:
    """The description of machine and weights for the results. Raises OSError: there are no weights."""
    weights = checkpoint / WEIGHTS if checkpoint.is_dir() else checkpoint
    return {
        "machine": machine.describe(),
        "checkpoint": str(checkpoint),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "device": device,
        "precision": precision,
    }


def write_results(results: Mapping[str, Any], out: Path, write_report: Callable[[Path], None]) -> None:
    """Write OUT.json, and then the report, by `write_report`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_report(out)


def print_report(run: Callable[[], object], out: Path) -> int:
    """Measure, and print OUT.md. Returns the exit status: 1 where weights or film are missing, as stderr says."""
    try:
        run()
    except (CheckpointError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    print(out.with_suffix(".md").read_text(encoding="utf-8"))
    return 0
