"""CUDA graphs: a pass of hundreds of small kernels, recorded once and launched as one."""

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
    """A recorded pass: fill `inputs`, replay, read `output` before the next replay of any graph of the same cache."""

    inputs: Inputs
    output: Output
    graph: torch.cuda.CUDAGraph
    kept: object
    """What the graph reads besides its inputs, kept alive with it."""

    def replay(self) -> Output:
        self.graph.replay()
        return self.output


class GraphCache(Generic[Inputs, Output]):
    """The most recently used graphs, in one memory pool: they run one after another, on one stream."""

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
        """The graph of `compute` under `key`; recorded now, on the current stream, where there is none."""
        if key not in self._graphs:
            if not self._graphs:
                # a pool ends with its last graph
                self._pool = torch.cuda.graph_pool_handle()
            self._graphs[key] = self._record(make_inputs(), compute, kept)
            if len(self._graphs) > self.capacity:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def clear(self) -> None:
        self._graphs.clear()

    def _record(self, inputs: Inputs, compute: Callable[[Inputs], Output], kept: object) -> Captured[Inputs, Output]:
        compute(inputs)  # kernels are compiled and libraries choose theirs before recording, which forbids both
        graph = torch.cuda.CUDAGraph()
        try:
            # other threads may allocate and copy meanwhile: hand-offs do
            with torch.cuda.graph(
                graph, pool=self._pool, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"
            ):
                output = compute(inputs)
        except RuntimeError as error:
            # a recording that ran out of memory may not end properly either; the memory is what matters
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise error.__context__ from None
            raise
        return Captured(inputs, output, graph, kept)


def drop_recorded(graphs: GraphCache[Inputs, Output] | None) -> bool:
    """After an out-of-memory: give the device all memory that nothing uses, recorded graphs' too. Whether any were.

    They are recorded anew as passes come that need them.
    """
    if graphs is None:
        return False
    held = len(graphs) > 0
    graphs.clear()
    torch.cuda.empty_cache()
    return held
