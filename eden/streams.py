"""CUDA streams: work in the caller's order, side streams, and copies to the host that overlap with computing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def new_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A new stream of `device`; None if it is not a GPU."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


@contextmanager
def on_stream(stream: torch.cuda.Stream | None) -> Iterator[list[Tensor]]:
    """A context whose work goes to `stream`: after all work queued on the caller's stream, before its later work.

    Inside it the caller's tensors may be read. Tensors that are made inside and used afterwards must be added to the
    list that it yields, so that their memory is not reused too early.
    """
    made: list[Tensor] = []
    if stream is None:
        yield made
        return
    caller = torch.cuda.current_stream(stream.device)
    stream.wait_stream(caller)
    with torch.cuda.stream(stream):
        yield made
    caller.wait_stream(stream)
    for tensor in made:
        tensor.record_stream(caller)


@contextmanager
def fork_stream(stream: torch.cuda.Stream | None) -> Iterator[torch.cuda.Stream | None]:
    """A context that forks `stream` off the current one while a graph is being recorded, and joins it at the end.

    It yields None otherwise: outside a graph, one stream could reuse memory that the other one still reads.
    """
    if stream is None or not torch.cuda.is_current_stream_capturing():
        yield None
        return
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    try:
        yield stream
    finally:
        current.wait_stream(stream)


class SideStreamTensors:
    """Tensors that are computed on a side stream while the current stream goes on.

    Iterating makes the current stream wait for each tensor in turn. Without a side stream they are computed at once.
    Their inputs must stay alive until the streams join.
    """

    def __init__(self, stream: torch.cuda.Stream | None, tensors: Iterator[Tensor]) -> None:
        if stream is None:
            self._made: list[tuple[Tensor, torch.cuda.Event | None]] = [(tensor, None) for tensor in tensors]
            return
        with torch.cuda.stream(stream):
            self._made = [(tensor, stream.record_event()) for tensor in tensors]

    def __iter__(self) -> Iterator[Tensor]:
        for tensor, ready in self._made:
            if ready is not None:
                torch.cuda.current_stream(tensor.device).wait_event(ready)
            yield tensor


def stage(frames: Tensor, device: torch.device) -> Tensor:
    """`frames` where a copy to `device` can be queued from: in pinned memory, for a GPU. The layout stays the same."""
    if device.type != "cuda" or frames.is_cuda or frames.is_pinned():
        return frames
    return torch.empty_like(frames, pin_memory=True).copy_(frames)


class Downloads:
    """Copies from a device to host memory, which overlap with the device's later work."""

    def __init__(self, device: torch.device) -> None:
        self.stream = new_stream(device)

    def host_buffer(self, shape: tuple[int, ...]) -> Tensor:
        """An uninitialised uint8 tensor in host memory, pinned if the device is a GPU."""
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.stream is not None)

    def fetch(self, source: Tensor, target: Tensor) -> None:
        """Queue a copy of `source` to `target` in host memory, after the current stream's work."""
        if self.stream is None:
            target.copy_(source)
            return
        self.stream.wait_stream(torch.cuda.current_stream(source.device))
        with torch.cuda.stream(self.stream):
            target.copy_(source, non_blocking=True)
        source.record_stream(self.stream)

    def finish(self) -> None:
        """Wait until all queued copies are complete."""
        if self.stream is not None:
            self.stream.synchronize()
