"""What the commands that judge frames share: their options, what they say of a run, and how they end."""

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
    """The options that every one of them has. out: where results go unless something else is asked."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--checkpoint", type=Path, default=Path("weights/demo"))
    made.add_argument("--out", type=Path, default=out, help="without a suffix (default %(default)s)")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    return made


def described(checkpoint: Path, device: str, precision: str) -> dict[str, Any]:
    """The machine and the weights, for the results to say. Raises OSError where there are no weights."""
    weights = checkpoint / WEIGHTS if checkpoint.is_dir() else checkpoint
    return {
        "machine": machine.describe(),
        "checkpoint": str(checkpoint),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "device": device,
        "precision": precision,
    }


def write_results(results: Mapping[str, Any], out: Path, write_report: Callable[[Path], None]) -> None:
    """OUT.json, and by `write_report` what is made of it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_report(out)


def print_report(run: Callable[[], object], out: Path) -> int:
    """Measure, and print OUT.md; an exit status. What is missing is told on stderr."""
    try:
        run()
    except (CheckpointError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    print(out.with_suffix(".md").read_text(encoding="utf-8"))
    return 0
