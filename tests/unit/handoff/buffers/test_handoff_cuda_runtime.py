"""The CUDA runtime's bindings, as far as they go without a GPU; `tests/gpu` has them at work."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from handoff.buffers import cuda_runtime
from handoff.buffers.cuda_runtime import CudaError, call, handle_from_bytes, handle_to_bytes


@pytest.fixture
def no_bindings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where the package is not installed."""
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    cuda_runtime._runtime.cache_clear()
    yield
    cuda_runtime._runtime.cache_clear()


def test_a_handle_is_the_same_after_the_way_to_another_process() -> None:
    data = bytes(range(192, 256))
    assert handle_to_bytes(handle_from_bytes(data)) == data


def test_a_call_that_fails_names_itself_and_the_error() -> None:
    handle = handle_from_bytes(bytes(64))  # nobody's: it fails with a GPU as well
    with pytest.raises(CudaError, match=r"^cudaIpcOpenMemHandle: [\w ]+ \(\d+\)$"):
        call("cudaIpcOpenMemHandle", handle, 1)


def test_where_the_bindings_are_missing_that_is_said(no_bindings: None) -> None:
    with pytest.raises(CudaError, match="cuda-bindings is missing"):
        call("cudaMalloc", 1)
