"""Streams of a GPU: work that takes its turn, and copies beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def new_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A stream of `device`'s own; None where there are no streams."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


@contextmanager
def in_turn(stream: torch.cuda.Stream | None) -> Iterator[list[Tensor]]:
    """Within it, work goes to `stream`: after what the caller's stream has to do, before what it gets to do then.

    The caller's tensors may be read within: they are the caller's stream's, which waits. What is made within and
    outlives it belongs in the list that this gives.
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
def forked(stream: torch.cuda.Stream | None) -> Iterator[torch.cuda.Stream | None]:
    """`stream`, split off the current one while a graph is being recorded, and joined to it again whatever happens.

    None elsewhere: outside a graph, memory that one stream gives back is not safe from it while the other reads.
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


class Beside:
    """Tensors made on a forked stream while the current one goes on: each is awaited when it is come to, each time.

    Without a stream they are made on the spot. Whatever they are made of must live until the streams join.
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
    """`frames`, where a copy to `device` can be queued from: in pinned memory, for a GPU. Laid out as they are."""
    if device.type != "cuda" or frames.is_cuda or frames.is_pinned():
        return frames
    return torch.empty_like(frames, pin_memory=True).copy_(frames)


class Downloads:
    """From one device to the host's memory, behind the work that makes the tensors and beside the work after it."""

    def __init__(self, device: torch.device) -> None:
        self.stream = new_stream(device)

    def room_for(self, shape: tuple[int, ...]) -> Tensor:
        """A uint8 tensor of the host's."""
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.stream is not None)

    def fetch(self, source: Tensor, target: Tensor) -> None:
        """Begin to copy `source`, once the current stream has made it, to `target` in the host's memory."""
        if self.stream is None:
            target.copy_(source)
            return
        self.stream.wait_stream(torch.cuda.current_stream(source.device))
        with torch.cuda.stream(self.stream):
            target.copy_(source, non_blocking=True)
        source.record_stream(self.stream)

    def finish(self) -> None:
        """Wait until all that was begun has arrived."""
        if self.stream is not None:
            self.stream.synchronize()
