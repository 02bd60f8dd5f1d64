"""What tells whether two processes are on one machine, see one tmpfs, use one GPU."""

from __future__ import annotations

import functools
from pathlib import Path

import torch


@functools.cache
def host_id() -> str:
    """The same for all processes of a running machine, its containers too."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def loopback_id() -> str:
    """The same for all processes whose 127.0.0.1 is the same: those of a host, or of one of its containers."""
    return f"{host_id()}/{Path('/proc/self/ns/net').readlink()}"


def device_name(device: torch.device) -> str:
    """ "cpu", or "cuda" and what tells this GPU from all others, whatever each process calls it."""
    if device.type != "cuda":
        return device.type
    return f"cuda {torch.cuda.get_device_properties(device).uuid}"


def shared_folder_id(folder: Path) -> str:
    """The same for all processes that see the same files there."""
    return f"{host_id()}/{folder.stat().st_dev}"
