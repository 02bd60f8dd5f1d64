"""The few calls of the CUDA runtime that PyTorch does not show: memory that another process can open.

They go to the very library that PyTorch has loaded, so that both share one context and one current device.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch

_COPY_DEFAULT = 4
_LAZY_PEER_ACCESS = 1
_OUT_OF_MEMORY = 2


class CudaError(RuntimeError):
    """A CUDA call failed; the message names the call and the error."""


class _Handle(ctypes.Structure):
    _fields_ = (("reserved", ctypes.c_char * 64),)


class ExportedSlab:
    """Device memory with a handle for other processes, as `bytes` (uint8, [nbytes])."""

    def __init__(self, nbytes: int, device: torch.device) -> None:
        self._device = device
        pointer = ctypes.c_void_p()
        with torch.cuda.device(device):
            _call("cudaMalloc", ctypes.byref(pointer), nbytes)
        assert pointer.value is not None
        self._pointer = pointer.value
        handle = _Handle()
        try:
            _call("cudaIpcGetMemHandle", ctypes.byref(handle), self._pointer)
        except CudaError:
            self.free()
            raise
        self.handle = ctypes.string_at(ctypes.byref(handle), 64)
        self.bytes = torch.as_tensor(_Array(self._pointer, nbytes), device=device)

    def free(self) -> None:
        """Give it back. Nobody may use `bytes` any longer."""
        with torch.cuda.device(self._device):
            _call("cudaFree", self._pointer)


class OpenedSlab:
    """Another process's device memory, mapped here."""

    def __init__(self, handle: bytes, device: torch.device) -> None:
        self._device = device
        theirs = _Handle()
        ctypes.memmove(ctypes.byref(theirs), handle, 64)
        pointer = ctypes.c_void_p()
        with torch.cuda.device(device):
            _call("cudaIpcOpenMemHandle", ctypes.byref(pointer), theirs, _LAZY_PEER_ACCESS)
        assert pointer.value is not None
        self._pointer = pointer.value

    def copy_to(self, target: torch.Tensor, offset: int) -> None:
        """Queue a copy of its bytes from `offset` on into `target` (uint8, on this side's device)."""
        stream = torch.cuda.current_stream(target.device).cuda_stream
        size = target.numel()
        with torch.cuda.device(target.device):  # each device's default stream has the same number: 0
            _call("cudaMemcpyAsync", target.data_ptr(), self._pointer + offset, size, _COPY_DEFAULT, stream)

    def close(self) -> None:
        """Unmap it."""
        with torch.cuda.device(self._device):
            _call("cudaIpcCloseMemHandle", self._pointer)


class _Array:
    """What `torch.as_tensor` reads a pointer from."""

    def __init__(self, pointer: int, nbytes: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (pointer, False),
            "version": 3,
            "strides": None,
            "stream": None,
        }


@functools.cache
def _library() -> ctypes.CDLL:
    torch.cuda.init()  # type: ignore[no-untyped-call]
    maps = Path("/proc/self/maps").read_text().splitlines()
    loaded = sorted({line.split()[-1] for line in maps if "libcudart" in line.rsplit("/", 1)[-1]})
    if not loaded:
        raise CudaError("PyTorch has loaded no libcudart that could be called")
    library = ctypes.CDLL(loaded[0])
    address, size = ctypes.c_void_p, ctypes.c_size_t
    library.cudaMalloc.argtypes = [ctypes.POINTER(address), size]
    library.cudaFree.argtypes = [address]
    library.cudaIpcGetMemHandle.argtypes = [ctypes.POINTER(_Handle), address]
    library.cudaIpcOpenMemHandle.argtypes = [ctypes.POINTER(address), _Handle, ctypes.c_uint]
    library.cudaIpcCloseMemHandle.argtypes = [address]
    library.cudaMemcpyAsync.argtypes = [address, address, size, ctypes.c_int, address]
    library.cudaGetErrorString.restype = ctypes.c_char_p
    return library


def _call(name: str, *arguments: Any) -> None:
    library = _library()
    error = getattr(library, name)(*arguments)
    if error:
        library.cudaGetLastError()  # cleared: the next launch would report it as its own
        kind = torch.OutOfMemoryError if error == _OUT_OF_MEMORY else CudaError
        raise kind(f"{name}: {library.cudaGetErrorString(error).decode()} ({error})")
