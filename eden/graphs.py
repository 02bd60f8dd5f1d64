"""CUDA graphs: a pass of hundreds of small kernels is recorded once, and then launched as one operation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

Inputs = TypeVar("Inputs")
Output = TypeVar("Output")


@dataclass(frozen=True)
class Captured(Generic[Inputs, Output]):
    """A recorded pass: fill `inputs`, call `replay`, read `output` before any graph of the same cache is replayed."""

    inputs: Inputs
    output: Output
    graph: torch.cuda.CUDAGraph
    kept: object
    """Whatever the graph reads besides its inputs: referenced here so that its memory stays."""

    def replay(self) -> Output:
        """Queue the pass on the current stream; its output, which the next replay overwrites."""
        self.graph.replay()
        return self.output


class GraphCache(Generic[Inputs, Output]):
    """The `capacity` most recently used graphs. They share one memory pool, so they must run one after the other."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._graphs: OrderedDict[Hashable, Captured[Inputs, Output]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._graphs)

    def get(
        self,
        key: Hashable,
        make_inputs: Callable[[], Inputs],
        compute: Callable[[Inputs], Output],
        kept: object,
    ) -> Captured[Inputs, Output]:
        """The graph of `compute` under `key`; if there is none, it is recorded now, on the current stream."""
        if key not in self._graphs:
            if not self._graphs:
                # a memory pool is freed with its last graph
                self._pool = torch.cuda.graph_pool_handle()
            self._graphs[key] = self._record(make_inputs(), compute, kept)
            if len(self._graphs) > self.capacity:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def clear(self) -> None:
        """Drop all graphs."""
        self._graphs.clear()

    def _record(self, inputs: Inputs, compute: Callable[[Inputs], Output], kept: object) -> Captured[Inputs, Output]:
        compute(inputs)  # compiling kernels, and choosing a library's, is forbidden while recording: it happens here
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: other threads, such as the hand-off's, may allocate and copy meanwhile
            with torch.cuda.graph(
                graph, pool=self._pool, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"
            ):
                output = compute(inputs)
        except RuntimeError as error:
            # a recording that runs out of memory may fail a second time as it ends; report the first error
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise error.__context__ from None
            raise
        return Captured(inputs, output, graph, kept)


def drop_recorded(graphs: GraphCache[Inputs, Output] | None) -> bool:
    """Free all unused device memory after memory ran out, recorded graphs included. Returns whether there were graphs.

    Passes that need one record it again.
    """
    if graphs is None:
        return False
    held = len(graphs) > 0
    graphs.clear()
    torch.cuda.empty_cache()
    return held
