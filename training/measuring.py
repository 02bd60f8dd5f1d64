"""Measures the time of a training step: `python -m training --measure-steps N`."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from training.batches import Batch
from training.run import Run
from training.settings import Settings
from training.stepping import EAGER_STEPS, own_stream

KINDS = {"whole frames": 1.0, "crops": 0.0}
"""Kinds of steps, and the probability of whole frames that gives only such steps."""
TOP = 25
"""The most kernels that are listed."""


def measure(settings: Settings, steps: int) -> dict[str, Any]:
    """Milliseconds per step of each kind, and of its parts, over `steps` steps. The trained weights are not kept.

    Per kind: `step`, all of it with its data; `data`, a batch from a set that is drawn; `forward_backward` and
    `optimiser`, each without a CUDA graph; `replay`, the graph alone; `launch`, the CPU's time to launch it. `as
    trained` is a part from the middle of a run, with both kinds of steps and the drawing of the next set.
    """
    device = torch.device(settings.device)
    on_gpu = device.type == "cuda"
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "torch": torch.__version__,
        "steps": steps,
        "batch": settings.batch,
    }
    with TemporaryDirectory() as folder, own_stream(device):
        clock = Clock(device)
        begun = time.monotonic()
        run = Run(replace(settings, folder=Path(folder)))
        for name, recording in (("eager", False), ("captured", True))[: 1 + on_gpu]:
            run.stepper.recording = recording
            for large in KINDS.values():
                for _ in range(EAGER_STEPS + 1):
                    take(run, large)
            clock.now()
            figures[name] = {"ready_s": time.monotonic() - begun}
            for kind, large in KINDS.items():
                figures[name][kind] = parts(run, clock, large, steps)
        run.progress.step = settings.plan_steps // 2
        figures["as trained"] = clock.of(run.step, max(steps, run.batches.steps_a_set))
        unseen = run.progress.step // run.batches.steps_a_set + 2
        figures["set"] = {
            "scenes": settings.scenes,
            "steps": run.batches.steps_a_set,
            "draw_ms": clock.of(lambda: run.batches.sets.draw_ahead(unseen, 1.0), 1),
        }
        if on_gpu:
            figures["kernels"] = kernels(run, steps=4)
            figures["gpu_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return figures


def batch_of(run: Run, large: float) -> tuple[Batch, Tensor]:
    step = run.progress.step
    batch = run.batches.at(step, large)
    return batch, run.network.noise(len(batch.first), batch.size, run.batches.generators(step)[1])


def take(run: Run, large: float) -> Tensor:
    """Take the same step again, with the learning rate and the average's decay of the middle of a run."""
    return run.stepper.step(*batch_of(run, large), run.settings.rate / 2, run.settings.memory)


def parts(run: Run, clock: Clock, large: float, steps: int) -> dict[str, float]:
    stepper, filling = run.stepper, (run.settings.rate / 2, run.settings.memory)
    row = {
        "step": clock.of(lambda: take(run, large), steps),
        "data": clock.of(lambda: stepper.fill(*batch_of(run, large), *filling), steps),
    }
    recorded = stepper.fill(*batch_of(run, large), *filling)
    if recorded.graph is None:
        row["forward_backward"] = clock.of(lambda: stepper.gradients(recorded), steps)
        row["optimiser"] = clock.of(stepper.update, steps)
    else:
        row["replay"] = clock.of(recorded.graph.replay, steps)
        row["launch"] = clock.launching(recorded.graph.replay, steps)
    return row


def kernels(run: Run, steps: int) -> list[dict[str, Any]]:
    """The slowest kernels of a recorded step on whole frames: name, calls, and device ms per step."""
    recorded = run.stepper.fill(*batch_of(run, 1.0), run.settings.rate / 2, run.settings.memory)
    assert recorded.graph is not None
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(steps):
            recorded.graph.replay()
        torch.cuda.synchronize()
    told = [
        {"name": each.key[:200], "calls": each.count / steps, "ms": each.self_device_time_total / 1000 / steps}
        for each in profile.key_averages()
    ]
    told.sort(key=lambda each: -each["ms"])
    rest = {"name": "all others", "calls": 0.0, "ms": 0.0}
    for each in told[TOP:]:
        rest["calls"] += each["calls"]
        rest["ms"] += each["ms"]
    return [*told[:TOP], rest]


class Clock:
    """A clock that waits for the device before it is read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def of(self, work: Callable[[], object], times: int) -> float:
        """Mean milliseconds of `work`, over `times` calls."""
        begun = self.now()
        for _ in range(times):
            work()
        return 1000 * (self.now() - begun) / times

    def launching(self, work: Callable[[], object], times: int) -> float:
        """Mean milliseconds until `work` returns, without waiting for the device."""
        begun = self.now()
        for _ in range(times):
            work()
        return 1000 * (time.perf_counter() - begun) / times
