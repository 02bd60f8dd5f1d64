"""Describes the machine that a benchmark runs on, for its results."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import torch

from media.machine import cores


def describe() -> dict[str, Any]:
    """The processor, the number of cores that this process may use, the GPUs, versions, and the date."""
    return {
        "cpu": cpu(),
        "cores": cores(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def cpu() -> str:
    """The processor's name, by Linux."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())


def line(machine: dict[str, Any]) -> str:
    """What `describe` returned, in one line, without a full stop."""
    gpus = [f"{machine['gpus'].count(name)} x {name}" for name in dict.fromkeys(machine["gpus"])]
    parts = [*gpus, machine["cpu"], f"{machine['cores']} cores", f"Python {machine['python']}"]
    return ", ".join([*parts, f"PyTorch {machine['torch']}", machine["date"]])
