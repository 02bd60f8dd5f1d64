"""What a benchmark ran on, for its results to say."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import torch

from media.machine import cores


def describe() -> dict[str, Any]:
    """The processor and how many of its cores are ours, the GPUs, the versions, the day."""
    return {
        "cpu": cpu(),
        "cores": cores(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def cpu() -> str:
    """The processor's name as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())


def line(machine: dict[str, Any]) -> str:
    """What `describe` gave, in one line without an end."""
    gpus = [f"{machine['gpus'].count(name)} x {name}" for name in dict.fromkeys(machine["gpus"])]
    parts = [*gpus, machine["cpu"], f"{machine['cores']} cores", f"Python {machine['python']}"]
    return ", ".join([*parts, f"PyTorch {machine['torch']}", machine["date"]])
