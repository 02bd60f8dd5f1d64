"""Whether a process can still compute on its device, and why it could not."""

from __future__ import annotations

import torch

from eden.pass_size import is_out_of_memory
from serving.errors import DeviceLost, OutOfMemory


def context_is_lost(device: torch.device) -> bool:
    """Whether the CUDA context of this process is lost, so that nothing on its GPU can succeed; on a CPU never.

    A failed assertion in a kernel, an illegal address or a hardware fault ends a process's CUDA context for good: only
    a new process gets another one. Running out of memory does not. The check waits for all work queued on the device.
    Not to be called while the same thread records a graph.
    """
    # a lost context raises every time; an error of earlier work is raised only once
    return device.type == "cuda" and _fails(device) and _fails(device)


def _fails(device: torch.device) -> bool:
    try:
        torch.cuda.synchronize(device)
        torch.ones(1, device=device).item()
    except RuntimeError as error:  # torch.AcceleratorError is one
        return "CUDA error" in str(error) and not is_out_of_memory(error)
    return False


class DeviceGuard:
    """Explains errors of work on this process's device: a lost context, or too little memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.lost = False
        """True once the context is lost: the process has to end."""

    def explain(self, error: Exception) -> Exception:
        """The error itself, or DeviceLost or OutOfMemory if that is its cause."""
        if isinstance(error, RuntimeError) and (self.lost or context_is_lost(self._device)):
            self.lost = True
            return DeviceLost("this server's GPU failed, another worker takes its place: try again")
        if is_out_of_memory(error):
            return OutOfMemory(
                "this server had too little memory for this request, even by itself: try again later, or send smaller "
                "frames or shorter clips"
            )
        return error
