"""A training step as a function of fixed buffers, recorded once per size as a CUDA graph, and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from eden.grid_constants import GridConstants, grid_constants
from training.batches import Batch
from training.network import Eden, seen_through
from training.optimising import Optimiser
from training.ranks import ALONE, Ranks

LossOf = Callable[[Tensor, Tensor], Tensor]
"""The loss of frames against the true ones, both [P,3,H,W]."""

CLIP = 1.0
"""The largest norm of all gradients together; larger ones are scaled down."""
LOSS_SCALE = 2.0**13
"""Factor of the loss in float16, whose gradients would otherwise be too small for it: at the start of a run and with
trained weights, those of activations were at most 2e-3 and mostly below 1e-8, those of weights at most 0.06."""
EAGER_STEPS = 3
"""Steps per size before it is recorded: kernels are compiled, and libraries choose theirs."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a step, at fixed addresses: `first`, `middle`, `last` [P,3,H,W], `noise` [P,q,l]."""

    first: Tensor
    middle: Tensor
    last: Tensor
    noise: Tensor
    patches: Tensor
    """Position embeddings [1,n,d] of the patches; `cells`: [1,n/4,d] of the cells."""
    cells: Tensor

    def fill(self, other: Inputs) -> None:
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name))


@dataclass
class Recorded:
    """Steps of one size: their buffers, and their CUDA graph once it is recorded."""

    inputs: Inputs
    constants: GridConstants
    taken: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    output: Tensor | None = None


class Stepper:
    """Takes training steps: forward, backward, mean of the gradients over all processes, optimiser, moving average.

    arithmetic  the type in which a GPU computes: float16, bfloat16, or float32 with TF32 for matrices
    recording   replay steps as CUDA graphs, one per size, in one memory pool. Then everything must run on one stream
                that is not the device's default (`own_stream`). Without a GPU, nothing is recorded
    """

    def __init__(
        self,
        network: Eden,
        average: Eden,
        optimiser: Optimiser,
        loss: LossOf,
        ranks: Ranks = ALONE,
        arithmetic: torch.dtype = torch.float16,
        recording: bool = True,
    ) -> None:
        self.network, self.average, self.optimiser, self.loss, self.ranks = network, average, optimiser, loss, ranks
        self.device = optimiser.rate.device
        self.recording = recording and self.device.type == "cuda"
        self.arithmetic = arithmetic if self.device.type == "cuda" else torch.float32
        self._scale = LOSS_SCALE if self.arithmetic == torch.float16 else 1.0
        self._fresh = torch.zeros((), device=self.device)
        self._sizes: dict[torch.Size, Recorded] = {}
        self._pool = torch.cuda.graph_pool_handle() if self.recording else None

    @property
    def sizes(self) -> list[Recorded]:
        """The steps of all sizes so far."""
        return list(self._sizes.values())

    def step(self, batch: Batch, noise: Tensor, rate: float, memory: float) -> Tensor:
        """Take a step at learning rate `rate`; `memory` is the decay of the moving average.

        Returns [2], loss and gradient norm, on the device, without waiting for it.
        """
        recorded = self.fill(batch, noise, rate, memory)
        recorded.taken += 1
        if recorded.graph is None and self.recording and recorded.taken > EAGER_STEPS:
            self._record(recorded)
        if recorded.graph is None:
            return self._compute(recorded)
        recorded.graph.replay()
        assert recorded.output is not None
        return recorded.output.clone()

    def fill(self, batch: Batch, noise: Tensor, rate: float, memory: float) -> Recorded:
        """Copy the inputs of a step into the buffers that it reads."""
        self.optimiser.rate.fill_(rate)
        self._fresh.fill_(1 - memory)
        constants = self._place(batch)
        inputs = Inputs(batch.first, batch.middle, batch.last, noise, constants.patches, constants.cells)
        recorded = self._sizes.get(batch.first.shape)
        if recorded is None:
            kept = Inputs(**{field.name: getattr(inputs, field.name).clone() for field in fields(inputs)})
            fixed = GridConstants(constants.grid, kept.patches, kept.cells, constants.down, constants.across)
            recorded = self._sizes[batch.first.shape] = Recorded(kept, fixed)
        else:
            recorded.inputs.fill(inputs)
        return recorded

    def gradients(self, recorded: Recorded) -> Tensor:
        """Forward and backward pass. Returns the loss."""
        inputs = recorded.inputs
        self.network.zero_grad(set_to_none=True)
        with computing_in(self.arithmetic, self.device):
            made = self.network(inputs.first, inputs.last, inputs.noise, recorded.constants)
        with computing_in(torch.float32, self.device):
            loss = self.loss(made, inputs.middle)
            (loss * self._scale).backward()
        torch._foreach_mul_([each.grad for each in self.network.parameters() if each.grad is not None], 1 / self._scale)
        return loss.detach()

    def update(self) -> Tensor:
        """Update weights and their average. Returns the gradient norm; if it is NaN or infinite, nothing changes."""
        self.ranks.average(self.network.parameters())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.skipped.copy_(~norm.isfinite())
        self.optimiser.step()
        with torch.no_grad():
            averaged = list[Tensor](self.average.parameters())
            apart = torch._foreach_sub(list[Tensor](self.network.parameters()), averaged)
            torch._foreach_mul_(apart, self._fresh)
            torch._foreach_add_(averaged, apart)
        return norm

    def _compute(self, recorded: Recorded) -> Tensor:
        loss = self.gradients(recorded)
        return torch.stack([loss, self.update()])

    def _record(self, recorded: Recorded) -> None:
        self.network.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
            recorded.output = self._compute(recorded)
        recorded.graph = graph

    def _place(self, batch: Batch) -> GridConstants:
        config, (height, width) = self.network.config, batch.size
        grid = (height // config.patch_size, width // config.patch_size)
        constants = grid_constants(grid, config.hidden_dim, self.device, torch.float32)
        return constants if batch.window is None else seen_through(batch.window, constants)


@contextmanager
def computing_in(arithmetic: torch.dtype, device: torch.device) -> Iterator[None]:
    """A context in which a GPU computes in float16 or bfloat16, or in float32 with TF32 for matrices."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        rounded = arithmetic != torch.float32
        with torch.autocast(device.type, arithmetic if rounded else None, enabled=rounded):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """A context with a stream other than the default, which recording needs. Does nothing without a GPU."""
    if device.type != "cuda":
        yield
        return
    outer, own = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    own.wait_stream(outer)
    with torch.cuda.stream(own):
        yield
    outer.wait_stream(own)
