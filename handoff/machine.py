"""Identifiers by which two processes find out whether they share a machine, a loopback, a folder or a GPU."""

from __future__ import annotations

import functools
from pathlib import Path

import torch


@functools.cache
def host_id() -> str:
    """Equal for all processes of a running machine, including its containers."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def loopback_id() -> str:
    """Equal for all processes with the same 127.0.0.1: those of a host, or of one container."""
    return f"{host_id()}/{Path('/proc/self/ns/net').readlink()}"


def device_name(device: torch.device) -> str:
    """ "cpu", or "cuda" and the GPU's UUID, which is the same in every process."""
    if device.type != "cuda":
        return device.type
    return f"cuda {torch.cuda.get_device_properties(device).uuid}"


def shared_folder_id(folder: Path) -> str:
    """Equal for all processes that see the same files in this folder."""
    return f"{host_id()}/{folder.stat().st_dev}"
