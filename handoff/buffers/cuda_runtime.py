"""The few calls of the CUDA runtime that PyTorch does not offer: memory that another process can open (CUDA IPC).

They use NVIDIA's Python bindings, which come with PyTorch's CUDA wheels, and work in PyTorch's current context, that of
`torch.cuda.device`.
"""

from __future__ import annotations

import ctypes
import functools
from types import SimpleNamespace
from typing import Any

import torch


class CudaError(RuntimeError):
    """A CUDA call failed; the message names the call and the error."""


class ExportedSlab:
    """Device memory with a handle for other processes, as `bytes` (uint8, [nbytes])."""

    def __init__(self, nbytes: int, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._pointer = call("cudaMalloc", nbytes)
        try:
            self.handle = handle_to_bytes(call("cudaIpcGetMemHandle", self._pointer))
        except CudaError:
            self.free()
            raise
        array = {"shape": (nbytes,), "typestr": "|u1", "data": (self._pointer, False), "version": 3, "strides": None}
        self.bytes = torch.as_tensor(SimpleNamespace(__cuda_array_interface__=array), device=device)

    def free(self) -> None:
        """Free the memory. `bytes` must not be used afterwards."""
        with torch.cuda.device(self._device):
            call("cudaFree", self._pointer)


class OpenedSlab:
    """Another process's device memory, mapped here."""

    def __init__(self, handle: bytes, device: torch.device) -> None:
        self._device = device
        theirs, flags = handle_from_bytes(handle), _runtime().cudaIpcMemLazyEnablePeerAccess
        with torch.cuda.device(device):
            self._pointer = call("cudaIpcOpenMemHandle", theirs, flags)

    def copy_to(self, target: torch.Tensor, offset: int) -> None:
        """Queue a copy of its bytes from `offset` on into `target` (uint8, on this side's device)."""
        stream = torch.cuda.current_stream(target.device).cuda_stream
        kind = _runtime().cudaMemcpyKind.cudaMemcpyDefault
        with torch.cuda.device(target.device):  # each device's default stream has the same number: 0
            call("cudaMemcpyAsync", target.data_ptr(), self._pointer + offset, target.numel(), kind, stream)

    def close(self) -> None:
        """Unmap it."""
        with torch.cuda.device(self._device):
            call("cudaIpcCloseMemHandle", self._pointer)


def handle_to_bytes(handle: Any) -> bytes:
    """A cudaIpcMemHandle_t as bytes; the bindings offer only its address."""
    return ctypes.string_at(handle.getPtr(), _runtime().CUDA_IPC_HANDLE_SIZE)


def handle_from_bytes(data: bytes) -> Any:
    """The cudaIpcMemHandle_t that `handle_to_bytes` returned."""
    handle = _runtime().cudaIpcMemHandle_t()
    ctypes.memmove(handle.getPtr(), data, _runtime().CUDA_IPC_HANDLE_SIZE)
    return handle


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the runtime and return its result, if it has one.

    Raises `CudaError`, or `torch.OutOfMemoryError` if memory ran out.
    """
    runtime = _runtime()
    error, *values = getattr(runtime, name)(*arguments)
    if error != runtime.cudaError_t.cudaSuccess:
        kind = torch.OutOfMemoryError if error == runtime.cudaError_t.cudaErrorMemoryAllocation else CudaError
        raise kind(f"{name}: {runtime.cudaGetErrorString(error)[1].decode()} ({int(error)})")
    return values[0] if values else None


@functools.cache
def _runtime() -> Any:
    try:
        from cuda.bindings import runtime  # type: ignore[import-untyped]
    except ImportError as error:
        raise CudaError(f"the package cuda-bindings is missing, which PyTorch's CUDA wheels bring: {error}") from error
    return runtime
