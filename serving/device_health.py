"""Whether a process can still compute on its device, and why it could not."""

from __future__ import annotations

import torch

from eden.pass_size import is_out_of_memory
from serving.errors import DeviceLost, OutOfMemory


def context_is_lost(device: torch.device) -> bool:
    """Whether nothing that this process asks of its GPU can succeed any more, found by asking; on a CPU never.

    A failed assertion in a kernel, an illegal address or a hardware fault ends a process's CUDA context for good: only
    a new process gets another. Running out of memory does not. Waits for all work queued on the device. Not to be
    called while the same thread records a graph.
    """
    # a lost context says so each time; any other error of earlier work is told once
    return device.type == "cuda" and _fails(device) and _fails(device)


def _fails(device: torch.device) -> bool:
    try:
        torch.cuda.synchronize(device)
        torch.ones(1, device=device).item()
    except RuntimeError as error:  # torch.AcceleratorError is one
        return "CUDA error" in str(error) and not is_out_of_memory(error)
    return False


class DeviceGuard:
    """Says what befell the device of this process, when work on it fails."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.lost = False
        """Once True, nothing can be computed any more: the process has to end."""

    def explain(self, error: Exception) -> Exception:
        """The error; DeviceLost or OutOfMemory in its place where that is why."""
        if isinstance(error, RuntimeError) and (self.lost or context_is_lost(self._device)):
            self.lost = True
            return DeviceLost("this server's GPU failed, another worker takes its place: try again")
        if is_out_of_memory(error):
            return OutOfMemory(
                "this server had too little memory for this request, even by itself: try again later, or send smaller "
                "frames or shorter clips"
            )
        return error
